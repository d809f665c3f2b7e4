# SPDX-License-Identifier: BSD-3-Clause
"""ROC and precision-recall curves of two classes, and the areas below them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure.metrics.base import Labels, Values, flat_labels, sample_weights

Curve: TypeAlias = tuple[Values, Values, Values]


def counts_at_thresholds(
    positive: NDArray[np.bool_], scores: Values, weight: Values | None
) -> Curve:
    """False and true positives when all scores from each distinct one upwards count, descending."""
    if weight is not None:
        counted = weight != 0
        positive, scores, weight = positive[counted], scores[counted], weight[counted]
    order = np.argsort(-scores, kind="stable")
    scores, hit = scores[order], positive[order].astype(np.float64)
    own = np.ones(scores.size) if weight is None else weight[order]
    last = np.append(np.flatnonzero(np.diff(scores)), scores.size - 1) if scores.size else order
    true = np.cumsum(hit * own)[last]
    false = np.cumsum((1 - hit) * own)[last]
    return false, true, scores[last]


def area_under_roc(false: Values, true: Values) -> float:
    """Trapezoids; NaN unless both classes are there."""
    if not false.size or false[-1] <= 0 or true[-1] <= 0:
        return float("nan")
    width = np.diff(false, prepend=0.0)
    height = true + np.append(0.0, true[:-1])  # twice the mean
    return float((width * height).sum() / 2 / (false[-1] * true[-1]))


def average_precision_of(false: Values, true: Values) -> float:
    """Sum of precision times the growth of recall; 0 without positives."""
    if not false.size:
        return float("nan")
    if true[-1] <= 0:
        return 0.0
    growth = np.diff(true, prepend=0.0)
    return float((growth * (true / (true + false))).sum() / true[-1])


def area_under_precision_recall(false: Values, true: Values) -> float:
    """Trapezoids from (recall 0, precision 1); 0 without positives."""
    if not false.size:
        return float("nan")
    if true[-1] <= 0:
        return 0.0
    growth = np.diff(true, prepend=0.0)
    precision = true / (true + false)
    height = precision + np.append(1.0, precision[:-1])
    return float((growth * height).sum() / 2 / true[-1])


def roc_points(false: Values, true: Values, thresholds: Values, drop: bool = True) -> Curve:
    """The curve from (0, 0), without the points that lie on a straight line (scikit-learn)."""
    if drop and false.size > 2:
        corner = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
        kept = np.concatenate([[True], corner, [True]])
        false, true, thresholds = false[kept], true[kept], thresholds[kept]
    nothing = np.zeros(1)
    false, true = np.concatenate([nothing, false]), np.concatenate([nothing, true])
    thresholds = np.concatenate([[np.inf], thresholds])
    return _shares(false, np.nan), _shares(true, np.nan), thresholds


def _shares(counts: Values, without: float) -> Values:
    return counts / counts[-1] if counts[-1] > 0 else np.full(counts.shape, without)


def precision_recall_points(false: Values, true: Values, thresholds: Values) -> Curve:
    """The curve with recall falling to 0, where precision is 1 by definition (scikit-learn)."""
    precision = true / (true + false)
    recall = _shares(true, 1.0) if true.size else true
    return (
        np.append(precision[::-1], 1.0),
        np.append(recall[::-1], 0.0),
        np.asarray(thresholds[::-1]),
    )


def positives(metric: str, truth: Labels, pos_label: int | str) -> NDArray[np.bool_]:
    """Where flat labels of at most two kinds are the positive one."""
    kinds = np.unique(truth)
    if kinds.size > 2:
        raise ValueError(
            f"[{metric}] y_true must have two classes for scores (N,), got {kinds.size}; "
            "give scores (N, C)"
        )
    if kinds.size == 2 and pos_label not in kinds.tolist():
        raise ValueError(f"[{metric}] pos_label={pos_label!r} is none of {kinds}")
    return np.asarray(truth == pos_label, dtype=bool)


def _counts(
    metric: str,
    y_true: ArrayLike,
    y_score: ArrayLike,
    pos_label: int | str,
    sample_weight: ArrayLike | None,
) -> Curve:
    truth, scores = np.asarray(y_true), np.asarray(y_score, dtype=np.float64)
    if truth.shape != scores.shape:
        raise ValueError(f"[{metric}] y_score must have shape {truth.shape}, got {scores.shape}")
    if not truth.size:
        raise ValueError(f"[{metric}] there must be at least one sample")
    check_numbers(metric, scores)
    weight = sample_weights(metric, truth.shape, sample_weight)
    positive = positives(metric, flat_labels(metric, "y_true", truth), pos_label)
    return counts_at_thresholds(positive, scores.reshape(-1), weight)


def check_numbers(metric: str, scores: NDArray[np.floating]) -> None:
    """Refuse NaN, which has no place in an order."""
    if np.isnan(scores).any():
        raise ValueError(f"[{metric}] scores must be numbers, got NaN")


def roc_curve(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: int | str = 1,
    sample_weight: ArrayLike | None = None,
    drop_intermediate: bool = True,
) -> Curve:
    """Share of false alarms, share of hits, and the thresholds that give them, falling.

    Parameters
    ----------
    y_true, y_score
        ``(N,)`` labels of two classes and the scores of the positive one.
    pos_label
        The positive class.
    sample_weight
        How much each sample counts.
    drop_intermediate
        Whether to leave out points on straight lines.

    Returns
    -------
    tuple of arrays
        False and true positive rates, and thresholds; the first threshold is infinite. A share of
        nothing is NaN.
    """
    counts = _counts("roc_curve", y_true, y_score, pos_label, sample_weight)
    return roc_points(*counts, drop=drop_intermediate)


def precision_recall_curve(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: int | str = 1,
    sample_weight: ArrayLike | None = None,
) -> Curve:
    """Precision, recall (falling) and the thresholds that give them, rising.

    Parameters as for :func:`roc_curve`. Precision and recall end with a point more, (1, 0).
    Without positives recall is 1.
    """
    counts = _counts("precision_recall_curve", y_true, y_score, pos_label, sample_weight)
    return precision_recall_points(*counts)
