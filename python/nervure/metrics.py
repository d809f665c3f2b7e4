# SPDX-License-Identifier: BSD-3-Clause
"""Classification metrics of a whole data set, counted batch by batch.

Counts are added up and the metric is computed from the total, so the result is the one of all
samples at once, whatever the batches were: a metric averaged over batches is another number. Values
equal scikit-learn's.

Every metric has ``update(y_true, y_pred)``, ``compute()`` and ``reset()``; the function of the same
name in lower case does it at once. ``y_true`` holds labels of any shape (integers or strings),
``y_pred`` labels of the same shape or scores with one more dimension, the classes, at the end:
``(N,)`` or ``(N, C)``. Tensors and arrays are both taken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "F1",
    "Accuracy",
    "ConfusionMatrix",
    "FBeta",
    "Metric",
    "Precision",
    "Recall",
    "TopK",
    "accuracy",
    "classification_report",
    "confusion_matrix",
    "f1",
    "fbeta",
    "precision",
    "recall",
    "topk",
]

Average: TypeAlias = Literal["binary", "micro", "macro", "weighted"] | None
Labels: TypeAlias = NDArray[Any]
Counts: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]


class Metric(ABC):
    """What every metric can do."""

    @abstractmethod
    def update(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Count a batch."""

    @abstractmethod
    def compute(self) -> Any:
        """The metric of everything counted since the last reset."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""


# ---- labels ------------------------------------------------------------------------------------


def _labels(metric: str, name: str, values: Labels) -> Labels:
    """Labels as a flat array of int64 or strings."""
    flat = values.reshape(-1)
    if flat.dtype.kind in "US":
        return flat
    if flat.dtype.kind not in "biuf":
        raise TypeError(f"[{metric}] {name} must hold integer or string labels, got {flat.dtype}")
    if flat.dtype.kind == "f" and not np.array_equal(flat, np.floor(flat)):
        raise ValueError(
            f"[{metric}] {name} must hold labels, got fractions; "
            "scores need one dimension more than y_true: (N, C)"
        )
    return flat.astype(np.int64)


def _label_pair(
    metric: str, y_true: ArrayLike, y_pred: ArrayLike, num_classes: int | None = None
) -> tuple[Labels, Labels]:
    """Flat labels of both; scores give the class of the highest."""
    truth, prediction = np.asarray(y_true), np.asarray(y_pred)
    if prediction.ndim == truth.ndim + 1 and prediction.shape[:-1] == truth.shape:
        classes = prediction.shape[-1]
        if classes == 0 or num_classes not in (None, classes):
            expected = "at least one class" if num_classes is None else f"{num_classes} classes"
            raise ValueError(f"[{metric}] y_pred must have {expected}, got {prediction.shape}")
        prediction = prediction.argmax(axis=-1)
    elif prediction.shape != truth.shape:
        raise ValueError(
            f"[{metric}] y_pred must be labels {truth.shape} or scores "
            f"{_with_classes(truth.shape)}, got {prediction.shape}"
        )
    truth, prediction = _labels(metric, "y_true", truth), _labels(metric, "y_pred", prediction)
    if truth.size and (truth.dtype.kind in "US") != (prediction.dtype.kind in "US"):
        raise TypeError(f"[{metric}] y_true is {truth.dtype}, y_pred is {prediction.dtype}")
    return truth, prediction


def _with_classes(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join([*map(str, shape), "C"]) + ")"


class _Classes:
    """Numbers the classes: 0 .. num_classes-1 when told so, else every label seen, sorted."""

    def __init__(self, metric: str, num_classes: int | None) -> None:
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"[{metric}] num_classes must be positive, got {num_classes}")
        self.metric = metric
        self.num_classes = num_classes
        self.labels: Labels = np.arange(num_classes or 0)

    def encode(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Counts, Counts, Counts]:
        """Class numbers of truth and prediction, and where the classes known before are now."""
        truth, prediction = _label_pair(self.metric, y_true, y_pred, self.num_classes)
        if self.num_classes is not None:
            for name, values in (("y_true", truth), ("y_pred", prediction)):
                self._check_range(name, values)
            return truth, prediction, self.labels
        if not truth.size:
            return truth, prediction, np.arange(self.labels.size)
        known = self.labels
        if known.size and (known.dtype.kind in "US") != (truth.dtype.kind in "US"):
            raise TypeError(f"[{self.metric}] labels were {known.dtype}, now {truth.dtype}")
        parts = [known] if known.size else []
        self.labels = np.unique(np.concatenate([*parts, truth, prediction]))
        index = self.labels.searchsorted
        return index(truth), index(prediction), index(known) if known.size else known

    def _check_range(self, name: str, values: Labels) -> None:
        if values.dtype.kind in "US":
            raise TypeError(f"[{self.metric}] num_classes needs integer labels, got {values.dtype}")
        if values.size and not 0 <= values.min() <= values.max() < self.labels.size:
            worst = values.min() if values.min() < 0 else values.max()
            raise IndexError(
                f"[{self.metric}] {name} must lie in 0 .. {self.labels.size - 1}, got {worst}"
            )


# ---- confusion matrix, accuracy, top-k ---------------------------------------------------------


class ConfusionMatrix(Metric):
    """How often class i (row, the truth) was predicted as class j (column).

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
        self._classes = _Classes("confusion_matrix", self._num_classes)
        self._counts: Counts = np.zeros((self.labels.size, self.labels.size), np.int64)

    @property
    def labels(self) -> Labels:
        """The classes of the rows and columns."""
        return self._classes.labels

    def update(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Count a batch."""
        truth, prediction, moved = self._classes.encode(y_true, y_pred)
        size = self.labels.size
        if size != self._counts.shape[0]:
            grown: Counts = np.zeros((size, size), np.int64)
            grown[np.ix_(moved, moved)] = self._counts
            self._counts = grown
        cell = truth * size + prediction
        self._counts += np.bincount(cell, minlength=size * size).reshape(size, size)

    def compute(self) -> Counts:
        """``(C, C)`` integers; rows are the truth."""
        counts: Counts = self._counts.copy()
        return counts


class Accuracy(Metric):
    """Share of samples whose predicted label is the true one; NaN before the first sample."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._hits = self._total = 0

    def update(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Count a batch."""
        truth, prediction = _label_pair("accuracy", y_true, y_pred)
        self._hits += int(np.count_nonzero(truth == prediction))
        self._total += truth.size

    def compute(self) -> float:
        """Give the share of hits so far."""
        return self._hits / self._total if self._total else float("nan")


class TopK(Metric):
    """Share of samples whose true class has one of the k highest scores; NaN before the first.

    ``y_true`` are class numbers ``(...)``, ``y_pred`` scores ``(..., C)``. Of equal scores the
    higher class number counts as the higher one (scikit-learn); a NaN score is never a hit.
    """

    def __init__(self, k: int = 5) -> None:
        if k < 1:
            raise ValueError(f"[topk] k must be positive, got {k}")
        self.k = k
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._hits = self._total = 0

    def update(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Count a batch."""
        classes, scores = np.asarray(y_true), np.asarray(y_pred)
        if scores.ndim != classes.ndim + 1 or scores.shape[:-1] != classes.shape:
            expected = _with_classes(classes.shape)
            raise ValueError(f"[topk] y_pred must be scores {expected}, got {scores.shape}")
        truth = _labels("topk", "y_true", classes)
        if truth.dtype.kind in "US":
            raise TypeError(f"[topk] y_true must be class numbers, got {truth.dtype}")
        scores = scores.reshape(truth.size, scores.shape[-1])
        count = scores.shape[1]
        if truth.size and not 0 <= truth.min() <= truth.max() < count:
            worst = truth.min() if truth.min() < 0 else truth.max()
            raise IndexError(f"[topk] y_true must lie in 0 .. {count - 1}, got {worst}")
        own = scores[np.arange(truth.size), truth][:, None]
        ties_ahead = (scores == own) & (np.arange(count) > truth[:, None])
        ahead = ~(scores <= own) | ties_ahead
        self._hits += int(np.count_nonzero(ahead.sum(axis=1) < self.k))
        self._total += truth.size

    def compute(self) -> float:
        """Give the share of hits so far."""
        return self._hits / self._total if self._total else float("nan")


# ---- precision, recall, F ----------------------------------------------------------------------


def _divide(
    numerator: Values | Counts, denominator: Values | Counts, zero_division: float
) -> Values:
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


class _ClassScore(Metric):
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
        if zero_division not in (0, 1) and not np.isnan(zero_division):
            raise ValueError(
                f"[{self._name}] zero_division must be 0, 1 or NaN, got {zero_division}"
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
        self._classes = _Classes(self._name, self._num_classes)
        # rows: hits, how often predicted, how often true
        self._counts: Counts = np.zeros((3, self.labels.size), np.int64)

    def update(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Count a batch."""
        truth, prediction, moved = self._classes.encode(y_true, y_pred)
        size = self.labels.size
        if size != self._counts.shape[1]:
            grown: Counts = np.zeros((3, size), np.int64)
            grown[:, moved] = self._counts
            self._counts = grown
        for row, classes in enumerate((truth[truth == prediction], prediction, truth)):
            self._counts[row] += np.bincount(classes, minlength=size)

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


class Precision(_ClassScore):
    """Of the samples predicted as a class, the share that is: ``hits / predicted``.

    Parameters
    ----------
    average
        ``"binary"`` (default): the score of ``pos_label``, with two classes only. ``"micro"``: from
        the counts of all classes together. ``"macro"``: mean over classes. ``"weighted"``: mean
        weighted by how often a class is true. ``None``: one value per class.
    num_classes
        Count classes 0 .. num_classes-1, seen or not. Default: those seen in truth or prediction.
    zero_division
        The value where the denominator is zero: 0 (default), 1 or NaN, which averages leave out.
    """

    def _score(self, counts: Counts) -> Values:
        hits, predicted, _ = counts
        return _divide(hits, predicted, self.zero_division)


class Recall(_ClassScore):
    """Of the samples of a class, the share that was found: ``hits / true``.

    Parameters as in :class:`Precision`.
    """

    def _score(self, counts: Counts) -> Values:
        hits, _, true = counts
        return _divide(hits, true, self.zero_division)


class FBeta(_ClassScore):
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


class F1(_ClassScore):
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


# ---- functions ---------------------------------------------------------------------------------


def _once(metric: Metric, y_true: ArrayLike, y_pred: ArrayLike) -> Any:
    metric.update(y_true, y_pred)
    return metric.compute()


def confusion_matrix(
    y_true: ArrayLike, y_pred: ArrayLike, *, num_classes: int | None = None
) -> Counts:
    """``(C, C)`` counts, rows the truth: see :class:`ConfusionMatrix`."""
    counts: Counts = _once(ConfusionMatrix(num_classes), y_true, y_pred)
    return counts


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of right labels: see :class:`Accuracy`."""
    return float(_once(Accuracy(), y_true, y_pred))


def topk(y_true: ArrayLike, y_pred: ArrayLike, *, k: int = 5) -> float:
    """Share of true classes among the k highest scores: see :class:`TopK`."""
    return float(_once(TopK(k), y_true, y_pred))


def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
) -> float | Values:
    """``hits / predicted``: see :class:`Precision`."""
    metric = Precision(
        average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
    )
    value: float | Values = _once(metric, y_true, y_pred)
    return value


def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
) -> float | Values:
    """``hits / true``: see :class:`Recall`."""
    metric = Recall(
        average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
    )
    value: float | Values = _once(metric, y_true, y_pred)
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
) -> float | Values:
    """Weighted harmonic mean of precision and recall: see :class:`FBeta`."""
    metric = FBeta(
        beta, average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division
    )
    value: float | Values = _once(metric, y_true, y_pred)
    return value


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: Average = "binary",
    pos_label: int | str = 1,
    num_classes: int | None = None,
    zero_division: float = 0,
) -> float | Values:
    """Harmonic mean of precision and recall: see :class:`F1`."""
    metric = F1(average, pos_label=pos_label, num_classes=num_classes, zero_division=zero_division)
    value: float | Values = _once(metric, y_true, y_pred)
    return value


