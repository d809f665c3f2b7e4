# SPDX-License-Identifier: BSD-3-Clause
"""Pooling of images (N, H, W, C), all C-contiguous: not PyTorch's order of the axes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nervure._core import kernels as _kernels

from ._arrays import Float, empty

if TYPE_CHECKING:
    from nervure._core import _PoolWindow

Pair: TypeAlias = int | Sequence[int]
Places: TypeAlias = NDArray[Any]


def _pair(op: str, what: str, value: Pair) -> tuple[int, int]:
    values = tuple(map(index, value)) if isinstance(value, Sequence) else (index(value),) * 2
    if len(values) != 2:
        raise ValueError(f"[{op}] {what} must be an integer or two of them, got {value!r}")
    return values


class _Geometry:
    """The parameters of a pooling, spelled out."""

    def __init__(
        self,
        op: str,
        kernel_size: Pair,
        stride: Pair | None,
        padding: Pair,
        dilation: Pair,
        ceil_mode: bool,
    ) -> None:
        self.op = op
        self.size = _pair(op, "kernel_size", kernel_size)
        self.stride = self.size if stride is None else _pair(op, "stride", stride)
        self.padding = _pair(op, "padding", padding)
        self.dilation = _pair(op, "dilation", dilation)
        self.ceil_mode = ceil_mode

    def window(self) -> _PoolWindow:
        return _kernels.PoolWindow(
            self.size, self.stride, self.padding, self.dilation, self.ceil_mode
        )

    def output(self, x: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output; what is impossible is refused by the kernel."""
        if len(x) != 4:
            raise ValueError(f"[{self.op}] images must be (N, H, W, C), got {x}")
        sizes = []
        for i in (0, 1):
            stride, padding = max(1, self.stride[i]), self.padding[i]
            room = x[i + 1] + 2 * padding - self.dilation[i] * (self.size[i] - 1) - 1
            count = (room + (stride - 1 if self.ceil_mode else 0)) // stride + 1
            if self.ceil_mode and (count - 1) * stride >= x[i + 1] + padding:
                count -= 1
            sizes.append(max(0, count))
        return x[0], *sizes, x[3]

    def places(self) -> type[np.generic]:
        return np.uint8 if self.size[0] * self.size[1] <= 256 else np.int32


def max_pool2d_forward(
    x: Float,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    out: Float | None = None,
    argmax: Places | None = None,
) -> tuple[Float, Places]:
    """Largest element of every window, and where in the window it was.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    kernel_size, stride, padding, dilation, ceil_mode
        As for `nervure.nn.functional.max_pool2d`.
    out : array, shape (N, P, Q, C), optional
    argmax : array of the shape of ``out``, optional
        uint8, or int32 for windows of more than 256 elements.

    Returns
    -------
    out, argmax : arrays
        ``argmax`` holds ``r * kernel_size[1] + s`` for element (r, s) of the window.
    """
    g = _Geometry("max_pool2d_forward", kernel_size, stride, padding, dilation, ceil_mode)
    shape = g.output(x.shape)
    out = empty(shape, out)
    argmax = np.empty(shape, g.places()) if argmax is None else argmax
    _kernels.max_pool2d_forward(x, g.window(), out, argmax)
    return out, argmax


def max_pool2d_backward(
    dy: Float,
    argmax: Places,
    size: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    out: Float | None = None,
) -> Float:
    """Gradient of `max_pool2d_forward`: each element collects ``dy`` where it was the maximum.

    Parameters
    ----------
    dy : array, shape (N, P, Q, C)
    argmax : array
        From `max_pool2d_forward`.
    size : (H, W)
        Of the images.
    kernel_size, stride, padding, dilation, ceil_mode
        As in the forward pass.
    out : array, shape (N, H, W, C), optional
        Every element is written; it need not be zero before.
    """
    g = _Geometry("max_pool2d_backward", kernel_size, stride, padding, dilation, ceil_mode)
    out = empty(_input_shape(g.op, dy, size), out)
    _kernels.max_pool2d_backward(dy, argmax, g.window(), out)
    return out


def _input_shape(op: str, dy: Float, size: Sequence[int]) -> tuple[int, ...]:
    if dy.ndim != 4:
        raise ValueError(f"[{op}] dy must be (N, P, Q, C), got {dy.shape}")
    return dy.shape[0], *_pair(op, "size", size), dy.shape[3]


def avg_pool2d_forward(
    x: Float,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    out: Float | None = None,
) -> Float:
    """Mean of every window.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As for `nervure.nn.functional.avg_pool2d`.
    out : array, shape (N, P, Q, C), optional
    """
    g = _Geometry("avg_pool2d_forward", kernel_size, stride, padding, 1, ceil_mode)
    out = empty(g.output(x.shape), out)
    _kernels.avg_pool2d_forward(x, g.window(), count_include_pad, out)
    return out


def avg_pool2d_backward(
    dy: Float,
    size: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    out: Float | None = None,
) -> Float:
    """Gradient of `avg_pool2d_forward`: each element collects its shares of ``dy``.

    Parameters
    ----------
    dy : array, shape (N, P, Q, C)
    size : (H, W)
        Of the images.
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As in the forward pass.
    out : array, shape (N, H, W, C), optional
        Every element is written; it need not be zero before.
    """
    g = _Geometry("avg_pool2d_backward", kernel_size, stride, padding, 1, ceil_mode)
    out = empty(_input_shape(g.op, dy, size), out)
    _kernels.avg_pool2d_backward(dy, g.window(), count_include_pad, out)
    return out
