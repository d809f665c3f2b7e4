# SPDX-License-Identifier: BSD-3-Clause
"""Precision, recall and their harmonic means, per class or averaged."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from nervure.metrics.base import (
    Average,
    Classes,
    Counts,
    Labels,
    Metric,
    Values,
    sample_weights,
)


def _divide(numerator: Counts, denominator: Counts, zero_division: float) -> Values:
    empty = denominator == 0
    return np.where(empty, zero_division, numerator / np.where(empty, 1, denominator))


def _average(values: Values, weights: Counts | None, zero_division: float) -> float:
    """Mean of the values that are numbers; weights that are all zero do not count."""
    number = ~np.isnan(values)
    if not values.size:
        return zero_division
    if not number.any():
        return float("nan")
    if weights is None or not weights[number].sum():
        return float(np.mean(values[number]))
    return float(np.average(values[number], weights=weights[number]))


class ClassScore(Metric):
    """A score per class from its hits, predictions and occurrences, and the ways to average it."""

    def __init__(
        self,
        average: Average = "binary",
        *,
        pos_label: int | str = 1,
        num_classes: int | None = None,
        zero_division: float = 0,
    ) -> None:
        if average not in ("binary", "micro", "macro", "weighted", None):
            raise ValueError(
                f"[{self._name}] average must be 'binary', 'micro', 'macro', 'weighted' or None, "
                f"got {average!r}"
            )
        if zero_division not in (0, 1) and zero_division == zero_division:  # NaN is not
            raise ValueError(
                f"[{self._name}] zero_division must be 0, 1 or NaN, got {zero_division!r}"
            )
        if average == "binary" and num_classes is not None and num_classes > 2:
            raise ValueError(f"[{self._name}] average='binary' cannot have {num_classes} classes")
        self.average = average
        self.pos_label = pos_label
        self.zero_division = float(zero_division)
        self._num_classes = num_classes
        self.reset()

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()

    @property
    def labels(self) -> Labels:
        """The classes, in the order of ``compute()`` with ``average=None``."""
        return self._classes.labels

    def reset(self) -> None:
        """Forget everything."""
        self._classes = Classes(self._name, self._num_classes)
        # rows: hits, how often predicted, how often true
        self._counts: Counts = np.zeros((3, self.labels.size), np.int64)

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        weight = sample_weights(self._name, np.shape(y_true), sample_weight)
        truth, prediction, moved = self._classes.encode(y_true, y_pred)
        size = self.labels.size
        if size != self._counts.shape[1]:
            grown: Counts = np.zeros((3, size), self._counts.dtype)
            grown[:, moved] = self._counts
            self._counts = grown
        right = truth == prediction
        hit_weight = None if weight is None else weight[right]
        counted = [
            np.bincount(truth[right], hit_weight, size),
            np.bincount(prediction, weight, size),
            np.bincount(truth, weight, size),
        ]
        self._counts = self._counts + np.stack(counted)

    def compute(self) -> float | Values:
        """A float, or with ``average=None`` one value per class."""
        counts = self._counts
        if self.average == "binary":
            return float(self._score(self._counts_of_positive())[0])
        if self.average == "micro":
            return float(self._score(counts.sum(axis=1, keepdims=True))[0])
        values = self._score(counts)
        if self.average is None:
            return values
        return _average(
            values, counts[2] if self.average == "weighted" else None, self.zero_division
        )

    def _counts_of_positive(self) -> Counts:
        labels = self.labels
        if labels.size > 2:
            raise ValueError(
                f"[{self._name}] average='binary' needs at most 2 classes, got {labels.size}; "
                "choose 'micro', 'macro', 'weighted' or None"
            )
        if self.pos_label in labels.tolist():
            return self._counts[:, labels == self.pos_label]
        if labels.size == 2:
            raise ValueError(f"[{self._name}] pos_label={self.pos_label!r} is none of {labels}")
        return np.zeros((3, 1), np.int64)

    @abstractmethod
    def _score(self, counts: Counts) -> Values:
        """The score from (3, n) counts."""


class Precision(ClassScore):
    """Of the samples predicted as a class, the share that is: ``hits / predicted``.

    ``y_true`` are labels, ``y_pred`` labels of the same shape or scores with one more dimension.

    Parameters
    ----------
    average
        ``"binary"`` (default): the score of ``pos_label``, with two classes only. ``"micro"``: from
        the counts of all classes together. ``"macro"``: mean over classes. ``"weighted"``: mean
        weighted by how often a class is true. ``None``: one value per class.
    pos_label
        The class that ``"binary"`` looks at.
    num_classes
        Count classes 0 .. num_classes-1, seen or not. Default: those seen in truth or prediction.
    zero_division
        The value where the denominator is zero: 0 (default), 1 or NaN, which averages leave out.
    """

    def _score(self, counts: Counts) -> Values:
        hits, predicted, _ = counts
        return _divide(hits, predicted, self.zero_division)


class Recall(ClassScore):
    """Of the samples of a class, the share that was found: ``hits / true``.

    Parameters as in :class:`Precision`.
    """

    def _score(self, counts: Counts) -> Values:
        hits, _, true = counts
        return _divide(hits, true, self.zero_division)


class FBeta(ClassScore):
    """Weighted harmonic mean of precision and recall: ``(1 + b^2) P R / (b^2 P + R)``.

    ``beta`` is the weight of recall: 0 gives precision, infinity gives recall. The other parameters
    are those of :class:`Precision`.
    """

    def __init__(
        self,
        beta: float,
        average: Average = "binary",
        *,
        pos_label: int | str = 1,
        num_classes: int | None = None,
        zero_division: float = 0,
    ) -> None:
        if not beta >= 0:
            raise ValueError(f"[fbeta] beta must not be negative, got {beta}")
        self.beta = beta
        super().__init__(
            average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
        )

    def _score(self, counts: Counts) -> Values:
        return _f_score(counts, self.beta, self.zero_division)


class F1(ClassScore):
    """Harmonic mean of precision and recall: ``2 P R / (P + R)``.

    Parameters as in :class:`Precision`.
    """

    def _score(self, counts: Counts) -> Values:
        return _f_score(counts, 1.0, self.zero_division)


def _f_score(counts: Counts, beta: float, zero_division: float) -> Values:
    hits, predicted, true = counts
    if np.isinf(beta):
        return _divide(hits, true, zero_division)
    weight = beta**2
    return _divide((1 + weight) * hits, weight * true + predicted, zero_division)
