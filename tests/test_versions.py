# SPDX-License-Identifier: BSD-3-Clause
"""Changes in place between forward and backward: the ones that matter are refused, no others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import as_tuple, close, expected_of, leaf
from test_boundaries import CPP

import nervure as nv
from nervure import _core, nn, optim
from nervure.reference.cases import Case, cases_of, ops

CHANGED = r"was changed in place after the forward pass \(version \d+, saved at \d+\)"


def _torch() -> Any:
    return pytest.importorskip("torch")


# ---- the counter ---------------------------------------------------------------------------------


def test_version_counts_writes() -> None:
    x = nv.zeros(2, 3)
    assert x._version == 0
    x.fill_(1.0)
    x.copy_(nv.ones(2, 3))
    assert x._version == 2
    x.copy_(x)  # nothing to do
    assert x._version == 2


@pytest.mark.parametrize("make", [nv.zeros, nv.ones, nv.rand, nv.randn], ids=lambda f: f.__name__)
def test_new_tensors_are_at_version_0(make: Any) -> None:
    for _ in range(3):  # blocks of memory are used again
        x = make(4, 5)
        assert x._version == 0
        assert x.exp()._version == 0
        x.fill_(2.0)


def test_views_share_the_version() -> None:
    x = nv.ones(2, 3)
    views = [x.detach(), x.T, x.reshape(3, 2), nn.Parameter(x)]
    copies = [x[0], x.clone(), x + 0.0, nv.tensor(x)]
    x.zero_()
    assert [v._version for v in views] == [1] * len(views)
    views[1].fill_(2.0)
    assert x._version == 2
    assert [c._version for c in copies] == [0] * len(copies)


def test_message_names_the_operation_and_the_leaf() -> None:
    x = nv.ones(3) * leaf([1.0, 2.0, 3.0])
    y = x.exp()
    y.detach().fill_(0.0)
    expected = (
        "[backward of exp] a tensor saved for this gradient was changed in place after the forward "
        "pass (version 1, saved at 0); clone() it before changing it, or change it after backward()"
    )
    with pytest.raises(RuntimeError, match=f"^{re.escape(expected)}$"):
        y.sum().backward()
    w = leaf(np.ones((2, 3)))
    loss = nn.functional.linear(x, w).sum()
    w.fill_(0.0)
    with pytest.raises(
        RuntimeError, match=r"^\[backward of linear\].*the leaf of shape \(2, 3\), "
    ):
        loss.backward()


# ---- every operation -----------------------------------------------------------------------------


def _change(t: nv.Tensor) -> None:
    """Other values that are as valid: indices stay in range."""
    values = t.numpy()
    if values.dtype == np.bool_:
        t.detach().copy_(~values)
    elif values.dtype == np.int64:
        t.detach().copy_(values.ravel()[::-1].reshape(values.shape).copy())
    else:
        t.detach().copy_(values * np.float32(0.5) + np.float32(0.25))


def _gradients(case: Case, expected: Any, victim: int | None) -> list[np.ndarray] | None:
    """Of the case's inputs, after a change to tensor `victim`; None when backward() refuses.

    Tensors are counted through: the inputs, then the outputs.
    """
    nv.manual_seed(0)
    tensors = [None if a is None else nv.tensor(a) for a in expected.arrays]
    for i, order in case.orders.items():
        tensors[i] = _core.to_order(tensors[i], order)
    for i in case.grads:
        tensors[i].requires_grad_()
    outputs = as_tuple(case.call(getattr(_core, case.op), tensors))
    total = nv.tensor(0.0)
    for y, d in zip(outputs, expected.dy, strict=True):
        if d is not None:
            total = total + (y * nv.tensor(d)).sum()
    everything = [*tensors, *outputs]
    if victim is not None:
        if everything[victim] is None:
            return None
        _change(everything[victim])
    try:
        total.backward()
    except RuntimeError as error:
        if victim is None or not re.search(CHANGED, str(error)):
            raise
        return None
    return [tensors[i].grad.numpy().copy() for i in case.grads]


def _wrong_after_a_change(case: Case) -> list[str]:
    expected = expected_of(case)
    n = len(expected.arrays) + len(expected.outputs)
    right = _gradients(case, expected, None)
    assert right is not None
    found = []
    for victim in range(n):
        got = _gradients(case, expected, victim)
        if got is not None and any(
            not np.array_equal(a, b, equal_nan=True) for a, b in zip(got, right, strict=True)
        ):
            found.append(f"{case.name}: tensor {victim} of {n}")
    return found


@pytest.mark.parametrize("op", [op for op in ops() if any(c.grads for c in cases_of(op))])
def test_a_change_is_refused_or_does_no_harm(op: str) -> None:
    """Whatever the caller changes: the gradient is that of the forward pass, or there is none."""
    rows = [c for c in cases_of(op) if c.grads and not c.slow]
    found = [text for case in rows for text in _wrong_after_a_change(case)]
    assert not found, "\n".join(found)


# ---- every writer --------------------------------------------------------------------------------

SHAPE = (4, 3)


def _step(make: Callable[..., Any], **options: Any) -> Callable[[nv.Tensor], object]:
    def write(w: nv.Tensor) -> None:
        w.grad = nv.ones(*SHAPE)
        make([w], lr=0.1, **options).step()
        w.grad = None

    return write


def _clip(function: Callable[..., object]) -> Callable[[nv.Tensor], object]:
    def write(w: nv.Tensor) -> None:
        owner = leaf(np.zeros(SHAPE))
        owner.grad = w.detach()
        function([owner], 0.1)

    return write


def _load(w: nv.Tensor) -> None:
    layer = nn.Linear(3, 4, bias=False)
    layer.weight = nn.Parameter(w.detach())
    layer.load_state_dict({"weight": nv.zeros(*SHAPE)})


def _set_gradients_to_zero(w: nv.Tensor) -> None:
    owner = leaf(np.zeros(SHAPE))
    owner.grad = w.detach()
    optim.SGD([owner], lr=0.1).zero_grad(set_to_none=False)


def _add_up(w: nv.Tensor) -> None:
    owner = leaf(np.zeros(SHAPE))
    owner.grad = w.detach()
    owner.sum().backward()


def _statistics(function: Callable[..., object]) -> Callable[[nv.Tensor], object]:
    def write(w: nv.Tensor) -> None:
        mean = w.detach().reshape(-1)
        function(nv.randn(2, 12, 3), mean, nv.ones(12), None, None, True, 0.1, 1e-5)

    return write


def _average(w: nv.Tensor) -> None:
    from nervure.train._average import WeightAverage

    layer = nn.Linear(3, 4, bias=False)
    layer.weight = nn.Parameter(w.detach())
    average = WeightAverage(layer, 0.5)
    average.update()
    with average.applied():
        pass


def _cached(w: nv.Tensor) -> None:
    keys = w.detach().reshape(1, 4, 3)
    _core.attend_cached(nv.ones(1, 1, 9), keys, nv.zeros(1, 4, 3), 0, 1)


def _stepped(w: nv.Tensor) -> None:
    keys, layer = w.detach().reshape(1, 4, 3), nn.TransformerEncoderLayer(3, 1, 2).eval()
    cache = nn.KeyValueCache(4)
    cache._keys, cache._values = keys, nv.zeros(1, 4, 3)
    with nv.no_grad():
        layer(nv.ones(1, 1, 3), cache=cache)


def _appended(w: nv.Tensor) -> None:
    cache = nn.KeyValueCache(4)
    cache._keys, cache._values = w.detach().reshape(1, 4, 3), nv.zeros(1, 4, 3)
    cache.append(nv.ones(1, 1, 3), nv.ones(1, 1, 3))


WRITERS: dict[str, Callable[[Any], object]] = {
    "copy_": lambda w: w.copy_(nv.zeros(*SHAPE)),
    "copy_ of another order": lambda w: w.copy_(nv.zeros(3, 4).T),
    "fill_": lambda w: w.fill_(0.0),
    "zero_": lambda w: w.zero_(),
    "uniform_": lambda w: w.uniform_(),
    "normal_": lambda w: w.normal_(),
    "trunc_normal_": lambda w: w.trunc_normal_(),
    "bernoulli_": lambda w: w.bernoulli_(),
    "bernoulli_ of 1": lambda w: w.bernoulli_(1.0),
    **{f"init.{name}": getattr(nn.init, name) for name in nn.init.__all__ if name.endswith("_")},
    "sgd_step": _step(optim.SGD),
    "rmsprop_step": _step(optim.RMSprop),
    "adagrad_step": _step(optim.Adagrad),
    "adam_step": _step(optim.Adam),
    "adam_step of AdamW": _step(optim.AdamW),
    "nadam_step": _step(optim.NAdam),
    "clip_grad_norm_": _clip(nn.utils.clip_grad_norm_),
    "clip_grad_value_": _clip(nn.utils.clip_grad_value_),
    "zero_grad": _set_gradients_to_zero,
    "accumulation of gradients": _add_up,
    "load_state_dict": _load,
    "vector_to_parameters": lambda w: nn.utils.vector_to_parameters(nv.zeros(12), [w]),
    "batch_norm": _statistics(lambda *args: _core.batch_norm(*args, "")),
    "instance_norm": _statistics(_core.instance_norm),
    "weight average": _average,
    "attend_cached": _cached,
    "transformer_step": _stepped,
    "KeyValueCache.append": _appended,
    "writes_into": _core.writes_into,
}
_ARGUMENTS = {"sparse_": (0.5,), "constant_": (2.0,)}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_is_noticed(name: str) -> None:
    w = leaf(np.arange(12.0).reshape(SHAPE) / 8.0)
    y = w.square().sum()
    before = w._version
    write, more = WRITERS[name], _ARGUMENTS.get(name.removeprefix("init."), ())
    if name == "init.dirac_":
        w = leaf(np.ones((4, 3, 3)))
        y, before = w.square().sum(), 0
    write(w, *more)  # type: ignore[call-arg]
    assert w._version > before
    w.grad = None
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()
    assert w.grad is None


def test_writers_of_the_catalogue_are_all_tested() -> None:
    """What ops.h gives no result to writes into its arguments."""
    text = (Path(CPP) / "ops" / "ops.h").read_text()
    writers = set(re.findall(r"^void (\w+)\(", text, re.MULTILINE)) - {"initialise"}
    assert len(writers) > 10
    assert writers <= {name.split()[0] for name in WRITERS}


def test_row_sparse_step_is_noticed() -> None:
    table = nn.Embedding(5, 3)
    table(nv.tensor([1, 1])).sum().backward()
    y = table.weight.square().sum()
    optim.SGD(table.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_state_of_an_optimiser_counts() -> None:
    w = leaf([1.0, 2.0])
    optimiser = optim.Adam([w], lr=0.1)
    for n in range(1, 4):
        w.grad = nv.ones(2)
        optimiser.step()
        moments = [t for t in optimiser.state[w].values() if isinstance(t, nv.Tensor)]
        assert moments
        assert w._version == n
        assert {t._version for t in moments} <= {n, n + 1}  # filled with zeros at first


def test_saved_by_a_function() -> None:
    class Cube(nv.Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray, how: str) -> np.ndarray:
            if how == "saved":
                ctx.save_for_backward(x)
            elif how == "attribute":
                ctx.x = x[1:]
            elif how == "list":
                ctx.parts = [None, x[:1]]
            elif how == "dict":
                ctx.parts = {"deep": [(x[1:],)]}
                ctx.parts["itself"] = ctx.parts
            else:
                ctx.x = x.copy()
            return x**3

        @staticmethod
        def backward(ctx: Any, dy: np.ndarray) -> Any:
            return np.full_like(dy, 7.0), None

    for how in ("saved", "attribute", "list", "dict", "copied"):
        x = leaf([1.0, 2.0, 3.0])
        y = Cube.apply(x, how).sum()
        x.fill_(0.0)
        if how == "copied":
            y.backward()
            close(x.grad, [7.0, 7.0, 7.0])
        else:
            with pytest.raises(RuntimeError, match=r"^\[backward of Function\].*shape \(3,\)"):
                y.backward()


def test_refused_backward_can_be_repeated_after_a_new_forward() -> None:
    w = leaf([1.0, 2.0])
    y = (w * 2.0).exp()
    y.detach().fill_(0.0)
    for _ in range(2):  # the error leaves the tape in order
        with pytest.raises(RuntimeError, match=r"changed in place|freed"):
            y.sum().backward()
    (w * 2.0).exp().sum().backward()
    close(w.grad, 2.0 * np.exp(2.0 * w.numpy()))


def test_indices_that_the_caller_spoils_through_numpy() -> None:
    """Not noticed, and no way out of the gradient's memory either."""
    x = leaf(np.arange(12.0).reshape(3, 4))
    values, index = x.max(1)
    index.numpy()[:] = [1 << 40, -5, 2]
    values.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy()[2], [0.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(x.grad.numpy()[:2], np.zeros((2, 4)))


# ---- the same programs here and in PyTorch -------------------------------------------------------


def _leaf(lib: Any, *shape: int) -> Any:
    return lib.ones(*shape).requires_grad_()


def _output_of_exp(lib: Any) -> None:
    y = _leaf(lib, 3).exp()
    y.detach().fill_(0.0)
    y.sum().backward()


def _input_of_log(lib: Any) -> None:
    x = _leaf(lib, 3) * 2.0
    y = x.log()
    x.detach().fill_(3.0)
    y.sum().backward()


def _factor(lib: Any) -> None:
    x, w = _leaf(lib, 3), lib.ones(3)
    y = x * w
    w.fill_(2.0)
    y.sum().backward()


def _view_of_a_factor(lib: Any) -> None:
    x, w = _leaf(lib, 3, 2), lib.ones(2, 3)
    y = x @ w
    w.reshape(6).fill_(2.0)
    y.sum().backward()


def _step_before_backward(lib: Any) -> None:
    net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 1))
    sgd = lib.optim.SGD(net.parameters(), lr=0.1)
    net(lib.ones(2, 3)).sum().backward()
    loss = net(lib.ones(2, 3)).sum()
    sgd.step()
    loss.backward()


