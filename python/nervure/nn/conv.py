# SPDX-License-Identifier: BSD-3-Clause
"""Convolutional layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure.nn import init
from nervure.nn.linear import FUSED_ACTIVATIONS
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter


class _Conv(Module):
    """What convolutional layers share: sizes, checks, parameters and their initial values."""

    _spatial: int
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int] | str,
        dilation: int | Sequence[int],
        groups: int,
        bias: bool,
        padding_mode: str,
        activation: str | None,
    ) -> None:
        super().__init__()
        self.in_channels = self._positive("in_channels", in_channels)
        self.out_channels = self._positive("out_channels", out_channels)
        self.groups = self._positive("groups", groups)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"[{self._name()}] in_channels = {in_channels} and out_channels = {out_channels} "
                f"must be multiples of groups = {groups}"
            )
        if padding_mode != "zeros":
            raise ValueError(f"[{self._name()}] padding_mode must be 'zeros', got {padding_mode!r}")
        if activation is not None and activation not in FUSED_ACTIVATIONS:
            raise ValueError(
                f"[{self._name()}] activation must be None or one of "
                f"{', '.join(FUSED_ACTIVATIONS)}, got {activation!r}"
            )
        self.kernel_size = self._per_dimension("kernel_size", kernel_size, 1)
        self.stride = self._per_dimension("stride", stride, 1)
        self.dilation = self._per_dimension("dilation", dilation, 1)
        self.padding = self._checked_padding(padding)
        self.padding_mode = padding_mode
        self.activation = activation or ""
        outer, inner = self.out_channels, self.in_channels
        if self._transposed:
            outer, inner = inner, outer
        # In memory [R, S, inner, outer]: kernels read a vector of output channels at a time.
        order = (*range(2, self._spatial + 2), 1, 0)
        shape = (outer, inner // self.groups, *self.kernel_size)
        self.weight = Parameter(_core.empty(shape, order))
        self.bias = Parameter(_core.empty((self.out_channels,))) if bias else None
        self.reset_parameters()

    def _name(self) -> str:
        return type(self).__name__

    def _positive(self, what: str, value: int) -> int:
        value = index(value)
        if value < 1:
            raise ValueError(f"[{self._name()}] {what} must be at least 1, got {value}")
        return value

    def _per_dimension(self, what: str, value: int | Sequence[int], least: int) -> tuple[int, ...]:
        if isinstance(value, Sequence):
            values = tuple(index(v) for v in value)
            if len(values) == 1:
                values *= self._spatial
        else:
            values = (index(value),) * self._spatial
        if len(values) != self._spatial:
            raise ValueError(
                f"[{self._name()}] {what} must be an integer or {self._spatial} of them, "
                f"got {value!r}"
            )
        if min(values) < least:
            raise ValueError(f"[{self._name()}] {what} must be at least {least}, got {value!r}")
        return values

    def _checked_padding(self, padding: int | Sequence[int] | str) -> tuple[int, ...] | str:
        if not isinstance(padding, str):
            return self._per_dimension("padding", padding, 0)
        if padding not in ("same", "valid"):
            raise ValueError(
                f"[{self._name()}] padding must be an integer, {self._spatial} of them, 'same' or "
                f"'valid', got {padding!r}"
            )
        if padding == "same" and max(self.stride) > 1:
            raise ValueError(f"[{self._name()}] padding='same' needs stride 1, got {self.stride}")
        return padding

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            fan_in = self.weight.shape[1] * math.prod(self.kernel_size)
            bound = 1.0 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Channels, kernel, stride, and whatever is not as it is by default."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding not in ((0,) * self._spatial, "valid"):
            text += f", padding={self.padding!r}"
        output_padding = getattr(self, "output_padding", ())
        if any(output_padding):
            text += f", output_padding={output_padding}"
        if max(self.dilation) > 1:
            text += f", dilation={self.dilation}"
        if self.groups > 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return f"{text}, activation={self.activation!r}" if self.activation else text


class Conv2d(_Conv):
    """Convolution of images: ``y = activation(x * weight + bias)``.

    Parameters
    ----------
    in_channels, out_channels : int
        C and K.
    kernel_size : int or pair of int
        R and S.
    stride, dilation : int or pair of int, default 1
        Distance of neighbouring outputs, and of neighbouring taps of the kernel, in pixels.
    padding : int, pair of int, "valid" or "same", default 0
        Zeros around the image; ``"same"`` (stride 1 only) keeps its size.
    groups : int, default 1
        Output channels see the input channels of their group only; ``groups = in_channels`` is a
        depthwise convolution. Both channel counts must be multiples of it.
    bias : bool, default True
        Whether to add a bias.
    padding_mode : {"zeros"}
        Only zeros are supported.
    activation : str, optional
        An activation computed together with the convolution; see :class:`Linear` for the names.

    Attributes
    ----------
    weight : Parameter, (out_channels, in_channels / groups, R, S)
        In memory it lies as [R, S, in_channels / groups, out_channels].
    bias : Parameter, (out_channels,), or None

    Raises
    ------
    ValueError
        For sizes out of range or that do not fit each other, another ``padding_mode``, or an
        unknown activation.
    TypeError
        If a size is not an integer.

    Notes
    -----
    Shapes: ``x`` is ``(N, C, H, W)`` or ``(C, H, W)``, ``y`` is ``(N, K, P, Q)`` or ``(K, P, Q)``
    with ``P = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1``, ``Q`` likewise. In
    memory images lie channels-last; an input in another order is converted.

    Initialisation is PyTorch's: weight and bias uniform in ``(-b, b)`` with ``b =
    1 / sqrt(C / groups * R * S)``, the weight through ``kaiming_uniform_(a=sqrt(5))``.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", 1998,
    https://doi.org/10.1109/5.726791
    """

    _spatial = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, K, P, Q)``, or the same without ``N``."""
        return _core.conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.activation,
        )


