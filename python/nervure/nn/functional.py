# SPDX-License-Identifier: BSD-3-Clause
"""The operations of the layers as plain functions, under PyTorch's names.

All of them record gradients. Elementwise functions keep the shape of their input. ``reduction`` is
``"mean"``, ``"sum"`` or ``"none"`` and anything else raises ValueError.
"""

from __future__ import annotations

import math

from nervure import _core
from nervure._core import Tensor

# ---- activations ---------------------------------------------------------------------------------


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


# ---- layers --------------------------------------------------------------------------------------


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str | None = None
) -> Tensor:
    """``activation(x W^T + b)``.

    Parameters
    ----------
    x : Tensor, (..., in)
        Input.
    weight : Tensor, (out, in)
        Fastest when it lies in memory as [in, out], as the weight of ``nn.Linear`` does.
    bias : Tensor, (out,), optional
        Added to every row.
    activation : str, optional
        Computed together with the product; see :class:`nervure.nn.Linear` for the names.

    Returns
    -------
    Tensor, (..., out)

    Raises
    ------
    ValueError
        For shapes that do not fit or an unknown activation.
    """
    return _core.linear(x, weight, bias, activation or "")


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each element with probability ``p``, divide the others by ``1 - p``.

    ``x`` itself when not training.

    Raises
    ------
    ValueError
        If ``p`` is outside [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"[dropout] p must be a probability in [0, 1], got {p}")
    return _core.dropout(x, p) if training and p > 0.0 else x


def one_hot(x: Tensor, num_classes: int = -1) -> Tensor:
    """Indicator vectors: ``y[..., c] = 1`` where ``x[...] = c``, else 0.

    Parameters
    ----------
    x : Tensor, int64, any shape
        Class indices.
    num_classes : int, default -1
        Size of the new last dimension; -1 takes the greatest index plus one.

    Returns
    -------
    Tensor, int64, x.shape + (num_classes,)

    Raises
    ------
    TypeError
        If ``x`` is not int64.
    ValueError
        If ``num_classes`` must be inferred from an empty tensor.
    IndexError
        If an index is negative or not below ``num_classes``.
    """
    if x.dtype != _core.dtype.int64:
        raise TypeError(f"[one_hot] expected int64 indices, got {x.dtype}")
    if x.numel() == 0:
        if num_classes <= 0:
            raise ValueError("[one_hot] num_classes must be given for an empty tensor")
    else:
        low, high = _extremes(x)
        if num_classes == -1:
            num_classes = high + 1
        if low < 0 or high >= num_classes:
            raise IndexError(
                f"[one_hot] indices must be in [0, {num_classes}), got values from {low} to {high}"
            )
    classes = _core.arange(0, num_classes, 1, _core.dtype.int64)
    return _core.eq(_core.unsqueeze(x, -1), classes).to(_core.dtype.int64)


def _extremes(x: Tensor) -> tuple[int, int]:
    flat = _core.reshape(x, (-1,))
    return int(flat[flat.argmin()].item()), int(flat[flat.argmax()].item())


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(||x||_p, eps)`` with the p-norm along ``dim``.

    Parameters
    ----------
    x : Tensor
        Input.
    p : float, default 2.0
        Exponent of the norm, positive; infinity gives the greatest absolute value.
    dim : int, default 1
        The dimension that gets norm 1.
    eps : float, default 1e-12
        Lower limit of the divisor.

    Raises
    ------
    ValueError
        If ``p`` is not positive.
    """
    if not p > 0.0:
        raise ValueError(f"[normalize] p must be positive, got {p}")
    # The limit is applied under the root, whose slope at 0 is infinite: a row of zeros keeps a
    # finite gradient.
    if p == 2.0:
        norm = _core.sqrt(_core.clip(_core.sum(_core.square(x), dim, True), eps * eps, None))
    elif p == 1.0:
        norm = _core.clip(_core.sum(_core.abs(x), dim, True), eps, None)
    elif math.isinf(p):
        norm = _core.clip(_core.amax(_core.abs(x), dim, True), eps, None)
    else:
        # Scaled by the largest element, which cancels out: its powers neither overflow nor vanish.
        size = _core.abs(x)
        peak = _core.clip(_core.amax(size, dim, True), eps, None).detach()
        powers = _core.sum(_core.pow(size / peak, _scalar(p)), dim, True)
        norm = peak * _core.pow(_core.clip(powers, 1.0, None), _scalar(1.0 / p))
    return x / norm


def _scalar(value: float) -> Tensor:
    return _core.full((), value)


# ---- losses --------------------------------------------------------------------------------------


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
