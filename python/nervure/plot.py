# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of training, by matplotlib (``pip install 'nervure[plot]'``).

Every function returns the matplotlib ``Figure`` and, given a path, writes it there; the ending of
the name chooses the format. Nothing touches ``pyplot``: no display is needed and no figure stays
behind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "attention",
    "confusion_matrix",
    "gradient_flow",
    "learning_curves",
    "precision_recall_curves",
    "roc_curves",
]

TRAINING, VALIDATION = "#4c78a8", "#f58518"
StrPath = str | os.PathLike[str]


def _figure(function: str, width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            f"[plot.{function}] needs matplotlib: pip install 'nervure[plot]'"
        ) from None
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _save(figure: Figure, path: StrPath | None) -> Figure:
    if path is not None:
        figure.savefig(path)
    return figure


# ---- learning curves -----------------------------------------------------------------------------


def learning_curves(history: Any, path: StrPath | None = None) -> Figure:
    """Loss and metrics over the epochs, training and validation in one panel.

    Parameters
    ----------
    history
        ``{name: one value per epoch}``, or an object that has such a mapping as ``history``; the
        validation's values of ``name`` are called ``val_name``.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    ImportError
        Without matplotlib.
    """
    curves: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    curves = {name: values for name, values in curves.items() if len(values)}
    names = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    if not names:
        raise ValueError("[plot.learning_curves] history must hold at least one value, got none")
    figure = _figure("learning_curves", 4.6 * len(names), 3.4)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _curve(axes, name, curves)
    return _save(figure, path)