def _step_between_two_losses(lib: Any) -> None:
    w = _leaf(lib, 3)
    h = (w * w).exp()
    sgd = lib.optim.SGD([w], lr=0.1)
    h.sum().backward(retain_graph=True)
    sgd.step()
    h.mean().backward()


def _condition(lib: Any) -> None:
    x, mask = _leaf(lib, 3), lib.ones(3) > 0.0
    y = x.masked_fill(mask, 0.0)
    mask.fill_(0)
    y.sum().backward()


def _indices_of_max(lib: Any) -> None:
    values, index = _leaf(lib, 2, 3).max(1)
    index.fill_(1)
    values.sum().backward()


def _gradient_in_a_loss(lib: Any) -> None:
    w, v = _leaf(lib, 3), _leaf(lib, 3)
    w.sum().backward()
    loss = (v * w.grad).sum()
    w.sum().backward()  # adds to w.grad in place
    loss.backward()


REFUSED = [
    _output_of_exp,
    _input_of_log,
    _factor,
    _view_of_a_factor,
    _step_before_backward,
    _step_between_two_losses,
    _condition,
    _indices_of_max,
    _gradient_in_a_loss,
]


def _accumulation(lib: Any) -> None:
    net = lib.nn.Linear(3, 1)
    for _ in range(3):
        (net(lib.ones(2, 3)) * 0.5).sum().backward()


