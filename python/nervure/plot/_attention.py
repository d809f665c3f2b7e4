# SPDX-License-Identifier: BSD-3-Clause
"""Attention weights as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure.plot._figure import StrPath, bare, named_arrays, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 40


def attention(
    weights: ArrayLike,
    source: Sequence[object],
    target: Sequence[object],
    path: StrPath | None = None,
) -> Figure:
    """Which tokens of the source each token of the target looked at, as a heat map.

    For all layers and heads of a model there is :func:`attention_maps`.

    Parameters
    ----------
    weights
        ``(T, S)``: a row for each token of the target, as in ``generate(...).attention[0]``. Rows
        and columns behind the tokens named (ends, padding) are left out.
    source, target
        Their tokens; a string for its characters.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there are fewer weights than tokens, or no tokens.
    ImportError
        Without matplotlib.
    """
    values = np.asarray(weights, dtype=np.float64)
    columns, rows = [plain(token, 16) for token in source], [plain(token, 16) for token in target]
    if not columns or not rows:
        raise ValueError("[plot.attention] source and target must have tokens, got none")
    if values.ndim != 2 or values.shape[0] < len(rows) or values.shape[1] < len(columns):
        raise ValueError(
            f"[plot.attention] weights must be at least ({len(rows)}, {len(columns)}), a row per "
            f"token of the target, got {values.shape}"
        )
    figure = new_figure("attention", 1.2 + 0.24 * len(columns), 1.0 + 0.24 * len(rows))
    axes = figure.subplots()
    shown = values[: len(rows), : len(columns)]
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=max(float(shown.max()), 1e-6), aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("source")
    axes.set_ylabel("written")
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    return save(figure, path)


def attention_maps(
    weights: Any,
    path: StrPath | None = None,
    *,
    rows: Sequence[object] | None = None,
    columns: Sequence[object] | None = None,
    sample: int = 0,
    max_heads: int = 8,
) -> Figure:
    """Which positions look at which: a row of heat maps per layer, one for each head.

    Parameters
    ----------
    weights
        ``{name: array}`` (:func:`nervure.diagnostics.attention_weights`), or one array; arrays are
        (B, heads, T, S), (heads, T, S) or (T, S).
    path
        Where to write the picture.
    rows, columns
        Labels of the positions that look (T) and of those looked at (S): words, say. Layers with
        other numbers of positions go without.
    sample
        Which row of the batch.
    max_heads
        How many heads to show at most: the first ones.

    Raises
    ------
    ValueError
        If there is nothing to draw, or an array has other dimensions.
    IndexError
        If there is no such sample.
    ImportError
        Without matplotlib.
    """
    arrays = named_arrays("attention_maps", weights, "array")
    maps = {name: _heads(name, array, sample)[:max_heads] for name, array in arrays.items()}
    across = max(map(len, maps.values()))
    labelled = rows is not None or columns is not None
    # Wide enough for the labels, and no wider than a page if there are few heads.
    side = min(3.4, max(2.4 if labelled else 1.5, 7.4 / across)) if across > 1 else 4.2
    heights = [_height(heads, side) + (0.9 if labelled else 0.45) for heads in maps.values()]
    figure = new_figure("attention_maps", side * across + 0.6, sum(heights))
    grid = figure.subplots(len(maps), across, squeeze=False, height_ratios=heights)
    for panels, (name, heads) in zip(grid, maps.items(), strict=True):
        for h, axes in enumerate(panels):
            if h >= len(heads):
                figure.delaxes(axes)
                continue
            _draw(axes, heads[h], rows if h == 0 else None, columns)
            told = f"head {h}" if len(heads) > 1 else ""
            axes.set_title(
                f"{plain(name, 26, end=True) if h == 0 else ''}  {told}".strip(),
                fontsize=8,
                loc="left",
            )
    return save(figure, path)


def _heads(name: str, array: NDArray[Any], sample: int) -> NDArray[Any]:
    """The maps (heads, T, S) of one sample."""
    if array.ndim not in (2, 3, 4) or not array.size:
        raise ValueError(
            f"[plot.attention_maps] {name or 'the array'} must be (B, heads, T, S), (heads, T, S) "
            f"or (T, S), got {array.shape}"
        )
    if array.ndim < 4:
        return np.asarray(array.reshape(-1, *array.shape[-2:]))
    if not -len(array) <= sample < len(array):
        raise IndexError(f"[plot.attention_maps] sample {sample} is out of range for {len(array)}")
    return np.asarray(array[sample])


def _height(heads: NDArray[Any], side: float) -> float:
    return float(np.clip(side * heads.shape[1] / heads.shape[2], 0.3, 1.6 * side))


def _draw(
    axes: Axes,
    weights: NDArray[Any],
    rows: Sequence[object] | None,
    columns: Sequence[object] | None,
) -> None:
    queries, keys = weights.shape
    near = 0.2 < queries / keys < 5
    axes.imshow(
        weights, cmap="magma", vmin=0.0, interpolation="none", aspect="equal" if near else "auto"
    )
    bare(axes)
    if rows is not None and len(rows) == queries <= MOST_LABELS:
        axes.set_yticks(range(queries), [plain(word, 16) for word in rows], fontsize=7)
    if columns is not None and len(columns) == keys <= MOST_LABELS:
        axes.set_xticks(range(keys), [plain(word, 16) for word in columns], fontsize=7, rotation=90)
    axes.tick_params(length=0)
