# SPDX-License-Identifier: BSD-3-Clause
"""Shares of samples that were predicted right: accuracy, top-k, exact match."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nervure.metrics.base import (
    Metric,
    WeightedMean,
    check_count,
    check_range,
    flat_labels,
    label_pair,
    once,
    sample_weights,
    with_classes,
)


class _Share(Metric):
    """A mean of hits."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._mean = WeightedMean()

    def compute(self) -> float:
        """Give the share of hits so far; NaN before the first sample."""
        return self._mean.value


class Accuracy(_Share):
    """Share of samples whose predicted label is the true one; NaN before the first sample.

    ``y_true`` are labels, ``y_pred`` labels of the same shape or scores with one more dimension.
    """

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        weight = sample_weights("accuracy", np.shape(y_true), sample_weight)
        truth, prediction = label_pair("accuracy", y_true, y_pred)
        self._mean.add(truth == prediction, weight)


class TopK(_Share):
    """Share of samples whose true class has one of the k highest scores; NaN before the first.

    ``y_true`` are class numbers ``(...)``, ``y_pred`` scores ``(..., C)``. Of equal scores the
    higher class number counts as the higher one (scikit-learn); a NaN score is never a hit.

    Parameters
    ----------
    k
        How many classes may be named.
    """

    def __init__(self, k: int = 5) -> None:
        check_count("topk", "k", k)
        self.k = k
        super().__init__()

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        classes, scores = np.asarray(y_true), np.asarray(y_pred)
        if scores.ndim != classes.ndim + 1 or scores.shape[:-1] != classes.shape:
            expected = with_classes(classes.shape)
            raise ValueError(f"[topk] y_pred must be scores {expected}, got {scores.shape}")
        weight = sample_weights("topk", classes.shape, sample_weight)
        truth = flat_labels("topk", "y_true", classes)
        scores = scores.reshape(truth.size, scores.shape[-1])
        count = scores.shape[1]
        check_range("topk", "y_true", truth, count)
        own = scores[np.arange(truth.size), truth][:, None]
        ties_ahead = (scores == own) & (np.arange(count) > truth[:, None])
        ahead = ~(scores <= own) | ties_ahead
        self._mean.add(ahead.sum(axis=1) < self.k, weight)


class ExactMatch(_Share):
    """Share of samples of which every label is right: whole sequences, sets of labels.

    ``y_true`` are labels ``(N, ...)``, ``y_pred`` labels of the same shape or scores
    ``(N, ..., C)``. For ``(N,)`` it is the accuracy.

    Parameters
    ----------
    ignore_index
        True label of places that are not looked at, such as the padding of a sequence.
    """

    def __init__(self, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index
        super().__init__()

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        shape = np.shape(y_true)
        if not shape:
            raise ValueError("[exact_match] y_true must have a dimension of samples, got a scalar")
        weight = sample_weights("exact_match", shape[:1], sample_weight)
        truth, prediction = label_pair("exact_match", y_true, y_pred)
        right = truth == prediction
        if self.ignore_index is not None:
            right |= truth == self.ignore_index
        self._mean.add(right.reshape(shape[0], int(np.prod(shape[1:]))).all(axis=1), weight)


def accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Share of right labels: see :class:`Accuracy`."""
    return float(once(Accuracy(), y_true, y_pred, sample_weight))


def topk(
    y_true: ArrayLike, y_pred: ArrayLike, *, k: int = 5, sample_weight: ArrayLike | None = None
) -> float:
    """Share of true classes among the k highest scores: see :class:`TopK`."""
    return float(once(TopK(k), y_true, y_pred, sample_weight))


def exact_match(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    ignore_index: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Share of samples that are right everywhere: see :class:`ExactMatch`."""
    return float(once(ExactMatch(ignore_index), y_true, y_pred, sample_weight))
