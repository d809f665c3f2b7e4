# SPDX-License-Identifier: BSD-3-Clause
"""RNN, GRU and LSTM modules: against PyTorch, ragged batches, streaming, options, errors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from comparison import EPS, difference

import nervure as nv
from nervure import _core, nn, reference

KINDS = ["RNN", "GRU", "LSTM"]
TOLERANCE = 64 * EPS


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def states_of(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def given(states: list[Any]) -> Any:
    return states[0] if len(states) == 1 else tuple(states)


def initial(module: Any, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
    rows = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [getattr(module, "proj_size", 0) or module.hidden_size]
    sizes += [module.hidden_size] * isinstance(module, nn.LSTM)
    return [floats(rng, rows, batch, size) for size in sizes]


def close(actual: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    text = difference(actual.numpy(), np.asarray(expected, np.float64), tolerance, floor=8 * EPS)
    assert not text, text


# ---- against PyTorch -----------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("kind", [*KINDS, "relu", "projected"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    ("layers", "both", "bias", "lengths"),
    [
        (1, False, True, None),
        (1, True, False, None),
        (2, True, True, None),
        (3, False, True, (4, 6, 1, 6, 2)),
        (2, True, True, (4, 6, 1, 5, 2)),
    ],
)
def test_against_torch(rng, kind, batch_first, layers, both, bias, lengths) -> None:
    torch = pytest.importorskip("torch")
    options: dict[str, Any] = {"num_layers": layers, "bidirectional": both, "bias": bias}
    options |= {"nonlinearity": "relu"} if kind == "relu" else {}
    options |= {"proj_size": 5} if kind == "projected" else {}
    name = {"relu": "RNN", "projected": "LSTM"}.get(kind, kind)
    ours = getattr(nn, name)(7, 17, batch_first=batch_first, **options)
    theirs = getattr(torch.nn, name)(7, 17, batch_first=batch_first, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    theirs = theirs.double()

    x = floats(rng, 5, 6, 7) if batch_first else floats(rng, 6, 5, 7)
    states = initial(ours, rng, 5)
    a, b = nv.tensor(x, requires_grad=True), torch.tensor(x).double().requires_grad_()
    ours_in = [nv.tensor(s, requires_grad=True) for s in states]
    theirs_in = [torch.tensor(s).double().requires_grad_() for s in states]
    out, state = ours(a, given(ours_in), lengths)
    source: Any = b
    pack = torch.nn.utils.rnn
    if lengths:
        source = pack.pack_padded_sequence(b, lengths, batch_first, enforce_sorted=False)
    expected, final = theirs(source, given(theirs_in))
    if lengths:
        expected, _ = pack.pad_packed_sequence(expected, batch_first, total_length=6)
    close(out, expected.detach())
    for s, e in zip(states_of(state), states_of(final), strict=True):
        close(s, e.detach())

    weights = [floats(rng, *t.shape) for t in (out, *states_of(state))]
    total = nv.tensor(0.0)
    for t, w in zip((out, *states_of(state)), weights, strict=True):
        total = total + (t * nv.tensor(w)).sum()
    total.backward()
    sum(
        (t * torch.tensor(w)).sum()
        for t, w in zip((expected, *states_of(final)), weights, strict=True)
    ).backward()
    close(a.grad, b.grad)
    for s, e in zip(ours_in, theirs_in, strict=True):
        close(s.grad, e.grad)
    theirs_parameters = dict(theirs.named_parameters())
    for parameter_name, p in ours.named_parameters():
        close(p.grad, theirs_parameters[parameter_name].grad)


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "hidden", "ragged"), [(18, 200, True), (17, 460, False)])
def test_large_layers_against_torch(rng, isa, kind, batch, hidden, ragged) -> None:
    """Wide panels, weights beyond the second-level cache, more rows than are packed at a time."""
    torch = pytest.importorskip("torch")
    steps, inputs, both = 9, 24, ragged
    ours = getattr(nn, kind)(inputs, hidden, bidirectional=both)
    theirs = getattr(torch.nn, kind)(inputs, hidden, bidirectional=both, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    theirs = theirs.double()
    x, dy = floats(rng, batch, steps, inputs), floats(rng, batch, steps, (1 + both) * hidden)
    lengths = [9, 4, 0, 9, 1, 7, 8, 9, 3, 6, 9, 2, 5, 9, 8, 9, 7, 9][:batch] if ragged else None
    lasts = lengths or [steps] * batch
    a, b = nv.tensor(x, requires_grad=True), torch.tensor(x).double().requires_grad_()
    out, state = ours(a, lengths=lengths)
    ((out * nv.tensor(dy)).sum() + states_of(state)[0].sum()).backward()
    total = 0.0
    for i, n in enumerate(lasts):  # torch refuses rows without steps
        if n == 0:
            continue
        y, final = theirs(b[i : i + 1, :n])
        close(out[i : i + 1, :n], y.detach())
        total = total + (y * torch.tensor(dy[i : i + 1, :n])).sum() + states_of(final)[0].sum()
    total.backward()
    close(a.grad, b.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad)


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [None, 1, 6])
def test_cells_against_torch(rng, kind, batch) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, f"{kind}Cell")(5, 9), getattr(torch.nn, f"{kind}Cell")(5, 9)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    lead = () if batch is None else (batch,)
    x = floats(rng, *lead, 5)
    states = [floats(rng, *lead, 9) for _ in range(1 + (kind == "LSTM"))]
    for arguments in ((), (states,)):
        a = [given([nv.tensor(s) for s in part]) for part in arguments]
        b = [given([torch.tensor(s) for s in part]) for part in arguments]
        actual, expected = ours(nv.tensor(x), *a), theirs(torch.tensor(x), *b)
        for s, e in zip(states_of(actual), states_of(expected), strict=True):
            close(s, e.detach())
    loss = states_of(ours(nv.tensor(x)))[0].sum()
    loss.backward()
    states_of(theirs(torch.tensor(x)))[0].sum().backward()
    for name, p in ours.named_parameters():
        close(p.grad, dict(theirs.named_parameters())[name].grad)


def normalised_lstm(torch: Any, p: dict[str, Any], end: str, x: Any, h: Any, c: Any) -> Any:
    """One direction of a layer in PyTorch's own operations; gains of ones where there are none."""
    norm, hidden = torch.nn.functional.layer_norm, h.shape[1]
    outputs = []
    for t in reversed(range(x.shape[1])) if end.endswith("reverse") else range(x.shape[1]):
        sums = norm(x[:, t] @ p[f"weight_ih{end}"].T, (4 * hidden,), p[f"gain_ih{end}"])
        sums = sums + norm(h @ p[f"weight_hh{end}"].T, (4 * hidden,), p[f"gain_hh{end}"])
        sums = sums + p[f"bias_ih{end}"] + p[f"bias_hh{end}"]
        i, f, g, o = sums.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm(c, (hidden,), p[f"gain_c{end}"], p[f"bias_c{end}"]).tanh()
        outputs.append(h)
    if end.endswith("reverse"):
        outputs.reverse()
    return torch.stack(outputs, 1), h, c


