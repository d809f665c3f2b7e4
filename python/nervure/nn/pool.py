# SPDX-License-Identifier: BSD-3-Clause
"""Pooling layers. They keep channels-last images as they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nervure import _core
from nervure._core import Tensor
from nervure.nn.functional import pool as F
from nervure.nn.functional.pool import Pair, sizes
from nervure.nn.module import Module

Size = int | tuple[int, ...]


def _as_given(value: Any) -> Size:
    return tuple(value) if isinstance(value, Sequence) else value


class _MaxPool(Module):
    """What both share; arguments are kept as given and spelled out once."""

    _settings = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    _axes: int

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = _as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else _as_given(stride)
        self.padding = _as_given(padding)
        self.dilation = _as_given(dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        op, n = type(self).__name__, self._axes
        self._window = (
            sizes(op, "kernel_size", self.kernel_size, n),
            sizes(op, "stride", self.stride, n),
            sizes(op, "padding", self.padding, n),
            sizes(op, "dilation", self.dilation, n),
            ceil_mode,
        )

    def forward(self, x: Tensor) -> Any:
        """Pool ``x``; with ``return_indices`` also give the indices."""
        if self.return_indices:
            return _core.max_pool_with_indices(x, *self._window)
        return _core.max_pool(x, *self._window)


class MaxPool1d(_MaxPool):
    """Largest element of every window of a sequence: (N, C, L) or (C, L).

    Parameters
    ----------
    kernel_size : int
        Length of the window.
    stride : int, optional
        Distance of neighbouring windows; ``kernel_size`` by default.
    padding : int, default 0
        Minus infinities at both ends, at most half of the window.
    dilation : int, default 1
        Distance of neighbouring elements of a window.
    return_indices : bool, default False
        Whether to give the index of every maximum too.
    ceil_mode : bool, default False
        Whether a window may stick out at the end; none starts behind the sequence.
    """

    _axes = 1


class MaxPool2d(_MaxPool):
    """Largest element of every window of an image: (N, C, H, W) or (C, H, W).

    Parameters
    ----------
    kernel_size : int or pair of int
        Size of the window.
    stride : int or pair of int, optional
        Distance of neighbouring windows; ``kernel_size`` by default.
    padding : int or pair of int, default 0
        Minus infinities around the image, at most half of the window.
    dilation : int or pair of int, default 1
        Distance of neighbouring elements of a window.
    return_indices : bool, default False
        Whether to give ``h W + w`` of every maximum too.
    ceil_mode : bool, default False
        Whether a window may stick out at the end; none starts behind the image.

    See Also
    --------
    nervure.nn.functional.max_pool2d : formulas and errors.
    """

    _axes = 2


class AvgPool1d(Module):
    """Mean of every window of a sequence: (N, C, L) or (C, L).

    Parameters
    ----------
    kernel_size : int
        Length of the window.
    stride : int, optional
        Distance of neighbouring windows; ``kernel_size`` by default.
    padding : int, default 0
        Zeros at both ends, at most half of the window.
    ceil_mode : bool, default False
        Whether a window may stick out at the end.
    count_include_pad : bool, default True
        Whether the zeros of the padding count as elements of the window.
    """

    _settings = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else _as_given(stride)
        self.padding = _as_given(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``."""
        return F.avg_pool1d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class AvgPool2d(Module):
    """Mean of every window of an image: (N, C, H, W) or (C, H, W).

    Parameters
    ----------
    kernel_size : int or pair of int
        Size of the window.
    stride : int or pair of int, optional
        Distance of neighbouring windows; ``kernel_size`` by default.
    padding : int or pair of int, default 0
        Zeros around the image, at most half of the window.
    ceil_mode : bool, default False
        Whether a window may stick out at the end.
    count_include_pad : bool, default True
        Whether the zeros of the padding count as elements of the window.
    divisor_override : int, optional
        What sums are divided by instead of the number of elements.
    """

    _settings = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = _as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else _as_given(stride)
        self.padding = _as_given(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``."""
        return F.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


OutputSize = int | None | Sequence[int | None]


class _AdaptivePool(Module):
    _settings = ("output_size",)

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__()
        self.output_size = tuple(output_size) if isinstance(output_size, Sequence) else output_size


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means of ``output_size`` parts of a sequence: (N, C, L) or (C, L).

    Parameters
    ----------
    output_size : int
        Number of parts.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``."""
        return F.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Means of ``P x Q`` parts of an image: (N, C, H, W) or (C, H, W).

    ``AdaptiveAvgPool2d(1)`` is the mean over the whole image.

    Parameters
    ----------
    output_size : int or None, or pair of these
        ``P`` and ``Q``; None keeps the size of the input.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``."""
        return F.adaptive_avg_pool2d(x, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Largest elements of ``output_size`` parts of a sequence: (N, C, L) or (C, L).

    Parameters
    ----------
    output_size : int
        Number of parts.
    return_indices : bool, default False
        Whether to give the indices of the maxima too.
    """

    def forward(self, x: Tensor) -> Any:
        """Pool ``x``."""
        return F.adaptive_max_pool1d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Largest elements of ``P x Q`` parts of an image: (N, C, H, W) or (C, H, W).

    Parameters
    ----------
    output_size : int or None, or pair of these
        ``P`` and ``Q``; None keeps the size of the input.
    return_indices : bool, default False
        Whether to give ``h W + w`` of the maxima too.
    """

    def forward(self, x: Tensor) -> Any:
        """Pool ``x``."""
        return F.adaptive_max_pool2d(x, self.output_size, self.return_indices)
