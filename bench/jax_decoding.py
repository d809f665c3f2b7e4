# SPDX-License-Identifier: BSD-3-Clause
"""The JAX contestants of encoder-decoders and of decoding.

Decoding comes in two forms: a compiled step that is called for each token, as PyTorch and Nervure
run, and the loop compiled whole, which no caller can look into or stop early.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .jax_peers import (
    Params,
    adam_steps,
    cell,
    cross_entropy,
    layer_norm,
    ready,
    recurrent_layer,
    turned,
)

# ---- GRU encoder-decoder with additive attention -------------------------------------------------


def layer_of(p: Params, name: str, suffix: str = "") -> list[Any]:
    """The weights of a recurrent layer."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [p[f"{name}.{kind}_l0{suffix}"] for kind in kinds]


def encode(jax: Any, p: Params, source: Any) -> tuple[Any, Any, Any]:
    """Memory (S, B, 2 H), the keys of additive attention, and the decoder's first state."""
    jnp = jax.numpy
    words = p["source_embedding.weight"][source].swapaxes(0, 1)
    there, last = recurrent_layer(jax, "GRU", words, layer_of(p, "encoder"))
    back, first = recurrent_layer(
        jax, "GRU", words, layer_of(p, "encoder", "_reverse"), reverse=True
    )
    memory = jnp.concatenate([there, back], -1)
    ends = jnp.concatenate([last, first], -1)
    keys = memory @ p["attention.key_proj.weight"] + p["attention.key_proj.bias"]
    return memory, keys, jnp.tanh(ends @ p["bridge.weight"] + p["bridge.bias"])


def decode(jax: Any, p: Params, memory: Any, keys: Any, h: Any, x: Any) -> tuple[Any, Any]:
    """One step from a state and an embedded token: the next state, what the output layer sees."""
    jnp = jax.numpy
    w_ih, w_hh, b_ih, b_hh = layer_of(p, "decoder")
    query = h @ p["attention.query_proj.weight"]
    scores = jnp.tanh(query + keys) @ p["attention.score.weight"]
    context = (jax.nn.softmax(scores, axis=0) * memory).sum(0)
    z = jnp.concatenate([x, context], -1) @ w_ih + b_ih
    h, _ = cell(jax, "GRU", z, h @ w_hh + b_hh, h, None)
    both = jnp.concatenate([h, context], -1)
    return h, jnp.tanh(both @ p["join.weight"] + p["join.bias"])


def encoder_decoder_steps(
    jax: Any, state: Mapping[str, Any], source: Any, target: Any, bos: int
) -> Callable[[], Any]:
    """Training steps with Adam of the same network."""
    jnp = jax.numpy

    def loss_of(p: Params, source: Any, target: Any) -> Any:
        memory, keys, h = encode(jax, p, source)
        shifted = jnp.concatenate([jnp.full_like(target[:, :1], bos), target[:, :-1]], 1)
        inputs = p["target_embedding.weight"][shifted].swapaxes(0, 1)

        def step(h: Any, x: Any) -> Any:
            return decode(jax, p, memory, keys, h, x)

        _, joined = jax.lax.scan(step, h, inputs)
        logits = joined.swapaxes(0, 1) @ p["output.weight"] + p["output.bias"]
        return cross_entropy(jax, logits, target)

    return adam_steps(jax, loss_of, turned(state), (source, target))


def greedy(
    jax: Any, state: Mapping[str, Any], source: Any, count: int, bos: int, whole: bool
) -> Callable[[], Any]:
    """The most probable tokens (B, count), one after the other."""
    jnp = jax.numpy

    def step(p: Params, memory: Any, keys: Any, h: Any, token: Any) -> tuple[Any, Any]:
        h, joined = decode(jax, p, memory, keys, h, p["target_embedding.weight"][token])
        return h, (joined @ p["output.weight"] + p["output.bias"]).argmax(-1)

    def write(p: Params, source: Any) -> Any:
        memory, keys, h = encode(jax, p, source)

        def again(carried: Any, _: Any) -> Any:
            h, token = step(p, memory, keys, *carried)
            return (h, token), token

        first = (h, jnp.full(source.shape[:1], bos))
        return jax.lax.scan(again, first, None, length=count)[1].T

    if whole:
        return ready(jax, write, turned(state), source)
    begin, go_on = jax.jit(lambda p, source: encode(jax, p, source)), jax.jit(step)
    params, placed = jax.tree.map(jnp.asarray, (turned(state), source))
    bos_tokens = jnp.full(source.shape[:1], bos)

    def run() -> Any:
        memory, keys, h = begin(params, placed)
        token, tokens = bos_tokens, []
        for _ in range(count):
            h, token = go_on(params, memory, keys, h, token)
            tokens.append(np.asarray(token))  # to see whether it is the end, as all contestants do
        return np.stack(tokens, 1)

    return run


