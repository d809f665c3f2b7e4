# SPDX-License-Identifier: BSD-3-Clause
"""Activations."""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor


def relu(x: Tensor) -> Tensor:
    """``max(x, 0)``; the gradient at 0 is 0."""
    return _core.relu(x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``x`` for ``x > 0``, ``negative_slope * x`` otherwise."""
    return _core.leaky_relu(x, negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` for ``x > 0``, ``alpha * (exp(x) - 1)`` otherwise."""
    return _core.elu(x, alpha)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """``x * Phi(x)`` with the normal distribution function, or its approximation by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is neither ``"none"`` nor ``"tanh"``.
    """
    return _core.gelu(x, approximate)


def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``."""
    return _core.silu(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return _core.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return _core.sigmoid(x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x > threshold``."""
    return _core.softplus(x, beta, threshold)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``min(max(x, min_val), max_val)``."""
    return _core.hardtanh(x, min_val, max_val)


def softmax(x: Tensor, dim: int) -> Tensor:
    """``exp(x_i) / sum_j exp(x_j)`` along ``dim``, computed without overflow."""
    return _core.softmax(x, dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """``x_i - log(sum_j exp(x_j))`` along ``dim``, computed without overflow."""
    return _core.log_softmax(x, dim)
