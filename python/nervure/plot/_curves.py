# SPDX-License-Identifier: BSD-3-Clause
"""Curves: loss and metrics over the epochs, ROC, precision over recall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nervure.plot._figure import BLUE, ORANGE, StrPath, new_figure, plain, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING, VALIDATION = BLUE, ORANGE
COLUMNS = 3


def learning_curves(history: Any, path: StrPath | None = None) -> Figure:
    """Loss and metrics over the epochs, training and validation in one panel.

    Parameters
    ----------
    history
        ``{name: one value per epoch}``, or an object that has such a mapping as ``history``; the
        validation's values of ``name`` are called ``val_name``. Values that are no single numbers
        (confusion matrices, scores per class) are left out.
    path
        Where to write the picture.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    ImportError
        Without matplotlib.
    """
    curves = _scalars(getattr(history, "history", history))
    names = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    if not names:
        raise ValueError("[plot.learning_curves] history must hold at least one value, got none")
    columns = min(len(names), COLUMNS)
    rows = -(-len(names) // columns)
    figure = new_figure("learning_curves", 4.6 * columns, 3.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _curve(axes, name, curves)
    for axes in panels[len(names) :]:
        figure.delaxes(axes)
    return save(figure, path)


def _scalars(history: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """The entries with one number per epoch: not those of matrices, or of one per class."""
    curves = {}
    for name, values in history.items():
        if len(values) and all(np.ndim(value) == 0 for value in values):
            curves[name] = np.asarray(values, dtype=np.float64)
    return curves


def _curve(axes: Axes, name: str, curves: Mapping[str, NDArray[np.float64]]) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = [
        (label, colour, curves[key])
        for key, label, colour in [
            (name, "training", TRAINING),
            (f"val_{name}", "validation", VALIDATION),
        ]
        if key in curves
    ]
    for label, colour, values in shown:
        epochs = np.arange(1, len(values) + 1)
        dot = "o" if len(values) == 1 else None
        axes.plot(
            epochs, values, color=colour, label=label, linewidth=1.6, marker=dot, markersize=4
        )
    if name != "learning_rate":  # none is the best
        _mark_best(axes, name, *shown[-1])
    positive = [values[values > 0] for _, _, values in shown]
    smallest = min((v.min() for v in positive if v.size), default=1.0)
    largest = max((v.max() for v in positive if v.size), default=1.0)
    if ("loss" in name or name == "learning_rate") and largest > 20 * smallest:
        axes.set_yscale("log")
    axes.set_title(plain(name.replace("_", " ")), fontsize=11, loc="left")
    axes.set_xlabel("epoch")
    if max(len(values) for _, _, values in shown) == 1:
        axes.set_xlim(0.5, 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    if len(shown) > 1:
        axes.legend(frameon=False)


def _mark_best(axes: Axes, name: str, label: str, colour: str, values: Any) -> None:
    """A dot and the value at the best epoch of the validation (of the training without one)."""
    if not np.isfinite(values).any():
        return
    best = best_epoch(name, values)
    axes.plot(best + 1, values[best], "o", color=colour, markersize=4)
    axes.annotate(
        f"{values[best]:.4g}",
        (best + 1, values[best]),
        textcoords="offset points",
        xytext=(0, 7 if _is_better_low(name) else -14),
        ha="center",
        fontsize=8,
        color=colour,
    )


def best_epoch(name: str, values: NDArray[np.float64]) -> int:
    """Where the value of this name is best; one of them must be a number."""
    finite = np.where(np.isfinite(values), values, np.nan)
    return int(np.nanargmin(finite) if _is_better_low(name) else np.nanargmax(finite))


def _is_better_low(name: str) -> bool:
    return any(word in name for word in ("loss", "error", "perplexity"))


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
    figure = new_figure("roc_curves", 4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle="--")  # what guessing gives
    for name, (false, true) in named.items():
        area = float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2)
        axes.plot(false, true, label=f"{plain(name)}  {area:.4g}".strip(), linewidth=1.6)
    _finish_curves(axes, "false positive rate", "true positive rate", "area", "lower right")
    return save(figure, path)


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
    figure = new_figure("precision_recall_curves", 4.4, 4.4)
    axes = figure.subplots()
    for name, (precision, recall) in named.items():
        mean = float(-np.sum(np.diff(recall) * precision[:-1]))
        label = f"{plain(name)}  {mean:.4g}".strip()
        axes.plot(recall, precision, label=label, linewidth=1.6, drawstyle="steps-post")
    _finish_curves(axes, "recall", "precision", "average precision", "lower left")
    return save(figure, path)


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
    tidy(axes)
    axes.legend(title=legend, frameon=False, loc=place, fontsize=8)
