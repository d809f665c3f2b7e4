# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation: ``y = (x - mean) / sqrt(variance + eps) * weight + bias``, by what is averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float

Axes = tuple[int, ...]


def _normal(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """``h = (x - mean) rstd`` and ``rstd``, with the biased variance; nothing for an empty x."""
    if x.size == 0:
        return x, np.ones_like(x)
    mean = x.mean(axis=axes, keepdims=True)
    rstd = 1.0 / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
    return (x - mean) * rstd, rstd


def _normal_backward(g: Array, h: Array, rstd: Array, axes: Axes) -> Array:
    """``dx = rstd (g - mean(g) - h mean(g h))``, g the gradient of h."""
    if g.size == 0:
        return g
    mean_g = g.mean(axis=axes, keepdims=True)
    return np.asarray(rstd * (g - mean_g - h * (g * h).mean(axis=axes, keepdims=True)))


def _like(p: Array | None, x: Array, fill: float) -> Array:
    """A parameter of the channels, as it broadcasts against ``x``."""
    if p is None:
        return np.full((1,) * x.ndim, fill, x.dtype)
    return np.asarray(p).reshape((1, -1) + (1,) * (x.ndim - 2))


def _channel_sums(x: Array) -> Array:
    return np.asarray(x.sum(axis=(0, *range(2, x.ndim))))


def _affine_backward(
    dy: Array, h: Array, weight: Array | None, bias: Array | None
) -> tuple[Array, Array | None, Array | None]:
    """The gradients of h, weight and bias."""
    dweight = None if weight is None else _channel_sums(dy * h)
    dbias = None if bias is None else _channel_sums(dy)
    return np.asarray(dy * _like(weight, dy, 1.0)), dweight, dbias


# ---- batch ---------------------------------------------------------------------------------------


def batch_norm(
    x: ArrayLike,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "",
) -> Array:
    """Statistics of each channel over the batch and space, or the running ones.

    Source: Ioffe, Szegedy, "Batch normalization", 2015.
    """
    x = as_float(x)
    h, _ = _batch_normal(x, running_mean, running_var, training, eps)
    y = h * _like(weight, x, 1.0) + _like(bias, x, 0.0)
    return np.asarray(np.maximum(y, 0.0) if activation == "relu" else y)


def _batch_normal(
    x: Array, running_mean: Array | None, running_var: Array | None, training: bool, eps: float
) -> tuple[Array, Array]:
    if training:
        return _normal(x, (0, *range(2, x.ndim)), eps)
    rstd = 1.0 / np.sqrt(_like(running_var, x, 1.0) + eps)
    return (x - _like(running_mean, x, 0.0)) * rstd, np.asarray(rstd)


def batch_norm_backward(
    dy: Array,
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "",
) -> tuple[Array, None, None, Array | None, Array | None]:
    """``dx = rstd (g - mean(g) - h mean(g h))`` in training, ``rstd g`` otherwise."""
    h, rstd = _batch_normal(x, running_mean, running_var, training, eps)
    if activation == "relu":
        dy = np.where(h * _like(weight, x, 1.0) + _like(bias, x, 0.0) > 0, dy, 0.0)
    g, dweight, dbias = _affine_backward(dy, h, weight, bias)
    dx = _normal_backward(g, h, rstd, (0, *range(2, x.ndim))) if training else g * rstd
    return np.asarray(dx), None, None, dweight, dbias


def running_statistics(
    x: ArrayLike, running_mean: Array, running_var: Array, momentum: float
) -> tuple[Array, Array]:
    """What batch normalisation leaves in its running averages; the variance is unbiased."""
    x = as_float(x)
    axes = (0, *range(2, x.ndim))
    return (
        np.asarray((1 - momentum) * running_mean + momentum * x.mean(axis=axes)),
        np.asarray((1 - momentum) * running_var + momentum * x.var(axis=axes, ddof=1)),
    )


# ---- instance and group --------------------------------------------------------------------------


def instance_norm(
    x: ArrayLike,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Statistics of each channel of each image, or the running ones.

    Source: Ulyanov et al., "Instance normalization", 2016.
    """
    x = as_float(x)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    h, _ = _normal(x, tuple(range(2, x.ndim)), eps)
    return np.asarray(h * _like(weight, x, 1.0) + _like(bias, x, 0.0))


def instance_norm_backward(
    dy: Array,
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, None, None, Array | None, Array | None]:
    """As for batch normalisation, with means over each image."""
    if not use_input_stats:
        return batch_norm_backward(
            dy, x, running_mean, running_var, weight, bias, False, momentum, eps
        )
    axes = tuple(range(2, x.ndim))
    h, rstd = _normal(x, axes, eps)
    g, dweight, dbias = _affine_backward(dy, h, weight, bias)
    return _normal_backward(g, h, rstd, axes), None, None, dweight, dbias


def _groups(x: Array, num_groups: int) -> tuple[int, int, int]:
    return x.shape[0], num_groups, x.size // max(1, x.shape[0] * num_groups)


def group_norm(
    x: ArrayLike,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Statistics of each group of neighbouring channels of each image.

    Source: Wu, He, "Group normalization", 2018.
    """
    x = as_float(x)
    h, _ = _normal(x.reshape(_groups(x, num_groups)), (2,), eps)
    return np.asarray(h.reshape(x.shape) * _like(weight, x, 1.0) + _like(bias, x, 0.0))


def group_norm_backward(
    dy: Array,
    x: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """As for batch normalisation, with means over each group."""
    parts = _groups(x, num_groups)
    h, rstd = _normal(x.reshape(parts), (2,), eps)
    g, dweight, dbias = _affine_backward(dy, h.reshape(x.shape), weight, bias)
    return _normal_backward(g.reshape(parts), h, rstd, (2,)).reshape(x.shape), dweight, dbias


# ---- last dimensions -----------------------------------------------------------------------------


def _last(x: Array, normalized_shape: Sequence[int]) -> tuple[Axes, Axes]:
    """The normalised dimensions, and the others."""
    start = x.ndim - len(normalized_shape)
    return tuple(range(start, x.ndim)), tuple(range(start))


def layer_norm(
    x: ArrayLike,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Statistics over the last dimensions.

    Source: Ba et al., "Layer normalization", 2016.
    """
    x = as_float(x)
    y, _ = _normal(x, _last(x, normalized_shape)[0], eps)
    y = y if weight is None else y * weight
    return np.asarray(y if bias is None else y + bias)


def layer_norm_backward(
    dy: Array,
    x: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """``dx = rstd (g - mean(g) - h mean(g h))`` with ``g = weight dy``."""
    inner, outer = _last(x, normalized_shape)
    h, rstd = _normal(x, inner, eps)
    g = dy if weight is None else dy * weight
    return (
        _normal_backward(g, h, rstd, inner),
        None if weight is None else np.asarray((dy * h).sum(axis=outer)),
        None if bias is None else np.asarray(dy.sum(axis=outer)),
    )


def _root_normal(x: Array, axes: Axes, eps: float | None) -> tuple[Array, Array]:
    if x.size == 0:
        return x, np.ones_like(x)
    small = float(np.finfo(np.float32).eps) if eps is None else eps
    rstd = 1.0 / np.sqrt((x * x).mean(axis=axes, keepdims=True) + small)
    return x * rstd, rstd


def rms_norm(
    x: ArrayLike,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """``y = x / sqrt(mean(x^2) + eps) * weight``; eps is that of float32 when None.

    Source: Zhang, Sennrich, "Root mean square layer normalization", 2019.
    """
    x = as_float(x)
    y, _ = _root_normal(x, _last(x, normalized_shape)[0], eps)
    return np.asarray(y if weight is None else y * weight)


def rms_norm_backward(
    dy: Array,
    x: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> tuple[Array, Array | None]:
    """``dx = rstd (g - h mean(g h))`` with ``g = weight dy``."""
    inner, outer = _last(x, normalized_shape)
    h, rstd = _root_normal(x, inner, eps)
    g = dy if weight is None else dy * weight
    mean = (g * h).mean(axis=inner, keepdims=True) if x.size else 0.0
    dx = np.asarray(rstd * (g - h * mean))
    return dx, None if weight is None else np.asarray((dy * h).sum(axis=outer))