# ---- decoder-only Transformer --------------------------------------------------------------------


def gpt(
    jax: Any, state: Mapping[str, Any], heads: int, count: int, whole: bool
) -> Callable[[], Any]:
    """Tokens (1, count) after token 1; keys and values are kept in arrays of their full length."""
    jnp = jax.numpy
    params = turned(state)
    params["positions.weight"] = params["positions.weight"].T.copy()  # rows are looked up
    width = params["embedding.weight"].shape[1]
    depth = sum(name.endswith("norm1.weight") for name in params)
    step = _gpt_step(jax, [f"blocks.layers.{i}." for i in range(depth)], heads)

    def empty() -> Any:
        return [jnp.zeros((2, count, heads, width // heads)) for _ in range(depth)]

    def write(p: Params) -> Any:
        def again(carried: Any, t: Any) -> Any:
            token, caches = step(p, *carried, t)
            return (token, caches), token

        first = (jnp.ones((), jnp.int32), empty())
        return jax.lax.scan(again, first, jnp.arange(count))[1][None]

    if whole:
        return ready(jax, write, params)
    go_on = jax.jit(step, donate_argnums=2)
    placed = jax.tree.map(jnp.asarray, params)
    positions = [jnp.asarray(t) for t in range(count)]

    def run() -> Any:
        token, caches, tokens = jnp.ones((), jnp.int32), empty(), []
        for t in positions:
            token, caches = go_on(placed, token, caches, t)
            tokens.append(token)  # it has not been computed yet: the next call waits for it
        return np.array(tokens)[None]

    return run


def _gpt_step(jax: Any, owners: list[str], heads: int) -> Callable[..., Any]:
    """From parameters, a token, what is kept of those before it, and its position."""
    jnp = jax.numpy

    def norm(p: Params, name: str, x: Any) -> Any:
        return layer_norm(jax, x, p[f"{name}.weight"], p[f"{name}.bias"], 1e-5)

    def linear(p: Params, name: str, x: Any) -> Any:
        return x @ p[f"{name}weight"] + p[f"{name}bias"]

    def attend(x: Any, kept: Any, t: Any) -> tuple[Any, Any]:
        """One query over what is kept (2, count, heads, d) and itself."""
        q, own = x[0], x[1:, None]
        kept = jax.lax.dynamic_update_slice(kept, own, (0, t, 0, 0))
        scores = jnp.einsum("hd,shd->hs", q, kept[0]) * q.shape[-1] ** -0.5
        scores = jnp.where(jnp.arange(kept.shape[1]) <= t, scores, -jnp.inf)
        return jnp.einsum("hs,shd->hd", jax.nn.softmax(scores, axis=-1), kept[1]), kept

    def step(p: Params, token: Any, caches: Any, t: Any) -> tuple[Any, Any]:
        x, grown = p["embedding.weight"][token] + p["positions.weight"][t], []
        for own, kept in zip(owners, caches, strict=True):
            packed = linear(p, f"{own}self_attn.in_proj_", norm(p, f"{own}norm1", x))
            y, kept = attend(packed.reshape(3, heads, -1), kept, t)
            grown.append(kept)
            x = x + linear(p, f"{own}self_attn.out_proj.", y.reshape(x.shape))
            hidden = linear(p, f"{own}linear1.", norm(p, f"{own}norm2", x))
            x = x + linear(p, f"{own}linear2.", jax.nn.gelu(hidden, approximate=False))
        return (p["embedding.weight"] @ norm(p, "blocks.norm", x)).argmax(), grown

    return step
