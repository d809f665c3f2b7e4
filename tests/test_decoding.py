# SPDX-License-Identifier: BSD-3-Clause
"""Operations of decoding against their references, and steps against the ordinary path."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import THREADS

import nervure as nv
from nervure import Tensor, _core, models, nn, reference

Arrays = list[Any]


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _matrix(x: np.ndarray, lies_in_out: bool) -> Tensor:
    """Of the same values, lying as [in, out] or as [out, in]."""
    return nv.tensor(x.T.copy()).transpose(0, 1) if lies_in_out else nv.tensor(x)


def _tensors(arrays: Arrays, lies_in_out: bool = True) -> list[Any]:
    return [
        x if x is None else _matrix(x, lies_in_out) if x.ndim == 2 else nv.tensor(x) for x in arrays
    ]


def _assert_close(ours: Tensor, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    scale = np.abs(expected).max(initial=1e-3)
    assert np.abs(ours.numpy() - expected).max(initial=0.0) <= 1e-5 * scale


# ---- Transformer layers --------------------------------------------------------------------------

# layers, batch, steps, features of a head, heads, earlier positions, features of the network
STACKS = [(1, 1, 1, 1, 1, 1, 1), (2, 3, 1, 5, 3, 7, 17), (1, 2, 1, 32, 4, 33, 64)]
STACKS += [(2, 2, 3, 8, 2, 6, 9), (1, 0, 1, 4, 2, 3, 8), (3, 5, 1, 17, 1, 40, 31)]


def _stack_weights(
    rng: np.random.Generator, layers: int, parts: list[tuple[int, int, int]], bias: bool
) -> Arrays:
    """Of two products and a norm for each part, (features in, after the first, before the second),
    and of one more norm."""
    weights: Arrays = []
    for inside, first, second in parts * layers:
        for rows, columns in ((first, inside), (inside, second)):
            weights.append(_normal(rng, rows, columns) / np.float32(np.sqrt(columns)))
            weights.append(_normal(rng, rows) if bias else None)
        weights += [_normal(rng, inside), _normal(rng, inside) if bias else None]
    return [*weights, _normal(rng, parts[0][0]), None]


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("sizes", STACKS)
def test_transformer_step(
    isa: str, sizes: tuple[int, ...], norm_first: bool, crossed: bool
) -> None:
    layers, batch, steps, size, heads, others, hidden = sizes
    rng, width = np.random.default_rng(1), size * heads
    x = _normal(rng, batch, steps, width)
    parts = [(width, 3 * width, width)] * (2 if crossed else 1) + [(width, hidden, hidden)]
    weights = _stack_weights(rng, layers, parts, bias=crossed == norm_first)
    weights = weights if crossed else weights[:-2]
    shapes = [(batch, others + steps + 2, width)] * 2 + [(batch, others, 2 * width)]
    keys, values, sides = ([_normal(rng, *shape) for _ in range(layers)] for shape in shapes)
    sides = sides if crossed else []
    for ends in (None, np.arange(batch) % (others + 1)) if crossed else (None,):
        call = (1e-5, norm_first, heads, "gelu" if norm_first else "relu")
        stores = _tensors(keys), _tensors(values)
        y = _core.transformer_step(
            nv.tensor(x),
            _tensors(weights, lies_in_out=size > 4),
            *call,
            *stores,
            others,
            _tensors(sides),
            None if ends is None else nv.tensor(ends),
        )
        expected, *after = reference.transformer_step(
            x, weights, *call, keys, values, others, sides, ends
        )
        _assert_close(y, expected)
        for store, wanted in zip([*stores[0], *stores[1]], after, strict=True):
            _assert_close(store, wanted)


# ---- attentive recurrent decoders ----------------------------------------------------------------

# batch, positions, features of x, state, memory, comparison and join
DECODERS = [(1, 1, 1, 1, 1, 1, 1), (3, 7, 5, 9, 4, 17, 6), (2, 20, 16, 33, 31, 32, 15)]
DECODERS += [(0, 3, 2, 4, 3, 2, 2), (5, 13, 128, 64, 32, 64, 48)]


@pytest.mark.parametrize("lies_in_out", [False, True])
@pytest.mark.parametrize("gates", [3, 4])
@pytest.mark.parametrize("sizes", DECODERS)
def test_attentive_step(isa: str, sizes: tuple[int, ...], gates: int, lies_in_out: bool) -> None:
    batch, positions, inputs, hidden, features, size, joined = sizes
    rng, layers = np.random.default_rng(3), 2 if lies_in_out else 1
    bias = gates == 3
    x, memory = _normal(rng, batch, inputs), _normal(rng, batch, positions, features)
    h = _normal(rng, layers, batch, hidden)
    c = _normal(rng, layers, batch, hidden) if gates == 4 else None
    keys, rows = _normal(rng, batch, positions, size), gates * hidden
    query, score = _normal(rng, size, hidden), _normal(rng, 1, size)
    weights: Arrays = []
    for layer in range(layers):
        columns = hidden if layer else inputs + features
        weights += [_normal(rng, rows, n) / np.float32(np.sqrt(n)) for n in (columns, hidden)]
        weights += [_normal(rng, rows) if bias else None for _ in range(2)]
    join = _normal(rng, joined, hidden + features)
    join_bias = _normal(rng, joined) if bias else None
    given = _tensors([*weights, query, join], lies_in_out)
    mixed = _core.attentive_memory(nv.tensor(memory), given[0], given[-1])
    np.testing.assert_allclose(
        mixed.numpy(), reference.attentive_memory(memory, weights[0], join), rtol=1e-4, atol=1e-4
    )
    for ends in (None, np.arange(batch) % (positions + 1)):
        found = _core.attentive_step(
            *_tensors([x, h, c, keys]),
            mixed,
            None if ends is None else nv.tensor(ends),
            given[-2],
            nv.tensor(score),
            given[:-2],
            given[-1],
            *_tensors([join_bias]),
        )
        wanted = reference.attentive_step(
            x, h, c, keys, memory, ends, query, score, weights, join, join_bias
        )
        assert len(found) == len(wanted) == gates
        for ours, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours.numpy(), expected, rtol=2e-4, atol=2e-5)


# ---- layers and models ---------------------------------------------------------------------------


@contextmanager
def _ordinary(model: nn.Module) -> Iterator[None]:
    """Without the operations of decoding: modules with hooks are called one by one."""
    kinds = (nn.LayerNorm, nn.AdditiveAttention)
    handles = [
        module.register_forward_hook(lambda module, args, output: None)
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _transformer(norm_first: bool) -> Callable[[], Any]:
    return lambda: models.TransformerSeq2Seq(
        12, 12, d_model=36, nhead=3, dim_feedforward=40, norm_first=norm_first
    )


def _recurrent(cell: str, layers: int) -> Callable[[], Any]:
    return lambda: models.Seq2Seq(
        12, 12, embed_dim=9, hidden_size=17, cell=cell, num_layers=layers, attention="additive"
    )


MODELS = {
    "Transformer": _transformer(True),
    "Transformer, post-norm": _transformer(False),
    "GRU": _recurrent("gru", 1),
    "stacked LSTM": _recurrent("lstm", 2),
}
SOURCE = np.random.default_rng(5).integers(3, 12, (4, 6))
LENGTHS = np.array([6, 1, 4, 2])


@pytest.mark.parametrize("kind", MODELS)
def test_models_step_as_they_do_layer_by_layer(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nv.manual_seed(6)
    model = MODELS[kind]().eval()
    calls: list[str] = []
    for name in ("transformer_step", "attentive_step"):
        monkeypatch.setattr(_core, name, _counted(name, getattr(_core, name), calls))
    with nv.no_grad():
        state = model.start(nv.tensor(SOURCE), LENGTHS)
        with _ordinary(model):
            plain = model.start(nv.tensor(SOURCE), LENGTHS)
        for t in range(5):
            tokens = nv.tensor(SOURCE[:, t].copy())
            logits, state = model.step(tokens, state)
            before = len(calls)
            assert before
            with _ordinary(model):
                expected, plain = model.step(tokens, plain)
            assert len(calls) == before
            np.testing.assert_allclose(logits.numpy(), expected.numpy(), atol=2e-5)
            if model.weights(state) is not None:
                ours, theirs = model.weights(state).numpy(), model.weights(plain).numpy()
                np.testing.assert_allclose(ours, theirs, atol=1e-5)
            rows = nv.tensor(np.array([2, 0, 0, 3]))
            state, plain = model.reorder(state, rows), model.reorder(plain, rows)


def _counted(name: str, function: Any, calls: list[str]) -> Any:
    def call(*args: Any) -> Any:
        calls.append(name)
        return function(*args)

    return call


@pytest.mark.parametrize("kind", MODELS)
def test_every_way_of_decoding_writes_what_it_does_layer_by_layer(kind: str) -> None:
    nv.manual_seed(7)
    model = MODELS[kind]()

    def written(method: str) -> Any:
        nv.manual_seed(8)
        return model.generate(nv.tensor(SOURCE), LENGTHS, 7, method=method)

    for method in ("greedy", "sample", "beam"):
        found = written(method)
        with _ordinary(model):
            expected = written(method)
        for other in (expected, written(method)):
            np.testing.assert_array_equal(found.tokens, other.tokens)
            np.testing.assert_allclose(found.scores, other.scores, rtol=1e-4)


def test_gpt_writes_what_its_whole_forward_predicts() -> None:
    nv.manual_seed(9)
    model = models.GPT(20, 16, d_model=24, nhead=3, num_layers=2)
    written = model.generate(nv.tensor(np.array([[3], [7]])), 12, temperature=None).numpy()
    model.eval()
    predicted = model(nv.tensor(written)).numpy().argmax(-1)
    np.testing.assert_array_equal(written[:, 1:], predicted[:, :-1])


def test_the_same_bits_with_any_number_of_threads() -> None:
    def logits() -> list[np.ndarray]:
        found = []
        for make in MODELS.values():
            nv.manual_seed(10)
            model = make().eval()
            with nv.no_grad():
                state = model.start(nv.tensor(SOURCE), LENGTHS)
                for t in range(3):
                    step, state = model.step(nv.tensor(SOURCE[:, t].copy()), state)
                    found.append(step.numpy().copy())
        return found

    before = nv.get_num_threads()
    try:
        results = []
        for threads in THREADS:
            nv.set_num_threads(threads)
            results.append(logits())
    finally:
        nv.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


class _OwnForward(nn.TransformerEncoderLayer):
    def forward(self, src: Tensor, *args: Any, **more: Any) -> Tensor:
        return super().forward(src, *args, **more).flip(-1)


class _OwnNetwork(nn.TransformerEncoderLayer):
    def _feed_forward(self, x: Tensor) -> Tensor:
        return super()._feed_forward(x).flip(-1) * 3.0


class _OwnStep(nn.Module):
    """A layer of one's own, whose `step` is not that of the library."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.TransformerEncoderLayer(24, 3, 40).eval()

    def step(self, x: Tensor, state: Any) -> Tensor:
        raise AssertionError

    def forward(self, x: Tensor, *args: Any, **more: Any) -> Tensor:
        return self.inner(x, *args, **more).flip(-1)