def _curve(axes: Axes, name: str, curves: Mapping[str, Sequence[float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = [
        (label, colour, np.asarray(curves[key], dtype=np.float64))
        for key, label, colour in [
            (name, "training", TRAINING),
            (f"val_{name}", "validation", VALIDATION),
        ]
        if key in curves
    ]
    for label, colour, values in shown:
        epochs = np.arange(1, len(values) + 1)
        axes.plot(epochs, values, color=colour, label=label, linewidth=1.6, solid_capstyle="round")
    _mark_best(axes, name, *shown[-1])
    positive = [values[values > 0] for _, _, values in shown]
    smallest = min((v.min() for v in positive if v.size), default=1.0)
    largest = max((v.max() for v in positive if v.size), default=1.0)
    if "loss" in name and largest > 20 * smallest:
        axes.set_yscale("log")
    axes.set_title(name.replace("_", " "), fontsize=11, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(shown) > 1:
        axes.legend(frameon=False)


def _mark_best(axes: Axes, name: str, label: str, colour: str, values: Any) -> None:
    """A dot and the value at the best epoch of the validation (of the training without one)."""
    if not np.isfinite(values).any():
        return
    lower_is_better = any(word in name for word in ("loss", "error", "perplexity"))
    best = int(np.nanargmin(values) if lower_is_better else np.nanargmax(values))
    axes.plot(best + 1, values[best], "o", color=colour, markersize=4)
    axes.annotate(
        f"{values[best]:.4g}",
        (best + 1, values[best]),
        textcoords="offset points",
        xytext=(0, -14 if not lower_is_better else 7),
        ha="center",
        fontsize=8,
        color=colour,
    )


# ---- gradients through time ----------------------------------------------------------------------


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
    figure = _figure("gradient_flow", 6.0, 3.6)
    axes = figure.subplots()
    for label, norms in lines:
        axes.plot(np.where(norms > 0, norms, np.nan), label=label, linewidth=1.6)
    axes.set_yscale("log")
    axes.set_xlabel("time step t")
    axes.set_ylabel("norm of dL/dh_t")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return _save(figure, path)


# ---- attention -----------------------------------------------------------------------------------


def attention(
    weights: ArrayLike,
    source: Sequence[object],
    target: Sequence[object],
    path: StrPath | None = None,
) -> Figure:
    """Which tokens of the source each token of the target looked at, as a heat map.

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
    columns, rows = [str(token) for token in source], [str(token) for token in target]
    if not columns or not rows:
        raise ValueError("[plot.attention] source and target must have tokens, got none")
    if values.ndim != 2 or values.shape[0] < len(rows) or values.shape[1] < len(columns):
        raise ValueError(
            f"[plot.attention] weights must be at least ({len(rows)}, {len(columns)}), a row per "
            f"token of the target, got {values.shape}"
        )
    figure = _figure("attention", 1.2 + 0.24 * len(columns), 1.0 + 0.24 * len(rows))
    axes = figure.subplots()
    shown = values[: len(rows), : len(columns)]
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=max(float(shown.max()), 1e-6), aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("source")
    axes.set_ylabel("written")
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    return _save(figure, path)


# ---- confusion matrix ----------------------------------------------------------------------------


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
    size = 2.2 + 0.42 * len(names)
    figure = _figure("confusion_matrix", size, size)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    hits = np.eye(len(counts), dtype=bool)
    for shown, colours in ((hits, "Blues"), (~hits, "Reds")):
        # mistakes are rare: without the root they would all look white
        values = share if shown is hits else np.sqrt(share)
        axes.imshow(np.where(shown & (counts > 0), values, np.nan), cmap=colours, vmin=0, vmax=1.2)
    for i, j in np.argwhere(counts > 0):
        dark = (share if i == j else np.sqrt(share))[i, j] > 0.7
        colour = "white" if dark else "0.15"
        axes.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    axes.set_title(f"{100 * accuracy:.2f} % of {counts.sum():g} right", fontsize=10, loc="left")
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return _save(figure, path)


# ---- ROC and precision-recall curves -------------------------------------------------------------


def roc_curves(curves: Any, path: StrPath | None = None) -> Figure:
    """Share of hits over share of false alarms, a line per class, with the areas in the legend.

    Parameters
    ----------
    curves
        A :class:`nervure.metrics.ROCAUC`, ``{name: (false alarms, hits, ...)}`` as shares, or what
        :func:`nervure.metrics.roc_curve` gave.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there is no curve.
    ImportError
        Without matplotlib.
    """
    named = _named_curves("roc_curves", curves)
    figure = _figure("roc_curves", 4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle="--")  # what guessing gives
    for name, (false, true) in named.items():
        area = float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2)
        axes.plot(false, true, label=f"{name}  {area:.4g}".strip(), linewidth=1.6)
    _finish_curves(axes, "false positive rate", "true positive rate", "area", "lower right")
    return _save(figure, path)


def precision_recall_curves(curves: Any, path: StrPath | None = None) -> Figure:
    """Precision over recall, a step line per class, with the average precision in the legend.

    Parameters
    ----------
    curves
        A :class:`nervure.metrics.AveragePrecision`, ``{name: (precision, recall, ...)}``, or what
        :func:`nervure.metrics.precision_recall_curve` gave.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there is no curve.
    ImportError
        Without matplotlib.
    """
    named = _named_curves("precision_recall_curves", curves)
    figure = _figure("precision_recall_curves", 4.4, 4.4)
    axes = figure.subplots()
    for name, (precision, recall) in named.items():
        mean = float(-np.sum(np.diff(recall) * precision[:-1]))
        label = f"{name}  {mean:.4g}".strip()
        axes.plot(recall, precision, label=label, linewidth=1.6, drawstyle="steps-post")
    _finish_curves(axes, "recall", "precision", "average precision", "lower left")
    return _save(figure, path)


def _named_curves(function: str, curves: Any) -> dict[str, tuple[Any, Any]]:
    """Name -> the two coordinates, as arrays."""
    if callable(getattr(curves, "curves", None)):
        curves = curves.curves()
    if not isinstance(curves, Mapping):
        curves = {"": curves} if len(curves) else {}
    if not curves:
        raise ValueError(f"[plot.{function}] there must be at least one curve, got none")
    named = {}
    for name, curve in curves.items():
        x, y = (np.asarray(values, dtype=np.float64) for values in curve[:2])
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(
                f"[plot.{function}] a curve must be two arrays (n,), got {x.shape} and {y.shape}"
            )
        named[str(name)] = (x, y)
    return named


def _finish_curves(
    axes: Axes, x: str, y: str, legend: str, place: Literal["lower left", "lower right"]
) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title=legend, frameon=False, loc=place, fontsize=8)
