# SPDX-License-Identifier: BSD-3-Clause
"""Rows of decoding one sequence token by token. Read ``registry.py`` first.

PyTorch runs eagerly, in inference mode; JAX calls a compiled step for each token. Beside the loop
that JAX compiles whole stand rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import nervure as nv
from nervure import models

from . import jax_decoding
from .data import classes
from .registry import Contest, Peers, rows
from .transformers import _numpy, _torch_seq2seq

NEVER = -1e9  # score of the end: all contestants write as many tokens


# ---- recurrent encoder-decoder -------------------------------------------------------------------


def _torch_greedy(torch: Any, net: Any, source: Any, count: int) -> Callable[[], Any]:
    def write() -> Any:
        with torch.inference_mode():
            memory, state = net.encoder(net.source_embedding(source))
            state = torch.tanh(net.bridge(torch.cat([state[0], state[1]], -1)))[None]
            keys, tokens = net.attention.key_proj(memory), []
            token = torch.ones(len(source), dtype=torch.int64)
            for _ in range(count):
                query = net.attention.query_proj(state[0])[:, None]
                weights = torch.softmax(net.attention.score(torch.tanh(query + keys)), 1)
                context = (weights * memory).sum(1, keepdim=True)
                x = torch.cat([net.target_embedding(token)[:, None], context], -1)
                output, state = net.decoder(x, state)
                joined = torch.tanh(net.join(torch.cat([output, context], -1)))
                token = net.output(joined)[:, 0].argmax(-1)
                tokens.append(token)
                if (token == 2).all():
                    break
            return torch.stack(tokens, 1)

    return write


@rows(
    "models",
    "decoding",
    {
        "greedy GRU seq2seq, batch 1, per token": (40, False),
        "greedy GRU seq2seq, batch 1, compiled loop": (40, True),
    },
    quick=["greedy GRU seq2seq, batch 1, per token"],
)
def sequence(peers: Peers, count: int, whole: bool) -> Contest:
    """40 tokens from 20 with additive attention, hidden 128, the most probable one at each step;
    the encoder is part of it (compiled loop: JAX alone, which compiles all steps as one program)"""
    source = classes(90, 20).reshape(1, 20) + 3
    nv.manual_seed(0)
    net = models.Seq2Seq(100, 100, embed_dim=128, hidden_size=128, attention="additive").eval()
    net.output.bias.numpy()[net.eos] = NEVER
    contest = Contest(flops=2.0 * 128 * 128 * (20 * 14 + 20 * count), per=count)
    x = nv.tensor(source)
    contest.add("nervure", lambda: net.generate(x, max_length=count).tokens)
    if (torch := peers.torch) and not whole:
        peer = _torch_seq2seq(torch, net).eval()
        contest.add("torch", _torch_greedy(torch, peer, torch.from_numpy(source), count))
    if peers.jax:
        state = _numpy(net.state_dict())
        contest.add("jax", jax_decoding.greedy(peers.jax, state, source, count, net.bos, whole))
    return contest


# ---- decoder-only Transformer --------------------------------------------------------------------


def _torch_gpt(torch: Any, state: dict[str, Any], heads: int, count: int) -> Callable[[], Any]:
    """Out of PyTorch's functions, with keys and values kept."""
    f = torch.nn.functional
    p = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
    width = p["embedding.weight"].shape[1]
    layers = [f"blocks.layers.{i}." for i in range(sum(n.endswith("norm1.weight") for n in p))]

    def norm(name: str, x: Any) -> Any:
        return f.layer_norm(x, (width,), p[f"{name}.weight"], p[f"{name}.bias"])

    def linear(name: str, x: Any) -> Any:
        return f.linear(x, p[f"{name}weight"], p[f"{name}bias"])

    def write() -> Any:
        with torch.inference_mode():
            shape = (len(layers), 1, heads, count, width // heads)
            all_keys, all_values = torch.zeros(shape), torch.zeros(shape)
            token, tokens = torch.ones(1, 1, dtype=torch.int64), []
            for t in range(count):
                x = f.embedding(token, p["embedding.weight"]) + p["positions.weight"][t]
                for own, keys, values in zip(layers, all_keys, all_values, strict=True):
                    packed = linear(f"{own}self_attn.in_proj_", norm(f"{own}norm1", x))
                    q, k, v = packed.view(1, 3, heads, 1, -1).unbind(1)
                    keys[:, :, t], values[:, :, t] = k[:, :, 0], v[:, :, 0]
                    y = f.scaled_dot_product_attention(
                        q, keys[:, :, : t + 1], values[:, :, : t + 1]
                    )
                    x = x + linear(f"{own}self_attn.out_proj.", y.reshape(1, 1, width))
                    hidden = f.gelu(linear(f"{own}linear1.", norm(f"{own}norm2", x)))
                    x = x + linear(f"{own}linear2.", hidden)
                logits = f.linear(norm("blocks.norm", x), p["embedding.weight"])
                token = logits[:, -1].argmax(-1, keepdim=True)
                tokens.append(token)
            return torch.cat(tokens, 1)

    return write


@rows(
    "models",
    "decoding",
    {
        "greedy GPT, batch 1, per token": (100, False),
        "greedy GPT, batch 1, compiled loop": (100, True),
    },
    quick=["greedy GPT, batch 1, per token"],
)
def gpt(peers: Peers, count: int, whole: bool) -> Contest:
    """100 tokens of a decoder-only Transformer (128 features, 4 layers, 4 heads), keys and values
    of the positions before kept (compiled loop: JAX alone, all steps as one program)"""
    nv.manual_seed(0)
    net = models.GPT(100, count + 1)
    contest = Contest(flops=2.0 * count * 4 * (12 * 128 * 128 + count * 128), per=count)
    prompt = nv.tensor(np.ones((1, 1), np.int64))

    def ours() -> Any:
        return net.generate(prompt, count, temperature=None)[:, 1:]

    contest.add("nervure", ours)
    state = _numpy(net.state_dict())
    if peers.torch and not whole:
        contest.add("torch", _torch_gpt(peers.torch, state, 4, count))
    if peers.jax:
        contest.add("jax", jax_decoding.gpt(peers.jax, state, 4, count, whole))
    return contest
