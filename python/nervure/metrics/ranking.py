# SPDX-License-Identifier: BSD-3-Clause
"""Areas below ROC and precision-recall curves: two classes, many, or many labels at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure.metrics.base import (
    Metric,
    Values,
    flat_labels,
    once,
    sample_weights,
    with_classes,
)
from nervure.metrics.curves import (
    Curve,
    area_under_precision_recall,
    area_under_roc,
    average_precision_of,
    check_numbers,
    counts_at_thresholds,
    positives,
    precision_recall_points,
    roc_points,
)
from nervure.metrics.likelihood import check_probabilities, class_numbers, known_labels, log_softmax

AreaAverage: TypeAlias = Literal["micro", "macro", "weighted"] | None
Batch: TypeAlias = tuple[NDArray[Any], NDArray[Any], Values | None]


class _Area(Metric):
    """Keeps labels and scores: the order of all scores is not known before the end."""

    _name: str
    _normalised = False  # whether the scores of many classes must be probabilities

    def __init__(
        self,
        average: AreaAverage = "macro",
        *,
        pos_label: int | str = 1,
        labels: Sequence[Any] | None = None,
        from_logits: bool = False,
    ) -> None:
        if average not in ("micro", "macro", "weighted", None):
            raise ValueError(
                f"[{self._name}] average must be 'micro', 'macro', 'weighted' or None, "
                f"got {average!r}"
            )
        self.average = average
        self.pos_label = pos_label
        self.from_logits = from_logits
        self._labels = known_labels(self._name, labels)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._batches: list[Batch] = []
        self._kind: tuple[str, int] | None = None

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Keep a batch."""
        truth, scores = np.asarray(y_true), np.asarray(y_pred)
        scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
        check_numbers(self._name, scores)
        kind, batch = self._batch(truth, scores, sample_weight)
        if self._kind not in (None, kind):
            raise ValueError(f"[{self._name}] batches must agree, got {self._kind}, now {kind}")
        self._kind = kind
        self._batches.append(batch)

    def _batch(
        self, truth: NDArray[Any], scores: NDArray[Any], sample_weight: ArrayLike | None
    ) -> tuple[tuple[str, int], Batch]:
        name = self._name
        if scores.ndim == truth.ndim + 1 and scores.shape[-1] == 1:
            scores = scores[..., 0]
        if scores.shape == truth.shape and truth.ndim == 2 and truth.shape[1] > 1:
            return ("labels", truth.shape[1]), self._label_batch(truth, scores, sample_weight)
        if scores.shape == truth.shape:
            weight = sample_weights(name, truth.shape, sample_weight)
            flat = flat_labels(name, "y_true", truth)
            return ("scores", 1), (flat, scores.reshape(-1), weight)
        if scores.ndim != truth.ndim + 1 or scores.shape[:-1] != truth.shape:
            expected = with_classes(truth.shape)
            raise ValueError(
                f"[{name}] y_pred must be scores {truth.shape} or {expected}, got {scores.shape}"
            )
        weight = sample_weights(name, truth.shape, sample_weight)
        flat, count = flat_labels(name, "y_true", truth), scores.shape[-1]
        scores = scores.reshape(flat.size, count)
        if self.from_logits:
            scores = np.exp(log_softmax(scores))
        elif self._normalised and count > 2:
            check_probabilities(name, scores)
        return ("classes", count), (
            class_numbers(name, flat, count, self._labels),
            scores,
            weight,
        )

    def _label_batch(
        self, truth: NDArray[Any], scores: NDArray[Any], sample_weight: ArrayLike | None
    ) -> Batch:
        if not np.isin(truth, (0, 1)).all():
            raise ValueError(f"[{self._name}] y_true of several labels must hold 0 and 1 only")
        return truth == 1, scores, sample_weights(self._name, truth.shape[:1], sample_weight)

    def _collected(self) -> Batch:
        truth, scores, weights = zip(*self._batches, strict=True)
        weight = None
        if any(w is not None for w in weights):
            weight = np.concatenate(
                [np.ones(len(t)) if w is None else w for t, w in zip(truth, weights, strict=True)]
            )
        return np.concatenate(truth), np.concatenate(scores).astype(np.float64), weight

    def _columns(self) -> tuple[NDArray[np.bool_], Values, Values | None]:
        """Truth and scores, one column for each yes-or-no question, and the weights."""
        truth, scores, weight = self._collected()
        kind, count = self._kind or ("scores", 1)
        if kind == "labels":
            return truth, scores, weight
        if kind == "scores":
            return positives(self._name, truth, self.pos_label)[:, None], scores[:, None], weight
        if count == 2:  # one question: the second class
            return (truth == 1)[:, None], scores[:, 1:], weight
        return truth[:, None] == np.arange(count), scores, weight

    def compute(self) -> float | Values:
        """A float, or with ``average=None`` and more than two classes one value per class."""
        if not self._batches:
            return float("nan")
        truth, scores, weight = self._columns()
        if truth.shape[1] == 1:
            return self._column_area(truth[:, 0], scores[:, 0], weight)
        if self.average == "micro":
            repeated = None if weight is None else np.repeat(weight, truth.shape[1])
            return self._column_area(truth.reshape(-1), scores.reshape(-1), repeated)
        areas = np.array(
            [self._column_area(*column, weight) for column in zip(truth.T, scores.T, strict=True)]
        )
        if self.average is None:
            return areas
        if self.average == "macro":
            return float(areas.mean())
        support = truth.sum(axis=0) if weight is None else (truth * weight[:, None]).sum(axis=0)
        if not support.sum():
            return 0.0
        return float(np.average(np.where(support == 0, 0.0, areas), weights=support))

    def curves(self) -> dict[str, Curve]:
        """The curve of each class by its label; of two classes the curve of the positive one."""
        if not self._batches:
            return {}
        truth, scores, weight = self._columns()
        names: list[Any] = [self.pos_label] if truth.shape[1] == 1 else list(range(truth.shape[1]))
        if self._labels is not None:
            names = list(self._labels[-truth.shape[1] :])
        return {
            str(name): self._points(*counts_at_thresholds(positive, column, weight))
            for name, positive, column in zip(names, truth.T, scores.T, strict=True)
        }

    def _column_area(
        self, truth: NDArray[np.bool_], scores: Values, weight: Values | None
    ) -> float:
        false, true, _ = counts_at_thresholds(truth, scores, weight)
        return self._area(false, true)

    @abstractmethod
    def _area(self, false: Values, true: Values) -> float: ...

    @abstractmethod
    def _points(self, false: Values, true: Values, thresholds: Values) -> Curve: ...


