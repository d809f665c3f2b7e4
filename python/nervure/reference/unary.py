# SPDX-License-Identifier: BSD-3-Clause
"""Functions of one array, element by element: arithmetic and activations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float, sigmoid_of


def neg(x: ArrayLike) -> Array:
    """``y = -x``."""
    return np.asarray(-as_float(x))


def neg_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = -dy``."""
    return (np.asarray(-dy),)


def abs(x: ArrayLike) -> Array:
    """``y = |x|``."""
    return np.asarray(np.abs(as_float(x)))


def abs_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy sign(x)``, 0 at 0."""
    return (np.asarray(dy * np.sign(x)),)


def exp(x: ArrayLike) -> Array:
    """``y = exp(x)``."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(as_float(x)))


def exp_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy exp(x)``."""
    return (np.asarray(dy * exp(x)),)


def log(x: ArrayLike) -> Array:
    """``y = log(x)``: -inf at 0, NaN below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(as_float(x)))


def log_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy / x``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(dy / x),)


def sqrt(x: ArrayLike) -> Array:
    """``y = sqrt(x)``: NaN below 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(as_float(x)))


def sqrt_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy / (2 sqrt(x))``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(dy / (2.0 * np.sqrt(x))),)


def square(x: ArrayLike) -> Array:
    """``y = x^2``."""
    return np.asarray(np.square(as_float(x)))


def square_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = 2 x dy``."""
    return (np.asarray(2.0 * x * dy),)


def reciprocal(x: ArrayLike) -> Array:
    """``y = 1 / x``."""
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / as_float(x))


def reciprocal_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = -dy / x^2``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(-dy / np.square(x)),)


def sin(x: ArrayLike) -> Array:
    """``y = sin(x)``."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sin(as_float(x)))


def sin_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy cos(x)``."""
    return (np.asarray(dy * np.cos(x)),)


def cos(x: ArrayLike) -> Array:
    """``y = cos(x)``."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.cos(as_float(x)))


def cos_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = -dy sin(x)``."""
    return (np.asarray(-dy * np.sin(x)),)


def clip(x: ArrayLike, low: float | None = None, high: float | None = None) -> Array:
    """``y = min(max(x, low), high)``; a bound of None does not bind."""
    y = as_float(x)
    y = y if low is None else np.maximum(y, low)
    return np.asarray(y if high is None else np.minimum(y, high))


def clip_backward(
    dy: Array, x: Array, low: float | None = None, high: float | None = None
) -> tuple[Array]:
    """``dx = dy`` where ``low <= x <= high``, bounds included, else 0 (PyTorch)."""
    inside = np.ones(x.shape, bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return (np.where(inside, dy, 0.0),)


def relu(x: ArrayLike) -> Array:
    """``y = max(x, 0)``."""
    return np.asarray(np.maximum(as_float(x), 0.0))


def relu_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy`` where ``x > 0``, else 0."""
    return (np.where(x > 0, dy, 0.0),)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """``y = x`` where ``x > 0``, else ``negative_slope x``."""
    x = as_float(x)
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(dy: Array, x: Array, negative_slope: float = 0.01) -> tuple[Array]:
    """``dx = dy`` where ``x > 0``, else ``negative_slope dy``."""
    return (np.where(x > 0, dy, negative_slope * dy),)


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """``y = x`` where ``x > 0``, else ``alpha (exp(x) - 1)`` (Clevert et al., arXiv:1511.07289)."""
    x = as_float(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_backward(dy: Array, x: Array, alpha: float = 1.0) -> tuple[Array]:
    """``dx = dy`` where ``x > 0``, else ``dy alpha exp(x)``."""
    return (np.where(x > 0, dy, dy * alpha * np.exp(np.minimum(x, 0.0))),)


_erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])


def _normal_cdf(x: Array) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(0.5 * (1.0 + _erf(wide / math.sqrt(2.0))), dtype=x.dtype)


_GELU_SCALE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """``y = x Phi(x)``, Phi the normal distribution (Hendrycks and Gimpel, arXiv:1606.08415).

    ``approximate="tanh"``: ``y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``.
    """
    x = as_float(x)
    if approximate == "none":
        return np.asarray(x * _normal_cdf(x))
    return np.asarray(0.5 * x * (1.0 + np.tanh(_GELU_SCALE * (x + _GELU_CUBIC * x**3))))


def gelu_backward(dy: Array, x: Array, approximate: str = "none") -> tuple[Array]:
    """``dx = dy (Phi(x) + x phi(x))``, or the derivative of the tanh form."""
    if approximate == "none":
        density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        return (np.asarray(dy * (_normal_cdf(x) + x * density)),)
    t = np.tanh(_GELU_SCALE * (x + _GELU_CUBIC * x**3))
    inner = _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBIC * x * x)
    return (np.asarray(dy * 0.5 * (1.0 + t + x * (1.0 - t * t) * inner)),)


def silu(x: ArrayLike) -> Array:
    """``y = x sigmoid(x)`` (also called swish; Elfwing et al., arXiv:1702.03118)."""
    x = as_float(x)
    return np.asarray(x * sigmoid_of(x))


def silu_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy s (1 + x (1 - s))`` with ``s = sigmoid(x)``."""
    s = sigmoid_of(x)
    return (np.asarray(dy * s * (1.0 + x * (1.0 - s))),)


def tanh(x: ArrayLike) -> Array:
    """``y = tanh(x)``."""
    return np.asarray(np.tanh(as_float(x)))


def tanh_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy (1 - tanh(x)^2)``."""
    return (np.asarray(dy * (1.0 - np.tanh(x) ** 2)),)


def sigmoid(x: ArrayLike) -> Array:
    """``y = 1 / (1 + exp(-x))``."""
    return sigmoid_of(as_float(x))


def sigmoid_backward(dy: Array, x: Array) -> tuple[Array]:
    """``dx = dy y (1 - y)``."""
    return (np.asarray(dy * sigmoid_of(x) * sigmoid_of(-x)),)


def softplus(x: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """``y = log(1 + exp(beta x)) / beta``; ``y = x`` where ``beta x > threshold``."""
    x = as_float(x)
    with np.errstate(invalid="ignore"):
        return np.where(beta * x > threshold, x, np.logaddexp(0.0, beta * x) / beta)


def softplus_backward(
    dy: Array, x: Array, beta: float = 1.0, threshold: float = 20.0
) -> tuple[Array]:
    """``dx = dy sigmoid(beta x)``; ``dx = dy`` where ``beta x > threshold``."""
    return (np.where(beta * x > threshold, dy, dy * sigmoid_of(beta * x)),)


def hardtanh(x: ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """``y = min(max(x, min_val), max_val)``."""
    return np.asarray(np.minimum(np.maximum(as_float(x), min_val), max_val))


def hardtanh_backward(
    dy: Array, x: Array, min_val: float = -1.0, max_val: float = 1.0
) -> tuple[Array]:
    """``dx = dy`` where ``min_val < x < max_val``, bounds excluded, else 0 (PyTorch)."""
    return (np.where((x > min_val) & (x < max_val), dy, 0.0),)


def isnan(x: ArrayLike) -> Array:
    """Whether an element is NaN."""
    return np.asarray(np.isnan(as_float(x)))


def isfinite(x: ArrayLike) -> Array:
    """Whether an element is neither NaN nor infinite."""
    return np.asarray(np.isfinite(as_float(x)))
