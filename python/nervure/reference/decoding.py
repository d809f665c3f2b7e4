# SPDX-License-Identifier: BSD-3-Clause
"""What decoding computes step by step: parts of Transformer layers, attentive recurrent decoders.

Sources: Vaswani et al., "Attention is all you need", 2017; Bahdanau et al., "Neural machine
translation by jointly learning to align and translate", 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float
from .attention import attend_cached, scaled_dot_product_attention
from .lstm import lstm
from .matmul import linear
from .norm import layer_norm
from .recurrent import gru

Weights = Sequence[Array | None]


def _residual(
    x: ArrayLike, norm: Weights, eps: float, norm_first: bool, f: Callable[[Array], Array]
) -> Array:
    """``x + f(norm(x))``, or ``norm(x + f(x))``."""
    x = as_float(x)

    def normalised(z: Array) -> Array:
        return layer_norm(z, x.shape[-1:], norm[0], norm[1], eps)

    return x + f(normalised(x)) if norm_first else normalised(x + f(x))


def self_attention_block(
    x: ArrayLike,
    weights: Sequence[Array],
    eps: float,
    norm_first: bool,
    heads: int,
    keys: Array,
    values: Array,
    length: int,
) -> tuple[Array, Array, Array]:
    """Attention over a store with its norm and residual; with the new store."""
    stores: list[Array] = []

    def attend(z: Array) -> Array:
        packed = linear(z, weights[0], weights[1])
        mixed, *after = attend_cached(packed, keys, values, length, heads)
        stores.extend(after)
        return linear(mixed, weights[2], weights[3])

    y = _residual(x, weights[4:], eps, norm_first, attend)
    return y, stores[0], stores[1]


def cross_attention_block(
    x: ArrayLike,
    weights: Sequence[Array],
    eps: float,
    norm_first: bool,
    heads: int,
    sides: Array,
    lengths: Array | None = None,
) -> Array:
    """Attention to keys and values ``(B, S, 2 E)`` side by side, with its norm and residual."""
    width = sides.shape[2] // 2
    bias = None if weights[1] is None else weights[1][:width]

    def split(z: Array) -> Array:
        return np.moveaxis(z.reshape(*z.shape[:2], heads, width // heads), 2, 1)

    def attend(z: Array) -> Array:
        q = split(linear(z, weights[0][:width], bias))
        k, v = split(sides[..., :width]), split(sides[..., width:])
        mixed = scaled_dot_product_attention(q, k, v, lengths=lengths)
        return linear(np.moveaxis(mixed, 1, 2).reshape(z.shape), weights[2], weights[3])

    return _residual(x, weights[4:], eps, norm_first, attend)


def feed_forward_block(
    x: ArrayLike, weights: Sequence[Array], eps: float, norm_first: bool, activation: str
) -> Array:
    """Two linear layers with their norm and residual."""

    def network(z: Array) -> Array:
        hidden = linear(z, weights[0], weights[1], activation)
        return linear(hidden, weights[2], weights[3])

    return _residual(x, weights[4:], eps, norm_first, network)


def attentive_memory(memory: ArrayLike, weight_ih: Array, join_weight: Array) -> Array:
    """What the context's columns of two weights make of every position, side by side."""
    m = as_float(memory)
    size = m.shape[-1]
    return np.concatenate([m @ w[:, -size:].T for w in (weight_ih, join_weight)], axis=-1)


def attentive_step(
    x: ArrayLike,
    h: Array,
    c: Array | None,
    keys: Array,
    memory: Array,
    lengths: Array | None,
    query_weight: Array,
    score_weight: Array,
    weights: Weights,
    join_weight: Array,
    join_bias: Array | None = None,
) -> list[Array]:
    """One step of a decoder whose context is an input of its first layer and of the join.

    Takes the ``memory`` itself (B, S, M), not :func:`attentive_memory` of it.
    """
    joint = np.tanh((h[-1] @ query_weight.T)[:, None] + keys)
    e = np.exp(joint @ score_weight[0])
    if lengths is not None:
        e = e * (np.arange(keys.shape[1]) < np.asarray(lengths)[:, None])
    total = e.sum(axis=1, keepdims=True)
    attention = e / np.where(total == 0.0, 1.0, total)
    context = np.einsum("bs,bsm->bm", attention, memory)
    y = np.concatenate([as_float(x), context], axis=-1)[:, None]
    states: list[tuple[Array, ...]] = []
    for layer in range(h.shape[0]):
        own = weights[4 * layer : 4 * layer + 4]
        one = slice(layer, layer + 1)
        if c is None:
            y, *after = gru(y, h[one], own)
        else:
            y, *after = lstm(y, h[one], c[one], [*own, None, None])
        states.append(tuple(after))
    joined = np.tanh(linear(np.concatenate([y[:, 0], context], axis=-1), join_weight, join_bias))
    return [joined, attention, *map(np.concatenate, zip(*states, strict=True))]
