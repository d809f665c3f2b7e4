# SPDX-License-Identifier: BSD-3-Clause
"""Precision, recall and F as plain functions."""

from __future__ import annotations

from numpy.typing import ArrayLike

from nervure.metrics.base import Average, Values, once
from nervure.metrics.f_score import F1, FBeta, Precision, Recall


def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """``hits / predicted``: see :class:`Precision`."""
    metric = Precision(
        average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
    )
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value


def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """``hits / true``: see :class:`Recall`."""
    metric = Recall(
        average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
    )
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value


def fbeta(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    beta: float,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """Weighted harmonic mean of precision and recall: see :class:`FBeta`."""
    metric = FBeta(
        beta, average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
    )
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """Harmonic mean of precision and recall: see :class:`F1`."""
    metric = F1(average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division)
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value
