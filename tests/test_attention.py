# SPDX-License-Identifier: BSD-3-Clause
"""Attention layers against PyTorch, and what the case table cannot say: dropout, caches, errors."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from conftest import THREADS

import nervure as nv
from nervure import _core, nn, reference
from nervure.nn import functional as F


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _assert_close(ours: Any, theirs: Any, what: str = "") -> None:
    ours, theirs = ours.numpy(), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = np.abs(theirs).max(initial=1e-6)
    assert np.abs(ours - theirs).max(initial=0.0) < 2e-5 * scale, what


# ---- the operation -------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [1, 2, 17])
def test_queries_of_one_number_in_any_memory_order(values: int) -> None:
    rng = np.random.default_rng(4)
    q, k, v = _normal(rng, 2, 3, 1, 70), _normal(rng, 2, 3, 5, 1), _normal(rng, 2, 3, 5, values)
    last = nv.tensor(q).transpose(2, 3)  # (2, 3, 70, 1); its rows may lie anywhere
    assert last.shape == (2, 3, 70, 1)
    y = F.scaled_dot_product_attention(last, nv.tensor(k), nv.tensor(v))
    weights = np.exp(np.swapaxes(q, 2, 3).astype(np.float64) * np.swapaxes(k, 2, 3))
    expected = weights / weights.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [1, 17, 70])
def test_dropout_of_weights(isa: str, queries: int, causal: bool) -> None:
    """With values of the identity the output is the weights: dropped ones, and scaled ones."""
    keys, p = 40, 0.3
    q, k = (nv.tensor(_normal(np.random.default_rng(3), 2, 3, n, 8)) for n in (queries, keys))
    eye = nv.tensor(np.broadcast_to(np.eye(keys, dtype=np.float32), (2, 3, keys, keys)).copy())
    whole = F.scaled_dot_product_attention(q, k, eye, is_causal=causal).numpy()
    first = None
    for threads in THREADS:
        nv.set_num_threads(threads)
        nv.manual_seed(7)
        v = nv.tensor(eye.numpy(), requires_grad=True)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=causal)
        y.backward(nv.ones(*y.shape))
        dropped = y.numpy()
        kept = dropped != 0
        np.testing.assert_allclose(dropped[kept], whole[kept] / (1 - p), rtol=1e-5)
        visible = whole > 1e-6
        share = kept[visible].mean()
        assert abs(share - (1 - p)) < 5 * np.sqrt(p * (1 - p) / visible.sum())
        # dv_j = sum_i w_ij, with the very weights that the forward kept
        expected = dropped.sum(axis=2)[..., None] * np.ones(keys, np.float32)
        np.testing.assert_allclose(v.grad.numpy(), expected, rtol=1e-4, atol=1e-5)
        bits = (dropped.tobytes(), v.grad.numpy().tobytes())
        first = first or bits
        assert bits == first


def test_dropout_gradient_by_differences() -> None:
    """The mask drawn again in the backward is the one of the forward, for queries and keys too."""
    rng = np.random.default_rng(5)
    arrays = [_normal(rng, 1, 2, 6, 4) for _ in range(3)]
    dy = _normal(rng, 1, 2, 6, 4)

    def loss(values: list[np.ndarray], grad: bool) -> Any:
        nv.manual_seed(11)
        tensors = [nv.tensor(x, requires_grad=grad) for x in values]
        y = F.scaled_dot_product_attention(*tensors, dropout_p=0.4)
        return (y * nv.tensor(dy)).sum(), tensors

    total, tensors = loss(arrays, True)
    total.backward()
    step = 1e-2
    for which, x in enumerate(arrays):
        direction = _normal(rng, *x.shape)
        ends = []
        for sign in (1, -1):
            moved = [a + sign * step * direction if i == which else a for i, a in enumerate(arrays)]
            ends.append(loss(moved, False)[0].item())
        slope = float((tensors[which].grad.numpy() * direction).sum())
        assert abs((ends[0] - ends[1]) / (2 * step) - slope) < 2e-3 * max(1.0, abs(slope))


def test_hidden_keys_are_never_read() -> None:
    rng = np.random.default_rng(1)
    q, k, v = (_normal(rng, 2, 2, 5, 8) for _ in range(3))
    lengths = nv.tensor(np.array([3, 0]))
    clean = F.scaled_dot_product_attention(*map(nv.tensor, (q, k, v)), lengths=lengths).numpy()
    k[0, :, 3:], v[0, :, 3:], k[1], v[1] = np.nan, np.nan, np.nan, np.nan
    tensors = [nv.tensor(x, requires_grad=True) for x in (q, k, v)]
    y = F.scaled_dot_product_attention(*tensors, lengths=lengths)
    np.testing.assert_array_equal(y.numpy(), clean)
    assert (clean[1] == 0).all()
    y.sum().backward()
    for t in tensors:
        assert np.isfinite(t.grad.numpy()).all()
    assert (tensors[1].grad.numpy()[0, :, 3:] == 0).all()
    assert (tensors[2].grad.numpy()[1] == 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_mask_with_a_gradient(causal: bool) -> None:
    rng = np.random.default_rng(2)
    q, k, v = (nv.tensor(_normal(rng, 2, 3, n, 5)) for n in (7, 9, 9))
    values = _normal(rng, 7, 9)
    values[2] = -np.inf
    bias = nv.tensor(values, requires_grad=True)
    y = F.scaled_dot_product_attention(q, k, v, bias, is_causal=causal)
    plain = F.scaled_dot_product_attention(q, k, v, bias.detach(), is_causal=causal)
    np.testing.assert_allclose(y.numpy(), plain.numpy(), atol=2e-6)
    y.sum().backward()
    assert bias.grad.shape == (7, 9)
    assert np.isfinite(bias.grad.numpy()).all()
    assert (bias.grad.numpy()[2] == 0).all()


def test_memory_is_linear_in_the_length() -> None:
    length = 2048
    q = nv.tensor(_normal(np.random.default_rng(0), 1, 1, length, 16), requires_grad=True)
    nv.trim_memory()
    before = nv.memory_stats()["live_bytes"]
    F.scaled_dot_product_attention(q, q, q).sum().backward()
    stats = nv.memory_stats()  # what was used and given back lies in the cache
    assert stats["live_bytes"] + stats["cached_bytes"] - before < 4 * length * length / 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda q: F.scaled_dot_product_attention(q, q[:1], q), ValueError, "key must be"),
        (lambda q: F.scaled_dot_product_attention(q, q, q[:, :, :3]), ValueError, "value must be"),
        (lambda q: F.scaled_dot_product_attention(q[0, 0, 0], q, q), ValueError, "query must be"),
        (lambda q: F.scaled_dot_product_attention(q, q, q, nv.ones(3)), ValueError, "attn_mask"),
        (
            lambda q: F.scaled_dot_product_attention(q, q, q, nv.tensor(np.ones((5, 5), np.int64))),
            TypeError,
            "attn_mask must be boolean or float32",
        ),
        (lambda q: F.scaled_dot_product_attention(q, q, q, dropout_p=1.0), ValueError, "dropout_p"),
        (
            lambda q: F.scaled_dot_product_attention(q, q, q, scale=float("nan")),
            ValueError,
            "scale must be finite",
        ),
        (
            lambda q: F.scaled_dot_product_attention(q, q, q, lengths=nv.tensor(np.array([1]))),
            ValueError,
            "lengths must be",
        ),
        (
            lambda q: F.scaled_dot_product_attention(q, q, q, lengths=nv.tensor(np.array([1, 6]))),
            ValueError,
            "lengths must lie in",
        ),
        (lambda q: _core.self_attention(q[0], heads=3), ValueError, "must be"),
        (
            lambda q: _core.attend_cached(nv.randn(3, 1, 24), q[0], q[0], 5, 2),
            ValueError,
            r"at most the capacity 5, got 5 \+ 1",
        ),
        (
            lambda q: _core.attend_cached(nv.randn(3, 1, 24), q[0], q[0], 2**63 - 1, 2),
            ValueError,
            "at most the capacity 5",
        ),
        (
            lambda q: _core.attend_cached(nv.randn(3, 1, 24), q[0], nv.randn(3, 6, 8), 2, 2),
            ValueError,
            "same capacity",
        ),
        (
            lambda q: _core.attend_cached(nv.randn(3, 1, 24), k := q[0], k, 2, 2),
            ValueError,
            "keys and values must not share memory",
        ),
        (
            lambda q: _core.attend_cached(nv.randn(3, 1, 24), q[0], q[0].requires_grad_(), 2, 2),
            ValueError,
            "must not require gradients",
        ),
        (
            lambda q: _core.attend_cached(
                k := nv.randn(3, 5, 24), nv.randn(3, 15, 8), k.view(3, 15, 8), 0, 2
            ),
            ValueError,
            "input must not share memory with keys or values",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], words: str) -> None:
    q = nv.randn(2, 3, 5, 8)
    with pytest.raises(error, match=words):
        call(q)


# ---- multi-head attention ------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "self": {},
    "time first": {"batch_first": False},
    "unbatched": {"unbatched": True},
    "no bias": {"bias": False},
    "cross": {"keys": 9},
    "other sizes": {"keys": 9, "kdim": 10, "vdim": 14},
    "padding": {"padding": True},
    "mask": {"mask": "boolean"},
    "mask of every head": {"mask": "heads"},
    "added mask": {"mask": "float", "padding": True},
    "causal": {"causal": True},
    "weights": {"keys": 9, "weights": "mean"},
    "weights of every head": {"weights": "heads", "padding": True},
}


@pytest.mark.parametrize("name", CASES)
def test_multihead_attention_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    options = CASES[name]
    rng = np.random.default_rng(list(name.encode()))
    sizes = {k: options[k] for k in ("bias", "kdim", "vdim") if k in options}
    first = options.get("batch_first", True)
    theirs = torch.nn.MultiheadAttention(24, 4, batch_first=first, **sizes)
    ours = nn.MultiheadAttention(24, 4, batch_first=first, **sizes)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})

    arrays = [_normal(rng, 3, 7, 24)]
    if "keys" in options:
        arrays += [_normal(rng, 3, 9, options.get(size, 24)) for size in ("kdim", "vdim")]
    if options.get("unbatched"):
        arrays = [a[0] for a in arrays]
    if not first:
        arrays = [a.transpose(1, 0, 2).copy() for a in arrays]
    keys = options.get("keys", 7)
    masks: dict[str, np.ndarray] = {}
    if options.get("padding"):
        masks["key_padding_mask"] = np.arange(keys) >= np.array([[4], [keys], [2]])
    if options.get("mask") == "boolean":
        masks["attn_mask"] = np.triu(np.ones((7, keys), bool), 2)
    elif options.get("mask") == "heads":
        masks["attn_mask"] = rng.random((12, 7, keys)) < 0.3
        masks["attn_mask"][..., 0] = False
    elif options.get("mask") == "float":
        masks["attn_mask"] = _normal(rng, 7, keys)

    own = [nv.tensor(a, requires_grad=True) for a in arrays]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    how = {"need_weights": "weights" in options}
    how["average_attn_weights"] = options.get("weights") != "heads"
    y, weights = ours(
        *own,
        **{k: nv.tensor(m) for k, m in masks.items()},
        **how,
        is_causal=options.get("causal", False),
    )
    their_masks = {k: torch.tensor(m) for k, m in masks.items()}
    if options.get("causal"):
        their_masks["attn_mask"] = torch.nn.Transformer.generate_square_subsequent_mask(7)
    if options.get("mask") == "float":
        hidden = their_masks["key_padding_mask"]
        their_masks["key_padding_mask"] = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
    operands = peers if len(peers) == 3 else peers * 3
    their_y, their_weights = theirs(*operands, **their_masks, **how)

    _assert_close(y, their_y, "output")
    if "weights" in options:
        _assert_close(weights, their_weights, "weights")
    else:
        assert weights is None
    dy = _normal(rng, *y.shape)
    y.backward(nv.tensor(dy))
    their_y.backward(torch.tensor(dy))
    for a, b in zip(own, peers, strict=True):
        _assert_close(a.grad, b.grad, "gradient of an input")
    peer_gradients = {n: p.grad for n, p in theirs.named_parameters()}
    for n, p in ours.named_parameters():
        _assert_close(p.grad, peer_gradients[n], n)


@pytest.mark.parametrize("recording", [False, True])  # one operation, or several
def test_cache_equals_the_full_forward(recording: bool) -> None:
    layer = nn.MultiheadAttention(24, 4)
    x = nv.randn(2, 9, 24)
    whole, _ = layer(x, is_causal=True)
    cache = nn.KeyValueCache(capacity=2)
    with contextlib.nullcontext() if recording else nv.no_grad():
        steps = [layer(x[:, i : i + 1], cache=cache)[0] for i in range(9)]
    assert steps[0].requires_grad == recording
    np.testing.assert_allclose(nv.cat(steps, 1).numpy(), whole.numpy(), atol=1e-6)
    assert cache.length == 9
    cache.select(nv.tensor(np.array([1, 1, 0])))
    again, _ = layer(x[np.array([1, 1, 0])][:, 8:], cache=cache)
    assert again.shape == (3, 1, 24)


def test_cache_of_several_positions() -> None:
    """They look at each other, and at what came before; the cache of another batch is refused."""
    layer = nn.MultiheadAttention(24, 4)
    x = nv.randn(2, 9, 24)
    whole, _ = layer(x[:, 4:], x)
    cache = nn.KeyValueCache(capacity=2)
    with nv.no_grad():
        layer(x[:, :4], cache=cache)
        last, _ = layer(x[:, 4:], cache=cache)
        np.testing.assert_allclose(last.numpy(), whole.numpy(), atol=1e-6)
        with pytest.raises(ValueError, match="a batch of 2, got 1"):
            layer(x[:1], cache=cache)
    assert cache.length == 9


def test_layer_errors() -> None:
    with pytest.raises(ValueError, match="divide embed_dim"):
        nn.MultiheadAttention(10, 3)
    with pytest.raises(ValueError, match="dropout"):
        nn.MultiheadAttention(8, 2, dropout=1.0)
    layer = nn.MultiheadAttention(8, 2)
    x = nv.randn(2, 5, 8)
    with pytest.raises(ValueError, match="key_padding_mask must be"):
        layer(x, key_padding_mask=nv.tensor(np.zeros((2, 4), bool)))
    with pytest.raises(ValueError, match="attn_mask must be"):
        layer(x, attn_mask=nv.tensor(np.zeros((4, 5), bool)))
    with pytest.raises(ValueError, match="same number"):
        layer(x, x[0])
    with pytest.raises(ValueError, match="cache excludes"):
        layer(x, attn_mask=nv.tensor(np.zeros((5, 5), bool)), cache=nn.KeyValueCache())
    with pytest.raises(ValueError, match="one position"):
        layer(x, is_causal=True, cache=nn.KeyValueCache())


# ---- attention of recurrent decoders -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["additive", "dot", "general"])
def test_alignment(kind: str) -> None:
    rng = np.random.default_rng(4)
    layer: Any = {
        "additive": lambda: nn.AdditiveAttention(6, 6, 7),
        "dot": nn.DotAttention,
        "general": lambda: nn.DotAttention(6, 6),
    }[kind]()
    q, k, v = _normal(rng, 3, 2, 6), _normal(rng, 3, 5, 6), _normal(rng, 3, 5, 4)
    lengths = np.array([5, 2, 0])
    context, weights = layer(*map(nv.tensor, (q, k, v)), lengths=nv.tensor(lengths))
    if kind == "additive":
        wq, wk, b, s = (
            p.numpy()
            for p in (
                layer.query_proj.weight,
                layer.key_proj.weight,
                layer.key_proj.bias,
                layer.score.weight,
            )
        )
        scores = np.tanh((q @ wq.T)[:, :, None] + (k @ wk.T + b)[:, None]) @ s[0]
    else:
        mapped = k @ layer.key_proj.weight.numpy().T if kind == "general" else k
        scores = q @ mapped.transpose(0, 2, 1)
    e = np.exp(scores) * (np.arange(5) < lengths[:, None, None])
    expected = e / np.maximum(e.sum(-1, keepdims=True), 1e-30)
    np.testing.assert_allclose(weights.numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(context.numpy(), expected @ v, atol=5e-6)
    single, _ = layer(nv.tensor(q[:, 0]), nv.tensor(k), nv.tensor(v), nv.tensor(lengths))
    np.testing.assert_allclose(single.numpy(), context.numpy()[:, 0], atol=1e-6)


def test_alignment_errors() -> None:
    with pytest.raises(ValueError, match="both"):
        nn.DotAttention(3)


def test_arrays_and_lists_are_taken(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    mask, lengths = rng.random((5, 5)) < 0.7, [5, 2]
    tensors = nv.tensor(x), nv.tensor(mask), nv.tensor(lengths)
    for function, copies in ((F.scaled_dot_product_attention, 3), (F.attention_weights, 2)):
        found = function(*[x] * copies, attn_mask=mask, lengths=lengths).numpy()
        expected = function(*[tensors[0]] * copies, attn_mask=tensors[1], lengths=tensors[2])
        np.testing.assert_array_equal(found, expected.numpy())
    for layer in (nn.MultiheadAttention(4, 2), nn.TransformerEncoderLayer(4, 2, 8, 0.0)):
        found, expected = (layer(tensors[0][:, 0], lengths=n) for n in (lengths, tensors[2]))
        if isinstance(found, tuple):
            found, expected = found[0], expected[0]
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    for attention in (nn.DotAttention(), nn.AdditiveAttention(4, 4, 4)):
        _, found = attention(tensors[0][:, 0, 0], tensors[0][:, 0], lengths=lengths)
        assert (found.numpy()[1, 2:] == 0).all()


@pytest.mark.parametrize(
    ("batch", "added", "length", "capacity", "heads", "size"),
    [
        (1, 1, 0, 1, 1, 1),
        (3, 1, 6, 9, 2, 5),
        (2, 3, 4, 7, 3, 8),
        (1, 1, 40, 64, 4, 17),
        (0, 1, 2, 4, 1, 3),
    ],
)
def test_attention_over_a_cache(
    isa: str, batch: int, added: int, length: int, capacity: int, heads: int, size: int
) -> None:
    rng = np.random.default_rng(4)
    shapes = [(batch, added, 3 * heads * size), *[(batch, capacity, heads * size)] * 2]
    packed, keys, values = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    stores = nv.tensor(keys), nv.tensor(values)
    y = _core.attend_cached(nv.tensor(packed), *stores, length, heads)
    expected, *after = reference.attend_cached(packed, keys, values, length, heads)
    np.testing.assert_allclose(y.numpy(), expected, rtol=2e-5, atol=2e-6)
    for store, wanted in zip(stores, after, strict=True):
        np.testing.assert_array_equal(store.numpy(), wanted.astype(np.float32))