def _training(lib: Any) -> None:
    net = lib.nn.Sequential(
        lib.nn.Linear(3, 4, bias=False), lib.nn.BatchNorm1d(4), lib.nn.Dropout(0.5)
    )
    adam = lib.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(3):
        loss = net(lib.randn(5, 3)).square().sum()
        adam.zero_grad()
        loss.backward()
        lib.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        adam.step()


def _two_losses_of_one_graph(lib: Any) -> None:
    w = _leaf(lib, 3)
    h = (w * w).exp()
    h.sum().backward(retain_graph=True)
    w.grad.zero_()
    h.mean().backward()


def _two_forwards_of_batch_norm(lib: Any) -> None:
    norm = lib.nn.BatchNorm1d(3)
    first = norm(lib.randn(4, 3)).square().sum()
    second = norm(lib.randn(4, 3)).square().sum()
    first.backward()
    second.backward()


def _tied_weights(lib: Any) -> None:
    w = _leaf(lib, 3, 3)
    sgd = lib.optim.SGD([w], lr=0.1, momentum=0.9)
    for _ in range(2):
        h = lib.nn.functional.linear(lib.ones(2, 3), w)
        lib.nn.functional.linear(h, w).sum().backward()
        sgd.step()


def _moving_average(lib: Any) -> None:
    w, average = _leaf(lib, 3), lib.zeros(3)
    loss = (w * w).sum()
    average.copy_(average * 0.9 + w.detach() * 0.1)
    loss.backward()


