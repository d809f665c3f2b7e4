# SPDX-License-Identifier: BSD-3-Clause
"""Losses."""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax and negative log likelihood in one pass; see :class:`nervure.nn.CrossEntropyLoss`.

    Parameters
    ----------
    input : Tensor, (N, C, ...)
        Logits.
    target : Tensor, int64 (N, ...) or float32 (N, C, ...)
        Class indices or probabilities.
    weight : Tensor, (C,), optional
        Weight of each class.
    ignore_index : int, default -100
        Target value that is left out.
    reduction : {"mean", "sum", "none"}, default "mean"
        ``"mean"`` divides by the sum of the targets' weights.
    label_smoothing : float, default 0.0
        Share of the target spread over all classes.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    IndexError
        For a class index outside [0, C).
    """
    return _core.cross_entropy(input, target, weight, ignore_index, label_smoothing, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """``-w_y x_y`` of log-probabilities and classes; see :class:`nervure.nn.NLLLoss`."""
    return _core.nll_loss(input, target, weight, ignore_index, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """``-w (y log x + (1 - y) log(1 - x))`` of probabilities, logarithms cut at -100."""
    return _core.binary_cross_entropy(input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of ``sigmoid(x)``; see :class:`nervure.nn.BCEWithLogitsLoss`."""
    return _core.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """``(x - y)^2`` of two tensors of the same shape."""
    return _core.mse_loss(input, target, reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """``|x - y|`` of two tensors of the same shape."""
    return _core.l1_loss(input, target, reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """``d^2 / 2`` for ``|d| <= delta``, ``delta (|d| - delta / 2)`` otherwise, with ``d = x - y``.

    Raises
    ------
    ValueError
        If ``delta`` is not positive or the shapes differ.
    """
    return _core.huber_loss(input, target, delta, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """``d^2 / (2 beta)`` for ``|d| < beta``, ``|d| - beta / 2`` otherwise, with ``d = x - y``.

    Raises
    ------
    ValueError
        If ``beta`` is negative or the shapes differ.
    """
    return _core.smooth_l1_loss(input, target, beta, reduction)


def kl_div(
    input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """``y (log y - x)`` of log-probabilities ``x`` and probabilities ``y``.

    ``reduction`` may also be ``"batchmean"``: the sum divided by the size of the first dimension.
    """
    return _core.kl_div(input, target, log_target, reduction)
