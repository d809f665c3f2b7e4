# SPDX-License-Identifier: BSD-3-Clause
"""Numbers in, numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from nervure.sklearn import _losses
from nervure.sklearn._base import Array, NetworkEstimator
from nervure.sklearn._data import Samples, float32


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """Numbers in, numbers out."""

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Train on ``X`` and the numbers ``y``.

        Parameters
        ----------
        X : array-like, (n_samples, n_features)
            Features; pandas frames keep their names in ``feature_names_in_``.
        y : array-like, (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like, (n_samples,), optional
            How much each sample counts.

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=False)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Train for one epoch on these samples, further from where it is; as :meth:`fit`."""
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)

    def _targets(self, y: Any, incremental: bool, reset: bool) -> Array:
        target = float32(np.asarray(y, dtype=np.float64), "y").reshape(len(y), -1)
        if reset:
            self.n_outputs_ = target.shape[1]
            self._flat = y.ndim == 1
        elif target.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} outputs as before, got {target.shape[1]}"
            )
        return target

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        return _losses.squares(output, target, weight)

    def _loss_value(self, value: float) -> float:
        return value / self.n_outputs_  # the gradient adds outputs, the loss is their mean

    def _validation_score(self, held: Samples) -> float:
        prediction = self._numbers(self._forward(held.x))
        if not np.isfinite(prediction).all():
            return float("nan")
        return float(r2_score(held.y, prediction, sample_weight=held.weight))

    def _numbers(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        return outputs.astype(np.float64)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the targets of each sample, in the shape of ``y``."""
        values = self._numbers(self._outputs(X))
        return values[:, 0] if self._flat else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = self._allow_nd
        return tags
