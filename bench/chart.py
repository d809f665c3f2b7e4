# SPDX-License-Identifier: BSD-3-Clause
"""A bar chart of the ratios."""

from __future__ import annotations

from pathlib import Path

from .registry import PEERS
from .report import Run

COLOURS = {"numpy": "#4c78a8", "torch": "#e45756", "jax": "#72b7b2", "sklearn": "#f58518"}


def draw(run: Run, path: Path) -> None:
    """One bar per row and peer, the peer's time / ours, one panel per number of threads; a PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    counts = list(run.peaks)
    names = list(dict.fromkeys(result.name for result in run.results))
    peers = [peer for peer in PEERS if any(peer in r.ratios for r in run.results)]
    height = 0.8 / max(len(peers), 1)
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3 + 4.5 * len(counts), 1.6 + 0.26 * len(names)), dpi=150)
        panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
        for axes, threads in zip(panels, counts, strict=True):
            for i, peer in enumerate(peers):
                bars = [
                    (names.index(r.name) - 0.4 + (i + 0.5) * height, r.ratios[peer])
                    for r in run.results
                    if r.threads == threads and peer in r.ratios
                ]
                if not bars:
                    continue
                places, ratios = zip(*bars, strict=True)
                # drawn from 1, so that a bar to the left is a defeat
                widths = [ratio - 1 for ratio in ratios]
                drawn = axes.barh(places, widths, height, left=1, color=COLOURS[peer], label=peer)
                labels = [f"{ratio:.2f}" for ratio in ratios]
                axes.bar_label(drawn, labels, padding=2, fontsize=5.5, color="0.3")
            axes.set_xscale("log")
            axes.axvline(1, color="0.2", linewidth=0.8)
            axes.margins(x=0.18)
            axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}")
            axes.set_xlabel(
                "time of the peer / time of Nervure (log); right of 1: Nervure is faster"
            )
            axes.xaxis.set_major_formatter("{x:g}")
            axes.grid(axis="x", color="0.9")
            axes.set_axisbelow(True)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
            axes.tick_params(left=False)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        if peers:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, frameon=False, loc="upper right", ncols=len(peers))
        machine = run.machine
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        figure.suptitle(f"{machine['cpu']}, {machine['isa']}\n{versions}", fontsize=9)
        figure.tight_layout()
        figure.savefig(path)