@pytest.mark.torch
@pytest.mark.parametrize("layers", [1, 2])
def test_layer_norm_against_torch(rng, isa, threads, layers) -> None:
    torch = pytest.importorskip("torch")
    nv.manual_seed(0)
    module = nn.LSTM(7, 17, layers, bidirectional=True, layer_norm=True)
    for name, p in module.named_parameters():
        if not name.startswith("weight"):
            p.detach().copy_(nv.tensor(floats(rng, *p.shape) * 0.3 + name.startswith("gain")))
    x, dy = floats(rng, 5, 6, 7), floats(rng, 5, 6, 34)
    states = initial(module, rng, 5)
    a = nv.tensor(x, requires_grad=True)
    ours_in = [nv.tensor(s, requires_grad=True) for s in states]
    out, final = module(a, tuple(ours_in))
    dfinal = [floats(rng, *s.shape) for s in final]
    total = (out * nv.tensor(dy)).sum()
    for s, d in zip(final, dfinal, strict=True):
        total = total + (s * nv.tensor(d)).sum()
    total.backward()

    def exact(values: Any) -> Any:
        return torch.tensor(values).double().requires_grad_()

    parameters = {name: exact(p.numpy().copy()) for name, p in module.named_parameters()}
    b, theirs_in = exact(x), [exact(s) for s in states]
    y, finals = b, []
    for layer in range(layers):
        ends = [f"_l{layer}", f"_l{layer}_reverse"]
        rows = range(2 * layer, 2 * layer + 2)
        both = [
            normalised_lstm(torch, parameters, end, y, theirs_in[0][row], theirs_in[1][row])
            for end, row in zip(ends, rows, strict=True)
        ]
        y = torch.cat([each[0] for each in both], 2)
        finals += [each[1:] for each in both]
    expected = [torch.stack(s) for s in zip(*finals, strict=True)]
    loss = (y * torch.tensor(dy)).sum()
    for s, d in zip(expected, dfinal, strict=True):
        loss = loss + (s * torch.tensor(d)).sum()
    loss.backward()
    tolerance = 4 * TOLERANCE  # small differences of large sums
    close(out, y.detach())
    for s, e in zip((*final, a.grad), (*expected, b.grad), strict=True):
        close(s, e.detach(), tolerance)
    for s, e in zip(ours_in, theirs_in, strict=True):
        close(s.grad, e.grad, tolerance)
    for name, p in module.named_parameters():
        close(p.grad, parameters[name].grad, tolerance)


