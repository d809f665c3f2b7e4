# SPDX-License-Identifier: BSD-3-Clause
"""Rows of Transformers and encoder-decoders. Read ``registry.py`` first."""

from __future__ import annotations

from typing import Any

import numpy as np

import nervure as nv
from nervure import models, nn, optim
from nervure.nn import functional as F

from . import jax_decoding, jax_peers
from .data import classes, floats
from .models import training_step
from .registry import Contest, Peers, rows

CHECKED_STEPS = 3  # losses of so many steps from the same weights are compared


def _numpy(state: Any) -> dict[str, Any]:
    return {k: np.asarray(v) for k, v in state.items()}


@rows(
    "models",
    "layer, forward + backward",
    {"Transformer layer 16x128, d 256": (256, 8, 1024, 16, 128)},
    quick=["Transformer layer 16x128, d 256"],
)
def encoder_layer(
    peers: Peers, d: int, heads: int, hidden: int, batch: int, length: int
) -> Contest:
    """a Transformer encoder layer (8 heads, 1024 hidden features), forward, and all gradients"""
    x, dy = floats(batch, length, d), floats(batch, length, d, seed=1)
    rows_ = batch * length
    flops = 3.0 * (2 * rows_ * (4 * d * d + 2 * d * hidden) + 4 * rows_ * length * d)
    contest = Contest(flops=flops, tolerance=1e-4)
    layer = nn.TransformerEncoderLayer(d, heads, hidden, dropout=0.0)

    def pass_of(net: Any, inputs: Any, gradient: Any) -> Any:
        parameters = list(net.parameters())

        def run() -> Any:
            inputs.grad = None
            for p in parameters:
                p.grad = None
            y = net(inputs)
            y.backward(gradient)
            return y, inputs.grad

        return run

    contest.add("nervure", pass_of(layer, nv.tensor(x, requires_grad=True), nv.tensor(dy)))
    if torch := peers.torch:
        peer = torch.nn.TransformerEncoderLayer(d, heads, hidden, dropout=0.0, batch_first=True)
        state = {k: torch.from_numpy(v.copy()) for k, v in _numpy(layer.state_dict()).items()}
        peer.load_state_dict(state)
        inputs = torch.tensor(x, requires_grad=True)
        contest.add("torch", pass_of(peer, inputs, torch.from_numpy(dy)))
    if peers.jax:
        state = _numpy(layer.state_dict())
        contest.add("jax", jax_peers.encoder_layer_pass(peers.jax, state, heads, x, dy))
    return contest


# ---- Vision Transformer --------------------------------------------------------------------------


