# SPDX-License-Identifier: BSD-3-Clause
"""The fully connected layer, dropout, and small helpers."""

from __future__ import annotations

import math

from nervure import _core
from nervure._core import Tensor


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


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero whole channels with probability ``p``, divide the others by ``1 - p``.

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (N, C, L)
        Input; the result keeps its memory order.
    p : float, default 0.5
        Probability of a zero, in [0, 1].
    training : bool, default True
        Whether to drop anything; else ``x`` itself is the result.

    Raises
    ------
    ValueError
        If ``p`` is outside [0, 1], or ``x`` has other dimensions.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"[dropout2d] p must be a probability in [0, 1], got {p}")
    return _core.dropout2d(x, p) if training and p > 0.0 else x


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
    x = x if isinstance(x, Tensor) else _core.tensor(x)
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