def _summand(lib: Any) -> None:
    x, b = _leaf(lib, 3), lib.ones(3)
    y = x + b
    b.fill_(5.0)
    y.sum().backward()


def _factor_of_a_constant(lib: Any) -> None:
    """The weight's own values are not needed: only its factor is."""
    w = _leaf(lib, 3)
    y = w * lib.ones(3)
    w.detach().fill_(5.0)
    y.sum().backward()


def _first_layer(lib: Any) -> None:
    """Nobody wants the gradient of the input, so the weight may change."""
    layer = lib.nn.Linear(3, 4)
    layer(lib.ones(2, 3)).sum().backward()
    loss = layer(lib.ones(2, 3)).sum()
    lib.optim.SGD(layer.parameters(), lr=0.1).step()
    loss.backward()


def _input_of_relu(lib: Any) -> None:
    x = _leaf(lib, 3) * 2.0
    y = x.relu()
    x.detach().fill_(-3.0)
    y.sum().backward()


def _input_of_neg(lib: Any) -> None:
    x = _leaf(lib, 3) * 2.0
    y = -x
    x.detach().fill_(-3.0)
    y.sum().backward()


def _logits_after_the_loss(lib: Any) -> None:
    x = _leaf(lib, 2, 3) * 2.0
    loss = lib.nn.functional.cross_entropy(x, lib.tensor([0, 2]))
    x.detach().fill_(0.0)
    loss.backward()


