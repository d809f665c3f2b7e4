# SPDX-License-Identifier: BSD-3-Clause
"""Rows of attention. Read ``registry.py`` first."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import nervure as nv
from nervure.nn import functional as F

from . import jax_peers
from .data import Floats, floats
from .registry import Contest, Peers, rows

SHAPES = {  # batch, heads, T, D
    "8x4x64x32": (8, 4, 64, 32, False),
    "4x8x256x64": (4, 8, 256, 64, False),
    "2x8x1024x64 causal": (2, 8, 1024, 64, True),
}


def _inputs(batch: int, heads: int, length: int, size: int) -> list[Floats]:
    return [floats(batch, heads, length, size, seed=seed) for seed in range(4)]


def _weights(q: Floats, k: Floats, causal: bool) -> Floats:
    scores = q @ k.swapaxes(-1, -2)
    scores *= 1 / math.sqrt(q.shape[-1])
    if causal:
        scores += np.triu(np.full(scores.shape[-2:], -np.inf, np.float32), 1)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _numpy_pass(q: Floats, k: Floats, v: Floats, dy: Floats, causal: bool) -> tuple[Floats, ...]:
    w = _weights(q, k, causal)
    y = w @ v
    dw = dy @ v.swapaxes(-1, -2)
    dw -= (dy * y).sum(axis=-1, keepdims=True)
    dw *= w
    dw *= 1 / math.sqrt(q.shape[-1])
    return y, dw @ k, dw.swapaxes(-1, -2) @ q, w.swapaxes(-1, -2) @ dy


def _pass(attend: Callable[..., Any], inputs: list[Any], dy: Any) -> tuple[Any, ...]:
    for x in inputs:
        x.grad = None
    y = attend(*inputs)
    y.backward(dy)
    return (y, *(x.grad for x in inputs))


@rows("kernels", "attention", {f"sdpa {n}": s for n, s in SHAPES.items()})
def forward(peers: Peers, batch: int, heads: int, length: int, size: int, causal: bool) -> Contest:
    """scaled dot-product attention; batch x heads x length x d"""
    arrays = _inputs(batch, heads, length, size)[:3]
    flops = 4.0 * batch * heads * length * length * size * (0.5 if causal else 1.0)
    contest = Contest(flops=flops)
    attend = partial(F.scaled_dot_product_attention, is_causal=causal)
    contest.add("nervure", partial(attend, *map(nv.tensor, arrays)))
    contest.add("numpy", lambda: _weights(arrays[0], arrays[1], causal) @ arrays[2])
    if torch := peers.torch:
        peer = torch.nn.functional.scaled_dot_product_attention
        contest.add("torch", partial(peer, *map(torch.from_numpy, arrays), is_causal=causal))
    if peers.jax:
        contest.add("jax", jax_peers.attention(peers.jax, arrays, causal))
    return contest


@rows(
    "kernels",
    "attention",
    {f"sdpa + gradients {n}": s for n, s in SHAPES.items()},
    quick=["sdpa + gradients 8x4x64x32"],
)
def both(peers: Peers, batch: int, heads: int, length: int, size: int, causal: bool) -> Contest:
    """scaled dot-product attention, then all gradients; batch x heads x length x d"""
    arrays = _inputs(batch, heads, length, size)
    flops = 14.0 * batch * heads * length * length * size * (0.5 if causal else 1.0)
    contest = Contest(flops=flops, tolerance=2e-5)
    inputs = [nv.tensor(a, requires_grad=True) for a in arrays[:3]]
    attend = partial(F.scaled_dot_product_attention, is_causal=causal)
    contest.add("nervure", partial(_pass, attend, inputs, nv.tensor(arrays[3])))
    q, k, v, dy = arrays
    contest.add("numpy", partial(_numpy_pass, q, k, v, dy, causal))
    if torch := peers.torch:
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays[:3]]
        peer = partial(torch.nn.functional.scaled_dot_product_attention, is_causal=causal)
        contest.add("torch", partial(_pass, peer, theirs, torch.from_numpy(dy)))
    if peers.jax:
        contest.add("jax", jax_peers.attention_pass(peers.jax, arrays, causal))
    return contest