class Conv1d(_Conv):
    """Convolution of sequences: :class:`Conv2d` on images of height 1.

    Parameters
    ----------
    in_channels, out_channels : int
        C and K.
    kernel_size : int
        S.
    stride, padding, dilation, groups, bias, padding_mode, activation
        As for :class:`Conv2d`, in one dimension.

    Attributes
    ----------
    weight : Parameter, (out_channels, in_channels / groups, S)
        In memory it lies as [S, in_channels / groups, out_channels].
    bias : Parameter, (out_channels,), or None

    Raises
    ------
    ValueError
        For sizes out of range or that do not fit each other, another ``padding_mode``, or an
        unknown activation.
    TypeError
        If a size is not an integer.

    Notes
    -----
    Shapes: ``x`` is ``(N, C, L)`` or ``(C, L)``, ``y`` is ``(N, K, Q)`` or ``(K, Q)`` with
    ``Q = floor((L + 2 padding - dilation (S - 1) - 1) / stride) + 1``. In memory channels lie last.
    """

    _spatial = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, L)`` to ``(N, K, Q)``, or the same without ``N``."""
        return _core.conv1d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.activation,
        )


class ConvTranspose2d(_Conv):
    """Transposed convolution of images: every pixel is spread over the kernel.

    As a linear map it is the transpose of a :class:`Conv2d` of the same parameters from K to C
    channels; it upsamples by ``stride``.

    Parameters
    ----------
    in_channels, out_channels : int
        C and K.
    kernel_size : int or pair of int
        R and S.
    stride, dilation : int or pair of int, default 1
        Of the convolution whose transpose this is.
    padding : int or pair of int, default 0
        Rows and columns cut off on every side.
    output_padding : int or pair of int, default 0
        Rows and columns added at the end; smaller than ``stride`` or ``dilation``.
    groups, bias, padding_mode, activation
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : Parameter, (in_channels, out_channels / groups, R, S)
        In memory it lies as [R, S, out_channels / groups, in_channels].
    bias : Parameter, (out_channels,), or None

    Raises
    ------
    ValueError
        For sizes out of range or that do not fit each other, another ``padding_mode``, or an
        unknown activation.
    TypeError
        If a size is not an integer.

    Notes
    -----
    Shapes: ``x`` is ``(N, C, H, W)`` or ``(C, H, W)``, ``y`` is ``(N, K, P, Q)`` or ``(K, P, Q)``
    with ``P = (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1``, ``Q`` likewise.
    PyTorch's ``output_size`` argument of the call is not offered: it stands for an
    ``output_padding``.
    """

    _spatial = 2
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        *,
        activation: str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            activation,
        )
        if isinstance(self.padding, str):
            raise ValueError(f"[ConvTranspose2d] padding must be numbers, got {padding!r}")
        self.output_padding = self._per_dimension("output_padding", output_padding, 0)
        for added, step, spread in zip(
            self.output_padding, self.stride, self.dilation, strict=True
        ):
            if added >= max(step, spread):
                raise ValueError(
                    f"[ConvTranspose2d] output_padding must be smaller than stride or dilation, "
                    f"got {output_padding!r}"
                )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, K, P, Q)``, or the same without ``N``."""
        assert not isinstance(self.padding, str)
        return _core.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            self.activation,
        )
