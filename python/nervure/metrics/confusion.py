# SPDX-License-Identifier: BSD-3-Clause
"""The confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nervure.metrics.base import Classes, Counts, Labels, Metric, once, sample_weights


class ConfusionMatrix(Metric):
    """How often class i (row, the truth) was predicted as class j (column).

    ``y_true`` are labels, ``y_pred`` labels of the same shape or scores with one more dimension.

    Parameters
    ----------
    num_classes
        Size of the matrix. Default: the labels seen in truth or prediction, sorted (``labels``).
    """

    def __init__(self, num_classes: int | None = None) -> None:
        self._num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._classes = Classes("confusion_matrix", self._num_classes)
        self._counts: Counts = np.zeros((self.labels.size, self.labels.size), np.int64)

    @property
    def labels(self) -> Labels:
        """The classes of the rows and columns."""
        return self._classes.labels

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        weight = sample_weights("confusion_matrix", np.shape(y_true), sample_weight)
        truth, prediction, moved = self._classes.encode(y_true, y_pred)
        size = self.labels.size
        if size != self._counts.shape[0]:
            grown: Counts = np.zeros((size, size), self._counts.dtype)
            grown[np.ix_(moved, moved)] = self._counts
            self._counts = grown
        counts = np.bincount(truth * size + prediction, weight, size * size)
        self._counts = self._counts + counts.reshape(size, size)

    def compute(self) -> Counts:
        """``(C, C)`` integers, or floats once a batch had weights; rows are the truth."""
        counts: Counts = self._counts.copy()
        return counts


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    num_classes: int | None = None,
) -> Counts:
    """``(C, C)`` counts, rows the truth: see :class:`ConfusionMatrix`."""
    counts: Counts = once(ConfusionMatrix(num_classes), y_true, y_pred, sample_weight)
    return counts
