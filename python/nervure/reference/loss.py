# SPDX-License-Identifier: BSD-3-Clause
"""Losses. ``reduction`` is "mean", "sum" or "none"; formulas are per element, before the reduction.

The gradient of an upstream ``dy`` is 0-d for "mean" and "sum", and has the shape of the losses
for "none".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float, sigmoid_of, sum_to
from .softmax import log_softmax


def _reduce(losses: Array, reduction: str, divisor: float | None = None) -> Array:
    if reduction == "none":
        return np.asarray(losses)
    total = np.asarray(losses.sum())
    if reduction == "sum":
        return total
    count = {"mean": losses.size, "batchmean": losses.shape[0] if losses.ndim else 1}[reduction]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(total, count if divisor is None else divisor))


def _spread(dy: ArrayLike, losses: Array, reduction: str, divisor: float | None = None) -> Array:
    """The gradient of every element's loss."""
    dy = np.asarray(dy)
    if reduction == "none" or reduction == "sum":
        return np.broadcast_to(dy, losses.shape)
    count = {"mean": losses.size, "batchmean": losses.shape[0] if losses.ndim else 1}[reduction]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.broadcast_to(dy / (count if divisor is None else divisor), losses.shape)


# ---- classes -------------------------------------------------------------------------------------


def _class_axis(log_p: Array) -> int:
    """Dimension of the classes: 1 of (N, C, ...), 0 of (C,)."""
    return 1 if log_p.ndim > 1 else 0


def _per_class(values: Array, log_p: Array) -> Array:
    """(C,) in a shape that broadcasts against (N, C, ...)."""
    return values.reshape((-1,) + (1,) * (log_p.ndim - 1 - _class_axis(log_p)))


def _weights(weight: Array | None, log_p: Array) -> Array:
    ones = np.ones(log_p.shape[_class_axis(log_p)], log_p.dtype)
    return _per_class(ones if weight is None else weight, log_p)


def _one_hot(target: Array, log_p: Array, ignore_index: int) -> Array:
    """(N, C, ...) with 1 at the target, all 0 where the target is ignored."""
    axis = _class_axis(log_p)
    target = np.expand_dims(target, axis)
    hits = target == _per_class(np.arange(log_p.shape[axis]), log_p)
    return np.asarray(hits & (target != ignore_index), log_p.dtype)