class ROCAUC(_Area):
    """Area below the ROC curve: how often a positive scores above a negative (ties count half).

    ``y_true`` and ``y_pred`` are, as in scikit-learn: labels of two classes and scores of one of
    them ``(N,)``; labels ``(...)`` and probabilities ``(..., C)``; or several labels at once, 0 or
    1, and their scores, both ``(N, C)``. All scores are kept until :meth:`reset`.

    Parameters
    ----------
    average
        Over classes: ``"macro"`` (default, their mean), ``"weighted"`` (by how often a class is
        true), ``"micro"`` (all yes-or-no questions together) or ``None``, one value per class.
    multi_class
        ``"ovr"``: each class against the rest. ``"ovo"``: the mean over pairs of classes, which
        does not depend on how frequent they are; without sample weights, and for ``"macro"`` and
        ``"weighted"`` only.
    pos_label
        The positive class when there is one score per sample.
    labels
        The classes in the order of the columns. Default: 0 .. C-1.
    from_logits
        Whether ``(..., C)`` are scores before the softmax.

    Notes
    -----
    NaN before the first sample, and where a class is never true or always.
    """

    _name = "roc_auc"
    _normalised = True

    def __init__(
        self,
        average: AreaAverage = "macro",
        *,
        multi_class: Literal["ovr", "ovo"] = "ovr",
        pos_label: int | str = 1,
        labels: Sequence[Any] | None = None,
        from_logits: bool = False,
    ) -> None:
        if multi_class not in ("ovr", "ovo"):
            raise ValueError(f"[roc_auc] multi_class must be 'ovr' or 'ovo', got {multi_class!r}")
        if multi_class == "ovo" and average not in ("macro", "weighted"):
            raise ValueError(
                f"[roc_auc] multi_class='ovo' takes average 'macro' or 'weighted', got {average!r}"
            )
        self.multi_class = multi_class
        super().__init__(average, pos_label=pos_label, labels=labels, from_logits=from_logits)

    def compute(self) -> float | Values:
        """A float, or with ``average=None`` and more than two classes one value per class."""
        kind, count = self._kind or ("scores", 1)
        if self.multi_class == "ovr" or kind != "classes" or count == 2:
            return super().compute()
        truth, scores, weight = self._collected()
        if weight is not None:
            raise ValueError("[roc_auc] multi_class='ovo' does not take sample_weight")
        areas, shares = [], []
        for a, b in combinations(range(count), 2):
            pair = (truth == a) | (truth == b)
            first, rows = truth[pair] == a, scores[pair]
            both = [
                self._column_area(first, rows[:, a], None),
                self._column_area(~first, rows[:, b], None),
            ]
            areas.append(sum(both) / 2)
            shares.append(pair.mean())
        return float(np.average(areas, weights=shares if self.average == "weighted" else None))

    def _area(self, false: Values, true: Values) -> float:
        return area_under_roc(false, true)

    def _points(self, false: Values, true: Values, thresholds: Values) -> Curve:
        return roc_points(false, true, thresholds)


