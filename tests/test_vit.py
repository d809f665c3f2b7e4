# SPDX-License-Identifier: BSD-3-Clause
"""The Vision Transformer and GPT."""

from __future__ import annotations

import numpy as np
import pytest

import nervure as nv
from nervure import optim
from nervure.models import vit
from nervure.models.transformer import GPT
from nervure.nn import functional as F


def _small(**options: object) -> vit.ViT:
    sizes = {"image_size": 8, "patch_size": 2, "in_channels": 1, "num_classes": 4}
    return vit.ViT(**{**sizes, "dim": 16, "depth": 2, "heads": 2, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_vit_learns(pool: str) -> None:
    nv.manual_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=64)
    x = rng.standard_normal((64, 1, 8, 8)).astype(np.float32) * 0.1
    for image, label in zip(x, y, strict=True):
        image[
            0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4
        ] += 1
    model = _small(pool=pool, dropout=0.1, drop_path=0.1)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    images, labels = nv.tensor(x), nv.tensor(y)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    assert (model(images).numpy().argmax(1) == y).mean() > 0.95


def test_vit_by_hand() -> None:
    """The whole network in NumPy."""
    nv.manual_seed(1)
    model = _small()
    model.eval()
    w = {k: np.asarray(v, np.float64) for k, v in model.state_dict().items()}
    x = np.random.default_rng(1).standard_normal((3, 1, 8, 8)).astype(np.float32)

    def norm(z: np.ndarray, name: str) -> np.ndarray:
        z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6)
        return z * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(z: np.ndarray, name: str) -> np.ndarray:
        return z @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    patches = x.reshape(3, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(3, 16, 4)
    z = patches @ w["patch_embed.proj.weight"].reshape(16, 4).T + w["patch_embed.proj.bias"]
    z = np.concatenate([np.broadcast_to(w["cls_token"], (3, 1, 16)), z], 1) + w["pos_embed"]
    erf = np.vectorize(__import__("math").erf)
    for i in range(2):
        qkv = linear(norm(z, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = qkv.reshape(3, 17, 3, 2, 8).transpose(2, 0, 3, 1, 4)
        e = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(8))
        y = (e / e.sum(-1, keepdims=True)) @ v
        z = z + linear(y.transpose(0, 2, 1, 3).reshape(3, 17, 16), f"blocks.{i}.attn.proj")
        h = linear(norm(z, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")
        z = z + linear(h * (1 + erf(h / np.sqrt(2))) / 2, f"blocks.{i}.mlp.fc2")
    expected = linear(norm(z, "norm")[:, 0], "head")
    np.testing.assert_allclose(model(nv.tensor(x)).numpy(), expected, atol=1e-5)


def test_vit_loads_torchvisions_names() -> None:
    model = _small()
    names = {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj.": "conv_proj.",
        "head.": "heads.head.",
        "norm.": "encoder.ln.",
    }
    layer = {
        "norm1.": "ln_1.",
        "norm2.": "ln_2.",
        "attn.qkv.": "self_attention.in_proj_",
        "attn.proj.": "self_attention.out_proj.",
        "mlp.fc1.": "mlp.0.",
        "mlp.fc2.": "mlp.3.",
    }
    theirs = {}
    for key, value in model.state_dict().items():
        name = key
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            for ours, other in layer.items():
                rest = other + rest[len(ours) :] if rest.startswith(ours) else rest
            name = f"encoder.layers.encoder_layer_{number}.{rest}"
        else:
            for ours, other in names.items():
                name = other + key[len(ours) :] if key.startswith(ours) else name
        theirs[name] = np.asarray(value).copy() + 1.0
    assert set(theirs).isdisjoint(model.state_dict())
    other = _small()
    other.load_state_dict(theirs)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], np.asarray(value) + 1.0)


def test_stochastic_depth() -> None:
    layer = vit.StochasticDepth(0.25)
    y = layer(nv.ones(4000, 2, 3)).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == y[:, :1, :1]).all()
    assert abs((y[:, 0, 0] != 0).mean() - 0.75) < 0.04
    layer.eval()
    assert (layer(nv.ones(5, 1)).numpy() == 1).all()


@pytest.mark.parametrize(
    "options", [{"patch_size": 3}, {"pool": "max"}, {"heads": 3}, {"drop_path": 1.0}]
)
def test_vit_errors(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^\["):
        _small(**options)


def test_vit_rejects_other_sizes() -> None:
    with pytest.raises(ValueError, match="x must be"):
        _small()(nv.zeros(1, 1, 4, 8))


def test_sizes_of_the_named_configurations() -> None:
    model = vit.ViT.tiny(image_size=32, num_classes=10)
    assert model.pos_embed.shape == (1, 5, 192)
    assert len(model.blocks) == 12


@pytest.mark.parametrize("tied", [False, True])
def test_gpt(tied: bool) -> None:
    """Learns a cycle; step-by-step writing equals the full forward."""
    nv.manual_seed(3)
    model = GPT(7, 32, d_model=32, nhead=2, num_layers=2, tie_weights=tied)
    tokens = (np.arange(16)[None] + np.arange(7)[:, None]) % 7
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    x, y = nv.tensor(tokens[:, :-1]), nv.tensor(tokens[:, 1:].reshape(-1))
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).reshape(-1, 7), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    model.eval()
    whole = model(x).numpy()
    caches = model.new_caches()
    steps = [model(x[:, t : t + 1], caches).numpy() for t in range(15)]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, atol=2e-4)
    written = model.generate(nv.tensor(tokens[:, :4]), 8, temperature=None).numpy()
    np.testing.assert_array_equal(written, tokens[:, :12])
    drawn = model.generate(nv.tensor(tokens[:2, :4]), 3, temperature=0.5, top_k=2)
    assert drawn.shape == (2, 7)
    with pytest.raises(ValueError, match="must fit"):
        model.generate(nv.tensor(tokens[:, :4]), 100)