def nll_loss(
    log_probabilities: ArrayLike,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """``-w[t] log p[t]`` for log p (N, C, ...) or (C,), and classes t (N, ...) or ().

    "mean" divides by the sum of ``w[t]``.
    """
    log_p = as_float(log_probabilities)
    weighted = _one_hot(target, log_p, ignore_index) * _weights(weight, log_p)
    losses = -np.where(weighted != 0, weighted * log_p, 0.0).sum(axis=_class_axis(log_p))
    return _reduce(losses, reduction, float(weighted.sum()))


def nll_loss_backward(
    dy: ArrayLike,
    log_probabilities: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, None, None]:
    """``-dy w[t]`` at the target, else 0."""
    weighted = _one_hot(target, log_probabilities, ignore_index)
    weighted = weighted * _weights(weight, log_probabilities)
    axis = _class_axis(log_probabilities)
    spread = _spread(dy, weighted.sum(axis=axis), reduction, float(weighted.sum()))
    return np.asarray(-weighted * np.expand_dims(spread, axis)), None, None


def _class_targets(
    log_p: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Array, float]:
    """Weighted target distributions (N, C, ...) and what "mean" divides by."""
    w, smooth = _weights(weight, log_p), label_smoothing
    axis = _class_axis(log_p)
    n_classes = log_p.shape[axis]
    if target.dtype.kind == "f":
        q = target * (1.0 - smooth) + smooth / n_classes
        return np.asarray(q * w), float(target.size // max(n_classes, 1))
    hot = _one_hot(target, log_p, ignore_index)
    kept = hot.sum(axis=axis, keepdims=True)
    return np.asarray((hot * (1.0 - smooth) + kept * smooth / n_classes) * w), float(
        (hot * w).sum()
    )


def cross_entropy(
    input: ArrayLike,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Array:
    """``-sum_c w_c q_c log softmax(x)_c`` for logits x (N, C, ...) or (C,).

    ``q`` is 1 at the class that ``target`` (N, ...) names, or ``target`` itself when it holds
    probabilities (N, C, ...); label smoothing s makes it ``(1 - s) q + s / C``. "mean" divides
    by the sum of the targets' weights, with probabilities by their number (PyTorch).
    """
    x = as_float(input)
    axis = _class_axis(x)
    log_p = log_softmax(x, axis)
    q, divisor = _class_targets(log_p, target, weight, ignore_index, label_smoothing)
    losses = -np.where(q != 0, q * log_p, 0.0).sum(axis=axis)
    return _reduce(losses, reduction, divisor)


def cross_entropy_backward(
    dy: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Array | None, None]:
    """``dx_c = dy (softmax(x)_c sum_k w_k q_k - w_c q_c)``.

    For probabilities also ``dq_c = -dy (1 - s) w_c log softmax(x)_c``.
    """
    axis = _class_axis(input)
    log_p = log_softmax(input, axis)
    q, divisor = _class_targets(log_p, target, weight, ignore_index, label_smoothing)
    spread = np.expand_dims(_spread(dy, log_p.sum(axis=axis), reduction, divisor), axis)
    dx = spread * (np.exp(log_p) * q.sum(axis=axis, keepdims=True) - q)
    dq = None
    if target.dtype.kind == "f":
        dq = -spread * (1.0 - label_smoothing) * _weights(weight, log_p) * log_p
    return np.asarray(dx), dq, None


# ---- probabilities of two classes ----------------------------------------------------------------


def binary_cross_entropy(
    probabilities: ArrayLike, target: Array, weight: Array | None = None, reduction: str = "mean"
) -> Array:
    """``-w (t log p + (1 - t) log(1 - p))``, logarithms not below -100 (PyTorch)."""
    p = as_float(probabilities)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.maximum(np.log(p), -100.0), np.maximum(np.log1p(-p), -100.0)
    losses = -(target * log_p + (1.0 - target) * log_q)
    return _reduce(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_backward(
    dy: ArrayLike,
    probabilities: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
) -> tuple[Array, Array, None]:
    """``dp = dy w (p - t) / max(p (1 - p), 1e-12)``, ``dt = dy w (log(1 - p) - log p)``."""
    p = probabilities
    spread = _spread(dy, p, reduction) * (1.0 if weight is None else weight)
    dp = spread * (p - target) / np.maximum(p * (1.0 - p), 1e-12)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.maximum(np.log(p), -100.0), np.maximum(np.log1p(-p), -100.0)
    return np.asarray(dp), np.asarray(spread * (log_q - log_p)), None


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> Array:
    """``w ((1 - t) x + (1 + (v - 1) t) log(1 + exp(-x)))``, v the weight of the positive class."""
    x = as_float(input)
    scale = 1.0 if pos_weight is None else 1.0 + (pos_weight - 1.0) * target
    losses = (1.0 - target) * x + scale * np.logaddexp(0.0, -x)
    return _reduce(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits_backward(
    dy: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> tuple[Array, Array, None, None]:
    """``dx = dy w ((1 - t) - (1 + (v - 1) t) sigmoid(-x))``.

    ``dt = dy w ((v - 1) log(1 + exp(-x)) - x)``.
    """
    x = input
    extra = 0.0 if pos_weight is None else pos_weight - 1.0
    spread = _spread(dy, x, reduction) * (1.0 if weight is None else weight)
    dx = spread * ((1.0 - target) - (1.0 + extra * target) * sigmoid_of(-x))
    dt = spread * (extra * np.logaddexp(0.0, -x) - x)
    return np.asarray(dx), np.asarray(dt), None, None


# ---- differences ---------------------------------------------------------------------------------


def _difference_backward(
    dy: ArrayLike, slope: Array, input: Array, target: Array, reduction: str
) -> tuple[Array, Array]:
    dx = _spread(dy, slope, reduction) * slope
    return sum_to(dx, input.shape), sum_to(-dx, target.shape)


def mse_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Array:
    """``(x - t)^2``."""
    return _reduce(np.square(as_float(input) - as_float(target)), reduction)


def mse_loss_backward(
    dy: ArrayLike, input: Array, target: Array, reduction: str = "mean"
) -> tuple[Array, Array]:
    """``dx = 2 dy (x - t)``, ``dt = -dx``."""
    return _difference_backward(dy, 2.0 * (input - target), input, target, reduction)


def l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Array:
    """``|x - t|``."""
    return _reduce(np.abs(as_float(input) - as_float(target)), reduction)


def l1_loss_backward(
    dy: ArrayLike, input: Array, target: Array, reduction: str = "mean"
) -> tuple[Array, Array]:
    """``dx = dy sign(x - t)``, 0 where equal; ``dt = -dx``."""
    return _difference_backward(dy, np.sign(input - target), input, target, reduction)


def huber_loss(
    input: ArrayLike, target: ArrayLike, delta: float = 1.0, reduction: str = "mean"
) -> Array:
    """``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, with ``d = x - t``.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    d = as_float(input) - as_float(target)
    a = np.abs(d)
    return _reduce(np.where(a <= delta, 0.5 * d * d, delta * (a - 0.5 * delta)), reduction)


def huber_loss_backward(
    dy: ArrayLike, input: Array, target: Array, delta: float = 1.0, reduction: str = "mean"
) -> tuple[Array, Array]:
    """``dx = dy min(max(d, -delta), delta)``, ``dt = -dx``."""
    slope = np.clip(input - target, -delta, delta)
    return _difference_backward(dy, slope, input, target, reduction)


def smooth_l1_loss(
    input: ArrayLike, target: ArrayLike, beta: float = 1.0, reduction: str = "mean"
) -> Array:
    """``d^2 / (2 beta)`` where ``|d| < beta``, else ``|d| - beta / 2``; beta 0 is the L1 loss."""
    if beta == 0:
        return l1_loss(input, target, reduction)
    return np.asarray(huber_loss(input, target, beta, reduction) / beta)


def smooth_l1_loss_backward(
    dy: ArrayLike, input: Array, target: Array, beta: float = 1.0, reduction: str = "mean"
) -> tuple[Array, Array]:
    """``dx = dy min(max(d / beta, -1), 1)``, ``dt = -dx``."""
    if beta == 0:
        return l1_loss_backward(dy, input, target, reduction)
    slope = np.clip((input - target) / beta, -1.0, 1.0)
    return _difference_backward(dy, slope, input, target, reduction)


def kl_div(
    log_probabilities: ArrayLike,
    target: ArrayLike,
    log_target: bool = False,
    reduction: str = "mean",
) -> Array:
    """``t (log t - x)``, 0 where ``t = 0``; with ``log_target`` ``exp(t) (t - x)``.

    "batchmean" divides the sum by N.
    """
    x, t = as_float(log_probabilities), as_float(target)
    if log_target:
        return _reduce(np.exp(t) * (t - x), reduction)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(t == 0, 0.0, t * np.log(t))
    return _reduce(entropy - t * x, reduction)


def kl_div_backward(
    dy: ArrayLike,
    log_probabilities: Array,
    target: Array,
    log_target: bool = False,
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """``dx = -dy t``, ``dt = dy (log t + 1 - x)``.

    With ``log_target`` ``dx = -dy exp(t)``, ``dt = dy exp(t) (t - x + 1)``.
    """
    x, t = log_probabilities, target
    spread = _spread(dy, x - t, reduction)
    if log_target:
        p = np.exp(t)
        return sum_to(-spread * p, x.shape), sum_to(spread * p * (t - x + 1.0), t.shape)
    with np.errstate(divide="ignore"):
        dt = np.where(t == 0, 0.0, np.log(t) + 1.0 - x)
    return sum_to(-spread * t, x.shape), sum_to(spread * dt, t.shape)
