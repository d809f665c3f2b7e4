# SPDX-License-Identifier: BSD-3-Clause
"""Truth of all, norms, and what runs along one dimension: products, sums so far, the largest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, Dim, as_float, axes_of, keep_dims


def any(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """Whether one element is not 0."""
    x = np.asarray(x)
    return np.asarray(np.any(x != 0, axis=axes_of(dim, x.ndim), keepdims=keepdim))


def all(x: ArrayLike, dim: Dim = None, keepdim: bool = False) -> Array:
    """Whether no element is 0."""
    x = np.asarray(x)
    return np.asarray(np.all(x != 0, axis=axes_of(dim, x.ndim), keepdims=keepdim))


def norm(x: ArrayLike, p: float = 2.0, dim: Dim = None, keepdim: bool = False) -> Array:
    """``y = (sum of |x|^p)^(1/p)`` for ``p`` = 1 and 2, ``max |x|`` for infinity."""
    size = np.abs(as_float(x))
    axes = axes_of(dim, size.ndim)
    if p == np.inf:
        return np.asarray(size.max(axis=axes, keepdims=keepdim))
    total = (size**p).sum(axis=axes, keepdims=keepdim)
    return np.asarray(total ** np.asarray(1 / p, size.dtype))


def norm_backward(
    dy: Array, x: Array, p: float = 2.0, dim: Dim = None, keepdim: bool = False
) -> tuple[Array]:
    """``dx = dy x / y`` (p = 2), ``dy sign(x)`` (1), shared by the largest (infinity).

    It is 0 where ``y`` is.
    """
    dy, y = keep_dims(dy, dim, x.ndim, keepdim), norm(x, p, dim, True)
    if p == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (np.where(y == 0, 0, dy * x / y),)
    if p == 1:
        return (dy * np.sign(x),)
    chosen = np.abs(x) == y
    count = chosen.sum(axis=axes_of(dim, x.ndim), keepdims=True)
    return (np.asarray(dy * np.sign(x) * chosen / count),)


def prod(x: ArrayLike, dim: int | None = None, keepdim: bool = False) -> Array:
    """``y = product of x``; 1 for nothing."""
    x = as_float(x)
    return np.asarray(x.prod(axis=axes_of(dim, x.ndim), keepdims=keepdim))


def prod_backward(
    dy: Array, x: Array, dim: int | None = None, keepdim: bool = False
) -> tuple[Array]:
    """``dx = dy`` times the product of all other elements."""
    dy = keep_dims(dy, dim, x.ndim, keepdim)
    lines = np.moveaxis(x, dim, -1) if dim is not None and x.ndim else x.reshape(1, -1)
    others = (
        np.stack([np.delete(lines, i, -1).prod(axis=-1) for i in range(lines.shape[-1])], axis=-1)
        if lines.size
        else lines
    )
    others = np.moveaxis(others, -1, dim) if dim is not None and x.ndim else others.reshape(x.shape)
    return (np.asarray(dy * others),)


def cumsum(x: ArrayLike, dim: int) -> Array:
    """``y[i] = x[0] + ... + x[i]`` along ``dim``."""
    x = as_float(x)
    return np.asarray(np.cumsum(x, axis=dim)) if x.ndim else x


def cumsum_backward(dy: Array, x: Array, dim: int) -> tuple[Array]:
    """``dx[i] = dy[i] + ... + dy[n - 1]``."""
    return (np.flip(np.cumsum(np.flip(dy, dim), axis=dim), dim) if x.ndim else np.asarray(dy),)


def topk(
    x: ArrayLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Array, Array]:
    """The ``k`` largest (smallest) elements along ``dim`` and their indices, best first.

    The first of equals comes before the others; NaN is the largest.
    """
    x = as_float(x)
    lines = x if x.ndim else x.reshape(1)
    size = lines.shape[dim]
    if largest:  # from behind, so that the first of equals is met last
        order = size - 1 - np.argsort(np.flip(lines, dim), axis=dim, kind="stable")
        order = np.flip(order, dim)
    else:
        order = np.argsort(lines, axis=dim, kind="stable")
    index = np.take(order, np.arange(k), axis=dim).astype(np.int64)
    values = np.take_along_axis(lines, index, dim)
    return (values, index) if x.ndim else (values.reshape(()), index.reshape(()))


def topk_backward(
    dy: tuple[Array, None],
    x: Array,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> tuple[Array]:
    """``dy[0]`` goes to the elements that the indices name."""
    if not x.ndim:
        return (np.asarray(dy[0]),)
    dx = np.zeros(x.shape, dy[0].dtype)
    np.put_along_axis(dx, topk(x, k, dim, largest)[1], dy[0], dim)
    return (dx,)
