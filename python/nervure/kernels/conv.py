# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions on arrays that lie as the kernels read them.

Images are (N, H, W, C), weights (R, S, C / groups, K), all C-contiguous: not PyTorch's order of the
axes. ``nervure.set_conv_algorithm`` and ``nervure.set_conv_accuracy`` apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING

from nervure._core import kernels as _kernels

from ._arrays import Float, empty

if TYPE_CHECKING:
    from nervure._core import _Window

Pair = int | Sequence[int]


def _pair(op: str, what: str, value: Pair) -> tuple[int, int]:
    values = tuple(map(index, value)) if isinstance(value, Sequence) else (index(value),) * 2
    if len(values) != 2:
        raise ValueError(f"[{op}] {what} must be an integer or two of them, got {value!r}")
    return values


class _Geometry:
    """The parameters of a convolution, spelled out."""

    def __init__(
        self, op: str, stride: Pair, padding: Pair, dilation: Pair, groups: int = 1
    ) -> None:
        self.op = op
        self.stride = _pair(op, "stride", stride)
        self.padding = _pair(op, "padding", padding)
        self.dilation = _pair(op, "dilation", dilation)
        self.groups = index(groups)

    def window(self) -> _Window:
        return _kernels.Window(self.stride, self.padding, self.dilation, self.groups)

    def output(self, x: tuple[int, ...], kernel: tuple[int, int]) -> tuple[int, int, int]:
        """Images, height and width of the output; what is impossible is refused by the kernel."""
        if len(x) != 4:
            raise ValueError(f"[{self.op}] images must be (N, H, W, C), got {x}")
        p, q = (
            (x[i + 1] + 2 * self.padding[i] - self.dilation[i] * (kernel[i] - 1) - 1)
            // max(1, self.stride[i])
            + 1
            for i in (0, 1)
        )
        return x[0], max(0, p), max(0, q)


def _kernel_of(op: str, weight: Float) -> tuple[int, int]:
    if weight.ndim != 4:
        raise ValueError(f"[{op}] weight must be (R, S, C / groups, K), got {weight.shape}")
    return weight.shape[0], weight.shape[1]


def conv2d_forward(
    x: Float,
    weight: Float,
    bias: Float | None = None,
    out: Float | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str = "",
) -> Float:
    """Convolution, ``out = activation(conv(x, weight) + bias)``.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    weight : array, shape (R, S, C / groups, K)
    bias : array, shape (K,), optional
    out : array, shape (N, P, Q, K), optional
        ``P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1``, ``Q`` likewise.
    stride, padding, dilation : int or pair of int, default 1, 0 and 1
    groups : int, default 1
    activation : str, default ""
        ``""`` or a name as in :func:`gemm`.

    Returns
    -------
    array, shape (N, P, Q, K)
        ``out``.

    Raises
    ------
    TypeError
        If an array is not float32.
    ValueError
        If the shapes do not agree, a parameter is out of range, an array is not C-contiguous, or
        ``out`` shares memory with an input.
    """
    op = "conv2d_forward"
    geometry = _Geometry(op, stride, padding, dilation, groups)
    shape = geometry.output(x.shape, _kernel_of(op, weight))
    out = empty((*shape, weight.shape[3]), out)
    _kernels.conv2d_forward(x, weight, bias, geometry.window(), activation, out)
    return out


def conv2d_backward_data(
    dy: Float,
    weight: Float,
    image_size: Pair,
    out: Float | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float:
    """Gradient of the input of :func:`conv2d_forward`; without bias, a transposed convolution.

    Parameters
    ----------
    dy : array, shape (N, P, Q, K)
    weight : array, shape (R, S, C / groups, K)
    image_size : int or pair of int
        H and W; several give the same P and Q when ``stride`` is not 1.
    out : array, shape (N, H, W, C), optional
    stride, padding, dilation, groups
        Those of the forward call.

    Returns
    -------
    array, shape (N, H, W, C)
        ``out``.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d_forward`.
    """
    op = "conv2d_backward_data"
    geometry = _Geometry(op, stride, padding, dilation, groups)
    _kernel_of(op, weight)
    if dy.ndim != 4:
        raise ValueError(f"[{op}] dy must be (N, P, Q, K), got {dy.shape}")
    size = _pair(op, "image_size", image_size)
    out = empty((dy.shape[0], *size, weight.shape[2] * geometry.groups), out)
    _kernels.conv2d_backward_data(dy, weight, geometry.window(), out)
    return out


def conv2d_backward_weight(
    x: Float,
    dy: Float,
    kernel_size: Pair,
    out: Float | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float:
    """Gradient of the weight of :func:`conv2d_forward`.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    dy : array, shape (N, P, Q, K)
    kernel_size : int or pair of int
        R and S.
    out : array, shape (R, S, C / groups, K), optional
    stride, padding, dilation, groups
        Those of the forward call.

    Returns
    -------
    array, shape (R, S, C / groups, K)
        ``out``.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d_forward`.
    """
    op = "conv2d_backward_weight"
    geometry = _Geometry(op, stride, padding, dilation, groups)
    if x.ndim != 4 or dy.ndim != 4 or geometry.groups < 1:
        raise ValueError(
            f"[{op}] x must be (N, H, W, C), dy (N, P, Q, K) and groups positive, got {x.shape}, "
            f"{dy.shape} and {groups}"
        )
    size = _pair(op, "kernel_size", kernel_size)
    out = empty((*size, x.shape[3] // geometry.groups, dy.shape[3]), out)
    _kernels.conv2d_backward_weight(x, dy, geometry.window(), out)
    return out


def im2col(
    x: Float,
    kernel_size: Pair,
    out: Float | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Float:
    """Copy the patch under the kernel, for every place of the kernel.

    ``out[n, p, q, r, s, c] = x[n, p stride - padding + r dilation, ..., c]``, zero outside the
    image. Reshaped to ``(N P Q, R S C)``, its product with a weight reshaped to ``(R S C, K)`` is
    the convolution.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    kernel_size : int or pair of int
        R and S.
    out : array, shape (N, P, Q, R, S, C), optional
    stride, padding, dilation : int or pair of int, default 1, 0 and 1

    Returns
    -------
    array, shape (N, P, Q, R, S, C)
        ``out``.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d_forward`.
    """
    geometry = _Geometry("im2col", stride, padding, dilation)
    kernel = _pair("im2col", "kernel_size", kernel_size)
    out = empty((*geometry.output(x.shape, kernel), *kernel, x.shape[3]), out)
    _kernels.im2col(x, kernel, geometry.window(), out)
    return out


def col2im(
    columns: Float,
    image_size: Pair,
    out: Float | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Float:
    """Add patches back to where :func:`im2col` took them from: its transpose.

    Parameters
    ----------
    columns : array, shape (N, P, Q, R, S, C)
    image_size : int or pair of int
        H and W.
    out : array, shape (N, H, W, C), optional
    stride, padding, dilation : int or pair of int, default 1, 0 and 1

    Returns
    -------
    array, shape (N, H, W, C)
        ``out``.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d_forward`.
    """
    geometry = _Geometry("col2im", stride, padding, dilation)
    if columns.ndim != 6:
        raise ValueError(f"[col2im] columns must be (N, P, Q, R, S, C), got {columns.shape}")
    size = _pair("col2im", "image_size", image_size)
    out = empty((columns.shape[0], *size, columns.shape[5]), out)
    _kernels.col2im(columns, (columns.shape[3], columns.shape[4]), geometry.window(), out)
    return out