class AveragePrecision(_Area):
    """Mean precision, each weighted by the growth of recall: the step-wise area of the PR curve.

    Forms of ``y_true`` and ``y_pred``, ``average``, ``pos_label``, ``labels`` and ``from_logits``
    as for :class:`ROCAUC`; scores need not be probabilities. 0 for a class that is never true.
    """

    _name = "average_precision"

    def _area(self, false: Values, true: Values) -> float:
        return average_precision_of(false, true)

    def _points(self, false: Values, true: Values, thresholds: Values) -> Curve:
        return precision_recall_points(false, true, thresholds)


class PRAUC(AveragePrecision):
    """Area of the precision-recall curve with straight lines between its points.

    Too optimistic where the points are few (a straight line in between is not reached by any
    classifier): :class:`AveragePrecision` is the number to report. Parameters as there.
    """

    _name = "pr_auc"

    def _area(self, false: Values, true: Values) -> float:
        return area_under_precision_recall(false, true)


def roc_auc(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: AreaAverage = "macro",
    multi_class: Literal["ovr", "ovo"] = "ovr",
    pos_label: int | str = 1,
    labels: Sequence[Any] | None = None,
    from_logits: bool = False,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """Area below the ROC curve: see :class:`ROCAUC`."""
    metric = ROCAUC(
        average,
        multi_class=multi_class,
        pos_label=pos_label,
        labels=labels,
        from_logits=from_logits,
    )
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value


def average_precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: AreaAverage = "macro",
    pos_label: int | str = 1,
    labels: Sequence[Any] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """Mean precision over recall: see :class:`AveragePrecision`."""
    metric = AveragePrecision(average, pos_label=pos_label, labels=labels)
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value


def pr_auc(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: AreaAverage = "macro",
    pos_label: int | str = 1,
    labels: Sequence[Any] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float | Values:
    """Area of the precision-recall curve: see :class:`PRAUC`."""
    metric = PRAUC(average, pos_label=pos_label, labels=labels)
    value: float | Values = once(metric, y_true, y_pred, sample_weight)
    return value