def test_normalised_cell(rng) -> None:
    cell = nn.LSTMCell(4, 6, layer_norm=True)
    x, h, c = floats(rng, 3, 4), floats(rng, 3, 6), floats(rng, 3, 6)
    named = {name: p.numpy() for name, p in cell.named_parameters()}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "", "")
    weights = [named.get(name) for name in (*names, "gain_ih", "gain_hh", "gain_c", "bias_c")]
    _, *expected = reference.lstm(x[:, None], h[None], c[None], weights)
    new_h, new_c = cell(nv.tensor(x), (nv.tensor(h), nv.tensor(c)))
    close(new_h, expected[0][0])
    close(new_c, expected[1][0])
    (new_h.sum() + new_c.sum()).backward()
    assert all(p.grad.numpy().any() for p in cell.parameters())


def test_normalised_rows_are_rows_of_their_own(rng, threads) -> None:
    """Ragged rows, and rows by themselves, whatever is cut where."""
    module = nn.LSTM(5, 65, bidirectional=True, layer_norm=True)
    lengths = [4, 9, 0, 2]
    x = floats(rng, 4, 9, 5)
    out, (h, c) = module(nv.tensor(x), None, lengths)
    for i, n in enumerate(lengths):
        y, final = module(nv.tensor(x[i : i + 1, :n]))
        np.testing.assert_array_equal(out.numpy()[i, :n], y.numpy()[0])
        for s, f in zip((h, c), final, strict=True):
            np.testing.assert_array_equal(s.numpy()[:, i], f.numpy()[:, 0])
    assert not out.numpy()[2].any()


def test_normalised_layers_begin_with_gains_of_one() -> None:
    for bias in (True, False):
        module = nn.LSTM(3, 4, 2, bias=bias, bidirectional=True, layer_norm=True)
        cell = nn.LSTMCell(3, 4, bias, layer_norm=True)
        named = [*module.named_parameters(), *cell.named_parameters()]
        assert len(named) == 5 * (8 if bias else 5)
        for name, p in named:
            start = name.split("_")[0]
            if start != "weight":
                assert (p.numpy() == (start == "gain")).all()
    assert repr(module).endswith("bidirectional=True, layer_norm=True)")
    assert repr(cell) == "LSTMCell(3, 4, bias=False, layer_norm=True)"
    assert nn.LSTMCell(3, 4).bias_ih.numpy().any()


def test_classic_gru_cell(rng) -> None:
    cell = nn.GRUCell(4, 6, reset_after=False)
    x, h = floats(rng, 3, 4), floats(rng, 3, 6)
    weights = [p.numpy() for p in cell.parameters()]
    expected, _ = reference.gru(x[:, None], h[None], weights, reset_after=False)
    close(cell(nv.tensor(x), nv.tensor(h)), expected[:, 0])


