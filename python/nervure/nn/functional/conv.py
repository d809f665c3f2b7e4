# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from nervure import _core
from nervure._core import Tensor


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
) -> Tensor:
    """Slide a kernel over images: ``y = activation(x * weight + bias)``.

    ``y[n, k, p, q] = sum_{c, r, s} x[n, c, p stride - padding + r dilation, ...] w[k, c, r, s]``,
    where pixels outside the image are zero and ``c`` runs over the channels of ``k``'s group.

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
        Images. Fastest when they lie channels-last in memory, as results of convolutions do;
        another order is converted.
    weight : Tensor, (K, C / groups, R, S)
        Fastest when it lies as [R, S, C / groups, K], as the weight of ``nn.Conv2d`` does.
    bias : Tensor, (K,), optional
        Added to every pixel.
    stride, dilation : int or pair of int, default 1
        Distance of neighbouring outputs, and of neighbouring taps of the kernel, in pixels.
    padding : int, pair of int, "valid" or "same", default 0
        Zeros around the image. ``"same"`` (stride 1 only) gives an output as large as the input.
    groups : int, default 1
        Output channels see the input channels of their group only; ``groups = C`` is a depthwise
        convolution.
    activation : str, optional
        Computed together with the convolution; see :class:`nervure.nn.Linear` for the names.

    Returns
    -------
    Tensor, (N, K, P, Q) or (K, P, Q)
        ``P = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1``, ``Q`` likewise. It lies
        channels-last in memory.

    Raises
    ------
    ValueError
        For shapes or parameters that do not fit, or an unknown activation.
    """
    return _core.conv2d(x, weight, bias, stride, padding, dilation, groups, activation or "")


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
) -> Tensor:
    """Slide a kernel over sequences: :func:`conv2d` of images of height 1.

    Parameters
    ----------
    x : Tensor, (N, C, L) or (C, L)
        Sequences; channels last in memory is fastest.
    weight : Tensor, (K, C / groups, S)
        Fastest when it lies as [S, C / groups, K], as the weight of ``nn.Conv1d`` does.
    bias : Tensor, (K,), optional
        Added to every output.
    stride, padding, dilation, groups, activation
        As for :func:`conv2d`.

    Returns
    -------
    Tensor, (N, K, Q) or (K, Q)
        ``Q = floor((L + 2 padding - dilation (S - 1) - 1) / stride) + 1``.

    Raises
    ------
    ValueError
        For shapes or parameters that do not fit, or an unknown activation.
    """
    return _core.conv1d(x, weight, bias, stride, padding, dilation, groups, activation or "")


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    activation: str | None = None,
) -> Tensor:
    """Spread every pixel over the kernel: the transpose of :func:`conv2d` as a linear map.

    ``y[n, k, p stride - padding + r dilation, ...] += x[n, c, p, ...] w[c, k, r, s]``, then the
    bias and the activation.

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
        Images; channels last in memory is fastest.
    weight : Tensor, (C, K / groups, R, S)
        Fastest when it lies as [R, S, K / groups, C], as that of ``nn.ConvTranspose2d`` does.
    bias : Tensor, (K,), optional
        Added to every pixel.
    stride, dilation : int or pair of int, default 1
        Of the convolution whose transpose this is.
    padding : int or pair of int, default 0
        Rows and columns cut off on every side.
    output_padding : int or pair of int, default 0
        Rows and columns added at the end; smaller than ``stride`` or ``dilation``.
    groups : int, default 1
        As for :func:`conv2d`.
    activation : str, optional
        Computed together with the convolution; see :class:`nervure.nn.Linear` for the names.

    Returns
    -------
    Tensor, (N, K, P, Q) or (K, P, Q)
        ``P = (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1``, ``Q`` likewise.

    Raises
    ------
    ValueError
        For shapes or parameters that do not fit, or an unknown activation.
    """
    return _core.conv_transpose2d(
        x, weight, bias, stride, padding, output_padding, groups, dilation, activation or ""
    )
