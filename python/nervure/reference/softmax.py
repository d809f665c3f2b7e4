# SPDX-License-Identifier: BSD-3-Clause
"""Softmax and its logarithm along one dimension."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float


def softmax(x: ArrayLike, dim: int = -1) -> Array:
    """``y_i = exp(x_i) / sum_j exp(x_j)``, the largest element taken out first."""
    x = as_float(x)
    if x.ndim == 0:
        return np.ones_like(x)
    e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis=dim, keepdims=True))


def softmax_backward(dy: Array, x: Array, dim: int = -1) -> tuple[Array]:
    """``dx = y (dy - sum_j dy_j y_j)``."""
    y = softmax(x, dim)
    if x.ndim == 0:
        return (np.zeros_like(x),)
    return (np.asarray(y * (dy - (dy * y).sum(axis=dim, keepdims=True))),)


def log_softmax(x: ArrayLike, dim: int = -1) -> Array:
    """``y_i = x_i - log(sum_j exp(x_j))``, the largest element taken out first."""
    x = as_float(x)
    if x.ndim == 0:
        return np.zeros_like(x)
    shifted = x - x.max(axis=dim, keepdims=True, initial=-np.inf)
    with np.errstate(divide="ignore"):  # log of a sum over nothing, which has no element to go to
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True)))


def log_softmax_backward(dy: Array, x: Array, dim: int = -1) -> tuple[Array]:
    """``dx = dy - softmax(x) sum_j dy_j``."""
    if x.ndim == 0:
        return (np.zeros_like(x),)
    return (np.asarray(dy - softmax(x, dim) * dy.sum(axis=dim, keepdims=True)),)
