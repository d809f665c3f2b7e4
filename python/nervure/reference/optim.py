# SPDX-License-Identifier: BSD-3-Clause
"""Optimiser steps on one parameter, as PyTorch computes them. Nothing is changed in place.

Every function returns the new parameter followed by the new state. ``step`` counts from 1. ``l1``
is a proximal penalty: after the step, ``p = sign(p) max(|p| - lr l1, 0)``, which makes weights
exactly zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .arrays import Array


def soft_threshold(p: Array, amount: float) -> Array:
    """``sign(p) max(|p| - amount, 0)``."""
    return np.asarray(np.sign(p) * np.maximum(np.abs(p) - amount, 0.0)) if amount else p


def _gradient(p: Array, g: Array, weight_decay: float, maximize: bool) -> Array:
    g = -g if maximize else g
    return g + weight_decay * p if weight_decay else g


def sgd_step(
    p: Array,
    g: Array,
    buffer: Array,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    first_step: bool = False,
) -> tuple[Array, Array]:
    """``b = momentum b + (1 - dampening) g`` (``b = g`` at first), ``p -= lr b``.

    With Nesterov momentum ``p -= lr (g + momentum b)`` (Sutskever et al., 2013).
    """
    g = _gradient(p, g, weight_decay, maximize)
    if momentum:
        buffer = g if first_step else momentum * buffer + (1.0 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    return soft_threshold(p - lr * g, lr * l1), buffer


def rmsprop_step(
    p: Array,
    g: Array,
    square_average: Array,
    momentum_buffer: Array,
    gradient_average: Array,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    l1: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> tuple[Array, Array, Array, Array]:
    """``v = alpha v + (1 - alpha) g^2``, ``p -= lr g / (sqrt(v) + eps)`` (Hinton, 2012).

    ``centered`` uses ``v - m^2`` with the average gradient m (Graves, arXiv:1308.0850).
    """
    g = _gradient(p, g, weight_decay, maximize)
    square_average = alpha * square_average + (1.0 - alpha) * g * g
    variance = square_average
    if centered:
        gradient_average = alpha * gradient_average + (1.0 - alpha) * g
        variance = square_average - gradient_average**2
    update = g / (np.sqrt(variance) + eps)
    if momentum:
        momentum_buffer = momentum * momentum_buffer + update
        update = momentum_buffer
    p = soft_threshold(p - lr * update, lr * l1)
    return p, square_average, momentum_buffer, gradient_average


def adagrad_step(
    p: Array,
    g: Array,
    square_sum: Array,
    *,
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    l1: float = 0.0,
    maximize: bool = False,
    step: int = 1,
) -> tuple[Array, Array]:
    """``s += g^2``, ``p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)`` (Duchi, 2011)."""
    g = _gradient(p, g, weight_decay, maximize)
    square_sum = square_sum + g * g
    rate = lr / (1.0 + (step - 1) * lr_decay)
    return soft_threshold(p - rate * g / (np.sqrt(square_sum) + eps), lr * l1), square_sum


def adam_step(
    p: Array,
    g: Array,
    first_moment: Array,
    second_moment: Array,
    max_second_moment: Array,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    decoupled_weight_decay: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
    step: int = 1,
) -> tuple[Array, Array, Array, Array]:
    """``m``, ``v`` averages of g and g^2; ``p -= lr m^ / (sqrt(v^) + eps)``.

    ^ means divided by ``1 - beta^step``.

    Source: Kingma and Ba, arXiv:1412.6980; decoupled decay ``p -= lr weight_decay p`` first:
    Loshchilov and Hutter, arXiv:1711.05101; ``amsgrad`` uses the largest v so far: Reddi et al.,
    2018.
    """
    if decoupled_weight_decay:
        p = p - lr * weight_decay * p
        weight_decay = 0.0
    g = _gradient(p, g, weight_decay, maximize)
    first_moment = beta1 * first_moment + (1.0 - beta1) * g
    second_moment = beta2 * second_moment + (1.0 - beta2) * g * g
    used = second_moment
    if amsgrad:
        max_second_moment = np.maximum(max_second_moment, second_moment)
        used = max_second_moment
    denominator = np.sqrt(used) / math.sqrt(1.0 - beta2**step) + eps
    p = p - lr / (1.0 - beta1**step) * first_moment / denominator
    return soft_threshold(p, lr * l1), first_moment, second_moment, max_second_moment


def nadam_step(
    p: Array,
    g: Array,
    first_moment: Array,
    second_moment: Array,
    *,
    lr: float = 2e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    l1: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    step: int = 1,
    mu_product: float = 1.0,
) -> tuple[Array, Array, Array]:
    """Adam with Nesterov momentum (Dozat, 2016).

    ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``, ``P_t = mu_1 ... mu_t``; ``mu_product``
    is ``P_{t-1}``;
    ``p -= lr (mu_{t+1} m / (1 - P_{t+1}) + (1 - mu_t) g / (1 - P_t)) / (sqrt(v / (1 - beta2^t))
    + eps)``.
    """
    if decoupled_weight_decay:
        p = p - lr * weight_decay * p
        weight_decay = 0.0
    g = _gradient(p, g, weight_decay, maximize)
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay))
    mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
    product = mu_product * mu
    first_moment = beta1 * first_moment + (1.0 - beta1) * g
    second_moment = beta2 * second_moment + (1.0 - beta2) * g * g
    denominator = np.sqrt(second_moment / (1.0 - beta2**step)) + eps
    ahead = mu_next / (1.0 - product * mu_next) * first_moment
    p = p - lr * (ahead + (1.0 - mu) / (1.0 - product) * g) / denominator
    return soft_threshold(p, lr * l1), first_moment, second_moment


def clip_grad_norm_(
    gradients: Sequence[Array], max_norm: float, norm_type: float = 2.0
) -> tuple[list[Array], float]:
    """All gradients times ``min(1, max_norm / (norm + 1e-6))``, and their norm before that."""
    flat = np.concatenate([g.ravel() for g in gradients]) if gradients else np.zeros(0)
    norm = float(np.linalg.norm(flat, norm_type)) if flat.size else 0.0
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in gradients], norm


def clip_grad_value_(gradients: Sequence[Array], clip_value: float) -> list[Array]:
    """All gradients clipped to ``[-clip_value, clip_value]``."""
    return [np.clip(g, -clip_value, clip_value) for g in gradients]
