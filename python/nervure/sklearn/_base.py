# SPDX-License-Identifier: BSD-3-Clause
"""What all estimators share: checking data, fitting, predicting, pickling."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from nervure import _core
from nervure.nn import Module
from nervure.sklearn._data import Samples, float32
from nervure.sklearn._state import freeze, thaw
from nervure.sklearn._training import train

Array = NDArray[Any]

TRAINING_CONSTRAINTS: dict[str, list[Any]] = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "n_iter_no_change": [
        Interval(Integral, 1, None, closed="left"),
        Options(Real, {np.inf}),
    ],
}


class NetworkEstimator(BaseEstimator):
    """Fits ``module_`` with ``optimizer_``."""

    _parameter_constraints: ClassVar[dict[str, Any]] = TRAINING_CONSTRAINTS

    # All predictions are made for this many rows at a time, the last ones filled up with zeros:
    # the sums of a matrix product are taken in another order for other numbers of rows, and a
    # prediction must not depend on what else is predicted.
    _rows_at_once = 64
    _allow_nd = False
    # Whether a sample left over joins the last batch: alone it has no variance to normalise by.
    _no_batch_of_one = False

    module_: Any
    early_stopping: bool
    warm_start: bool
    random_state: Any

    # ---- what estimators say about themselves ----------------------------------------------------

    def _make_module(self, rng: Any) -> Module:
        raise NotImplementedError

    def _make_optimizer(self) -> Any:
        raise NotImplementedError

    def _targets(self, y: Any, incremental: bool, reset: bool) -> Array:
        """Checked targets as the loss takes them."""
        raise NotImplementedError

    def _validation_score(self, held: Samples) -> float:
        raise NotImplementedError

    def _stratify(self, samples: Samples) -> bool:
        return False

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        raise NotImplementedError

    def _before_step(self, share: float) -> float:
        """Set up the step of a batch of this weight; gives the penalty on the weights."""
        return 0.0

    def _before_update(self) -> None:
        """Change the gradients."""

    def _loss_value(self, value: float) -> float:
        return value

    def _epoch_ends(self) -> None:
        """Change the learning rate."""

    def _without_improvement(self) -> tuple[bool, str]:
        """Whether to stop, and the end of the message."""
        return True, "Stopping."

    def _shaped(self, x: Array) -> Array:
        """The features as the module takes them."""
        return x

    # ---- fitting ---------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        first = not hasattr(self, "module_") or (not self.warm_start and not incremental)
        X, y = validate_data(
            self,
            X,
            y,
            multi_output=True,
            allow_nd=self._allow_nd,
            dtype=(np.float32, np.float64),
            y_numeric=isinstance(self, RegressorMixin),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = self._targets(y, incremental, first)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            weight = weight.astype(np.float32)
        weight = self._with_class_weights(target, weight)
        shaped = self._shaped(float32(X))
        samples = Samples(shaped, target, weight)
        rng = check_random_state(self.random_state)
        if first:
            self._forget()
            self._sample_shape = shaped.shape[1:]
            self.module_ = self._make_module(rng)
        self._check_shape(shaped)
        if first or not incremental:
            self.optimizer_ = self._make_optimizer()
        self._run(samples, rng, incremental)
        self._check_weights()
        return self

    def _run(self, samples: Samples, rng: Any, incremental: bool) -> None:
        train(self, samples, rng, incremental)

    def _with_class_weights(self, target: Array, weight: Array | None) -> Array | None:
        return weight

    def _forget(self) -> None:
        for name in ("loss_curve_", "_best_weights"):
            if hasattr(self, name):
                delattr(self, name)

    def _check_weights(self) -> None:
        for parameter in self.module_.parameters():
            if not np.isfinite(parameter.numpy()).all():
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain "
                    "large values and need to be preprocessed."
                )

    # ---- predicting ------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> NDArray[np.float32]:
        """What the module gives for checked data, ``(N, outputs)``."""
        check_is_fitted(self)
        X = validate_data(
            self, X, allow_nd=self._allow_nd, dtype=(np.float32, np.float64), reset=False
        )
        shaped = self._shaped(float32(X))
        self._check_shape(shaped)
        return self._forward(shaped)

    def _check_shape(self, x: Array) -> None:
        if x.shape[1:] != self._sample_shape:
            raise ValueError(
                f"X must hold samples of shape {self._sample_shape} as in fit, got {x.shape[1:]}"
            )

    def _forward(self, x: Array) -> NDArray[np.float32]:
        rows, parts = self._rows_at_once, []
        enabled = _core.grad_enabled()
        _core.set_grad_enabled(False)
        try:
            for begin in range(0, len(x), rows):
                part = np.ascontiguousarray(x[begin : begin + rows])
                if len(part) < rows:
                    filling = np.zeros((rows - len(part), *x.shape[1:]), np.float32)
                    part = np.concatenate([part, filling])
                parts.append(self.module_(_core.tensor(part)).numpy())
        finally:
            _core.set_grad_enabled(enabled)
        return np.concatenate(parts)[: len(x)]

    # ---- pickling --------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return freeze(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(thaw(state))
