# SPDX-License-Identifier: BSD-3-Clause
"""How the page looks: light or dark as the reader's system is, wide, narrow, and on paper."""

STYLE = """
:root { --paper: #fff; --card: #f5f6f8; --ink: #1d2330; --soft: #5d6675; --line: #e3e6eb;
  --accent: #2f6db3; --warn: #b4540a; --warn-card: #fff4e5; --side: 13rem; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --card: #1d2128; --ink: #e4e7ec; --soft: #9aa3b2; --line: #323843;
    --accent: #7db3ee; --warn: #f3a765; --warn-card: #33261a; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
a { color: var(--accent); }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; z-index: 1; padding: .5rem 1rem; background: var(--paper); }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1.5rem 3rem; outline: none; }
nav ul { list-style: none; margin: 0; padding: .75rem 1.5rem; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; }
nav a { color: var(--soft); text-decoration: none; font-size: .9rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }
@media (min-width: 76rem) {
  nav { position: fixed; inset: 0 auto 0 0; width: var(--side); overflow-y: auto; padding-top: 2rem;
    border-right: 1px solid var(--line); }
  nav ul { display: block; }
  nav li { margin: .45rem 0; }
  main { margin-left: calc(var(--side) + max(0rem, (100vw - var(--side) - 64rem) / 2)); }
}
header p { margin: .25rem 0 0; color: var(--soft); }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; }
h1, h2, td, th, p, dd { overflow-wrap: anywhere; }
h2 { margin: 2.75rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line);
  font-size: 1.25rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0 0; }
.cards div { padding: .7rem .9rem; border-radius: .6rem; background: var(--card); }
.cards dt { color: var(--soft); font-size: .8rem; }
.cards dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
p { max-width: 46rem; }
.note { color: var(--soft); }
.warning { padding: .6rem .9rem; border-left: 4px solid var(--warn); border-radius: .3rem;
  background: var(--warn-card); max-width: none; white-space: pre-line; }
.wide { overflow-x: auto; }
figure { margin: 1rem 0; break-inside: avoid; }
figcaption { color: var(--soft); font-size: .875rem; max-width: 46rem; margin-top: .25rem; }
svg { display: block; width: 100%; max-width: var(--width); min-width: min(var(--width), 36rem);
  height: auto; fill: currentColor; }
svg text { font-family: inherit !important; }
svg image { image-rendering: pixelated; }
table { border-collapse: collapse; font-size: .9rem; margin: .75rem 0; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th[scope=row] { font-weight: 500; }
thead th { color: var(--soft); font-weight: 500; font-size: .8rem; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; white-space: nowrap;
  padding-left: .9rem; font-variant-numeric: tabular-nums; }
th[scope=row] { min-width: 6rem; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .8rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root { --paper: #fff; --card: #f5f6f8; --ink: #000; --soft: #444; --line: #ddd; --warn: #b4540a;
    --warn-card: #fff; }
  nav, .skip { display: none; }
  main { max-width: none; margin: 0; padding: 0; }
  h2 { break-after: avoid; }
  .wide { overflow: visible; }
  svg { min-width: 0; }
  tr, .cards { break-inside: avoid; }
}
"""
