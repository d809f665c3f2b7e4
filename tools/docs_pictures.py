# SPDX-License-Identifier: BSD-3-Clause
"""A hook of mkdocs: programs on a page are run, and their figure is put below them.

It does so where ``<!-- picture -->`` follows a block of Python that leaves a ``figure``, so that
the pictures of the documentation are those of the code above them, and none is kept as a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from typing import Any

MARKED = re.compile(
    r"(^```python\n((?:(?!^```).)*)^```\n+)<!-- picture: (.*?) -->\n", re.MULTILINE | re.DOTALL
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the figures in."""
    count = 0

    def drawn(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"{match[1]}{_picture(match[2], count, match[3])}\n"

    return MARKED.sub(drawn, markdown)


def _picture(program: str, number: int, description: str) -> str:
    from nervure.report._svg import inline_svg

    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        exec(compile(program, "<docs>", "exec"), names)
    svg = inline_svg(names["figure"], number, description)
    # One line, which Markdown leaves alone.
    return f'<div class="picture">{" ".join(svg.split())}</div>'


@contextlib.contextmanager
def _inside(folder: str) -> Any:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
