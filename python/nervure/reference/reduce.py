# SPDX-License-Identifier: BSD-3-Clause
"""Reductions over some dimensions.

``dim`` is None (all dimensions), one dimension, or several; ``keepdim`` leaves them with size 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, Dim, as_float, axes_of, keep_dims


def _count(x: Array, dim: Dim) -> int:
    return math.prod(x.shape[axis] for axis in axes_of(dim, x.ndim))


def sum(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """``y = sum of x``; 0 for nothing."""
    x = as_float(x)
    return np.asarray(x.sum(axis=axes_of(dim, x.ndim), keepdims=keepdim))


def sum_backward(dy: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> tuple[Array]:
    """``dx = dy`` for every element that was summed."""
    return (np.broadcast_to(keep_dims(dy, dim, x.ndim, keepdim), x.shape).copy(),)


def mean(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """``y = sum of x / n``; NaN for nothing."""
    x = as_float(x)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(sum(x, dim, keepdim), np.asarray(_count(x, dim), x.dtype)))


def mean_backward(dy: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> tuple[Array]:
    """``dx = dy / n``."""
    (dx,) = sum_backward(dy, x, dim, keepdim)
    return (np.asarray(dx / _larger(_count(x, dim), 1)),)


def _larger(a: int, b: int) -> int:
    """The larger of two numbers (``max`` is the reduction in this module)."""
    return a if a > b else b


def var(x: ArrayLike, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Array:
    """``y = sum of (x - mean)^2 / (n - correction)``.

    The divisor is 0 where it would be negative.
    """
    x = as_float(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = sum(np.square(x - mean(x, dim, True)), dim, keepdim)
        return np.asarray(squares / np.asarray(_larger(_count(x, dim) - correction, 0), x.dtype))


def var_backward(
    dy: Array, x: Array, dim: Dim = None, keepdim: bool = False, correction: int = 1
) -> tuple[Array]:
    """``dx = dy 2 (x - mean) / (n - correction)``.

    Over all elements, ``dx = dy inf`` (NaN at the mean) where ``n <= correction``.
    """
    freedom = _count(x, dim) - correction
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = x - mean(x, dim, True)
        if freedom <= 0 and (dim is None or x.ndim == 0):
            return (np.where(deviation == 0, np.nan, np.inf) * keep_dims(dy, dim, x.ndim, keepdim),)
        scale = np.asarray(2.0 / np.asarray(freedom, x.dtype))
        dx = keep_dims(dy, dim, x.ndim, keepdim) * deviation * scale
    return (np.asarray(dx),)


def standard_deviation(
    x: ArrayLike, dim: Dim = None, keepdim: bool = False, correction: int = 1
) -> Array:
    """``y = sqrt(var)``."""
    return np.asarray(np.sqrt(var(x, dim, keepdim, correction)))


def standard_deviation_backward(
    dy: Array, x: Array, dim: Dim = None, keepdim: bool = False, correction: int = 1
) -> tuple[Array]:
    """``dx = dy (x - mean) / (y (n - correction))``, and 0 where ``y`` is 0."""
    y = standard_deviation(x, dim, keepdim, correction)
    with np.errstate(divide="ignore", invalid="ignore"):
        dvar = np.where(y == 0, 0, dy / (2 * y))
    return var_backward(dvar, x, dim, keepdim, correction)


def amax(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """The largest element; NaN if there is one."""
    x = as_float(x)
    return np.asarray(x.max(axis=axes_of(dim, x.ndim), keepdims=keepdim))


def _share(dy: Array, x: Array, y: Array, dim: Dim, keepdim: bool) -> Array:
    chosen = x == y
    count = chosen.sum(axis=axes_of(dim, x.ndim), keepdims=True)
    return np.asarray(keep_dims(dy, dim, x.ndim, keepdim) * chosen / count)


def amax_backward(dy: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> tuple[Array]:
    """``dy`` goes to the largest element; equal ones share it evenly."""
    return (_share(dy, x, amax(x, dim, True), dim, keepdim),)


def amin(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """The smallest element; NaN if there is one."""
    x = as_float(x)
    return np.asarray(x.min(axis=axes_of(dim, x.ndim), keepdims=keepdim))


def amin_backward(dy: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> tuple[Array]:
    """``dy`` goes to the smallest element; equal ones share it evenly."""
    return (_share(dy, x, amin(x, dim, True), dim, keepdim),)


def _pick(x: Array, indices: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    values = np.take_along_axis(x, indices, dim) if x.ndim else x
    if keepdim or not x.ndim:
        return values, indices
    return values.squeeze(dim), indices.squeeze(dim)


def _scatter(dy: Array, x: Array, indices: Array, dim: int, keepdim: bool) -> Array:
    if not x.ndim:
        return np.asarray(dy)
    dx = np.zeros(x.shape, dy.dtype)
    np.put_along_axis(dx, indices, keep_dims(dy, dim, x.ndim, keepdim), dim)
    return dx


def max(x: ArrayLike, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """The largest element along ``dim``, and the index of the first such."""
    x = as_float(x)
    return _pick(x, argmax(x, dim, True), dim, keepdim)


def max_backward(dy: tuple[Array, None], x: Array, dim: int, keepdim: bool = False) -> tuple[Array]:
    """``dy[0]`` goes to the element that the index names."""
    return (_scatter(dy[0], x, argmax(x, dim, True), dim, keepdim),)


def min(x: ArrayLike, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """The smallest element along ``dim``, and the index of the first such."""
    x = as_float(x)
    return _pick(x, argmin(x, dim, True), dim, keepdim)


def min_backward(dy: tuple[Array, None], x: Array, dim: int, keepdim: bool = False) -> tuple[Array]:
    """``dy[0]`` goes to the element that the index names."""
    return (_scatter(dy[0], x, argmin(x, dim, True), dim, keepdim),)


def argmax(x: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """Index of the first largest element; NaN counts as largest.

    Without ``dim``, of the flattened array.
    """
    x = np.asarray(x)
    axis = None if x.ndim == 0 else dim
    return np.asarray(np.argmax(x, axis=axis, keepdims=keepdim), np.int64)


def argmin(x: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """Index of the first smallest element; NaN counts as smallest.

    Without ``dim``, of the flattened array.
    """
    x = np.asarray(x)
    axis = None if x.ndim == 0 else dim
    return np.asarray(np.argmin(x, axis=axis, keepdims=keepdim), np.int64)


def logsumexp(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """``y = log(sum of exp(x))``, the largest element taken out first; -inf for nothing."""
    x = as_float(x)
    axes = axes_of(dim, x.ndim)
    top = np.asarray(x.max(axis=axes, keepdims=True, initial=-np.inf))
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        y = np.log(np.exp(x - shift).sum(axis=axes, keepdims=True)) + shift
    return np.asarray(y if keepdim else y.squeeze(axes))


def logsumexp_backward(dy: Array, x: Array, dim: Dim = None, keepdim: bool = False) -> tuple[Array]:
    """``dx = dy exp(x - y)``."""
    y = logsumexp(x, dim, True)
    shift = np.where(np.isfinite(y), y, 0.0)
    return (np.asarray(keep_dims(dy, dim, x.ndim, keepdim) * np.exp(x - shift)),)