def _states_between_chunks(lib: Any) -> None:
    rnn = lib.nn.LSTM(3, 4, batch_first=True)
    sgd = lib.optim.SGD(rnn.parameters(), lr=0.1)
    state = None
    for _ in range(3):
        y, (h, c) = rnn(lib.randn(2, 5, 3), state)
        y.sum().backward()
        sgd.step()
        state = (h.detach(), c.detach())
        state[0].fill_(0.0)


def _frozen_part(lib: Any) -> None:
    w = _leaf(lib, 3)
    with lib.no_grad():
        y = w * w
    w.detach().fill_(2.0)
    (w.sum() + y.sum()).backward()


PASSES = [
    _accumulation,
    _training,
    _two_losses_of_one_graph,
    _two_forwards_of_batch_norm,
    _tied_weights,
    _moving_average,
    _summand,
    _factor_of_a_constant,
    _first_layer,
    _input_of_relu,
    _input_of_neg,
    _logits_after_the_loss,
    _states_between_chunks,
    _frozen_part,
]


@pytest.mark.parametrize("program", REFUSED, ids=lambda f: f.__name__[1:])
def test_refused(program: Callable[[Any], None]) -> None:
    with pytest.raises(RuntimeError, match=CHANGED):
        program(nv)


@pytest.mark.parametrize("program", PASSES, ids=lambda f: f.__name__[1:])
def test_passes(program: Callable[[Any], None]) -> None:
    program(nv)


@pytest.mark.torch
@pytest.mark.parametrize("program", REFUSED, ids=lambda f: f.__name__[1:])
def test_torch_refuses(program: Callable[[Any], None]) -> None:
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        program(_torch())


@pytest.mark.torch
@pytest.mark.parametrize("program", PASSES, ids=lambda f: f.__name__[1:])
def test_passes_in_torch(program: Callable[[Any], None]) -> None:
    program(_torch())


def test_logits_changed_before_a_second_backward() -> None:
    """The first finds its gradient computed; the second would compute it from what is there now."""
    x = leaf(np.ones((2, 3)))
    loss = nn.functional.cross_entropy(x, nv.tensor([0, 2]))
    x.fill_(2.0)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"^\[backward of cross_entropy\].*shape \(2, 3\)"):
        loss.backward()