# ---- rows of different lengths -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
def test_padding_is_never_read_and_gets_no_gradient(rng, isa, threads, kind, both) -> None:
    module = getattr(nn, kind)(6, 19, num_layers=2, bidirectional=both)
    lengths = [3, 0, 7, 7, 1, 0, 5]
    x = floats(rng, len(lengths), 7, 6)
    results = []
    for fill in (0.0, np.nan):
        for i, n in enumerate(lengths):
            x[i, n:] = fill
        a = nv.tensor(x, requires_grad=True)
        module.zero_grad()
        out, state = module(a, lengths=np.array(lengths))
        (out.square().sum() + sum(s.square().sum() for s in states_of(state))).backward()
        tensors = (out, *states_of(state), a.grad, *(p.grad for p in module.parameters()))
        results.append([t.numpy().tobytes() for t in tensors])
        for i, n in enumerate(lengths):
            assert (out.numpy()[i, n:] == 0).all()
            assert (a.grad.numpy()[i, n:] == 0).all()
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
def test_ragged_rows_are_rows_of_their_own(rng, kind, both) -> None:
    """Each row by itself gives the same bits: nothing of it depends on its neighbours."""
    module = getattr(nn, kind)(5, 18, bidirectional=both)
    lengths = [4, 9, 0, 2]
    x, states = floats(rng, 4, 9, 5), initial(module, rng, 4)
    out, state = module(nv.tensor(x), given([nv.tensor(s) for s in states]), lengths)
    for i, n in enumerate(lengths):
        one = given([nv.tensor(s[:, i : i + 1]) for s in states])
        y, final = module(nv.tensor(x[i : i + 1, :n]), one)
        np.testing.assert_array_equal(out.numpy()[i, :n], y.numpy()[0])
        for s, f in zip(states_of(state), states_of(final), strict=True):
            np.testing.assert_array_equal(s.numpy()[:, i], f.numpy()[:, 0])


@pytest.mark.parametrize("kind", [*KINDS, "normalised"])
@pytest.mark.parametrize(
    "shape",
    [(1, 50, 40, 130), (18, 12, 33, 50), (40, 7, 5, 300), (18, 9, 24, 200), (20, 5, 7, 460)],
)
def test_bits_do_not_depend_on_threads(rng, isa, kind, shape) -> None:
    batch, steps, inputs, hidden = shape
    options = {"layer_norm": True} if kind == "normalised" else {}
    module = getattr(nn, kind if kind in KINDS else "LSTM")(inputs, hidden, **options)
    x, dy = floats(rng, batch, steps, inputs), floats(rng, batch, steps, hidden)
    results = []
    for threads in (1, 2, 3):
        nv.set_num_threads(threads)
        a = nv.tensor(x, requires_grad=True)
        module.zero_grad()
        out, state = module(a)
        out.backward(nv.tensor(dy))
        tensors = (out, *states_of(state), a.grad, *(p.grad for p in module.parameters()))
        results.append([t.numpy().tobytes() for t in tensors])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
