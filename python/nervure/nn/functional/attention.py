# SPDX-License-Identifier: BSD-3-Clause
"""Attention."""

from __future__ import annotations

import math

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import is_grad_enabled
from nervure.nn._lengths import Lengths, checked_lengths, lengths_tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    lengths: Lengths = None,
) -> Tensor:
    r"""``softmax(scale * query @ key^T + attn_mask) @ value`` without storing the weights.

    Parameters
    ----------
    query : Tensor, (..., T, D)
    key : Tensor, (..., S, D)
    value : Tensor, (..., S, Dv)
        The leading dimensions are the same for all three: ``(B, heads)``, or ``(B,)``, or any other
        number, the last one being the heads.
    attn_mask : Tensor, broadcastable to (..., T, S), optional
        Boolean: True where a query may look at a key. float32: added to the scores.
    dropout_p : float, default 0.0
        Probability of dropping a weight; the others grow by ``1 / (1 - dropout_p)``. It is always
        applied: pass 0.0 in evaluation.
    is_causal : bool, default False
        Query ``i`` looks at keys ``0 .. i`` only.
    scale : float, optional
        ``1 / sqrt(D)`` by default.
    lengths : Tensor, array or sequence of int, (B,), optional
        How many of the keys of each row of the batch count. The others are never read.

    Returns
    -------
    Tensor, (..., T, Dv)
        In the memory order of ``query``. A query that may look at no key gives zeros.

    Raises
    ------
    ValueError
        For shapes that do not fit, a probability outside [0, 1), lengths outside [0, S].
    TypeError
        For a mask that is neither boolean nor float32, lengths that are not int64.

    Notes
    -----
    Memory grows with T and S, not with their product: the scores of one block of queries and keys
    exist at a time, and the backward computes them again [1]_. The one exception is a mask that
    requires a gradient: then the weights are stored.

    References
    ----------
    .. [1] Dao et al., "FlashAttention", 2022, https://arxiv.org/abs/2205.14135
    """
    attn_mask = attn_mask if attn_mask is None else _tensor(attn_mask)
    if attn_mask is not None and attn_mask.requires_grad and is_grad_enabled():
        weights = attention_weights(query, key, attn_mask, is_causal, scale, lengths=lengths)
        return _core.matmul(_core.dropout(weights, dropout_p) if dropout_p else weights, value)
    if attn_mask is not None and attn_mask.requires_grad:
        attn_mask = attn_mask.detach()
    ends = lengths_tensor("scaled_dot_product_attention", lengths)
    return _core.scaled_dot_product_attention(
        query, key, value, attn_mask, ends, dropout_p, is_causal, scale
    )


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    lengths: Lengths = None,
) -> Tensor:
    """``softmax(scale * query @ key^T + attn_mask)``, (..., T, S): the weights themselves.

    Parameters as for :func:`scaled_dot_product_attention`. A query that may look at no key has
    weights of zero.
    """
    query, key = _tensor(query), _tensor(key)
    queries, keys = query.shape[-2], key.shape[-2]
    batch = query.shape[0] if len(query.shape) > 2 else 1
    ends = checked_lengths("attention_weights", lengths, batch, keys)
    if scale is None:
        scale = 1.0 / math.sqrt(max(query.shape[-1], 1))
    scores = _core.matmul(query * scale, key.transpose(-1, -2))
    if attn_mask is not None:
        attn_mask = _tensor(attn_mask)
        if attn_mask.dtype == _core.dtype.bool:
            hidden = _core.logical_not(attn_mask)
            scores = _core.masked_fill(scores, hidden, -math.inf)
        else:
            scores = scores + attn_mask
    if is_causal or ends is not None:
        hidden = _hidden_keys(scores, queries, keys, is_causal, ends)
        scores = _core.masked_fill(scores, hidden, -math.inf)
    if keys == 0:
        return scores
    # A row of minus infinities would be 0 / 0: it becomes a row of equal numbers, then of zeros.
    nothing_visible = _core.amax(scores.detach(), -1, True) == -math.inf
    weights = _core.softmax(_core.clip(scores, _LOWEST, None), -1)
    return _core.masked_fill(weights, nothing_visible, 0.0)


_LOWEST = -3e38


def _tensor(x: Tensor) -> Tensor:
    """Arrays are taken too, as by all functions."""
    return x if isinstance(x, Tensor) else _core.tensor(x)


def _hidden_keys(
    scores: Tensor, queries: int, keys: int, is_causal: bool, lengths: Tensor | None
) -> Tensor:
    """Which (query, key) lie behind the query, or behind the end of their row of the batch."""
    column = _core.arange(0, keys, 1, _core.dtype.int64)
    later = None
    if is_causal:
        later = _core.gt(column, _core.arange(0, queries, 1, _core.dtype.int64).unsqueeze(1))
    if lengths is None:
        assert later is not None
        return later
    ends = lengths.reshape(-1, *[1] * (len(scores.shape) - 1))
    behind = _core.ge(column, ends)
    return behind if later is None else _core.logical_or(later, behind)