def _torch_vit(torch: Any, ours: models.ViT) -> Any:
    """The same network out of PyTorch's own layers, with the same weights."""
    t = torch.nn
    dim = ours.pos_embed.shape[2]

    class Net(t.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.patch = t.Conv2d(3, dim, 4, 4)
            self.token = t.Parameter(torch.zeros(1, 1, dim))
            self.positions = t.Parameter(torch.zeros(tuple(ours.pos_embed.shape)))
            layer = t.TransformerEncoderLayer(dim, 4, 4 * dim, 0.0, "gelu", 1e-6, True, True)
            norm = t.LayerNorm(dim, eps=1e-6)
            self.encoder = t.TransformerEncoder(layer, len(ours.blocks), norm, False)
            self.head = t.Linear(dim, 10)

        def forward(self, x: Any) -> Any:
            z = self.patch(x).flatten(2).transpose(1, 2)
            z = torch.cat([self.token.expand(len(z), 1, dim), z], 1) + self.positions
            return self.head(self.encoder(z)[:, 0])

    names = {
        "patch_embed.proj.": "patch.",
        "cls_token": "token",
        "pos_embed": "positions",
        "blocks.": "encoder.layers.",
        "attn.qkv.": "self_attn.in_proj_",
        "attn.proj.": "self_attn.out_proj.",
        "mlp.fc": "linear",
        "norm.": "encoder.norm.",
    }
    state = {}
    for key, value in _numpy(ours.state_dict()).items():
        name = key
        for old, new in names.items():
            if old != "norm." or key.startswith(old):
                name = name.replace(old, new)
        state[name] = torch.from_numpy(value.copy())
    net = Net()
    net.load_state_dict(state)
    return net


@rows(
    "models",
    "training step",
    {"ViT tiny 32x32, batch 32, Adam": 32},
    quick=["ViT tiny 32x32, batch 32, Adam"],
)
def vision_transformer(peers: Peers, batch: int) -> Contest:
    """a Vision Transformer (patches of 4, 128 features, depth 4); torch: eager, fused Adam"""
    x, y = floats(batch, 3, 32, 32), classes(10, batch)
    net = models.ViT(32, 4, 3, 10, dim=128, depth=4, heads=4)
    peer = _torch_vit(peers.torch, net) if peers.torch else None
    contest = Contest(
        flops=3.0 * 2 * batch * 65 * 4 * (12 * 128 * 128 + 2 * 65 * 128), tolerance=1e-3
    )
    if peers.jax:
        state = _numpy(net.state_dict())
        compiled = jax_peers.vision_transformer_steps(peers.jax, state, 4, x, y)
        contest.add("jax", compiled, lambda: [compiled() for _ in range(CHECKED_STEPS)])
    adam = optim.Adam(net.parameters(), lr=1e-3)
    ours = training_step(net, adam, F.cross_entropy, nv.tensor(x), nv.tensor(y))
    contest.add("nervure", ours, lambda: [ours() for _ in range(CHECKED_STEPS)])
    if torch := peers.torch:
        fused = torch.optim.Adam(peer.parameters(), lr=1e-3, fused=True)
        loss = torch.nn.functional.cross_entropy
        theirs = training_step(peer, fused, loss, torch.from_numpy(x), torch.from_numpy(y))
        contest.add("torch", theirs, lambda: [theirs() for _ in range(CHECKED_STEPS)])
    return contest


# ---- encoder-decoder -----------------------------------------------------------------------------


def _torch_seq2seq(torch: Any, ours: models.Seq2Seq) -> Any:
    """The same encoder-decoder with additive attention, step by step, with the same weights."""
    t = torch.nn

    class Attention(t.Module):  # type: ignore[misc, name-defined]
        def __init__(self, h: int) -> None:
            super().__init__()
            self.query_proj = t.Linear(h, h, bias=False)
            self.key_proj = t.Linear(2 * h, h)
            self.score = t.Linear(h, 1, bias=False)

    class Net(t.Module):  # type: ignore[misc, name-defined]
        def __init__(self, vocabulary: int, h: int) -> None:
            super().__init__()
            self.source_embedding = t.Embedding(vocabulary, h)
            self.target_embedding = t.Embedding(vocabulary, h)
            self.encoder = t.GRU(h, h, bidirectional=True, batch_first=True)
            self.bridge = t.Linear(2 * h, h)
            self.decoder = t.GRU(3 * h, h, batch_first=True)
            self.attention = Attention(h)
            self.join = t.Linear(3 * h, h)
            self.output = t.Linear(h, vocabulary)

        def forward(self, source: Any, target: Any) -> Any:
            memory, state = self.encoder(self.source_embedding(source))
            state = torch.tanh(self.bridge(torch.cat([state[0], state[1]], -1)))[None]
            first = torch.full((len(target), 1), 1)
            inputs = self.target_embedding(torch.cat([first, target[:, :-1]], 1))
            keys, joined = self.attention.key_proj(memory), []
            for i in range(target.shape[1]):
                query = self.attention.query_proj(state[0])[:, None]
                weights = torch.softmax(self.attention.score(torch.tanh(query + keys)), 1)
                context = (weights * memory).sum(1, keepdim=True)
                step = torch.cat([inputs[:, i : i + 1], context], -1)
                output, state = self.decoder(step, state)
                joined.append(torch.tanh(self.join(torch.cat([output, context], -1))))
            return self.output(torch.cat(joined, 1))

    net = Net(ours.output.weight.shape[0], ours.output.weight.shape[1])
    state = {k: torch.from_numpy(v.copy()) for k, v in _numpy(ours.state_dict()).items()}
    net.load_state_dict(state)
    return net


@rows(
    "models",
    "training step",
    {"GRU seq2seq with attention, Adam": 32},
    quick=["GRU seq2seq with attention, Adam"],
)
def encoder_decoder(peers: Peers, batch: int) -> Contest:
    """encoder-decoder, hidden 128, additive attention, 20 to 12 tokens; torch: eager, fused Adam"""
    source, target = (classes(90, batch * n, seed=n).reshape(batch, n) + 3 for n in (20, 12))
    net = models.Seq2Seq(100, 100, embed_dim=128, hidden_size=128, attention="additive")
    peer = _torch_seq2seq(peers.torch, net) if peers.torch else None
    contest = Contest(flops=3.0 * 2 * batch * 128 * 128 * (20 * 14 + 12 * 20), tolerance=1e-3)
    if peers.jax:
        state = _numpy(net.state_dict())
        compiled = jax_decoding.encoder_decoder_steps(peers.jax, state, source, target, net.bos)
        contest.add("jax", compiled, lambda: [compiled() for _ in range(CHECKED_STEPS)])
    adam = optim.Adam(net.parameters(), lr=1e-3)
    x, y = nv.tensor(source), nv.tensor(target)

    def ours() -> Any:
        adam.zero_grad()
        loss = net.loss(x, y)
        loss.backward()
        adam.step()
        return loss

    contest.add("nervure", ours, lambda: [ours() for _ in range(CHECKED_STEPS)])
    if torch := peers.torch:
        fused = torch.optim.Adam(peer.parameters(), lr=1e-3, fused=True)
        tx, ty = torch.from_numpy(source), torch.from_numpy(target)

        def theirs() -> Any:
            fused.zero_grad()
            logits = peer(tx, ty)
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 100), ty.reshape(-1))
            loss.backward()
            fused.step()
            return loss

        contest.add("torch", theirs, lambda: [theirs() for _ in range(CHECKED_STEPS)])
    return contest
