# SPDX-License-Identifier: BSD-3-Clause
"""Errors of predicted numbers: MSE, RMSE, MAE, R2."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nervure.metrics.base import Metric, Total, Values, once, sample_weights

Outputs: TypeAlias = Literal["uniform_average", "raw_values"]
R2Outputs: TypeAlias = Literal["uniform_average", "raw_values", "variance_weighted"]


def _numbers(
    metric: str, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Values, Values, Values]:
    """Truth and prediction as (N, outputs), weights as (N, 1)."""
    truth, prediction = (np.asarray(y, dtype=np.float64) for y in (y_true, y_pred))
    if prediction.shape == (*truth.shape, 1):  # the column that a network gives
        prediction = prediction[..., 0]
    elif truth.shape == (*prediction.shape, 1):
        truth = truth[..., 0]
    if truth.shape != prediction.shape or not truth.ndim:
        raise ValueError(
            f"[{metric}] y_true and y_pred must be (N, ...) both, got {truth.shape} and "
            f"{prediction.shape}"
        )
    count, outputs = truth.shape[0], int(np.prod(truth.shape[1:]))
    weight = sample_weights(metric, truth.shape[:1], sample_weight)
    column = np.ones(count) if weight is None else weight
    return (
        truth.reshape(count, outputs),
        prediction.reshape(count, outputs),
        column[:, None],
    )


class _Error(Metric):
    """A weighted sum per output."""

    _name: str
    _outputs: tuple[str, ...] = ("uniform_average", "raw_values")

    def __init__(self, multioutput: Outputs = "uniform_average") -> None:
        self._set_outputs(multioutput)

    def _set_outputs(self, multioutput: str) -> None:
        if multioutput not in self._outputs:
            allowed = ", ".join(map(repr, self._outputs))
            raise ValueError(
                f"[{self._name}] multioutput must be one of {allowed}, got {multioutput!r}"
            )
        self.multioutput: str = multioutput
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sum: Total | None = None
        self._weight = Total()

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch of numbers, ``(N,)`` or ``(N, ...)``, an output for each of the rest."""
        truth, prediction, weight = _numbers(self._name, y_true, y_pred, sample_weight)
        self._add(truth, prediction, weight)

    def _add(self, truth: Values, prediction: Values, weight: Values) -> None:
        total = self._sum_of(truth.shape[1])
        total.add((self._term(truth - prediction) * weight).sum(axis=0))
        self._weight.add(weight.sum())

    def _sum_of(self, outputs: int) -> Total:
        if self._sum is None:
            self._sum = Total((outputs,))
        elif self._sum.value.shape != (outputs,):
            raise ValueError(
                f"[{self._name}] batches must agree, got {self._sum.value.size} outputs, "
                f"now {outputs}"
            )
        return self._sum

    def compute(self) -> float | Values:
        """A float, or one value per output; NaN before the first sample."""
        weight = self._weight.value
        if self._sum is None or not weight:
            return float("nan")
        values = self._finish(self._sum.value / weight)
        return values if self.multioutput == "raw_values" else float(values.mean())

    @abstractmethod
    def _term(self, error: Values) -> Values: ...

    def _finish(self, mean: Values) -> Values:
        return mean


class MeanSquaredError(_Error):
    """Mean of ``(y_true - y_pred)^2``.

    Parameters
    ----------
    multioutput
        Of several outputs the mean (``"uniform_average"``, default) or one value per output
        (``"raw_values"``).
    """

    _name = "mean_squared_error"

    def _term(self, error: Values) -> Values:
        return error * error


class RootMeanSquaredError(MeanSquaredError):
    """Square root of the mean of ``(y_true - y_pred)^2``, per output.

    Parameters as in :class:`MeanSquaredError`.
    """

    _name = "root_mean_squared_error"

    def _finish(self, mean: Values) -> Values:
        return np.sqrt(mean)


class MeanAbsoluteError(_Error):
    """Mean of ``|y_true - y_pred|``.

    Parameters as in :class:`MeanSquaredError`.
    """

    _name = "mean_absolute_error"

    def _term(self, error: Values) -> Values:
        return np.abs(error)


class R2(_Error):
    """Share of the variance that is explained: ``1 - sum (y - p)^2 / sum (y - mean y)^2``.

    1 is perfect, 0 what the mean would give. Where the truth does not vary: 1 for a perfect
    prediction, 0 otherwise (scikit-learn). NaN with fewer than two samples.

    Parameters
    ----------
    multioutput
        As in :class:`MeanSquaredError`, or ``"variance_weighted"``: the mean weighted by the
        variance of each output.
    """

    _name = "r2"
    _outputs = ("uniform_average", "raw_values", "variance_weighted")

    def __init__(self, multioutput: R2Outputs = "uniform_average") -> None:
        self._set_outputs(multioutput)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._samples = 0
        self._shift: Values | None = None  # the first truth: what never varies must give exactly 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def _add(self, truth: Values, prediction: Values, weight: Values) -> None:
        before = float(self._weight.value)
        super()._add(truth, prediction, weight)
        own = float(weight.sum())
        if not own:
            return
        self._samples += len(truth)
        if self._shift is None:
            self._shift = truth[0].copy()
        shifted = truth - self._shift
        mean = (shifted * weight).sum(axis=0) / own
        squares = (weight * (shifted - mean) ** 2).sum(axis=0)
        apart = mean - self._mean  # two batches as one (Chan et al.)
        self._squares = self._squares + squares + apart**2 * (before * own / (before + own))
        self._mean = self._mean + apart * (own / (before + own))

    def compute(self) -> float | Values:
        """A float, or one value per output."""
        if self._sum is None or self._samples < 2:
            return float("nan")
        residual, variation = self._sum.value, self._squares
        constant = variation == 0
        values = 1 - residual / np.where(constant, 1.0, variation)
        values = np.where(constant, np.where(residual == 0, 1.0, 0.0), values)
        if self.multioutput == "raw_values":
            return values
        weighted = self.multioutput == "variance_weighted" and not constant.all()
        return float(np.average(values, weights=variation if weighted else None))

    def _term(self, error: Values) -> Values:
        return error * error


def mean_squared_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: Outputs = "uniform_average",
) -> float | Values:
    """Mean of the squared errors: see :class:`MeanSquaredError`."""
    value: float | Values = once(MeanSquaredError(multioutput), y_true, y_pred, sample_weight)
    return value


def root_mean_squared_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: Outputs = "uniform_average",
) -> float | Values:
    """Root of the mean of the squared errors: see :class:`RootMeanSquaredError`."""
    value: float | Values = once(RootMeanSquaredError(multioutput), y_true, y_pred, sample_weight)
    return value


def mean_absolute_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: Outputs = "uniform_average",
) -> float | Values:
    """Mean of the absolute errors: see :class:`MeanAbsoluteError`."""
    value: float | Values = once(MeanAbsoluteError(multioutput), y_true, y_pred, sample_weight)
    return value


def r2(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: R2Outputs = "uniform_average",
) -> float | Values:
    """Share of the variance explained: see :class:`R2`."""
    value: float | Values = once(R2(multioutput), y_true, y_pred, sample_weight)
    return value
