# SPDX-License-Identifier: BSD-3-Clause
"""Parts of an array by slice, index, mask or table of indices.

Backward adds where an index repeats.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array


def _at(ndim: int, dim: int, what: Any) -> tuple[Any, ...]:
    index: list[Any] = [builtins.slice(None)] * ndim
    index[dim] = what
    return tuple(index)


def _add_at(dy: Array, x: Array, index: Any) -> Array:
    dx: Array = np.zeros(x.shape, np.asarray(dy).dtype)
    np.add.at(dx, index, dy)
    return dx


def slice(x: ArrayLike, dim: int, start: int, stop: int, step: int = 1) -> Array:
    """``x[start:stop:step]`` along ``dim``."""
    x = np.asarray(x)
    return np.asarray(x[_at(x.ndim, dim, builtins.slice(start, stop, step))])


def slice_backward(
    dy: Array, x: Array, dim: int, start: int, stop: int, step: int = 1
) -> tuple[Array]:
    """``dx = dy`` at the slice, else 0."""
    return (_add_at(dy, x, _at(x.ndim, dim, builtins.slice(start, stop, step))),)


def select(x: ArrayLike, dim: int, index: int) -> Array:
    """``x[index]`` along ``dim``, which goes away."""
    x = np.asarray(x)
    return np.asarray(x[_at(x.ndim, dim, index)])


def select_backward(dy: Array, x: Array, dim: int, index: int) -> tuple[Array]:
    """``dx = dy`` at the index, else 0."""
    return (_add_at(dy, x, _at(x.ndim, dim, index)),)


def index_select(x: ArrayLike, dim: int, indices: Array) -> Array:
    """The elements along ``dim`` that ``indices`` (n,) names, in its order."""
    return np.take(np.asarray(x), indices, axis=dim)


def index_select_backward(dy: Array, x: Array, dim: int, indices: Array) -> tuple[Array, None]:
    """``dy`` added to the elements it came from."""
    return _add_at(dy, x, _at(x.ndim, dim, indices)), None


def take_rows(x: ArrayLike, indices: Array) -> Array:
    """``x[indices]``: shape ``indices.shape + x.shape[1:]``."""
    return np.asarray(x)[indices]


def take_rows_backward(dy: Array, x: Array, indices: Array) -> tuple[Array, None]:
    """``dy`` added to the rows it came from."""
    return _add_at(dy, x, indices), None


def masked_select(x: ArrayLike, mask: Array) -> Array:
    """``x[mask]``, the mask covering the leading dimensions of ``x``."""
    return np.asarray(x)[mask]


def masked_select_backward(dy: Array, x: Array, mask: Array) -> tuple[Array, None]:
    """``dx = dy`` where the mask holds, else 0."""
    return _add_at(dy, x, mask), None


def _gather_index(dim: int, indices: Array) -> tuple[Array, ...]:
    grid: list[Array] = list(np.indices(indices.shape, sparse=True))
    grid[dim] = indices
    return tuple(grid)


def gather(x: ArrayLike, dim: int, indices: Array) -> Array:
    """Elements by an index along ``dim`` (torch.gather).

    ``y[i, j, ...] = x[indices[i, j, ...], j, ...]`` for ``dim = 0``, and so on.
    """
    x = np.asarray(x)
    return np.asarray(x[_gather_index(dim, indices)]) if x.ndim else x.reshape(indices.shape)


def gather_backward(dy: Array, x: Array, dim: int, indices: Array) -> tuple[Array, None]:
    """``dy`` added to the elements it came from."""
    if not x.ndim:
        return np.asarray(dy).sum().reshape(()), None
    return _add_at(dy, x, _gather_index(dim, indices)), None
