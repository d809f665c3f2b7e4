# SPDX-License-Identifier: BSD-3-Clause
"""What decoding computes step by step: parts of Transformer layers, attentive recurrent decoders.

Sources: Vaswani et al., "Attention is all you need", 2017; Bahdanau et al., "Neural machine
translation by jointly learning to align and translate", 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    x: Array, norm: Weights, eps: float, norm_first: bool, f: Callable[..., Array], *of_f: Any
) -> Array:
    """``x + f(norm(x))``, or ``norm(x + f(x))``."""

    def normalised(z: Array) -> Array:
        return layer_norm(z, x.shape[-1:], norm[0], norm[1], eps)

    return x + f(normalised(x), *of_f) if norm_first else normalised(x + f(x, *of_f))


def _heads(x: Array, heads: int) -> Array:
    return np.moveaxis(x.reshape(*x.shape[:2], heads, x.shape[2] // heads), 2, 1)


def _attend_to_sides(
    z: Array, weights: Sequence[Any], heads: int, sides: Array, lengths: Array | None
) -> Array:
    width = z.shape[2]
    weight, bias, out, out_bias = weights
    q = linear(z, weight[:width], None if bias is None else bias[:width])
    query, key, value = (_heads(x, heads) for x in (q, sides[..., :width], sides[..., width:]))
    mixed = scaled_dot_product_attention(query, key, value, lengths=lengths)
    return linear(np.moveaxis(mixed, 1, 2).reshape(z.shape), out, out_bias)


def transformer_step(
    x: ArrayLike,
    weights: Sequence[Any],
    eps: float,
    norm_first: bool,
    heads: int,
    activation: str,
    keys: Sequence[Array],
    values: Sequence[Array],
    length: int,
    sides: Sequence[Array] = (),
    lengths: Array | None = None,
) -> list[Array]:
    """New positions through layers of two or three parts; with the new keys and the new values."""
    y = as_float(x)
    after: list[tuple[Array, Array]] = []
    rest = list(weights)

    def attend(z: Array, own: Sequence[Any], layer: int) -> Array:
        packed = linear(z, own[0], own[1])
        mixed, *stores = attend_cached(packed, keys[layer], values[layer], length, heads)
        after.append((stores[0], stores[1]))
        return linear(mixed, own[2], own[3])

    def look(z: Array, own: Sequence[Any], layer: int) -> Array:
        return _attend_to_sides(z, own, heads, sides[layer], lengths)

    def network(z: Array, own: Sequence[Any], layer: int) -> Array:
        return linear(linear(z, own[0], own[1], activation), own[2], own[3])

    for layer in range(len(keys)):
        for f in (attend, look, network) if len(sides) else (attend, network):
            own, norm, rest = rest[:4], rest[4:6], rest[6:]
            y = _residual(y, norm, eps, norm_first, f, own, layer)
    if rest:
        y = layer_norm(y, y.shape[-1:], rest[0], rest[1], eps)
    return [y, *(key for key, _ in after), *(value for _, value in after)]


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
