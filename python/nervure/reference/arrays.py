# SPDX-License-Identifier: BSD-3-Clause
"""What the reference operations share: floating-point input, dimensions, undoing a broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Dim: TypeAlias = int | Sequence[int] | None


def as_float(x: ArrayLike) -> Array:
    """``x`` as a floating-point array.

    Floats stay as they are, integers and booleans become float64.
    """
    array = np.asarray(x)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def sum_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the dimensions that broadcasting an array of ``shape`` added or stretched."""
    added = gradient.ndim - len(shape)
    gradient = np.asarray(gradient.sum(axis=tuple(range(added))))
    stretched = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] != 1)
    return np.asarray(gradient.sum(axis=stretched, keepdims=True))


def axes_of(dim: Dim, ndim: int) -> tuple[int, ...]:
    """The dimensions ``dim`` names (None: all), counted from 0."""
    if dim is None:
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % ndim if ndim else 0 for d in dims) if dims else tuple(range(ndim))


def keep_dims(reduced: Array, dim: Dim, ndim: int, keepdim: bool) -> Array:
    """Put back, as size 1, the dimensions that a reduction over ``dim`` removed."""
    reduced = np.asarray(reduced)
    if keepdim or ndim == 0:
        return reduced
    return np.expand_dims(reduced, axes_of(dim, ndim))


def sigmoid_of(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)
