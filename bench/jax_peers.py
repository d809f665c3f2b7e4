# SPDX-License-Identifier: BSD-3-Clause
"""The JAX contestants: one jitted function each. Weights are given as NumPy arrays.

Matrices are turned to (inputs, outputs) before the clock starts, the order that XLA multiplies in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Params = dict[str, Any]


def ready(jax: Any, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Compile, and call with these arguments; a call ends when its results are there."""
    compiled = jax.jit(function)
    placed = jax.tree.map(jax.numpy.asarray, arguments)
    return lambda: jax.block_until_ready(compiled(*placed))


def turned(state: Mapping[str, Any]) -> Params:
    """The weights, matrices transposed; embeddings, whose rows are looked up, as they are."""
    arrays = {name: np.asarray(value) for name, value in state.items()}
    return {
        name: value.T.copy() if value.ndim == 2 and "embedding" not in name else value.copy()
        for name, value in arrays.items()
    }


def adam_steps(
    jax: Any, loss_of: Callable[..., Any], params: Any, inputs: Sequence[Any], lr: float = 1e-3
) -> Callable[[], Any]:
    """Training steps ``loss_of(params, *inputs)`` with Adam; the memory of the state is reused."""
    jnp = jax.numpy

    def update(params: Any, first: Any, second: Any, count: Any, *inputs: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, *inputs)
        count = count + 1
        first = jax.tree.map(lambda m, g: m + 0.1 * (g - m), first, grads)
        second = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), second, grads)
        size, root = lr / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)

        def moved(p: Any, m: Any, v: Any) -> Any:
            return p - size * m / (jnp.sqrt(v) / root + 1e-8)

        return jax.tree.map(moved, params, first, second), first, second, count, loss

    compiled = jax.jit(update, donate_argnums=(0, 1, 2, 3))
    params = jax.tree.map(jnp.array, params)
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state = (params, *zeros, jnp.zeros((), jnp.float32))
    placed = [jnp.asarray(x) for x in inputs]

    def step() -> Any:
        nonlocal state
        *state, loss = compiled(*state, *placed)
        return loss.block_until_ready()

    return step


def cross_entropy(jax: Any, logits: Any, classes: Any) -> Any:
    """The mean over all rows."""
    own = jax.numpy.take_along_axis(logits, classes[..., None], axis=-1)[..., 0]
    return jax.numpy.mean(jax.nn.logsumexp(logits, axis=-1) - own)


# ---- attention -----------------------------------------------------------------------------------


def attend(jax: Any, q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    """Of (batch, heads, steps, features)."""
    jnp = jax.numpy
    scores = jnp.einsum("bhtd,bhsd->bhts", q, k) * q.shape[-1] ** -0.5
    if causal:
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        scores = jnp.where(seen, scores, -jnp.inf)
    return jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(scores, axis=-1), v)


def attention(jax: Any, arrays: Sequence[Any], causal: bool) -> Callable[[], Any]:
    """The output for q, k, v."""
    return ready(jax, lambda q, k, v: attend(jax, q, k, v, causal), *arrays)


def attention_pass(jax: Any, arrays: Sequence[Any], causal: bool) -> Callable[[], Any]:
    """The output and all gradients for q, k, v, dy."""

    def run(q: Any, k: Any, v: Any, dy: Any) -> Any:
        y, back = jax.vjp(lambda *args: attend(jax, *args, causal), q, k, v)
        return (y, *back(dy))

    return ready(jax, run, *arrays)