def classification_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    target_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    digits: int = 2,
    zero_division: float = 0,
) -> str:
    """Precision, recall, F1 and support per class, accuracy and averages, as text.

    Parameters
    ----------
    target_names
        A name per class, in the order of the labels. Default: the labels.
    digits
        Decimals.
    """
    truth, prediction = _label_pair("classification_report", y_true, y_pred, num_classes)

    def scores(average: Average) -> list[Any]:
        metrics: list[_ClassScore] = [
            kind(average, num_classes=num_classes, zero_division=zero_division)
            for kind in (Precision, Recall, F1)
        ]
        return [_once(metric, truth, prediction) for metric in metrics]

    matrix = ConfusionMatrix(num_classes)
    support = _once(matrix, truth, prediction).sum(axis=1)
    names = [str(label) for label in matrix.labels]
    if target_names is not None:
        if len(target_names) != len(names):
            raise ValueError(
                f"[classification_report] target_names must name {len(names)} classes, "
                f"got {len(target_names)}"
            )
        names = list(target_names)

    width = max(len(name) for name in [*names, "weighted avg"])
    total = int(support.sum())
    lines = [f"{'':>{width}}  {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}", ""]

    def line(name: str, scores: Iterable[float], count: int) -> str:
        cells = " ".join(f"{score:>9.{digits}f}" for score in scores)
        return f"{name:>{width}}  {cells} {count:>9}"

    for name, row, count in zip(names, np.transpose(scores(None)), support, strict=True):
        lines.append(line(name, row, int(count)))
    hits = f"{accuracy(truth, prediction):>9.{digits}f}"
    lines += ["", f"{'accuracy':>{width}}  {'':>9} {'':>9} {hits} {total:>9}"]
    lines.append(line("macro avg", scores("macro"), total))
    lines.append(line("weighted avg", scores("weighted"), total))
    return "\n".join(lines) + "\n"
