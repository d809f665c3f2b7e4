# SPDX-License-Identifier: BSD-3-Clause
"""Outputs of layers for one sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nervure.plot._figure import (
    BLUE,
    StrPath,
    bare,
    mosaic,
    named_arrays,
    new_figure,
    plain,
    save,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.4


def activations(
    outputs: Any, path: StrPath | None = None, *, sample: int = 0, max_maps: int = 32
) -> Figure:
    """What layers put out for one sample, a panel per layer.

    Images (N, C, H, W) are shown as one feature map per channel, sequences (N, T, F) as one
    picture of features over steps, vectors (N, F) as bars.

    Parameters
    ----------
    outputs
        ``{name: array}`` (:func:`nervure.diagnostics.activations`), or one array.
    path
        Where to write the picture.
    sample
        Which row of the batch.
    max_maps
        How many feature maps of a layer to show at most: the first ones.

    Raises
    ------
    ValueError
        If there is nothing to draw, or an array has other dimensions.
    IndexError
        If there is no such sample.
    ImportError
        Without matplotlib.
    """
    arrays = named_arrays("activations", outputs, "array")
    panels = {name: _picture(name, array, sample, max_maps) for name, array in arrays.items()}
    heights = [_height(picture, arrays[name].ndim) + 0.4 for name, picture in panels.items()]
    figure = new_figure("activations", WIDTH, sum(heights))
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, picture) in zip(grid, panels.items(), strict=True):
        _draw(axes, picture, arrays[name].ndim)
        shape = "\N{MULTIPLICATION SIGN}".join(map(str, arrays[name].shape[1:]))
        axes.set_title(f"{plain(name, 60, end=True)}  {shape}".strip(), fontsize=8, loc="left")
    return save(figure, path)


def _picture(name: str, array: NDArray[Any], sample: int, most: int) -> NDArray[Any]:
    """Two dimensions for a picture, one for bars."""
    if array.ndim not in (2, 3, 4) or not array.size:
        raise ValueError(
            f"[plot.activations] {name or 'the array'} must be (N, C, H, W), (N, T, F) or (N, F), "
            f"got {array.shape}"
        )
    if not -len(array) <= sample < len(array):
        raise IndexError(f"[plot.activations] sample {sample} is out of range for {len(array)}")
    values = np.asarray(array[sample], dtype=np.float64)
    if values.ndim != 3:
        return np.asarray(values.T)
    maps = values[: max(most, 1)]
    count, height, width = maps.shape
    # As many columns as make the whole four times as wide as high.
    columns = min(count, max(1, math.ceil(math.sqrt(4 * count * height / width))))
    return mosaic(maps, columns, gap=max(1, round(width / 16)))


def _height(picture: NDArray[Any], dimensions: int) -> float:
    """In inches."""
    if dimensions < 4:
        return 0.8 if dimensions == 2 else 1.2
    height, width = picture.shape
    return float(np.clip(WIDTH * height / width, 0.35, 2.4))


def _draw(axes: Axes, picture: NDArray[Any], dimensions: int) -> None:
    if dimensions == 2:
        axes.stairs(picture, np.arange(len(picture) + 1) - 0.5, fill=True, color=BLUE, alpha=0.75)
        axes.tick_params(labelsize=7)
        axes.margins(x=0.01)
        tidy(axes)
        return
    shape: Literal["equal", "auto"] = "equal" if dimensions == 4 else "auto"
    axes.imshow(picture, cmap="viridis", interpolation="none", aspect=shape)
    axes.set_anchor("W")
    bare(axes)
    if dimensions == 3:
        axes.set_xlabel("step", fontsize=7)
        axes.set_ylabel("feature", fontsize=7)