def layer_norm(jax: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Over the last axis."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + eps) * weight + bias


def self_attention(jax: Any, x: Any, p: Params, names: tuple[str, str], heads: int) -> Any:
    """Multi-head attention; ``names`` begin those of the projections in and out."""
    inside, outside = names
    batch, steps, width = x.shape
    packed = x @ p[f"{inside}weight"] + p[f"{inside}bias"]
    packed = packed.reshape(batch, steps, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
    y = attend(jax, *packed).transpose(0, 2, 1, 3).reshape(batch, steps, width)
    return y @ p[f"{outside}weight"] + p[f"{outside}bias"]


def encoder_layer_pass(
    jax: Any, state: Mapping[str, Any], heads: int, x: Any, dy: Any
) -> Callable[[], Any]:
    """A post-norm layer with ReLU: the output and the input's gradient; all others as well."""

    def forward(p: Params, x: Any) -> Any:
        names = ("self_attn.in_proj_", "self_attn.out_proj.")
        x = x + self_attention(jax, x, p, names, heads)
        x = layer_norm(jax, x, p["norm1.weight"], p["norm1.bias"], 1e-5)
        hidden = jax.nn.relu(x @ p["linear1.weight"] + p["linear1.bias"])
        x = x + hidden @ p["linear2.weight"] + p["linear2.bias"]
        return layer_norm(jax, x, p["norm2.weight"], p["norm2.bias"], 1e-5)

    def run(p: Params, x: Any, dy: Any) -> Any:
        y, back = jax.vjp(forward, p, x)
        return y, *back(dy)

    call = ready(jax, run, turned(state), x, dy)

    def results() -> Any:
        y, _, dx = call()
        return y, dx

    return results


# ---- Vision Transformer --------------------------------------------------------------------------


def vision_transformer_steps(
    jax: Any, state: Mapping[str, Any], heads: int, x: Any, y: Any
) -> Callable[[], Any]:
    """Training steps with Adam of a network under timm's names."""
    jnp = jax.numpy
    params = turned(state)
    size = params["patch_embed.proj.weight"].shape[-1]
    kernel = params["patch_embed.proj.weight"]
    params["patch_embed.proj.weight"] = kernel.reshape(len(kernel), -1).T.copy()
    depth = 1 + max(int(name.split(".")[1]) for name in params if name.startswith("blocks."))

    def norm(p: Params, name: str, x: Any) -> Any:
        return layer_norm(jax, x, p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    def linear(p: Params, name: str, x: Any) -> Any:
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def loss_of(p: Params, x: Any, y: Any) -> Any:
        batch, channels, height, width = x.shape
        patches = x.reshape(batch, channels, height // size, size, width // size, size)
        patches = patches.transpose(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(batch, -1, channels * size * size)
        z = linear(p, "patch_embed.proj", patches)
        first = jnp.broadcast_to(p["cls_token"], (batch, 1, z.shape[-1]))
        z = jnp.concatenate([first, z], axis=1) + p["pos_embed"]
        for i in range(depth):
            own = f"blocks.{i}."
            names = (f"{own}attn.qkv.", f"{own}attn.proj.")
            z = z + self_attention(jax, norm(p, f"{own}norm1", z), p, names, heads)
            hidden = linear(p, f"{own}mlp.fc1", norm(p, f"{own}norm2", z))
            z = z + linear(p, f"{own}mlp.fc2", jax.nn.gelu(hidden, approximate=False))
        return cross_entropy(jax, linear(p, "head", norm(p, "norm", z)[:, 0]), y)

    return adam_steps(jax, loss_of, params, (x, y))


# ---- recurrent layers ----------------------------------------------------------------------------


def cell(jax: Any, kind: str, z: Any, own: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """The next states from the gates' inputs ``z = x W_ih + b_ih`` and ``own = h W_hh + b_hh``."""
    jnp = jax.numpy
    if kind == "RNN":
        return jnp.tanh(z + own), c
    if kind == "GRU":
        (z_r, z_u, z_n), (o_r, o_u, o_n) = jnp.split(z, 3, axis=-1), jnp.split(own, 3, axis=-1)
        u = jax.nn.sigmoid(z_u + o_u)
        n = jnp.tanh(z_n + jax.nn.sigmoid(z_r + o_r) * o_n)
        return n + u * (h - n), c
    i, f, g, o = jnp.split(z + own, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def recurrent_layer(
    jax: Any, kind: str, x: Any, weights: Sequence[Any], h: Any = None, reverse: bool = False
) -> tuple[Any, Any]:
    """All states (steps, batch, hidden) of a layer over (steps, batch, input), and the last."""
    w_ih, w_hh, b_ih, b_hh = weights
    zeros = jax.numpy.zeros((x.shape[1], w_hh.shape[0]), x.dtype)

    def step(states: Any, z: Any) -> Any:
        h, c = cell(jax, kind, z, states[0] @ w_hh + b_hh, *states)
        return (h, c), h

    first = (zeros if h is None else h, zeros)
    (last, _), y = jax.lax.scan(step, first, x @ w_ih + b_ih, reverse=reverse)
    return y, last


def recurrent_training(
    jax: Any, kind: str, weights: Sequence[Any], x: Any, dy: Any
) -> Callable[[], Any]:
    """Gradients of the input and the weights (gates, inputs) of a layer, by ``lax.scan``."""

    def run(x: Any, dy: Any, *weights: Any) -> Any:
        _, back = jax.vjp(lambda x, *w: recurrent_layer(jax, kind, x, w)[0], x, *weights)
        return back(dy)

    return ready(jax, run, x, dy, *(np.asarray(w).T.copy() for w in weights))


def recurrent_forward(jax: Any, kind: str, weights: Sequence[Any], x: Any) -> Callable[[], Any]:
    """The outputs of a layer, its weights as above."""

    def run(x: Any, *weights: Any) -> Any:
        return recurrent_layer(jax, kind, x, weights)[0]

    return ready(jax, run, x, *(np.asarray(w).T.copy() for w in weights))


def char_training(jax: Any, kind: str, state: Mapping[str, Any], tokens: Any) -> Callable[[], Any]:
    """Training steps of an embedding, a recurrent layer and a dense one over rows of tokens."""
    names = [f"rnn.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def loss_of(p: Params, tokens: Any) -> Any:
        x = p["embedding.weight"][tokens[:, :-1].T]  # step by step
        y, _ = recurrent_layer(jax, kind, x, [p[name] for name in names])
        scores = y @ p["output.weight"] + p["output.bias"]
        return cross_entropy(jax, scores, tokens[:, 1:].T)

    return adam_steps(jax, loss_of, turned(state), [tokens])


def as_torch(gradients: Sequence[Any]) -> tuple[Any, ...]:
    """Gradients of `recurrent_training`, matrices turned back."""
    dx, *others = map(np.asarray, gradients)
    return (dx, *(g.T for g in others))
