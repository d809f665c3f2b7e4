# SPDX-License-Identifier: BSD-3-Clause
"""One page of HTML: sections, tables, pictures. Whatever comes in as text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nervure.report._style import STYLE
from nervure.report._svg import inline_svg
from nervure.report._text import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# No script, nothing from elsewhere: whatever a name in the data may contain.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


class Page:
    """Collects sections, in order, and gives the whole as text."""

    def __init__(self, title: str, subtitle: str, language: str = "en") -> None:
        self._title = title
        self._subtitle = subtitle
        self._language = language
        self._sections: list[tuple[str, str, list[str]]] = []
        self._cards: list[tuple[str, str]] = []
        self._pictures = 0

    def card(self, name: str, value: str) -> None:
        """Put a key figure at the top."""
        self._cards.append((name, value))

    def section(self, title: str) -> None:
        """Begin a section; what follows goes into it."""
        self._sections.append((f"section-{len(self._sections) + 1}", title, []))

    def _add(self, html: str) -> None:
        self._sections[-1][2].append(html)

    def text(self, text: str, kind: str = "") -> None:
        """Add a paragraph; ``kind`` is "note" or "warning" for one that stands out."""
        self._add(f'<p class="{kind}">{clean(text)}</p>' if kind else f"<p>{clean(text)}</p>")

    def figure(self, figure: Figure, description: str, caption: str = "") -> None:
        """Add a picture, what it shows for those who do not see it, and words below it."""
        self._pictures += 1
        svg = inline_svg(figure, self._pictures, description)
        below = f"<figcaption>{clean(caption)}</figcaption>" if caption else ""
        self._add(f'<figure><div class="wide">{svg}</div>{below}</figure>')

    def table(
        self, rows: Sequence[Sequence[object]], head: Sequence[str] = (), numbers: bool = False
    ) -> None:
        """Add a table whose first column heads its rows; ``numbers`` go flush right."""
        top = "".join(f'<th scope="col">{clean(cell)}</th>' for cell in head)
        body = "".join(
            f'<tr><th scope="row">{clean(row[0])}</th>'
            + "".join(f"<td>{clean(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in rows
        )
        thead = f"<thead><tr>{top}</tr></thead>" if head else ""
        kind = ' class="numbers"' if numbers else ""
        self._add(f'<div class="wide"><table{kind}>{thead}<tbody>{body}</tbody></table></div>')

    def html(self, footer: str) -> str:
        """Give the whole page."""
        links = "".join(
            f'<li><a href="#{key}">{clean(title)}</a></li>' for key, title, _ in self._sections
        )
        sections = "\n".join(
            f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">'
            f"{clean(title)}</h2>\n" + "\n".join(parts) + "\n</section>"
            for key, title, parts in self._sections
        )
        cards = "".join(
            f"<div><dt>{clean(name)}</dt><dd>{clean(value)}</dd></div>"
            for name, value in self._cards
        )
        return f"""<!doctype html>
<html lang="{clean(self._language)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{clean(self._title)}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="content" tabindex="-1">
<header><h1>{clean(self._title)}</h1><p>{clean(self._subtitle)}</p></header>
<dl class="cards">{cards}</dl>
{sections}
<footer>{clean(footer)}</footer>
</main>
</body>
</html>
"""
