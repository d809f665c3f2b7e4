# SPDX-License-Identifier: BSD-3-Clause
"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Literal, TypeAlias, overload

from nervure import _core
from nervure._core import Tensor

Pair: TypeAlias = int | Sequence[int]


def sizes(op: str, what: str, value: Any, count: int) -> tuple[int, ...]:
    """``count`` integers from one or from a sequence of them."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) == 1:
        values *= count
    if len(values) != count:
        raise ValueError(f"[{op}] {what} must be an int or {count} of them, got {value!r}")
    return tuple(map(index, values))


def _max_pool(
    op: str,
    count: int,
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    function: Any = _core.max_pool_with_indices if return_indices else _core.max_pool
    return function(
        x,
        sizes(op, "kernel_size", kernel_size, count),
        None if stride is None else sizes(op, "stride", stride, count),
        sizes(op, "padding", padding, count),
        sizes(op, "dilation", dilation, count),
        ceil_mode,
    )


@overload
def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...
def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of every window.

    ``y[p, q] = max_{r, s} x[p stride - padding + r dilation, q stride - padding + s dilation]``

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
        Images, channels-last in memory; another order is converted.
    kernel_size : int or pair of int
        Size of the window.
    stride : int or pair of int, optional
        Distance of neighbouring windows; ``kernel_size`` by default.
    padding : int or pair of int, default 0
        Minus infinities around the image, at most half of the window.
    dilation : int or pair of int, default 1
        Distance of neighbouring elements of a window.
    ceil_mode : bool, default False
        Whether a window may stick out at the end; none starts behind the image.
    return_indices : bool, default False
        Whether to give ``h W + w`` of every maximum too.

    Returns
    -------
    Tensor, (N, C, P, Q) or (C, P, Q), and with ``return_indices`` one of int64
        ``P = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1``, with ``ceil``
        in ceil mode; ``Q`` likewise. Channels-last in memory.

    Raises
    ------
    ValueError
        For other shapes, parameters out of range, or a window that does not fit.

    Notes
    -----
    The gradient goes to the first of equal elements. A NaN in the window is its maximum.
    """
    return _max_pool(
        "max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@overload
def max_pool1d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def max_pool1d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def max_pool1d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...
def max_pool1d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of every window of ``x``, (N, C, L) or (C, L); see `max_pool2d`."""
    return _max_pool(
        "max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def avg_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of every window.

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
        Images, channels-last in memory; another order is converted.
    kernel_size, stride, padding, ceil_mode
        As for `max_pool2d`; the padding is zeros.
    count_include_pad : bool, default True
        Whether the zeros of the padding count as elements of the window.
    divisor_override : int, optional
        What sums are divided by instead of the number of elements.

    Returns
    -------
    Tensor, (N, C, P, Q) or (C, P, Q)

    Raises
    ------
    ValueError
        For other shapes, parameters out of range, or a window that does not fit.
    """
    op = "avg_pool2d"
    return _core.avg_pool(
        x,
        sizes(op, "kernel_size", kernel_size, 2),
        None if stride is None else sizes(op, "stride", stride, 2),
        sizes(op, "padding", padding, 2),
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def avg_pool1d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of every window of ``x``, (N, C, L) or (C, L); see `avg_pool2d`."""
    op = "avg_pool1d"
    return _core.avg_pool(
        x,
        sizes(op, "kernel_size", kernel_size, 1),
        None if stride is None else sizes(op, "stride", stride, 1),
        sizes(op, "padding", padding, 1),
        ceil_mode,
        count_include_pad,
    )


def _output_sizes(op: str, x: Tensor, output_size: Any, count: int) -> tuple[int, ...]:
    """One size per pooled dimension; None keeps that of the input."""
    values = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * count
    if len(values) != count:
        raise ValueError(
            f"[{op}] output_size must be an int or None, or {count} of these, got {output_size!r}"
        )
    if None in values and x.ndim < count:
        raise ValueError(f"[{op}] expected at least {count} dimensions, got {tuple(x.shape)}")
    kept = tuple(x.shape)[-count:]
    return tuple(kept[i] if v is None else index(v) for i, v in enumerate(values))


def adaptive_avg_pool2d(x: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of ``P x Q`` parts of each image.

    Part ``p`` holds the rows ``floor(p H / P)`` to ``ceil((p + 1) H / P) - 1``; columns likewise.

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
        Images, channels-last in memory; another order is converted.
    output_size : int or None, or pair of these
        ``P`` and ``Q``; None keeps the size of the input. 1 is the mean of the whole image.

    Returns
    -------
    Tensor, (N, C, P, Q) or (C, P, Q)

    Raises
    ------
    ValueError
        For other shapes or sizes below 1.
    """
    op = "adaptive_avg_pool2d"
    return _core.adaptive_avg_pool(x, _output_sizes(op, x, output_size, 2))


def adaptive_avg_pool1d(x: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of parts of ``x``, (N, C, L) or (C, L); see `adaptive_avg_pool2d`."""
    op = "adaptive_avg_pool1d"
    return _core.adaptive_avg_pool(x, _output_sizes(op, x, output_size, 1))


@overload
def adaptive_max_pool2d(
    x: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def adaptive_max_pool2d(
    x: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def adaptive_max_pool2d(
    x: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]: ...
def adaptive_max_pool2d(
    x: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """Largest elements of ``P x Q`` parts of each image; see `adaptive_avg_pool2d`.

    With ``return_indices`` their ``h W + w`` too.
    """
    function: Any = (
        _core.adaptive_max_pool_with_indices if return_indices else _core.adaptive_max_pool
    )
    return function(x, _output_sizes("adaptive_max_pool2d", x, output_size, 2))


@overload
def adaptive_max_pool1d(
    x: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def adaptive_max_pool1d(
    x: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def adaptive_max_pool1d(
    x: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]: ...
def adaptive_max_pool1d(
    x: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """Largest elements of parts of ``x``, (N, C, L) or (C, L); see `adaptive_max_pool2d`."""
    function: Any = (
        _core.adaptive_max_pool_with_indices if return_indices else _core.adaptive_max_pool
    )
    return function(x, _output_sizes("adaptive_max_pool1d", x, output_size, 1))
