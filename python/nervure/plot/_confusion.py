# SPDX-License-Identifier: BSD-3-Clause
"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure.plot._figure import GRID, StrPath, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Beyond these the counts, and some of the labels, would lie on top of each other.
MOST_NUMBERS, MOST_LABELS = 30, 60


def confusion_matrix(
    matrix: ArrayLike, labels: Sequence[object] | None = None, path: StrPath | None = None
) -> Figure:
    """Counts as numbers, the share of each true class as colour: hits blue, mistakes red.

    Parameters
    ----------
    matrix
        ``(C, C)`` counts; rows are the truth (:class:`nervure.metrics.ConfusionMatrix`).
    labels
        Names of the classes. Default: 0, 1, 2, ...
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        For a matrix that is not square, or another number of labels.
    ImportError
        Without matplotlib.
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"[plot.confusion_matrix] matrix must be (C, C), got {counts.shape}")
    names = [str(label) for label in (range(len(counts)) if labels is None else labels)]
    if len(names) != len(counts):
        raise ValueError(
            f"[plot.confusion_matrix] labels must name {len(counts)} classes, got {len(names)}"
        )
    size = 2.2 + 0.42 * min(len(names), MOST_NUMBERS)
    figure = new_figure("confusion_matrix", size, size)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    hits = np.eye(len(counts), dtype=bool)
    for shown, colours in ((hits, "Blues"), (~hits, "Reds")):
        # mistakes are rare: without the root they would all look white
        values = share if shown is hits else np.sqrt(share)
        axes.imshow(np.where(shown & (counts > 0), values, np.nan), cmap=colours, vmin=0, vmax=1.2)
    if len(counts) <= MOST_NUMBERS:
        _write_counts(axes, counts, share)
    every = -(-len(names) // MOST_LABELS)
    places, labelled = range(0, len(names), every), [plain(name, 24) for name in names[::every]]
    small = 10.0 if len(labelled) <= MOST_NUMBERS else 6.0
    wide = max(map(len, labelled)) > 3
    axes.set_xticks(places, labelled, rotation=90 if wide else 0, fontsize=small)
    axes.set_yticks(places, labelled, fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    axes.set_title(f"{100 * accuracy:.2f} % of {counts.sum():g} right", fontsize=10, loc="left")
    if len(counts) <= MOST_NUMBERS:
        axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=GRID, linewidth=0.8)
        axes.spines[:].set_visible(False)
    axes.spines[:].set_color(GRID)
    axes.tick_params(which="both", length=0)
    return save(figure, path)


def _write_counts(axes: Axes, counts: NDArray[Any], share: NDArray[Any]) -> None:
    for i, j in np.argwhere(counts > 0):
        dark = (share if i == j else np.sqrt(share))[i, j] > 0.7
        colour = "white" if dark else "0.15"
        axes.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", fontsize=9, color=colour)
