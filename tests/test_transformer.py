# SPDX-License-Identifier: BSD-3-Clause
"""Transformer layers against PyTorch; positions; caches against the full forward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _load(ours: nn.Module, theirs: Any) -> None:
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})


def _assert_same(ours: Any, theirs: Any, what: str) -> None:
    a, b = ours.numpy(), theirs.detach().numpy()
    assert np.abs(a - b).max() < 3e-5 * max(1.0, float(np.abs(b).max())), what


def _compare_gradients(ours: nn.Module, theirs: Any) -> None:
    peers = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        _assert_same(p.grad, peers[name], name)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("masked", ["", "causal", "padding"])
def test_encoder_is_pytorchs(norm_first: bool, activation: str, masked: str) -> None:
    torch = pytest.importorskip("torch")
    options = {"dropout": 0.0, "activation": activation, "norm_first": norm_first}
    layer = torch.nn.TransformerEncoderLayer(24, 4, 40, batch_first=True, **options)
    norm = torch.nn.LayerNorm(24) if norm_first else None
    theirs = torch.nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
    own = nn.TransformerEncoderLayer(24, 4, 40, **options)
    ours = nn.TransformerEncoder(own, 2, nn.LayerNorm(24) if norm_first else None)
    _load(ours, theirs)
    x, dy = _normal(3, 9, 24), _normal(3, 9, 24, seed=1)
    mine, peer = nv.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    if masked == "causal":
        mask = torch.nn.Transformer.generate_square_subsequent_mask(9)
        y, their_y = ours(mine, is_causal=True), theirs(peer, mask, is_causal=True)
    elif masked == "padding":
        lengths = np.array([9, 4, 1])
        hidden = np.arange(9) >= lengths[:, None]
        y = ours(mine, lengths=nv.tensor(lengths))
        their_y = theirs(peer, src_key_padding_mask=torch.tensor(hidden))
    else:
        y, their_y = ours(mine), theirs(peer)
    _assert_same(y, their_y, "output")
    y.backward(nv.tensor(dy))
    their_y.backward(torch.tensor(dy))
    _assert_same(mine.grad, peer.grad, "dx")
    _compare_gradients(ours, theirs)


@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_is_pytorchs(norm_first: bool) -> None:
    torch = pytest.importorskip("torch")
    options = {"dropout": 0.0, "norm_first": norm_first}
    layer = torch.nn.TransformerDecoderLayer(24, 4, 40, batch_first=True, **options)
    theirs = torch.nn.TransformerDecoder(layer, 2)
    ours = nn.TransformerDecoder(nn.TransformerDecoderLayer(24, 4, 40, **options), 2)
    _load(ours, theirs)
    x, memory, dy = _normal(3, 7, 24), _normal(3, 5, 24, seed=2), _normal(3, 7, 24, seed=1)
    arrays = [x, memory]
    mine = [nv.tensor(a, requires_grad=True) for a in arrays]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    lengths = np.array([5, 2, 3])
    y = ours(*mine, tgt_is_causal=True, memory_lengths=nv.tensor(lengths))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(7)
    hidden = torch.tensor(np.arange(5) >= lengths[:, None])
    their_y = theirs(*peers, mask, memory_key_padding_mask=hidden, tgt_is_causal=True)
    _assert_same(y, their_y, "output")
    y.backward(nv.tensor(dy))
    their_y.backward(torch.tensor(dy))
    for a, b in zip(mine, peers, strict=True):
        _assert_same(a.grad, b.grad, "gradient of an input")
    _compare_gradients(ours, theirs)


def test_layers_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    stack = nn.TransformerEncoder(layer, 2)
    first, second = stack.layers
    assert first.linear1.weight is not second.linear1.weight
    np.testing.assert_array_equal(first.linear1.weight.numpy(), second.linear1.weight.numpy())


def test_dropout_changes_training_only() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5)
    x = nv.randn(2, 5, 8)
    assert (layer(x).numpy() != layer(x).numpy()).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())


@pytest.mark.parametrize("norm_first", [False, True])
def test_caches_equal_the_full_forward(norm_first: bool) -> None:
    layer = nn.TransformerDecoderLayer(24, 4, 40, dropout=0.0, norm_first=norm_first)
    stack = nn.TransformerDecoder(layer, 2)
    x, memory = nv.randn(2, 6, 24), nv.randn(2, 5, 24)
    whole = stack(x, memory, tgt_is_causal=True).numpy()
    caches = [nn.KeyValueCache(2) for _ in range(2)]
    steps = [stack(x[:, t : t + 1], memory, caches=caches) for t in range(6)]
    np.testing.assert_allclose(nv.cat(steps, 1).numpy(), whole, atol=3e-6)


def test_sinusoidal_positions() -> None:
    layer = nn.SinusoidalPositions(6, 50)
    y = layer(nv.zeros(1, 20, 6), offset=7).numpy()[0]
    for t in range(20):
        for i in range(3):
            angle = (t + 7) / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(
                y[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=2e-6
            )


def test_rotary_positions_depend_on_the_distance() -> None:
    layer = nn.RotaryPositions(8, 64)
    q, k = _normal(8), _normal(8, seed=1)

    def score(i: int, j: int) -> float:
        a = layer(nv.tensor(q[None]), offset=i).numpy()
        b = layer(nv.tensor(k[None]), offset=j).numpy()
        return float((a * b).sum())

    assert score(5, 3) == pytest.approx(score(42, 40), abs=1e-4)
    assert score(5, 3) != pytest.approx(score(5, 4), abs=1e-3)
    assert score(9, 9) == pytest.approx(float(q @ k), abs=1e-4)


def test_learned_positions() -> None:
    layer = nn.LearnedPositions(4, 10)
    layer(nv.zeros(2, 3, 4), offset=5).sum().backward()
    gradient = layer.weight.grad.numpy()
    assert (gradient[5:8] == 2).all()
    assert gradient.sum() == 2 * 3 * 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.SinusoidalPositions(5),
        lambda: nn.RotaryPositions(7),
        lambda: nn.RotaryPositions(8, base=-1.0),
        lambda: nn.RotaryPositions(8, base=float("nan")),
        lambda: nn.SinusoidalPositions(4, 3)(nv.zeros(1, 4, 4)),
        lambda: nn.LearnedPositions(4, 3)(nv.zeros(1, 2, 4), offset=2),
        lambda: nn.RotaryPositions(8, 9)(nv.zeros(1, 2, 4)),
        lambda: nn.TransformerEncoderLayer(8, 2, activation="swish"),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), -1),
    ],
)
def test_errors(call: Any) -> None:
    with pytest.raises(ValueError, match=r"^\["):
        call()
