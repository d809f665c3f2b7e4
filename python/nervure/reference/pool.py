# SPDX-License-Identifier: BSD-3-Clause
"""Pooling over the last dimensions, as many as the window has sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float

Sizes = int | Sequence[int]


def _each(value: Sizes, axes: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values


def _axis(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> list[Array]:
    """Of each window the places of its taps, those in the padding (or beyond) included.

    With ``ceil_mode`` a window may stick out at the end, but none starts in the padding there.
    """
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + stride - 1 if ceil_mode else room) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return [o * stride - padding + dilation * np.arange(kernel) for o in range(count)]


def _windows(
    x: Array, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes, ceil: bool
) -> list[list[Array]]:
    """For each pooled dimension, the taps of all its windows."""
    kernel = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
    n = len(kernel)
    steps = kernel if stride is None else _each(stride, n)
    return [
        _axis(*sizes, ceil)
        for sizes in zip(
            x.shape[-n:], kernel, steps, _each(padding, n), _each(dilation, n), strict=True
        )
    ]


def _parts(x: Array, output_size: Sequence[int]) -> list[list[Array]]:
    """The windows that cut each dimension into so many parts, overlapping where they must."""
    sizes = x.shape[-len(output_size) :]
    return [
        [np.arange(o * n // out, -(-(o + 1) * n // out)) for o in range(out)]
        for n, out in zip(sizes, output_size, strict=True)
    ]


def _each_window(
    x: Array, windows: list[list[Array]]
) -> Iterator[tuple[tuple[int, ...], tuple[Array, ...]]]:
    """Every output, and the places in ``x`` that lie inside its window."""
    sizes = x.shape[-len(windows) :]
    for out in itertools.product(*(range(len(axis)) for axis in windows)):
        taps = [axis[o] for axis, o in zip(windows, out, strict=True)]
        inside = [t[(t >= 0) & (t < n)] for t, n in zip(taps, sizes, strict=True)]
        yield out, np.ix_(*inside)


def _inner(places: tuple[Any, ...]) -> Any:
    """These places of the last dimensions, everything of those before."""
    return (..., *places)


def _output(x: Array, windows: list[list[Array]], dtype: np.dtype) -> Array:
    lead = x.shape[: x.ndim - len(windows)]
    return np.zeros(lead + tuple(len(axis) for axis in windows), dtype)


# ---- maximum -------------------------------------------------------------------------------------


def _max_over(x: Array, windows: list[list[Array]]) -> tuple[Array, Array]:
    """Values and flat indices: the first of equal elements, the last NaN where there is one."""
    values = _output(x, windows, x.dtype)
    indices = _output(x, windows, np.dtype(np.int64))
    sizes = x.shape[-len(windows) :]
    flat = np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
    for out, places in _each_window(x, windows):
        part = x[_inner(places)]
        part = part.reshape(*values.shape[: -len(windows)], math.prod(part.shape[-len(windows) :]))
        first = part.argmax(axis=-1)
        nan = np.isnan(part)
        last_nan = part.shape[-1] - 1 - nan[..., ::-1].argmax(axis=-1)
        best = np.where(nan.any(axis=-1), last_nan, first)
        values[_inner(out)] = np.take_along_axis(part, best[..., None], -1)[..., 0]
        indices[_inner(out)] = flat[places].ravel()[best]
    return values, indices


def _max_back(dy: Array, x: Array, indices: Array, axes: int) -> Array:
    """Every gradient goes to the element that was the maximum."""
    lead = x.shape[: x.ndim - axes]
    rows = int(np.prod(lead, dtype=int))
    count = int(np.prod(dy.shape[dy.ndim - axes :], dtype=int))
    dx = np.zeros((rows, int(np.prod(x.shape[x.ndim - axes :], dtype=int))), dy.dtype)
    for row, where, share in zip(
        range(rows), indices.reshape(rows, count), dy.reshape(rows, count), strict=True
    ):
        np.add.at(dx[row], where, share)
    return dx.reshape(x.shape)


def max_pool_with_indices(
    x: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """The largest element of every window and its index; padding counts as minus infinity."""
    x = as_float(x)
    return _max_over(x, _windows(x, kernel_size, stride, padding, dilation, ceil_mode))


def max_pool_with_indices_backward(
    dy: tuple[Array, None],
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[Array]:
    """``dx[index] += dy``."""
    windows = _windows(x, kernel_size, stride, padding, dilation, ceil_mode)
    return (_max_back(dy[0], x, _max_over(x, windows)[1], len(windows)),)


def max_pool(
    x: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest element of every window; padding counts as minus infinity."""
    return max_pool_with_indices(x, kernel_size, stride, padding, dilation, ceil_mode)[0]