def test_bits_of_ragged_rows_do_not_depend_on_their_cut(rng, isa, kind, both) -> None:
    """Rows are cut by the sum of their steps, anew for every few steps; each stays its own."""
    steps, inputs, hidden = 22, 9, 100
    lengths = np.array([22, 3, 0, 17, 22, 1, 9, 0, 21, 2, 14, 5, 8, 0, 20, 6, 11, 4, 19, 7, 1, 13])
    module = getattr(nn, kind)(inputs, hidden, bidirectional=both)
    x, dy = floats(rng, len(lengths), steps, inputs), floats(rng, 1, 1, (1 + both) * hidden)
    results = []
    for threads in (1, 2, 3):
        nv.set_num_threads(threads)
        a = nv.tensor(x, requires_grad=True)
        module.zero_grad()
        out, state = module(a, lengths=lengths)
        (out * nv.tensor(dy)).sum().backward()
        tensors = (out, *states_of(state), a.grad, *(p.grad for p in module.parameters()))
        results.append([t.numpy().tobytes() for t in tensors])
    assert results[0] == results[1] == results[2]
    for i in (0, 6, 9, 18):
        own = nv.tensor(x[i : i + 1, : lengths[i]], requires_grad=True)
        y, _ = module(own)
        (y * nv.tensor(dy)).sum().backward()
        np.testing.assert_array_equal(out.numpy()[i, : lengths[i]], y.numpy()[0])
        np.testing.assert_array_equal(a.grad.numpy()[i, : lengths[i]], own.grad.numpy()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_and_no_steps(kind) -> None:
    module = getattr(nn, kind)(3, 4, bidirectional=True)
    for shape in ((0, 5, 3), (2, 0, 3), (0, 0, 3)):
        out, state = module(nv.zeros(*shape))
        assert out.shape == (*shape[:2], 8)
        for s in states_of(state):
            assert s.shape == (2, shape[0], 4)
            assert not s.numpy().any()
        out.sum().backward()
        assert not any(p.grad.numpy().any() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_batch(rng, kind) -> None:
    module = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=False)
    x, states = floats(rng, 5, 3), initial(module, rng, 1)
    out, state = module(nv.tensor(x), given([nv.tensor(s[:, 0]) for s in states]))
    batched, final = module(nv.tensor(x[:, None]), given([nv.tensor(s) for s in states]))
    np.testing.assert_array_equal(out.numpy(), batched.numpy()[:, 0])
    for s, f in zip(states_of(state), states_of(final), strict=True):
        np.testing.assert_array_equal(s.numpy(), f.numpy()[:, 0])


def test_backward_twice(rng) -> None:
    for kind in KINDS:
        module = getattr(nn, kind)(3, 5)
        x = nv.tensor(floats(rng, 2, 4, 3), requires_grad=True)
        loss = module(x)[0].sum()
        loss.backward(retain_graph=True)
        once = x.grad.numpy().copy()
        loss.backward()
        np.testing.assert_array_equal(x.grad.numpy(), 2 * once)


def test_biases_do_not_share_their_gradients(rng) -> None:
    for kind in KINDS:
        module = getattr(nn, kind)(3, 5)
        module(nv.tensor(floats(rng, 2, 4, 3)))[0].sum().backward()
        before = module.bias_hh_l0.grad.numpy().copy()
        module.bias_ih_l0.grad.fill_(0.0)
        np.testing.assert_array_equal(module.bias_hh_l0.grad.numpy(), before)


# ---- streaming -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [*KINDS, "reset before", "projected", "peepholes", "zoneout", "normalised"]
)
@pytest.mark.parametrize(
    ("batch", "inputs", "hidden", "layers"),
    [(1, 16, 32, 1), (3, 7, 21, 2), (1, 40, 130, 1), (20, 5, 300, 1), (33, 1200, 16, 1)],
)
def test_step_by_step_gives_the_same_bits(rng, isa, kind, batch, inputs, hidden, layers) -> None:
    options: dict[str, Any] = {
        "reset before": {"reset_after": False},
        "projected": {"proj_size": hidden // 2},
        "peepholes": {"peepholes": True},
        "zoneout": {"zoneout": 0.2},
        "normalised": {"layer_norm": True},
    }.get(kind, {})
    name = kind if kind in KINDS else "GRU" if kind == "reset before" else "LSTM"
    module = getattr(nn, name)(inputs, hidden, num_layers=layers, **options).eval()
    x = floats(rng, batch, 6, inputs)
    with nv.no_grad():
        out, final = module(nv.tensor(x))
        state = None
        for t in range(x.shape[1]):
            y, state = module.step(nv.tensor(x[:, t]), state)
            np.testing.assert_array_equal(y.numpy(), out.numpy()[:, t])
    for s, f in zip(states_of(state), states_of(final), strict=True):
        np.testing.assert_array_equal(s.numpy(), f.numpy())


@pytest.mark.skipif(os.environ.get("NERVURE_ALLOC") == "system", reason="the pool is off")
@pytest.mark.parametrize("kind", KINDS)
def test_steps_take_no_memory_from_the_system(rng, kind) -> None:
    module = getattr(nn, kind)(16, 32, num_layers=2)
    x = nv.tensor(floats(rng, 1, 16))
    with nv.no_grad():
        _, state = module.step(x)
        for _ in range(3):
            _, state = module.step(x, state)
        before = nv.memory_stats()["system_allocations"]
        for _ in range(50):
            _, state = module.step(x, state)
        assert nv.memory_stats()["system_allocations"] == before


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_backward_through_time(rng, kind) -> None:
    """A detached state carries values across calls and no gradient."""
    module = getattr(nn, kind)(3, 5)
    x = floats(rng, 2, 8, 3)
    whole, _ = module(nv.tensor(x))
    first, state = module(nv.tensor(x[:, :4]))
    second, _ = module(nv.tensor(x[:, 4:]), given([s.detach() for s in states_of(state)]))
    np.testing.assert_array_equal(first.numpy(), whole.numpy()[:, :4])
    np.testing.assert_array_equal(second.numpy(), whole.numpy()[:, 4:])
    second.sum().backward()
    assert first.grad is None


# ---- options -------------------------------------------------------------------------------------


def test_dropout_between_layers(rng) -> None:
    module = nn.GRU(4, 8, num_layers=2, dropout=0.5)
    x = nv.tensor(floats(rng, 3, 5, 4))
    assert (module(x)[0].numpy() != module(x)[0].numpy()).any()
    module.eval()
    np.testing.assert_array_equal(module(x)[0].numpy(), module(x)[0].numpy())
    with pytest.warns(UserWarning, match="single one"):
        nn.GRU(4, 8, dropout=0.5)


def test_recurrent_dropout_is_the_same_at_all_steps(rng) -> None:
    """Without input and bias, what is dropped of h alone decides: the reference with the mask."""
    module = nn.LSTM(3, 40, recurrent_dropout=0.5)
    x = floats(rng, 2, 6, 3)
    nv.manual_seed(3)
    out, _ = module(nv.tensor(x))
    nv.manual_seed(3)
    mask = nv.Tensor(np.empty((1, 2, 40), np.float32))
    nv._core.bernoulli_(mask, 0.5)
    weights = [p.numpy() for p in module.parameters()] + [None, None]
    expected, *_ = reference.lstm(x, None, None, weights, None, mask.numpy() / 0.5)
    close(out, expected)
    assert 0.2 < mask.numpy().mean() < 0.8
    assert module.eval()(nv.tensor(x))[0].shape == (2, 6, 40)
    with pytest.raises(ValueError, match=r"\[LSTM.step\] recurrent_dropout"):
        module.train().step(nv.tensor(x[:, 0]))


def test_zoneout_keeps_units_in_training_and_averages_in_evaluation(rng) -> None:
    module = nn.LSTM(3, 64, zoneout=(0.5, 0.0))
    x = floats(rng, 2, 4, 3)
    y = module(nv.tensor(x))[0].numpy()
    kept = (y[:, 1:] == y[:, :-1]).mean()
    assert 0.3 < kept < 0.7
    weights = [p.numpy() for p in module.parameters()] + [None, None]
    half = np.float32([0.5])
    expected, *_ = reference.lstm(x, None, None, weights, None, None, half)
    close(module.eval()(nv.tensor(x))[0], expected)


def test_peepholes_are_parameters(rng) -> None:
    module = nn.LSTM(3, 6, num_layers=2, peepholes=True, bidirectional=True)
    names = [name for name, _ in module.named_parameters() if "peephole" in name]
    ends = ("l0", "l0_reverse", "l1", "l1_reverse")
    assert names == [f"weight_peephole_{end}" for end in ends]
    module(nv.tensor(floats(rng, 2, 4, 3)))[0].sum().backward()
    assert all(p.grad.numpy().any() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_initial_values(kind) -> None:
    nv.manual_seed(1)
    module = getattr(nn, kind)(30, 100)
    for p in module.parameters():
        values = p.numpy()
        assert np.abs(values).max() <= 0.1
        assert np.abs(values).max() > 0.09
        assert abs(values.mean()) < 0.02


def test_repr() -> None:
    assert repr(nn.RNN(3, 4)) == "RNN(3, 4)"
    assert repr(nn.GRU(3, 4, 2, bidirectional=True, reset_after=False)) == (
        "GRU(3, 4, num_layers=2, bidirectional=True, reset_after=False)"
    )
    assert repr(nn.LSTM(3, 4, proj_size=2, peepholes=True)) == (
        "LSTM(3, 4, proj_size=2, peepholes=True)"
    )
    assert repr(nn.LSTMCell(3, 4, bias=False)) == "LSTMCell(3, 4, bias=False)"


# ---- errors --------------------------------------------------------------------------------------


def test_modules_refuse() -> None:
    with pytest.raises(ValueError, match=r"\[GRU\] expected input_size"):
        nn.GRU(3, 0)
    with pytest.raises(ValueError, match=r"\[RNN\] nonlinearity"):
        nn.RNN(3, 4, nonlinearity="sigmoid")
    with pytest.raises(ValueError, match=r"\[RNNCell\] nonlinearity"):
        nn.RNNCell(3, 4, nonlinearity="sigmoid")
    with pytest.raises(ValueError, match=r"\[LSTM\] dropout"):
        nn.LSTM(3, 4, 2, dropout=1.5)
    with pytest.raises(ValueError, match=r"\[LSTM\] proj_size"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(ValueError, match=r"\[LSTM\] zoneout of c"):
        nn.LSTM(3, 4, zoneout=(0.1, 1.0))
    with pytest.raises(ValueError, match=r"\[LSTM\] zoneout and proj_size"):
        nn.LSTM(3, 4, proj_size=2, zoneout=0.1)
    module = nn.LSTM(3, 4)
    x, h = nv.zeros(2, 5, 3), nv.zeros(1, 2, 4)
    with pytest.raises(ValueError, match=r"\[LSTM\] input must have 3 features, got 4"):
        module(nv.zeros(2, 5, 4))
    with pytest.raises(ValueError, match=r"\[LSTM\] input must have 2 or 3"):
        module(nv.zeros(3))
    with pytest.raises(TypeError, match=r"\[LSTM\] state must be a tuple of 2"):
        module(x, h)
    with pytest.raises(ValueError, match=r"\[lstm\] c0 must be \(1, 2, 4\), got \(2, 2, 4\)"):
        module(x, (h, nv.zeros(2, 2, 4)))
    with pytest.raises(ValueError, match=r"\[LSTM.step\] c0 must have 3 dimensions, the first of"):
        nn.LSTM(3, 4, 2).step(x[:, 0], (nv.zeros(2, 2, 4), h))
    with pytest.raises(ValueError, match=r"\[lstm\] h0 must be \(1, 2, 4\), got \(1, 3, 4\)"):
        module(x, (nv.zeros(1, 3, 4), h))
    with pytest.raises(ValueError, match=r"\[lstm\] lengths must be in \[0, 5\], got 6 for row 1"):
        module(x, lengths=[2, 6])
    with pytest.raises(ValueError, match=r"\[lstm\] lengths must be \(batch\)"):
        module(x, lengths=[2])
    with pytest.raises(TypeError, match=r"\[lstm\] lengths must be int64"):
        module(x, lengths=[2.0, 1.0])
    with pytest.raises(ValueError, match=r"\[LSTM\] lengths need a batch"):
        module(nv.zeros(5, 3), lengths=[2])
    with pytest.raises(ValueError, match=r"\[LSTM.step\] input must be \(batch, 3\)"):
        module.step(x)
    with pytest.raises(ValueError, match=r"\[GRU.step\] needs a layer of one direction"):
        nn.GRU(3, 4, bidirectional=True).step(nv.zeros(2, 3))
    with pytest.raises(ValueError, match=r"\[GRUCell\] h must be \(2, 4\)"):
        nn.GRUCell(3, 4)(nv.zeros(2, 3), nv.zeros(2, 5))
    with pytest.raises(ValueError, match=r"\[GRUCell\] input must be"):
        nn.GRUCell(3, 4)(nv.zeros(2, 4))


def test_operations_refuse() -> None:
    x = nv.zeros(2, 5, 3)
    weights = [nv.zeros(16, 3), nv.zeros(16, 4), None, None, None, None]
    core = nv._core
    with pytest.raises(ValueError, match=r"\[lstm\] input must be \(batch, steps, features\)"):
        core.lstm(nv.zeros(2, 3), None, None, weights)
    with pytest.raises(ValueError, match=r"\[lstm\] weights must be 6 for each"):
        core.lstm(x, None, None, weights[:4])
    with pytest.raises(ValueError, match=r"\[lstm\] weight_hh must be \(16, 4\), got \(16, 5\)"):
        core.lstm(x, None, None, [weights[0], nv.zeros(16, 5), *weights[2:]])
    with pytest.raises(ValueError, match=r"\[lstm\] weight_hh must be given"):
        core.lstm(x, None, None, [weights[0], None, *weights[2:]])
    with pytest.raises(ValueError, match=r"\[lstm\] weight_peephole must be row-major"):
        core.lstm(x, None, None, [*weights[:5], nv.zeros(4, 3)])
    with pytest.raises(ValueError, match=r"\[lstm\] bias_ih must be \(16\)"):
        core.lstm(x, None, None, [*weights[:2], nv.zeros(4), *weights[3:]])
    with pytest.raises(ValueError, match=r"\[lstm\] mask must be \(1, 2, 4\)"):
        core.lstm(x, None, None, weights, None, nv.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[lstm\] zoneout_h must be one number or"):
        core.lstm(x, None, None, weights, None, None, nv.zeros(2, 4))
    for position in range(5, 8):
        constants = [None] * 3
        constants[position - 5] = nv.tensor(np.ones((1, 2, 4), np.float32), requires_grad=True)
        if position > 5:
            constants[position - 5] = nv.tensor([0.5], requires_grad=True)
        with pytest.raises(ValueError, match=r"\[lstm\] mask and zoneouts get no gradient"):
            core.lstm(x, None, None, weights, None, *constants)
    normalised = [*weights, nv.ones(16), nv.ones(16), nv.ones(4), None]
    with pytest.raises(ValueError, match=r"\[lstm\] gain_hh must be given"):
        core.lstm(x, None, None, [*normalised[:7], None, *normalised[8:]])
    with pytest.raises(ValueError, match=r"\[lstm\] gain_c must be \(4\), got \(16,\)"):
        core.lstm(x, None, None, [*normalised[:8], nv.ones(16), None])
    with pytest.raises(ValueError, match=r"\[lstm\] bias_c must be \(4\), got \(5,\)"):
        core.lstm(x, None, None, [*normalised[:9], nv.ones(5)])
    projected = [weights[0], nv.zeros(16, 2), None, None, nv.zeros(2, 4), None]
    with pytest.raises(ValueError, match=r"\[lstm\] zoneout_c and a projection"):
        core.lstm(x, None, None, projected, None, None, None, nv.zeros(1))
    narrow = [weights[0], nv.zeros(16, 1), None, None, nv.zeros(1, 4), None]
    with pytest.raises(ValueError, match=r"\[lstm\] weight_hr must have the same shape for both"):
        core.lstm(x, None, None, [*projected, *narrow])
    with pytest.raises(ValueError, match=r"\[lstm\] weight_hr must be given for both"):
        core.lstm(x, None, None, [*projected, *weights])
    with pytest.raises(ValueError, match=r"\[rnn\] nonlinearity must be"):
        core.rnn(x, None, [nv.zeros(4, 3), nv.zeros(4, 4), None, None], None, "sigmoid")


@pytest.mark.parametrize("normalised", [False, True])
def test_no_hidden_units(normalised: bool) -> None:
    """The layers refuse it; the operation gives rows of no elements."""
    bias = nv.zeros(0)
    weights = [nv.zeros(0, 3, requires_grad=True), nv.zeros(0, 0), bias, bias, None, None]
    weights += [bias] * 4 if normalised else []
    y, h, c = _core.lstm(nv.zeros(2, 3, 3), None, None, weights)
    assert (y.shape, h.shape, c.shape) == ((2, 3, 0), (1, 2, 0), (1, 2, 0))
    y.sum().backward()
    assert weights[0].grad.shape == (0, 3)
