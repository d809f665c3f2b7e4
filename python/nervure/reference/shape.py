# SPDX-License-Identifier: BSD-3-Clause
"""Operations that move elements without computing: copies, shapes, joining and splitting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, sum_to


def clone(x: ArrayLike) -> Array:
    """A copy."""
    return np.array(x)


def clone_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy``."""
    return (np.array(dy),)


def to_order(x: ArrayLike, order: Sequence[int]) -> Array:
    """The same values, lying in memory with dimension ``order[0]`` outermost."""
    copy = np.ascontiguousarray(np.transpose(x, order))
    return np.asarray(copy.transpose(np.argsort(order)))


def to_order_backward(dy: Array, x: Array, order: Sequence[int]) -> tuple[Array]:
    """``dx = dy``."""
    return (np.array(dy),)


def row_major(x: ArrayLike) -> Array:
    """The same array in row-major memory order."""
    return np.array(x, order="C")


def row_major_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy``."""
    return (np.array(dy),)


def reshape(x: ArrayLike, shape: Sequence[int]) -> Array:
    """The elements in row-major sequence under another shape; one size may be -1."""
    return np.reshape(x, tuple(shape))


def reshape_backward(dy: Array, x: Array, shape: Sequence[int]) -> tuple[Array]:
    """``dx = dy`` in the shape of ``x``."""
    return (dy.reshape(x.shape),)


def permute(x: ArrayLike, dims: Sequence[int]) -> Array:
    """``y.shape[i] = x.shape[dims[i]]``."""
    return np.transpose(x, tuple(dims))


def permute_backward(dy: Array, x: Array, dims: Sequence[int]) -> tuple[Array]:
    """The inverse permutation."""
    return (np.transpose(dy, np.argsort([d % x.ndim for d in dims])),)


def transpose(x: ArrayLike, dim0: int, dim1: int) -> Array:
    """Two dimensions swapped."""
    return np.swapaxes(x, dim0, dim1)


def transpose_backward(dy: Array, x: Array, dim0: int, dim1: int) -> tuple[Array]:
    """The same swap."""
    return (np.swapaxes(dy, dim0, dim1),)


def squeeze(x: ArrayLike, dim: int | None = None) -> Array:
    """Without the dimensions of size 1, or without ``dim`` if its size is 1."""
    x = np.asarray(x)
    if dim is None:
        return np.squeeze(x)
    return np.squeeze(x, dim) if x.ndim and x.shape[dim] == 1 else x


def squeeze_backward(dy: Array, x: Array, dim: int | None = None) -> tuple[Array]:
    """``dx = dy`` in the shape of ``x``."""
    return (dy.reshape(x.shape),)


def unsqueeze(x: ArrayLike, dim: int) -> Array:
    """With a dimension of size 1 at ``dim``."""
    return np.expand_dims(np.asarray(x), dim)


def unsqueeze_backward(dy: Array, x: Array, dim: int) -> tuple[Array]:
    """``dx = dy`` in the shape of ``x``."""
    return (dy.reshape(x.shape),)


def flatten(x: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The dimensions from ``start_dim`` to ``end_dim`` as one."""
    x = np.asarray(x)
    if x.ndim == 0:
        return x.reshape(1)
    start, end = start_dim % x.ndim, end_dim % x.ndim
    merged = int(np.prod(x.shape[start : end + 1]))
    return x.reshape((*x.shape[:start], merged, *x.shape[end + 1 :]))


def flatten_backward(dy: Array, x: Array, start_dim: int = 0, end_dim: int = -1) -> tuple[Array]:
    """``dx = dy`` in the shape of ``x``."""
    return (dy.reshape(x.shape),)


def expand(x: ArrayLike, shape: Sequence[int]) -> Array:
    """Broadcast to ``shape``; -1 keeps a size."""
    x = np.asarray(x)
    old = (1,) * (len(shape) - x.ndim) + x.shape
    new = tuple(o if n == -1 else n for o, n in zip(old, shape, strict=True))
    return np.array(np.broadcast_to(x, new))


def expand_backward(dy: Array, x: Array, shape: Sequence[int]) -> tuple[Array]:
    """``dx = dy`` summed over what was broadcast."""
    return (sum_to(dy, x.shape),)


def flip(x: ArrayLike, dims: Sequence[int]) -> Array:
    """Reversed along ``dims``."""
    return np.flip(x, tuple(dims))


def flip_backward(dy: Array, x: Array, dims: Sequence[int]) -> tuple[Array]:
    """Reversed again."""
    return (np.flip(dy, tuple(dims)),)


def cat(tensors: Sequence[Array], dim: int = 0) -> Array:
    """Joined along an existing dimension."""
    return np.concatenate(list(tensors), axis=dim)


def cat_backward(dy: Array, tensors: Sequence[Array], dim: int = 0) -> tuple[Array, ...]:
    """The part of ``dy`` that came from each."""
    ends = np.cumsum([t.shape[dim] for t in tensors])
    return tuple(np.split(dy, ends[:-1], axis=dim))


def stack(tensors: Sequence[Array], dim: int = 0) -> Array:
    """Joined along a new dimension."""
    return np.stack(list(tensors), axis=dim)


def stack_backward(dy: Array, tensors: Sequence[Array], dim: int = 0) -> tuple[Array, ...]:
    """The part of ``dy`` that came from each."""
    return tuple(np.moveaxis(dy, dim, 0))


def split(x: Array, sizes: Sequence[int], dim: int = 0) -> list[Array]:
    """Parts of the given sizes, one after the other along ``dim``."""
    return np.split(x, np.cumsum(sizes)[:-1], axis=dim)


def split_backward(
    dy: Sequence[Array], x: Array, sizes: Sequence[int], dim: int = 0
) -> tuple[Array]:
    """The gradients of the parts, joined."""
    return (np.concatenate(list(dy), axis=dim),)


def chunk(x: Array, chunks: int, dim: int = 0) -> list[Array]:
    """Parts of ``ceil(size / chunks)`` elements, the last one shorter.

    There may be fewer than ``chunks``.
    """
    size = x.shape[dim]
    step = max(-(-size // chunks), 1)
    return np.split(x, list(range(step, size, step)), axis=dim)


def chunk_backward(dy: Sequence[Array], x: Array, chunks: int, dim: int = 0) -> tuple[Array]:
    """The gradients of the parts, joined."""
    return (np.concatenate(list(dy), axis=dim),)
