# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions, as sums over the taps of the kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float
from .matmul import ACTIVATIONS

Pair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int]


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    return (values[0], values[-1])


def _sides(padding: Padding, kernel: tuple[int, int], dilation: Pair) -> list[tuple[int, int]]:
    """Zeros before and after the image, in both directions; "same" puts an odd one behind."""
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(_pair(dilation), kernel, strict=True)]
        return [(n // 2, n - n // 2) for n in total]
    assert not isinstance(padding, str)
    return [(n, n) for n in _pair(padding)]


def _taps(
    weight: Array, stride: Pair, dilation: Pair, out: tuple[int, int]
) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """Every tap ``(r, s)`` and the pixels of the padded image that it multiplies."""
    (sh, sw), (dh, dw), (p, q) = _pair(stride), _pair(dilation), out
    for r in range(weight.shape[2]):
        for s in range(weight.shape[3]):
            rows = slice(r * dh, r * dh + (p - 1) * sh + 1, sh)
            columns = slice(s * dw, s * dw + (q - 1) * sw + 1, sw)
            yield r, s, (rows, columns)


def _grouped(x: Array, groups: int, axis: int) -> Array:
    """``axis`` split into groups and channels of a group."""
    shape = (*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
    return x.reshape(shape)


def _activated(z: Array, activation: str) -> Array:
    if not activation:
        return z
    forward, _, parameters = ACTIVATIONS[activation]
    return forward(z, **parameters)


def _before_activation(dy: Array, z: Array, activation: str) -> Array:
    if not activation:
        return dy
    _, backward, parameters = ACTIVATIONS[activation]
    (dz,) = backward(dy, z, **parameters)
    return dz


def _cross_correlate(
    padded: Array, weight: Array, stride: Pair, dilation: Pair, groups: int
) -> Array:
    """``y[n, k, p, q] = sum_{c, r, s} x[n, c, p stride + r dilation, ...] w[k, c, r, s]``."""
    extents = [d * (k - 1) + 1 for d, k in zip(_pair(dilation), weight.shape[2:], strict=True)]
    out = tuple(
        (n - e) // s + 1 for n, e, s in zip(padded.shape[2:], extents, _pair(stride), strict=True)
    )
    kernel = _grouped(weight, groups, 0)
    images = _grouped(padded, groups, 1)
    y = np.zeros((padded.shape[0], groups, kernel.shape[1], *out), padded.dtype)
    for r, s, (rows, columns) in _taps(weight, stride, dilation, (out[0], out[1])):
        y += np.einsum(
            "ngcpq,gkc->ngkpq", images[..., rows, columns], kernel[..., r, s], optimize=True
        )
    return y.reshape(padded.shape[0], weight.shape[0], *out)


def _spread(
    dy: Array, weight: Array, stride: Pair, dilation: Pair, groups: int, size: tuple[int, int]
) -> Array:
    """The transpose: every output pixel is added to the input pixels that it came from."""
    n, channels = dy.shape[0], weight.shape[1]
    kernel, dys = _grouped(weight, groups, 0), _grouped(dy, groups, 1)
    dx = np.zeros((n, groups, channels, *size), dy.dtype)
    out = (dy.shape[2], dy.shape[3])
    for r, s, (rows, columns) in _taps(weight, stride, dilation, out):
        dx[..., rows, columns] += np.einsum(
            "ngkpq,gkc->ngcpq", dys, kernel[..., r, s], optimize=True
        )
    return dx.reshape(n, groups * channels, *size)


def _weight_gradient(
    padded: Array, dy: Array, weight: Array, stride: Pair, dilation: Pair, groups: int
) -> Array:
    """``dw[k, c, r, s] = sum_{n, p, q} x[n, c, p stride + r dilation, ...] dy[n, k, p, q]``."""
    images, dys = _grouped(padded, groups, 1), _grouped(dy, groups, 1)
    dw = np.zeros(_grouped(weight, groups, 0).shape, padded.dtype)
    for r, s, (rows, columns) in _taps(weight, stride, dilation, (dy.shape[2], dy.shape[3])):
        dw[..., r, s] = np.einsum(
            "ngcpq,ngkpq->gkc", images[..., rows, columns], dys, optimize=True
        )
    return dw.reshape(weight.shape)


def _bias(bias: Array | None) -> Any:
    return 0.0 if bias is None else bias[:, None, None]


def conv2d(
    x: ArrayLike,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str = "",
) -> Array:
    """``y[n, k, p, q] = f(b[k] + sum x[n, c, p stride - pad + r dilation, ...] w[k, c, r, s])``.

    ``x`` (N, C, H, W) or (C, H, W), zero outside the image; ``weight`` (K, C / groups, R, S).
    Output channel ``k`` sums over the input channels of its group and over the kernel.
    """
    x = as_float(x)
    images = x if x.ndim == 4 else x[None]
    sides = _sides(padding, (weight.shape[2], weight.shape[3]), dilation)
    padded = np.pad(images, [(0, 0), (0, 0), *sides])
    z = _cross_correlate(padded, weight, stride, dilation, groups) + _bias(bias)
    y = _activated(z, activation)
    return y if x.ndim == 4 else y[0]


def conv2d_backward(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str = "",
) -> tuple[Array, Array, Array | None]:
    """Gradients of input, weight and bias.

    With ``dz = dy f'(z)``: ``dx`` spreads ``dz`` over the taps, ``dw`` correlates ``x`` with
    ``dz``, ``db`` is the sum of ``dz`` over images and pixels.
    """
    z = conv2d(x, weight, bias, stride, padding, dilation, groups)
    dz = _before_activation(dy, z, activation)
    images, dz = (x, dz) if x.ndim == 4 else (x[None], dz[None])
    (top, bottom), (left, right) = _sides(padding, (weight.shape[2], weight.shape[3]), dilation)
    padded = np.pad(images, [(0, 0), (0, 0), (top, bottom), (left, right)])
    size = (padded.shape[2], padded.shape[3])
    spread = _spread(dz, weight, stride, dilation, groups, size)
    dx = spread[:, :, top : size[0] - bottom, left : size[1] - right]
    dw = _weight_gradient(padded, dz, weight, stride, dilation, groups)
    db = None if bias is None else dz.sum(axis=(0, 2, 3))
    return (dx if x.ndim == 4 else dx[0]), dw, db


def _high(pair: Pair, value: int) -> tuple[int, int]:
    """The parameter of an image of height 1."""
    return value, _pair(pair)[-1]


def conv1d(
    x: ArrayLike,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str = "",
) -> Array:
    """`conv2d` of images of height 1: ``x`` (N, C, L) or (C, L), ``weight`` (K, C / groups, S)."""
    x = as_float(x)
    sides = padding if isinstance(padding, str) else _high(padding, 0)
    y = conv2d(
        x[..., None, :],
        weight[:, :, None, :],
        bias,
        _high(stride, 1),
        sides,
        _high(dilation, 1),
        groups,
        activation,
    )
    return np.asarray(y[..., 0, :])


def conv1d_backward(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str = "",
) -> tuple[Array, Array, Array | None]:
    """Gradients of input, weight and bias."""
    sides = padding if isinstance(padding, str) else _high(padding, 0)
    dx, dw, db = conv2d_backward(
        dy[..., None, :],
        x[..., None, :],
        weight[:, :, None, :],
        bias,
        _high(stride, 1),
        sides,
        _high(dilation, 1),
        groups,
        activation,
    )
    return dx[..., 0, :], dw[:, :, 0, :], db


def _transposed(
    images: Array,
    weight: Array,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> Array:
    """What a convolution of these parameters would have been given, were it linear and inverse."""
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    (ph, pw), (oh, ow) = _pair(padding), _pair(output_padding)
    h, w = images.shape[2:]
    r, s = weight.shape[2:]
    height = (h - 1) * sh + dh * (r - 1) + 1 + oh
    width = (w - 1) * sw + dw * (s - 1) + 1 + ow
    spread = _spread(images, weight, stride, dilation, groups, (height, width))
    return spread[:, :, ph : height - ph, pw : width - pw]


def conv_transpose2d(
    x: ArrayLike,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    activation: str = "",
) -> Array:
    """The transpose of `conv2d` as a linear map, plus a bias: every pixel spreads over the kernel.

    ``y[n, k, p stride - pad + r dilation, ...] += x[n, c, p, ...] w[c, k, r, s]``, for ``x``
    (N, C, H, W) or (C, H, W) and ``weight`` (C, K / groups, R, S). ``output_padding`` rows and
    columns are added at the end.
    """
    x = as_float(x)
    images = x if x.ndim == 4 else x[None]
    z = _transposed(images, weight, stride, padding, output_padding, groups, dilation)
    y = _activated(z + _bias(bias), activation)
    return y if x.ndim == 4 else y[0]


def conv_transpose2d_backward(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    activation: str = "",
) -> tuple[Array, Array, Array | None]:
    """With ``dz = dy f'(z)``: ``dx`` is `conv2d` of ``dz``, ``dw`` correlates ``dz`` with ``x``."""
    z = conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)
    dz = _before_activation(dy, z, activation)
    images, dz = (x, dz) if x.ndim == 4 else (x[None], dz[None])
    (ph, pw), (sh, sw), (dh, dw) = _pair(padding), _pair(stride), _pair(dilation)
    h, w = images.shape[2:]
    r, s = weight.shape[2:]
    padded = np.pad(dz, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    used = padded[:, :, : (h - 1) * sh + dh * (r - 1) + 1, : (w - 1) * sw + dw * (s - 1) + 1]
    dx = _cross_correlate(used, weight, stride, dilation, groups)
    dweight = _weight_gradient(used, images, weight, stride, dilation, groups)
    db = None if bias is None else dz.sum(axis=(0, 2, 3))
    return (dx if x.ndim == 4 else dx[0]), dweight, db
