# SPDX-License-Identifier: BSD-3-Clause
"""What all pictures share: figures, colours, labels, and writing to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY = "#4c78a8", "#f58518", "#e45756", "#8a8f98"
GRID = "0.92"
StrPath = str | os.PathLike[str]


def new_figure(function: str, width: float, height: float) -> Figure:
    """A figure of this size in inches.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            f"[plot.{function}] needs matplotlib: pip install 'nervure[plot]'"
        ) from None
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def save(figure: Figure, path: StrPath | None) -> Figure:
    """Write the figure if there is a path, and give it back."""
    if path is not None:
        figure.savefig(path)
    return figure


def tidy(axes: Axes, *, grid: bool = True) -> None:
    """Leave out lines that say nothing."""
    if grid:
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain(text: object, limit: int = 40, *, end: bool = False) -> str:
    """Somebody's text as a label: no formula, one line, and only its start (or end) if long."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    if len(line) > limit:
        dots = "\N{HORIZONTAL ELLIPSIS}"
        line = dots + line[1 - limit :] if end else line[: limit - 1] + dots
    return line.replace("$", r"\$")


def named_arrays(function: str, values: Any, what: str) -> dict[str, NDArray[Any]]:
    """Name -> array, of a mapping or of one array.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not isinstance(values, Mapping):
        values = {"": values}
    found = {str(name): np.asarray(array) for name, array in values.items()}
    if not found:
        raise ValueError(f"[plot.{function}] there must be at least one {what}, got none")
    return found


def mosaic(tiles: ArrayLike, columns: int, gap: int = 1) -> NDArray[Any]:
    """Tiles (n, h, w) or (n, h, w, 3) side by side in one picture; NaN between them."""
    array = np.asarray(tiles, dtype=np.float64)
    count, height, width = array.shape[:3]
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *array.shape[3:])
    whole = np.full(shape, np.nan)
    for i, tile in enumerate(array):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        whole[top : top + height, left : left + width] = tile
    return whole


def bare(axes: Axes) -> None:
    """Neither ticks nor frame: a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
