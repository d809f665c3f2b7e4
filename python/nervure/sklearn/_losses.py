# SPDX-License-Identifier: BSD-3-Clause
"""Losses over samples that may have weights: ``sum_i w_i loss_i / sum_i w_i``."""

from __future__ import annotations

from collections.abc import Callable

from nervure import _core
from nervure._core import Tensor

Loss = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


def mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    """Over samples; several outputs of a sample are added."""
    if losses.ndim > 1:
        losses = losses.sum(dim=tuple(range(1, losses.ndim)))
    if weight is None:
        return losses.mean()
    return (losses * weight).sum() / weight.sum()


def classes(scores: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Cross-entropy of scores (N, C) and classes (N,)."""
    if weight is None:
        return _core.cross_entropy(scores, target)
    return mean(_core.cross_entropy(scores, target, reduction="none"), weight)


def labels(scores: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Logistic loss of scores (N, C) and zeros or ones (N, C)."""
    return mean(_core.binary_cross_entropy_with_logits(scores, target, reduction="none"), weight)


def squares(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Half of the squared errors."""
    error = output - target
    return mean(error * error, weight) * 0.5


def poisson(log_rate: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Half of the Poisson deviance of rates ``exp(log_rate)``, but for what the target sets."""
    return mean(log_rate.exp() - target * log_rate, weight)
