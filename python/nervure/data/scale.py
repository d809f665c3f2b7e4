# SPDX-License-Identifier: BSD-3-Clause
"""Standardisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from nervure.data._arrays import Array, as_array


class StandardScaler:
    """Brings every feature to mean 0 and standard deviation 1.

    ``z = (x - mean) / std`` with the mean and standard deviation of the *training* data: call
    :meth:`fit` on those only, and :meth:`transform` on everything. Features that do not vary are
    only centred.

    Parameters
    ----------
    axis : int, optional
        Where the features are. By default dimension 1 of images ``(N, C, H, W)``, which gives one
        mean per channel, and the last dimension of everything else.

    Attributes
    ----------
    mean_, scale_ : numpy.ndarray or None
        Of each feature, float64; None before :meth:`fit`.
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self.mean_: Array | None = None
        self.scale_: Array | None = None

    def fit(self, x: Any) -> StandardScaler:
        """Learn mean and standard deviation; returns the scaler.

        Raises
        ------
        ValueError
            For no samples, or features with NaN or infinity, which are named.
        TypeError
            For what holds no numbers.
        """
        array = as_array("x", x)
        axis = self._features(array)
        if array.size == 0:
            raise ValueError(f"[StandardScaler] there are no samples in x of shape {array.shape}")
        others = tuple(i for i in range(array.ndim) if i != axis)
        mean = array.mean(axis=others, dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(mean))
        if bad.size:
            raise ValueError(
                "[StandardScaler] x has values that are not finite, in features "
                f"{', '.join(map(str, bad[:10].tolist()))}"
            )
        # Sum of squares of differences: the difference of sums would lose the digits of features
        # with a large mean.
        centred = array - _along(mean, axis, array.ndim)
        std = np.sqrt(np.mean(np.square(centred, dtype=np.float64), axis=others))
        # What rounding leaves of a constant feature is not its deviation.
        constant = std <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        self.mean_, self.scale_ = mean, np.where(constant, 1.0, std)
        return self

    def transform(self, x: Any) -> Array:
        """Standardise: a new float32 array.

        Raises
        ------
        RuntimeError
            Before :meth:`fit`.
        ValueError
            For another number of features.
        """
        array, mean, scale = self._prepared("transform", x)
        return ((array - mean) / scale).astype(np.float32)

    def fit_transform(self, x: Any) -> Array:
        """Learn from ``x`` and standardise it."""
        return self.fit(x).transform(x)

    def inverse_transform(self, x: Any) -> Array:
        """Undo :meth:`transform`: a new float32 array."""
        array, mean, scale = self._prepared("inverse_transform", x)
        return (array * scale + mean).astype(np.float32)

    def state_dict(self) -> dict[str, Array]:
        """Mean and scale, to be saved with the model.

        Raises
        ------
        RuntimeError
            Before :meth:`fit`.
        """
        if self.mean_ is None or self.scale_ is None:
            raise RuntimeError("[StandardScaler] call fit() before state_dict()")
        return {"mean": self.mean_, "scale": self.scale_}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.mean_ = np.asarray(state_dict["mean"], np.float64)
        self.scale_ = np.asarray(state_dict["scale"], np.float64)

    def _features(self, array: Array) -> int:
        axis = self.axis if self.axis is not None else 1 if array.ndim == 4 else -1
        if array.ndim < 2 or not -array.ndim <= axis < array.ndim:
            raise ValueError(
                f"[StandardScaler] x of shape {array.shape} has no dimension of features {axis}"
            )
        return axis % array.ndim

    def _prepared(self, method: str, x: Any) -> tuple[Array, Array, Array]:
        if self.mean_ is None or self.scale_ is None:
            raise RuntimeError(f"[StandardScaler] call fit() before {method}()")
        array = as_array("x", x)
        axis = self._features(array)
        if array.shape[axis] != len(self.mean_):
            raise ValueError(
                f"[StandardScaler] x must have {len(self.mean_)} features, got {array.shape}"
            )
        return (
            array,
            _along(self.mean_, axis, array.ndim),
            _along(self.scale_, axis, array.ndim),
        )


def _along(values: Array, axis: int, ndim: int) -> Array:
    return values.reshape([-1 if i == axis else 1 for i in range(ndim)])
