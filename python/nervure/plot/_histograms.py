# SPDX-License-Identifier: BSD-3-Clause
"""Histograms of weights and gradients, a panel per parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nervure.plot._figure import BLUE, GREY, ORANGE, RED, StrPath, new_figure, plain, save, tidy
from nervure.plot._gradients import named_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4


def weight_histograms(
    weights: Any, path: StrPath | None = None, *, bins: int | None = None
) -> Figure:
    """How the values of every parameter are distributed.

    Parameters
    ----------
    weights
        A model, or ``{name: array}``.
    path
        Where to write the picture.
    bins
        Bars of a histogram. Default: from 6 to 41, the more the more values there are.

    Raises
    ------
    ValueError
        If there is no parameter.
    ImportError
        Without matplotlib.
    """
    arrays = named_parameters("weight_histograms", weights, "parameter")
    return _histograms("weight_histograms", arrays, bins, BLUE, path)


def gradient_histograms(
    gradients: Any, path: StrPath | None = None, *, bins: int | None = None
) -> Figure:
    """How the gradients of every parameter are distributed.

    Parameters
    ----------
    gradients
        ``{name: array}`` (:func:`nervure.diagnostics.parameter_gradients`), or a model whose
        parameters have gradients.
    path
        Where to write the picture.
    bins
        Bars of a histogram. Default: from 6 to 41, the more the more values there are.

    Raises
    ------
    ValueError
        If there is no gradient.
    ImportError
        Without matplotlib.
    """
    arrays = named_parameters("gradient_histograms", gradients, "gradient")
    return _histograms("gradient_histograms", arrays, bins, ORANGE, path)


def _histograms(
    function: str,
    arrays: dict[str, NDArray[Any]],
    bins: int | None,
    colour: str,
    path: StrPath | None,
) -> Figure:
    columns = min(len(arrays), COLUMNS)
    rows = -(-len(arrays) // columns)
    figure = new_figure(function, 2.5 * columns, 1.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, array) in zip(panels, arrays.items(), strict=False):
        _histogram(axes, name, np.asarray(array, np.float64).ravel(), bins, colour)
    for axes in panels[len(arrays) :]:
        figure.delaxes(axes)
    return save(figure, path)


def _histogram(axes: Axes, name: str, values: NDArray[Any], bins: int | None, colour: str) -> None:
    finite = values[np.isfinite(values)]
    if finite.size:
        counts, edges = _counted(finite, bins)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.75)
        if edges[0] < 0 < edges[-1]:
            axes.axvline(0.0, color=GREY, linewidth=0.6)
    axes.set_title(plain(name, 34, end=True), fontsize=8, loc="left", pad=14)
    note, ink = _note(values, finite)
    axes.annotate(note, (0, 1), (0, 3), "axes fraction", "offset points", fontsize=7, color=ink)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=4)
    tidy(axes, grid=False)
    axes.spines["left"].set_visible(False)


def _note(values: NDArray[Any], finite: NDArray[Any]) -> tuple[str, str]:
    """What is said of the values, and its colour."""
    if not values.size:
        return "empty", GREY
    if finite.size < values.size:
        return f"{values.size - finite.size:,} not finite", RED
    if not values.any():
        return "all zero", RED
    return f"{finite.mean():.2g} \N{PLUS-MINUS SIGN} {finite.std():.2g}", GREY


def _counted(values: NDArray[Any], bins: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Counts and edges of the bars; of values that are all equal, one bar around them."""
    bins = min(41, 5 + int(values.size**0.5)) if bins is None else bins
    low, high = values.min(), values.max()
    # Numbers so close together that no bar fits between them are equal for a picture.
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        margin = 0.5 * max(abs(low), 1e-3)
        low, high = low - margin, high + margin
    return np.histogram(values, bins, (low, high))
