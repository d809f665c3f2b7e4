# SPDX-License-Identifier: BSD-3-Clause
"""Somebody else's text."""

from __future__ import annotations

from html import escape


def clean(text: object) -> str:
    """Somebody's text for HTML: escaped, and without what no page may contain."""
    readable = (
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )
    return escape("".join(readable))
