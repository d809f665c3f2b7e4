# SPDX-License-Identifier: BSD-3-Clause
"""A matplotlib figure as SVG inside a page, in the page's colours and fonts."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from nervure.report._text import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib's ink and grid -> what the page makes of them, in light and in dark.
_COLOURS = {"#000000": "currentColor", "#ebebeb": "var(--line)"}


def inline_svg(figure: Figure, number: int, description: str) -> str:
    """Give an ``<svg>`` element; ``number`` keeps its ids apart from those of other pictures."""
    text = _drawn(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<=\sid=")[^"]+', lambda m: f"p{number}-{m[0]}", text)
    text = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>p{number}-", text)
    text = re.sub(r'style="[^"]*"', lambda m: _recoloured(m[0]), text)
    width = figure.get_size_inches()[0] * 96  # of CSS
    opening, _, rest = text.partition(">")
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box
    return (
        f'<svg role="img" aria-label="{clean(description)}" {box[0]} '
        f'style="--width:{width:.0f}px">{rest}'.strip()
    )


def _drawn(figure: Figure) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Letters stay letters, and the same figure gives the same text.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "nervure"}):
        with warnings.catch_warnings():
            # Not for the browser, which looks for them in all fonts.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _recoloured(style: str) -> str:
    for ink, name in _COLOURS.items():
        style = style.replace(ink, name)
    return style
