# SPDX-License-Identifier: BSD-3-Clause
"""Scaled dot-product attention that never stores its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure._core import kernels as _kernels

from ._arrays import Float, Int, empty

Mask = NDArray[Any]


def _scale(q: Float, scale: float | None) -> float:
    if scale is not None:
        return scale
    return 1.0 / math.sqrt(max(q.shape[-1], 1)) if q.ndim else 1.0


def _mask(op: str, mask: Mask | None, q: Float, k: Float) -> Mask | None:
    """The mask of all scores, by steps of 0 where it is broadcast."""
    if mask is None or q.ndim != 4 or k.ndim != 4:
        return mask
    full = (*q.shape[:3], k.shape[2])
    try:
        return np.broadcast_to(mask, full)
    except ValueError:
        raise ValueError(f"[{op}] mask must broadcast to {full}, got {np.shape(mask)}") from None


def _lengths(op: str, lengths: Int | Sequence[int] | None) -> Int | None:
    """A copy of its own: nobody changes it between check and use."""
    if lengths is None:
        return None
    ends = np.asarray(lengths)
    if ends.size and ends.dtype.kind not in "iu":
        raise TypeError(f"[{op}] lengths must be integers, got {ends.dtype}")
    return np.array(ends, np.int64)


def attention_forward(
    q: Float,
    k: Float,
    v: Float,
    mask: Mask | None = None,
    lengths: Int | Sequence[int] | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    out: Float | None = None,
    log_sum: Float | None = None,
) -> tuple[Float, Float]:
    r"""``y_i = sum_j w_ij v_j`` with ``w_i = softmax_j(scale q_i . k_j + mask_ij)``.

    Parameters
    ----------
    q : array, shape (batch, heads, T, D)
    k : array, shape (batch, heads, S, D)
    v : array, shape (batch, heads, S, Dv)
        The columns of a row lie side by side; batches, heads and rows may lie anywhere, so that
        views of ``(batch, T, 3, heads, D)`` will do.
    mask : array of bool or float32, broadcastable to (batch, heads, T, S), optional
        True lets a query look at a key; floats are added to the scores. Its last size is S.
    lengths : integers, shape (batch,), optional
        How many keys count in each row of the batch; the others are not read.
    is_causal : bool, default False
        Whether query ``i`` looks at keys ``0 .. i`` only.
    scale : float, optional
        ``1 / sqrt(D)`` by default.
    out : array, shape (batch, heads, T, Dv), optional
    log_sum : array, shape (batch, heads, T), optional

    Returns
    -------
    out, log_sum : arrays
        A query that sees no key gives zeros. ``log_sum`` is for `attention_backward`.

    Raises
    ------
    TypeError
        For another dtype.
    ValueError
        For shapes that do not agree, a memory order other than stated, lengths outside [0, S], or
        results that share memory with what is read.

    References
    ----------
    Dao et al., "FlashAttention", 2022, https://arxiv.org/abs/2205.14135
    """
    op = "attention_forward"
    if out is None:
        out = np.empty((*q.shape[:3], *v.shape[3:]), np.float32)
    log_sum = empty(q.shape[:3], log_sum)
    visible, ends = _mask(op, mask, q, k), _lengths(op, lengths)
    _kernels.attention_forward(
        q, k, v, visible, ends, bool(is_causal), _scale(q, scale), out, log_sum
    )
    return out, log_sum


def attention_backward(
    dy: Float,
    q: Float,
    k: Float,
    v: Float,
    y: Float,
    log_sum: Float,
    mask: Mask | None = None,
    lengths: Int | Sequence[int] | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    out: tuple[Float, Float, Float] | None = None,
) -> tuple[Float, Float, Float]:
    """Gradients of `attention_forward` to q, k and v; the weights are computed again.

    Parameters
    ----------
    dy : array, shape (batch, heads, T, Dv)
        In the memory order of any of the operands.
    q, k, v, mask, lengths, is_causal, scale
        As in the forward pass.
    y, log_sum : arrays
        What the forward pass gave.
    out : three arrays, shapes of q, k and v, optional
        C-contiguous.

    Returns
    -------
    dq, dk, dv : arrays, shapes of q, k and v

    Raises
    ------
    TypeError, ValueError
        As `attention_forward`.
    """
    op = "attention_backward"
    if out is None:
        out = (empty(q.shape, None), empty(k.shape, None), empty(v.shape, None))
    dq, dk, dv = out
    visible, ends = _mask(op, mask, q, k), _lengths(op, lengths)
    _kernels.attention_backward(
        *(dy, q, k, v, y, log_sum),
        *(visible, ends, bool(is_causal), _scale(q, scale)),
        *(dq, dk, dv),
    )
    return dq, dk, dv
