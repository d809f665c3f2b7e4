# SPDX-License-Identifier: BSD-3-Clause
"""What all metrics share: the interface, labels, and the weights of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure._numbers import plain

Average: TypeAlias = Literal["binary", "micro", "macro", "weighted"] | None
Labels: TypeAlias = NDArray[Any]
Counts: TypeAlias = NDArray[Any]  # int64, or float64 once samples have weights
Indices: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]


class Metric(ABC):
    """What every metric can do."""

    @abstractmethod
    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch.

        Parameters
        ----------
        y_true, y_pred
            Truth and prediction; the class says in which form.
        sample_weight
            ``(N,)``, how much each sample counts, or the shape of ``y_true``. Default: 1 each.
        """

    @abstractmethod
    def compute(self) -> Any:
        """The metric of everything counted since the last reset."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""


def once(
    metric: Metric, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> Any:
    """The metric of one batch."""
    metric.update(y_true, y_pred, sample_weight)
    return metric.compute()


class Total:
    """A sum, or one per output, in which many additions lose no more than one (Neumaier)."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self._sum: Values = np.zeros(shape)
        self._lost: Values = np.zeros(shape)

    def add(self, value: Any) -> None:
        """Add a number, or one per output."""
        before, value = self._sum, np.asarray(value, dtype=np.float64)
        self._sum = before + value
        larger = abs(before) >= abs(value)
        with np.errstate(invalid="ignore"):  # infinite minus infinite; `value` leaves it out
            lost = np.where(larger, (before - self._sum) + value, (value - self._sum) + before)
        self._lost = self._lost + lost

    @property
    def value(self) -> Values:
        """The sum."""
        finite = np.isfinite(self._sum)
        return np.asarray(self._sum + np.where(finite, self._lost, 0.0))


# ---- labels --------------------------------------------------------------------------------------


def flat_labels(metric: str, name: str, values: Labels) -> Labels:
    """Labels as a flat array of int64 or strings."""
    flat = values.reshape(-1)
    if flat.dtype.kind == "O" and all(isinstance(label, str) for label in flat):
        flat = flat.astype(str)
    if flat.dtype.kind in "US":
        return flat
    if flat.dtype.kind not in "biuf":
        raise TypeError(f"[{metric}] {name} must hold integer or string labels, got {flat.dtype}")
    if flat.dtype.kind == "f" and not (np.isfinite(flat) & (flat == np.floor(flat))).all():
        raise ValueError(
            f"[{metric}] {name} must hold labels, got {_other_than_labels(flat)}; scores need a "
            "column for each class, (N, C); one score per sample gives labels by scores > 0.5"
        )
    return flat.astype(np.int64)


def _other_than_labels(values: Labels) -> str:
    return "fractions" if np.isfinite(values).all() else "NaN or infinity"


def label_pair(
    metric: str, y_true: ArrayLike, y_pred: ArrayLike, num_classes: int | None = None
) -> tuple[Labels, Labels]:
    """Flat labels of both; scores give the class of the highest."""
    truth, prediction = np.asarray(y_true), np.asarray(y_pred)
    if prediction.shape == (*truth.shape, 1) and num_classes != 1:
        prediction = prediction[..., 0]  # the column that a network gives: no class is highest
    if prediction.ndim == truth.ndim + 1 and prediction.shape[:-1] == truth.shape:
        classes = prediction.shape[-1]
        if classes == 0 or num_classes not in (None, classes):
            expected = "at least one class" if num_classes is None else f"{num_classes} classes"
            raise ValueError(f"[{metric}] y_pred must have {expected}, got {prediction.shape}")
        prediction = prediction.argmax(axis=-1)
    elif prediction.shape != truth.shape:
        raise ValueError(
            f"[{metric}] y_pred must be labels {truth.shape} or scores "
            f"{with_classes(truth.shape)}, got {prediction.shape}"
        )
    truth = flat_labels(metric, "y_true", truth)
    prediction = flat_labels(metric, "y_pred", prediction)
    if truth.size and is_text(truth) != is_text(prediction):
        raise TypeError(f"[{metric}] y_true is {truth.dtype}, y_pred is {prediction.dtype}")
    return truth, prediction


def is_text(labels: Labels) -> bool:
    """Whether labels are strings."""
    return labels.dtype.kind in "US"


def with_classes(shape: tuple[int, ...]) -> str:
    """The shape with a dimension C more, as text."""
    return "(" + ", ".join([*map(str, shape), "C"]) + ")"


def check_count(metric: str, name: str, value: object) -> None:
    """Refuse what is not an integer from 1 on."""
    number = plain(value)
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"[{metric}] {name} must be a positive integer, got {value!r}")


def check_range(metric: str, name: str, values: Labels, classes: int) -> None:
    """Refuse what is not a class number below `classes`."""
    if is_text(values):
        raise TypeError(f"[{metric}] {name} must hold class numbers, got {values.dtype}")
    if values.size and not 0 <= values.min() <= values.max() < classes:
        worst = values.min() if values.min() < 0 else values.max()
        raise IndexError(f"[{metric}] {name} must lie in 0 .. {classes - 1}, got {worst}")


class Classes:
    """Numbers the classes: 0 .. num_classes-1 when told so, else every label seen, sorted."""

    def __init__(self, metric: str, num_classes: int | None) -> None:
        if num_classes is not None:
            check_count(metric, "num_classes", num_classes)
        self.metric = metric
        self.num_classes = num_classes
        self.labels: Labels = np.arange(num_classes or 0)

    def encode(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Indices, Indices, Indices]:
        """Class numbers of truth and prediction, and where the classes known before are now."""
        truth, prediction = label_pair(self.metric, y_true, y_pred, self.num_classes)
        if self.num_classes is not None:
            for name, values in (("y_true", truth), ("y_pred", prediction)):
                check_range(self.metric, name, values, self.num_classes)
            return truth, prediction, self.labels
        if not truth.size:
            return truth, prediction, np.arange(self.labels.size)
        known = self.labels
        if known.size and is_text(known) != is_text(truth):
            raise TypeError(f"[{self.metric}] labels were {known.dtype}, now {truth.dtype}")
        parts = [known] if known.size else []
        self.labels = np.unique(np.concatenate([*parts, truth, prediction]))
        index = self.labels.searchsorted
        return index(truth), index(prediction), index(known) if known.size else known


# ---- weights -------------------------------------------------------------------------------------


def sample_weights(
    metric: str, shape: tuple[int, ...], sample_weight: ArrayLike | None
) -> Values | None:
    """One weight for each of the labels of this shape, flat, or None for 1 each."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape == shape[:1] and len(shape) > 1:
        weight = np.broadcast_to(weight.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    if weight.shape != shape:
        raise ValueError(
            f"[{metric}] sample_weight must have shape {shape[:1]} or {shape}, got {weight.shape}"
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"[{metric}] sample_weight must be finite and not negative")
    return weight.reshape(-1)


class WeightedMean:
    """Mean of values, each with a weight."""

    def __init__(self) -> None:
        self._sum, self._weight = Total(), Total()

    def add(self, values: NDArray[Any], weight: Values | None) -> None:
        """Count flat values."""
        if weight is None:
            self._sum.add(values.sum(dtype=np.float64))
            self._weight.add(values.size)
        else:
            counted = weight != 0  # a NaN that does not count is not there
            self._sum.add((values[counted] * weight[counted]).sum())
            self._weight.add(weight.sum())

    @property
    def value(self) -> float:
        """The mean, NaN without weight."""
        weight = self._weight.value
        return float(self._sum.value / weight) if weight else float("nan")
