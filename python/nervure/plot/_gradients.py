# SPDX-License-Identifier: BSD-3-Clause
"""Gradients: through the layers, and through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure.plot._figure import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    StrPath,
    named_arrays,
    new_figure,
    plain,
    save,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 16  # that a legend can tell apart


def gradient_flow(flow: Any, path: StrPath | None = None) -> Figure:
    """Norm of dL/dh_t over the time steps, a line per layer and direction, on a logarithmic axis.

    Parameters
    ----------
    flow
        A :class:`nervure.diagnostics.GradientFlow`, or ``{name: array}`` with arrays (layers,
        directions, steps). Norms of 0 are left out.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there is nothing to draw, or an array has not three dimensions.
    ImportError
        Without matplotlib.
    """
    named: Mapping[str, ArrayLike] = getattr(flow, "hidden", flow)
    lines: list[tuple[str, Any]] = []
    for name, values in named.items():
        norms = np.asarray(values, dtype=np.float64)
        if norms.ndim != 3:
            raise ValueError(
                f"[plot.gradient_flow] {name} must be (layers, directions, steps), got "
                f"{norms.shape}"
            )
        for layer, direction in np.ndindex(*norms.shape[:2]):
            label = f"{name} layer {layer}" if norms.shape[0] > 1 else str(name)
            label += " reverse" if direction else ""
            lines.append((label, norms[layer, direction]))
    if not lines:
        raise ValueError("[plot.gradient_flow] there must be at least one layer, got none")
    figure = new_figure("gradient_flow", 6.0, 3.6)
    axes = figure.subplots()
    for label, norms in lines:
        axes.plot(
            np.where(norms > 0, norms, np.nan),
            label=plain(label, 60, end=True),
            linewidth=1.6,
            marker=".",
        )
    axes.set_yscale("log")
    axes.set_xlabel("time step t")
    axes.set_ylabel("norm of dL/dh_t")
    tidy(axes)
    if len(lines) <= MOST_LINES:
        axes.legend(frameon=False, fontsize=8)
    return save(figure, path)


def gradient_norms(gradients: Any, path: StrPath | None = None) -> Figure:
    """Size of the gradient of every parameter, from the first layer to the last.

    A dot is the root mean square of the elements and a ring the largest one, on a logarithmic
    axis. Gradients that vanish sink towards the first layers, ones that explode rise; a gradient of
    zeros is written out.

    Parameters
    ----------
    gradients
        ``{name: array}`` (:func:`nervure.diagnostics.parameter_gradients`), or a model whose
        parameters have gradients.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there is no gradient.
    ImportError
        Without matplotlib.
    """
    arrays = named_parameters("gradient_norms", gradients, "gradient")
    names = list(arrays)
    flat = [np.abs(np.asarray(array, np.float64)).ravel() for array in arrays.values()]
    roots = np.array([np.sqrt(np.mean(values**2)) if values.size else 0.0 for values in flat])
    largest = np.array([values.max(initial=0.0) for values in flat])
    places = np.arange(len(names))
    figure = new_figure("gradient_norms", 7.4, 1.0 + 0.21 * len(names))
    axes = figure.subplots()
    lies = np.isfinite(largest) & (largest > 0)
    axes.hlines(places[lies], roots[lies], largest[lies], color=GREY, linewidth=0.8)
    axes.plot(roots[lies], places[lies], "o", color=BLUE, markersize=4.5, label="root mean square")
    axes.plot(
        largest[lies], places[lies], "o", color=ORANGE, markersize=4.5, fillstyle="none",
        label="largest",
    )  # fmt: skip
    if lies.any():
        axes.set_xscale("log")
    for i in places[~lies]:
        text = "all zero" if largest[i] == 0 else "not finite"
        axes.text(0.01, i, text, color=RED, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(places, [plain(name, 60, end=True) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("|gradient|")
    tidy(axes)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return save(figure, path)


def named_parameters(function: str, values: Any, what: str) -> dict[str, NDArray[Any]]:
    """Name -> array: of a mapping, or the weights or gradients of a model.

    Raises
    ------
    ValueError
        If there is none.
    """
    if hasattr(values, "named_parameters"):
        found = {}
        for name, parameter in values.named_parameters():
            tensor = parameter.grad if what == "gradient" else parameter
            if tensor is not None:
                found[name] = tensor.detach().numpy()
        values = found
    return named_arrays(function, values, what)