def max_pool_backward(
    dy: Array,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[Array]:
    """``dx[index of the maximum] += dy``."""
    return max_pool_with_indices_backward(
        (dy, None), x, kernel_size, stride, padding, dilation, ceil_mode
    )


def adaptive_max_pool_with_indices(x: ArrayLike, output_size: Sequence[int]) -> tuple[Array, Array]:
    """Largest elements, and their indices, of the parts that each dimension is cut into."""
    x = as_float(x)
    return _max_over(x, _parts(x, output_size))


def adaptive_max_pool_with_indices_backward(
    dy: tuple[Array, None], x: Array, output_size: Sequence[int]
) -> tuple[Array]:
    """``dx[index] += dy``."""
    windows = _parts(x, output_size)
    return (_max_back(dy[0], x, _max_over(x, windows)[1], len(windows)),)


def adaptive_max_pool(x: ArrayLike, output_size: Sequence[int]) -> Array:
    """Largest elements of the parts ``floor(o n / out) .. ceil((o + 1) n / out) - 1``."""
    return adaptive_max_pool_with_indices(x, output_size)[0]


def adaptive_max_pool_backward(dy: Array, x: Array, output_size: Sequence[int]) -> tuple[Array]:
    """``dx[index of the maximum] += dy``."""
    return adaptive_max_pool_with_indices_backward((dy, None), x, output_size)


# ---- average -------------------------------------------------------------------------------------


def _divisors(
    x: Array,
    windows: list[list[Array]],
    padding: tuple[int, ...],
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """What each window's sum is divided by: its taps up to the end of the padding, or inside."""
    counts = []
    for axis, size, pad in zip(windows, x.shape[-len(windows) :], padding, strict=True):
        low, high = (-pad, size + pad) if count_include_pad else (0, size)
        counts.append([int(((taps >= low) & (taps < high)).sum()) for taps in axis])
    product = np.ones((), np.int64)
    for count in counts:
        product = np.multiply.outer(product, np.asarray(count))
    return np.full_like(product, divisor_override) if divisor_override else np.asarray(product)


def _average_over(x: Array, windows: list[list[Array]], divisors: Array) -> Array:
    y = _output(x, windows, x.dtype)
    axes = tuple(range(-len(windows), 0))
    for out, places in _each_window(x, windows):
        y[_inner(out)] = x[_inner(places)].sum(axis=axes) / divisors[out]
    return y


def _average_back(dy: Array, x: Array, windows: list[list[Array]], divisors: Array) -> Array:
    dx = np.zeros(x.shape, dy.dtype)
    ones = (1,) * len(windows)
    for out, places in _each_window(x, windows):
        share = dy[_inner(out)] / divisors[out]
        dx[_inner(places)] += share.reshape(*share.shape, *ones)
    return dx


def avg_pool(
    x: ArrayLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of every window over its size, or over what the parameters say."""
    x = as_float(x)
    windows = _windows(x, kernel_size, stride, padding, 1, ceil_mode)
    pads = _each(padding, len(windows))
    return _average_over(
        x, windows, _divisors(x, windows, pads, count_include_pad, divisor_override)
    )


def avg_pool_backward(
    dy: Array,
    x: Array,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array]:
    """Every element of a window gets its share of ``dy``."""
    windows = _windows(x, kernel_size, stride, padding, 1, ceil_mode)
    pads = _each(padding, len(windows))
    divisors = _divisors(x, windows, pads, count_include_pad, divisor_override)
    return (_average_back(dy, x, windows, divisors),)


def adaptive_avg_pool(x: ArrayLike, output_size: Sequence[int]) -> Array:
    """Means of the parts ``floor(o n / out) .. ceil((o + 1) n / out) - 1``."""
    x = as_float(x)
    windows = _parts(x, output_size)
    return _average_over(x, windows, _divisors(x, windows, (0,) * len(windows), False, None))


def adaptive_avg_pool_backward(dy: Array, x: Array, output_size: Sequence[int]) -> tuple[Array]:
    """Every element of a part gets its share of ``dy``."""
    windows = _parts(x, output_size)
    divisors = _divisors(x, windows, (0,) * len(windows), False, None)
    return (_average_back(dy, x, windows, divisors),)
