# SPDX-License-Identifier: BSD-3-Clause
"""Weights of convolutions as pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nervure.plot._figure import StrPath, bare, mosaic, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learned_filters(
    weight: Any, path: StrPath | None = None, *, title: str = "", max_filters: int = 64
) -> Figure:
    """Filters of a convolution.

    Filters of three input channels are shown in colour: grey is 0. Of one channel: red is positive,
    blue negative, white 0. Of more, a column per filter and a row per input channel.

    Parameters
    ----------
    weight
        A convolution, or its weight (K, C, R, S) or (K, C, S).
    path
        Where to write the picture.
    title
        Stands above it.
    max_filters
        How many of the filters, and of their channels, to show at most: the first ones.

    Raises
    ------
    ValueError
        For a weight of other dimensions, or an empty one.
    ImportError
        Without matplotlib.
    """
    array = np.asarray(getattr(weight, "weight", weight), dtype=np.float64)
    if array.ndim == 3:  # of a sequence: pictures of height 1
        array = array[:, :, None]
    if array.ndim != 4 or not array.size:
        raise ValueError(
            f"[plot.learned_filters] weight must be (K, C, R, S) or (K, C, S), got {array.shape}"
        )
    limit = float(np.nanmax(np.abs(np.where(np.isfinite(array), array, 0.0)))) or 1.0
    whole, filters, channels = _picture(array, limit, max(max_filters, 1))
    height, width = whole.shape[:2]
    scale = min(0.16, 7.4 / width, 7.4 / height)
    figure = new_figure("learned_filters", max(width * scale + 1.2, 2.6), height * scale + 0.7)
    axes = figure.subplots()
    image = axes.imshow(whole, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none")
    bare(axes)
    if whole.ndim == 2:
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 2.0 / (height * scale)), aspect=12)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7)
    else:
        # Between the filters there is nothing: transparent.
        rgba = np.concatenate([np.nan_to_num(whole), ~np.isnan(whole[..., :1])], axis=-1)
        image.set_data(rgba)
    told = _of(filters, len(array)) + " filters"
    if whole.ndim == 2 and array.shape[1] > 1:
        told += f" (columns), {_of(channels, array.shape[1])} channels (rows)"
    axes.set_title(f"{plain(title)}  {told}".strip(), fontsize=8, loc="left")
    return save(figure, path)


def _of(shown: int, there_are: int) -> str:
    return str(shown) if shown == there_are else f"{shown} of {there_are}"


def _picture(array: NDArray[Any], limit: float, most: int) -> tuple[NDArray[Any], int, int]:
    """All filters as one picture, and how many filters and channels it shows."""
    shown = array[:most]
    if array.shape[1] == 3:
        colours = np.moveaxis(np.clip(shown / (2 * limit) + 0.5, 0, 1), 1, -1)
        return mosaic(colours, math.ceil(math.sqrt(2 * len(shown)))), len(shown), 3
    if array.shape[1] == 1:
        return mosaic(shown[:, 0], math.ceil(math.sqrt(2 * len(shown)))), len(shown), 1
    shown = np.swapaxes(shown[: max(most // 2, 1), : max(most // 4, 1)], 0, 1)
    channels, filters = shown.shape[:2]
    return mosaic(shown.reshape(-1, *shown.shape[2:]), filters), filters, channels
