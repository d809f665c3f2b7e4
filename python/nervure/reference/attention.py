# SPDX-License-Identifier: BSD-3-Clause
"""Scaled dot-product attention.

Source: Vaswani et al., "Attention is all you need", 2017, equation 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float


def _weights(
    q: Array,
    k: Array,
    attn_mask: Array | None,
    lengths: Array | None,
    is_causal: bool,
    scale: float,
) -> Array:
    """Softmax of the scores; zeros where a query sees no key."""
    scores = scale * (q @ np.swapaxes(k, -1, -2))
    queries, keys = scores.shape[-2:]
    if attn_mask is not None:
        attn_mask = np.asarray(attn_mask)
        bias = np.where(attn_mask, 0.0, -np.inf) if attn_mask.dtype == bool else attn_mask
        scores = scores + bias.astype(scores.dtype)
    if is_causal:
        scores = np.where(np.tril(np.ones((queries, keys), bool)), scores, -np.inf)
    if lengths is not None:
        counts = np.asarray(lengths).reshape(-1, *[1] * (scores.ndim - 1))
        scores = np.where(np.arange(keys) < counts, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(np.isneginf(largest), 0.0, largest))
    total = e.sum(axis=-1, keepdims=True)
    return np.asarray(e / np.where(total == 0.0, 1.0, total))


def _scale(q: Array, scale: float | None) -> float:
    return 1.0 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: Array | None = None,
    lengths: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Array:
    """``y_i = sum_j w_ij v_j`` with ``w_i = softmax_j(scale q_i . k_j + mask_ij)``."""
    q, k, v = as_float(query), as_float(key), as_float(value)
    return np.asarray(_weights(q, k, attn_mask, lengths, is_causal, _scale(q, scale)) @ v)


def scaled_dot_product_attention_backward(
    dy: Array,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    lengths: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Array | None, ...]:
    """``dv = w^T dy``; with ``dw = dy v^T`` and ``ds = scale w (dw - sum_j w dw)``, ``dq = ds k``,
    ``dk = ds^T q``.
    """
    factor = _scale(query, scale)
    w = _weights(query, key, attn_mask, lengths, is_causal, factor)
    dw = dy @ np.swapaxes(value, -1, -2)
    ds = factor * w * (dw - (w * dw).sum(axis=-1, keepdims=True))
    dq, dk = ds @ key, np.swapaxes(ds, -1, -2) @ query
    return dq, dk, np.swapaxes(w, -1, -2) @ dy, None, None


def _split(packed: Array, heads: int) -> list[Array]:
    """(B, T, 3 E) as queries, keys and values of (B, heads, T, E / heads)."""
    batch, length, width = packed.shape
    parts = packed.reshape(batch, length, 3, heads, width // 3 // heads)
    return [np.moveaxis(parts[:, :, i], 1, 2) for i in range(3)]


def _join(x: Array) -> Array:
    batch, heads, length, size = x.shape
    return np.moveaxis(x, 1, 2).reshape(batch, length, heads * size)


def self_attention(
    packed: ArrayLike,
    attn_mask: Array | None = None,
    lengths: Array | None = None,
    heads: int = 1,
    is_causal: bool = False,
) -> Array:
    """Attention of queries, keys and values that lie side by side in ``(B, T, 3 E)``."""
    q, k, v = _split(as_float(packed), heads)
    return _join(scaled_dot_product_attention(q, k, v, attn_mask, lengths, is_causal))


def self_attention_backward(
    dy: Array,
    packed: Array,
    attn_mask: Array | None = None,
    lengths: Array | None = None,
    heads: int = 1,
    is_causal: bool = False,
) -> tuple[Array | None, ...]:
    """The gradients of queries, keys and values, side by side."""
    batch, length, width = dy.shape
    dy = np.moveaxis(dy.reshape(batch, length, heads, width // heads), 1, 2)
    q, k, v = _split(packed, heads)
    gradients = scaled_dot_product_attention_backward(dy, q, k, v, attn_mask, lengths, is_causal)
    parts = [_join(g) for g in gradients[:3] if g is not None]
    return np.concatenate(parts, axis=-1), None, None


def attend_cached(
    packed: ArrayLike, keys: Array, values: Array, length: int, heads: int
) -> tuple[Array, Array, Array]:
    """Attention over ``length`` earlier positions and those of ``packed``; with the new store.

    Keys and values of ``packed`` ``(B, T, 3 E)`` are put behind the first ``length`` positions of
    ``keys`` and ``values`` ``(B, capacity, E)``.
    """
    x = as_float(packed)
    width, all_ = x.shape[2] // 3, length + x.shape[1]
    stores = []
    for i, store in enumerate((keys, values), start=1):
        stores.append(as_float(store).copy())
        stores[-1][:, length:all_] = x[..., i * width : (i + 1) * width]
    parts = [x[..., :width], *(store[:, :all_] for store in stores)]
    split = [np.moveaxis(p.reshape(*p.shape[:2], heads, width // heads), 2, 1) for p in parts]
    return _join(scaled_dot_product_attention(*split)), stores[0], stores[1]