class _OwnStack(nn.TransformerEncoder):
    def forward(self, src: Tensor, *args: Any, **more: Any) -> Tensor:
        return super().forward(src, *args, **more).flip(-1)


def _hooked(model: Any) -> None:
    model.blocks.layers[0].register_forward_hook(lambda module, args, output: output.flip(-1))


CHANGES: dict[str, Callable[[Any], object]] = {
    "forward": lambda model: setattr(model.blocks.layers[0], "__class__", _OwnForward),
    "network": lambda model: setattr(model.blocks.layers[0], "__class__", _OwnNetwork),
    "layer": lambda model: model.blocks.layers.__setitem__(1, _OwnStep()),
    "stack": lambda model: setattr(model.blocks, "__class__", _OwnStack),
    "hook": _hooked,
}


@pytest.mark.parametrize("change", CHANGES)
def test_gpt_with_layers_of_ones_own(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a subclass or a hook changes is seen by the scores from which tokens are chosen."""
    nv.manual_seed(14)
    model = models.GPT(20, 16, d_model=24, nhead=3, num_layers=2).eval()
    CHANGES[change](model)
    seen: list[np.ndarray] = []
    scores_of = model._scores

    def scores(y: Tensor) -> Tensor:
        seen.append(scores_of(y).numpy())
        return nv.tensor(seen[-1])

    monkeypatch.setattr(model, "_scores", scores)
    written = model.generate(nv.tensor(np.array([[3], [7]])), 5, temperature=None)
    monkeypatch.undo()
    with nv.no_grad():
        whole = model(written[:, :-1]).numpy()
    np.testing.assert_allclose(np.concatenate(seen, axis=1), whole, atol=2e-5)


def test_seq2seq_with_a_query_of_its_own() -> None:
    nv.manual_seed(15)
    model = MODELS["GRU"]().eval()
    plain = model.generate(nv.tensor(SOURCE), LENGTHS, 3)
    model.attention.query_proj.register_forward_hook(lambda module, args, output: output + 5.0)
    hooked = model.generate(nv.tensor(SOURCE), LENGTHS, 3)
    assert np.abs(plain.attention - hooked.attention).max() > 1e-4


def test_seq2seq_with_another_module_for_its_dropout() -> None:
    nv.manual_seed(17)
    model = MODELS["GRU"]()
    model.drop = nn.ReLU()

    def logits() -> np.ndarray:
        state = model.train().start(nv.tensor(SOURCE), LENGTHS)
        return model.eval().step(nv.tensor(SOURCE[:, 0].copy()), state)[0].numpy()

    with nv.no_grad():
        found = logits()
        with _ordinary(model):
            expected = logits()
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_a_copied_state_goes_on_by_itself(kind: str) -> None:
    nv.manual_seed(18)
    model = MODELS[kind]().eval()
    with nv.no_grad():
        _, state = model.step(nv.tensor(SOURCE[:, 0].copy()), model.start(nv.tensor(SOURCE)))
        other = copy.deepcopy(state)
        for t in (1, 2):  # other tokens: they must not be seen by the first
            model.step(nv.tensor(SOURCE[:, t].copy()), other)
        found, _ = model.step(nv.tensor(SOURCE[:, 3].copy()), state)
        _, fresh = model.step(nv.tensor(SOURCE[:, 0].copy()), model.start(nv.tensor(SOURCE)))
        expected, _ = model.step(nv.tensor(SOURCE[:, 3].copy()), fresh)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_memory_that_was_changed_in_place_is_projected_again() -> None:
    nv.manual_seed(16)
    layer = nn.TransformerDecoderLayer(8, 2, 16).eval()
    x, memory = nv.randn(2, 1, 8), nv.randn(2, 3, 8)
    used, fresh = nn.KeyValueCache(), nn.KeyValueCache()
    with nv.no_grad():
        layer(x, memory, cache=used)
        layer(x, memory, cache=fresh)
        memory.copy_(memory * -2.0)
        expected = layer(x, memory.clone(), cache=fresh)
        np.testing.assert_array_equal(layer(x, memory, cache=used).numpy(), expected.numpy())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("change", ["step", "load", "replace"])
def test_memory_is_projected_again_when_the_weights_change(change: str, bias: bool) -> None:
    nv.manual_seed(19)
    layer = nn.TransformerDecoderLayer(8, 2, 16, bias=bias).eval()
    attention = layer.multihead_attn
    x, memory = nv.randn(2, 1, 8), nv.randn(2, 3, 8)
    used, fresh = nn.KeyValueCache(), nn.KeyValueCache()
    with nv.no_grad():
        layer(x, memory, cache=used)
        layer(x, memory, cache=fresh)
        weight = attention.in_proj_weight
        if change == "step":
            weight.grad = nv.ones(24, 8)
            nv.optim.SGD([weight], lr=0.5).step()
        elif change == "load":
            attention.load_state_dict({k: v * 2.0 for k, v in attention.state_dict().items()})
        else:
            attention.in_proj_weight = nn.Parameter(weight * 2.0)
        expected = layer(x, memory.clone(), cache=fresh)
        np.testing.assert_array_equal(layer(x, memory, cache=used).numpy(), expected.numpy())


def test_copies_of_a_cache_keep_what_was_projected() -> None:
    layer = nn.MultiheadAttention(8, 2)
    weights = (layer.in_proj_weight, layer.in_proj_bias)
    cache, memory = nn.KeyValueCache(), nv.randn(2, 3, 8)
    cache.sides(memory, layer.sides, weights)
    copied, memory = copy.deepcopy((cache, memory))
    copied.sides(memory, lambda _: pytest.fail("projected again"), weights)


class _Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2.0


@pytest.mark.parametrize("decoder", [False, True])
def test_what_an_operation_cannot_do_is_done_by_the_layers(decoder: bool) -> None:
    rng = np.random.default_rng(11)
    x, memory = nv.tensor(_normal(rng, 2, 3, 16)), nv.tensor(_normal(rng, 2, 4, 16))
    others = [memory] if decoder else []
    kind: Any = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
    mask = {"tgt_is_causal" if decoder else "is_causal": True}

    def changed(change: Callable[[Any], None]) -> tuple[np.ndarray, np.ndarray]:
        nv.manual_seed(12)
        layer = kind(16, 2, 24, 0.5).eval()
        change(layer)
        with nv.no_grad():
            whole = layer(x, *others, **mask).numpy()
            cache = nn.KeyValueCache()
            steps = [layer(x[:, t : t + 1], *others, cache=cache).numpy() for t in range(3)]
        return np.concatenate(steps, axis=1), whole

    plain, _ = changed(lambda layer: None)

    def subclass(layer: Any) -> None:
        layer.linear2 = _Doubled(24, 16)

    def other_norm(layer: Any) -> None:
        layer.norm1 = nn.RMSNorm(16)

    def no_gain(layer: Any) -> None:
        layer.norm2 = nn.LayerNorm(16, elementwise_affine=False)

    for change in (subclass, other_norm, no_gain):
        steps, whole = changed(change)
        np.testing.assert_allclose(steps, whole, atol=1e-5)
    dropped, _ = changed(lambda layer: layer.dropout1.train())
    assert np.abs(dropped - plain).max() > 1e-3


def test_recurrent_layers_of_another_kind_step_by_themselves() -> None:
    nv.manual_seed(13)
    for decoder in (
        nn.GRU(9 + 34, 17, reset_after=False),
        nn.GRU(9 + 34, 17, bias=False),
    ):
        model = models.Seq2Seq(12, 12, embed_dim=9, hidden_size=17, attention="additive").eval()
        model.decoder = decoder
        target = nv.tensor(SOURCE)
        with nv.no_grad():
            whole = model(nv.tensor(SOURCE), target, LENGTHS).numpy()
            inputs, state = model.shifted(target).numpy(), model.start(nv.tensor(SOURCE), LENGTHS)
            for t in range(SOURCE.shape[1]):
                logits, state = model.step(nv.tensor(inputs[:, t].copy()), state)
                np.testing.assert_allclose(logits.numpy(), whole[:, t], atol=2e-5)


X = nv.zeros(2, 1, 8)
PART = [nv.zeros(24, 8), None, nv.zeros(8, 8), None, nv.zeros(8), None]
NETWORK = [nv.zeros(16, 8), None, nv.zeros(8, 16), None, nv.zeros(8), None]
STORE, VALUES, SECOND = (nv.zeros(2, 4, 8) for _ in range(3))


def _step(x: Tensor = X, weights: Any = None, heads: int = 2, length: int = 0, **more: Any) -> Any:
    weights = [*PART, *NETWORK] if weights is None else weights
    stores = {"keys": [STORE], "values": [VALUES], **more}
    return _core.transformer_step(x, weights, 1e-5, True, heads, "relu", length=length, **stores)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _step(weights=PART[:5]), "weights must be 12 for each of 1 layers, .* got 5"),
        (lambda: _step(heads=3), "heads must divide E = 8, got 3"),
        (lambda: _step(length=4), "capacity 4"),
        (lambda: _step(X[0]), r"must be \(B, T, E\)"),
        (lambda: _step(weights=[*PART, *PART, *NETWORK], sides=[STORE]), r"be \(2, S, 16\)"),
        (lambda: _step(sides=[STORE, STORE]), "for every layer, got 1, 1 and 2"),
        (lambda: _step(weights=[*PART, *PART]), r"linear2 must be \(8, 24\)"),
        (lambda: _step(weights=[*PART, *NETWORK[:4], nv.zeros(7), None]), r"\(8\), got \(7,\)"),
        (lambda: _step(lengths=nv.zeros(2, dtype=nv.int64)), "sides, which are missing"),
        (lambda: _step(values=[STORE]), "keys and values must not share memory"),
        (lambda: _step(values=[VALUES.detach().requires_grad_()]), "must not require gradients"),
        (
            lambda: _step(
                weights=2 * [*PART, *NETWORK], keys=[STORE, SECOND], values=[VALUES, STORE]
            ),
            "keys and values of layer 1 must not share memory",
        ),
        (
            lambda: _core.attentive_memory(STORE, nv.zeros(6, 7), nv.zeros(6, 8)),
            "8 columns for the context, got 7 and 8",
        ),
        (lambda: nn.MultiheadAttention(8, 2, kdim=4).sides(STORE), "weights that are packed"),
    ],
)
def test_errors(call: Any, words: str) -> None:
    before = STORE._version
    with pytest.raises(ValueError, match=words):
        call()
    assert STORE._version == before  # nothing was written
