# SPDX-License-Identifier: BSD-3-Clause
"""Semantics of the tape: what is recorded, accumulated, freed and shared, and what is not."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparison import as_tuple, close, expected_of, leaf
from subprocesses import output_of

import nervure as nv
from nervure import _core
from nervure.reference.cases import Case, cases_of, ops

# ---- accumulation --------------------------------------------------------------------------------


def test_gradients_add_up_over_several_calls() -> None:
    x = leaf([1.0, 2.0, 3.0])
    for n in range(1, 4):
        (x * x).sum().backward()
        close(x.grad, n * 2.0 * x.numpy())
    x.grad = None
    (3.0 * x).sum().backward()
    close(x.grad, [3.0, 3.0, 3.0])


def test_fan_out() -> None:
    x = leaf([1.0, -2.0])
    h = x * 2.0
    (h.sum() + (h * h).sum() + h.exp().sum() + x.sum()).backward()
    v = x.numpy()
    close(x.grad, 2.0 + 8.0 * v + 2.0 * np.exp(2.0 * v) + 1.0)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x: x + x, lambda v: np.full_like(v, 2.0)),
        (lambda x: x - x, lambda v: np.zeros_like(v)),
        (lambda x: x * x, lambda v: 2.0 * v),
        (lambda x: x / x, lambda v: np.zeros_like(v)),
        (lambda x: nv.cat([x, x, x]), lambda v: np.full_like(v, 3.0)),
        (lambda x: nv.stack([x, x]), lambda v: np.full_like(v, 2.0)),
        (lambda x: nv.maximum(x, x), lambda v: np.ones_like(v)),
        (lambda x: nv.where(x > 0.0, x, x), lambda v: np.ones_like(v)),
        (lambda x: nv.matmul(x, x), lambda v: 2.0 * v),
    ],
)
def test_one_tensor_in_two_places(
    function: Callable[[nv.Tensor], nv.Tensor], derivative: Callable[[np.ndarray], np.ndarray]
) -> None:
    x = leaf([1.0, -2.0, 0.5])
    function(x).sum().backward()
    close(x.grad, derivative(x.numpy()))


def test_diamond() -> None:
    x = leaf([0.3, -0.7])
    top = x.exp()
    left, right = top * 2.0, top.tanh()
    (left * right + left + right).sum().backward()
    e = np.exp(x.numpy().astype(np.float64))
    t = np.tanh(e)
    close(x.grad, (2.0 * t + 2.0 * e * (1.0 - t * t) + 2.0 + (1.0 - t * t)) * e)


def test_ladder_of_diamonds() -> None:
    """2^50 paths, 100 nodes: each node runs once."""
    x = leaf([1.0])
    y = x
    for _ in range(50):
        y = y * 0.5 + y * 0.5
    y.backward()
    close(x.grad, [1.0])


def test_gradient_given_by_the_user_stays_as_it_is() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = nv.tensor([5.0, 6.0])
    total = x + y + x
    total.backward(g)
    np.testing.assert_array_equal(g.numpy(), [5.0, 6.0])
    close(x.grad, [10.0, 12.0])
    assert x.grad is not None
    x.grad.fill_(0.0)
    np.testing.assert_array_equal(g.numpy(), [5.0, 6.0])
    close(y.grad, [5.0, 6.0])


def test_backward_of_a_leaf() -> None:
    x = leaf([1.0, 2.0])
    g = nv.tensor([3.0, 4.0])
    x.backward(g)
    x.backward(g)
    close(x.grad, [6.0, 8.0])
    np.testing.assert_array_equal(g.numpy(), [3.0, 4.0])


# ---- which graph ---------------------------------------------------------------------------------


def test_second_backward_is_an_error() -> None:
    x = leaf([1.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"^\[backward\].*freed.*retain_graph=True"):
        y.backward()
    close(x.grad, [2.0])


def test_shared_part_is_freed_too() -> None:
    x = leaf([2.0])
    h = x * x
    first, second = h.sum(), h.exp().sum()
    first.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        second.backward()
    close(x.grad, [4.0])


def test_retain_graph() -> None:
    x = leaf([3.0])
    h = x * x
    y = h.exp().log().sum() * 2.0
    for n in (1, 2, 3):
        y.backward(retain_graph=n < 3)
        close(x.grad, [n * 12.0])
    with pytest.raises(RuntimeError):
        y.backward()


def test_nothing_to_differentiate() -> None:
    with pytest.raises(RuntimeError, match=r"^\[backward\]"):
        nv.tensor([1.0]).backward()
    with nv.no_grad():
        y = leaf([1.0]) * 2.0
    with pytest.raises(RuntimeError, match=r"^\[backward\]"):
        y.backward()


def test_gradient_argument_is_checked() -> None:
    x = leaf([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"^\[backward\].*\(1, 2\)"):
        (x * 2.0).backward()
    with pytest.raises(ValueError, match=r"^\[backward\].*\(1, 2\).*\(2,\)"):
        (x * 2.0).backward(nv.tensor([1.0, 1.0]))
    with pytest.raises(TypeError, match=r"^\[backward\]"):
        (x * 2.0).backward(nv.tensor([[1, 1]]))
    assert x.grad is None


def test_leaves_and_others() -> None:
    x = leaf([1.0])
    y = x * 2.0
    z = y * 3.0
    assert (x.is_leaf, y.is_leaf) == (True, False)
    assert y.requires_grad
    z.backward()
    close(x.grad, [6.0])
    assert y.grad is None
    constant = nv.tensor([1.0])
    assert constant.is_leaf
    assert not constant.requires_grad
    assert not (constant * 2.0).requires_grad


def test_only_what_needs_a_gradient_gets_one() -> None:
    x, c = leaf([1.0, 2.0]), nv.tensor([3.0, 4.0])
    (x * c).sum().backward()
    assert c.grad is None
    close(x.grad, [3.0, 4.0])


def test_integers_and_booleans_cannot_require_a_gradient() -> None:
    for values in ([1, 2], [True, False]):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            nv.tensor(values).requires_grad_()
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            nv.tensor(values, requires_grad=True)


def test_setting_a_gradient_is_checked() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=r"^\[grad\]"):
        x.grad = nv.tensor([1.0])
    with pytest.raises(TypeError, match=r"^\[grad\]"):
        x.grad = nv.tensor([1, 2])
    x.grad = nv.tensor([1.0, 1.0])
    (x * 2.0).sum().backward()
    close(x.grad, [3.0, 3.0])


def test_detach() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2.0
    d = y.detach()
    assert not d.requires_grad
    assert d.is_leaf
    assert np.shares_memory(d.numpy(), y.numpy())
    (y * d).sum().backward()
    close(x.grad, 2.0 * (2.0 * x.numpy()))


# ---- no_grad -------------------------------------------------------------------------------------


def test_no_grad() -> None:
    x = leaf([1.0])
    with nv.no_grad():
        assert not (x * 2.0).requires_grad
        with nv.no_grad():
            assert not (x * 2.0).requires_grad
        assert not (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad


def test_no_grad_ends_with_an_exception() -> None:
    x = leaf([1.0])
    with pytest.raises(ZeroDivisionError), nv.no_grad():
        raise ZeroDivisionError
    assert (x * 2.0).requires_grad


def test_no_grad_decorates() -> None:
    x = leaf([1.0])

    @nv.no_grad()
    def double(t: nv.Tensor) -> nv.Tensor:
        return t * 2.0

    assert not double(x).requires_grad
    assert (x * 2.0).requires_grad


def test_no_grad_is_of_one_thread() -> None:
    x = leaf([1.0])
    seen: list[bool] = []
    with nv.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2.0).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


# ---- form of gradients ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_gradient_lies_like_its_leaf(order: tuple[int, ...]) -> None:
    x = _core.to_order(nv.tensor(np.ones((3, 4, 5), np.float32)), order).requires_grad_()
    (x * nv.tensor(np.ones((3, 4, 5), np.float32))).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (3, 4, 5)
    assert x.grad.dtype == nv.float32
    assert x.grad.order == order
    assert x.grad.is_leaf
    assert not x.grad.requires_grad


def _small_rows(op: str, at_least: int) -> list[Case]:
    return [c for c in cases_of(op) if not c.slow and len(c.grads) >= at_least][::5]


@pytest.mark.parametrize("op", [op for op in ops() if any(c.grads for c in cases_of(op))])
def test_gradients_share_no_memory(op: str) -> None:
    """Optimisers and clipping change gradients in place; nothing else may change with them."""
    for case in _small_rows(op, 1):
        expected = expected_of(case)
        tensors = [None if a is None else nv.tensor(a) for a in expected.arrays]
        for i, order in case.orders.items():
            tensors[i] = _core.to_order(tensors[i], order)
        for i in case.grads:
            tensors[i].requires_grad_()
        outputs = as_tuple(case.call(getattr(_core, op), tensors))
        y, d = next((y, d) for y, d in zip(outputs, expected.dy, strict=True) if d is not None)
        dy = nv.tensor(d)
        y.backward(dy)
        views = [tensors[i].grad.numpy() for i in case.grads]
        others = [t.numpy() for t in tensors if t is not None]
        others += [o.numpy() for o in outputs] + [dy.numpy()]
        for k, view in enumerate(views):
            for other in [*views[:k], *others]:
                assert not np.shares_memory(view, other), case.name


@pytest.mark.parametrize("op", [op for op in ops() if any(len(c.grads) > 1 for c in cases_of(op))])
def test_each_gradient_alone(op: str) -> None:
    """What is not wanted is left out, and what it alone would read is not kept; the rest stays."""

    def gradients(case: Case, wanted: list[int]) -> list[np.ndarray]:
        nv.manual_seed(0)
        expected = expected_of(case)
        tensors = [None if a is None else nv.tensor(a) for a in expected.arrays]
        for i, order in case.orders.items():
            tensors[i] = _core.to_order(tensors[i], order)
        for i in wanted:
            tensors[i].requires_grad_()
        outputs = as_tuple(case.call(getattr(_core, op), tensors))
        total = nv.tensor(0.0)
        for y, d in zip(outputs, expected.dy, strict=True):
            if d is not None:
                total = total + (y * nv.tensor(d)).sum()
        total.backward()
        return [tensors[i].grad.numpy() for i in wanted]

    for case in _small_rows(op, 2):
        wanted = list(case.grads)
        for i, together in zip(wanted, gradients(case, wanted), strict=True):
            alone = gradients(case, [i])[0]
            np.testing.assert_allclose(alone, together, 1e-5, 1e-5, err_msg=case.name)


def test_clipping_one_gradient_leaves_the_other() -> None:
    x, y = leaf([10.0, -10.0]), leaf([1.0, 1.0])
    ((x + y) * nv.tensor([7.0, -8.0])).sum().backward()
    _core.clip_grad_value_([x], 1.0)
    close(x.grad, [1.0, -1.0])
    close(y.grad, [7.0, -8.0])


def test_gradient_outlives_the_leaf() -> None:
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    g = x.grad
    view = None if g is None else g.numpy()
    del x, g
    gc.collect()
    nv.ones((2,)) + nv.ones((2,))  # reuse freed blocks, if any
    np.testing.assert_array_equal(view, [2.0, 4.0])


@pytest.mark.parametrize("op", ["split", "chunk", "max", "min"])
def test_some_outputs_unused(op: str) -> None:
    """What comes back through one output of several is what zeros elsewhere would give."""
    from nervure import reference

    for case in _small_rows(op, 1):
        expected = expected_of(case)
        for k, d in enumerate(expected.dy):
            if d is None:
                continue
            x = leaf(expected.arrays[0])
            outputs = as_tuple(case.call(getattr(_core, op), [x]))
            outputs[k].backward(nv.tensor(d))
            dy = [
                np.zeros(y.shape) if i != k and e is not None else (e if i == k else None)
                for i, (y, e) in enumerate(zip(expected.outputs, expected.dy, strict=True))
            ]
            backward = getattr(reference, f"{op}_backward")
            (dx,) = case.call_backward(backward, tuple(dy), [x.numpy()])
            close(x.grad, dx)


# ---- long and wide graphs ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("end", ["y.backward()", "del y", "y.backward(retain_graph=True); del y"])
def test_chain_of_100_000_nodes(end: str) -> None:
    """Neither backward nor destruction may recurse: in a small stack they would die."""
    output = output_of(
        f"""
        import threading
        import nervure as nv
        def work():
            x = nv.tensor([1.0], requires_grad=True)
            y = x
            for _ in range(50_000):
                y = (y + 0.0) * 1.0
            {end}
            print("done", None if x.grad is None else x.grad.item())
        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    assert output == ("done None" if end == "del y" else "done 1.0")


@pytest.mark.slow
def test_chain_through_saved_tensors() -> None:
    """Each node's saved input holds on to the node before it."""
    output = output_of(
        """
        import threading
        import nervure as nv
        def work():
            x = nv.tensor([1.0], requires_grad=True)
            y = x
            for _ in range(50_000):
                y = y * y
            del y
            z = x
            for _ in range(50_000):
                z = z.tanh().exp() * z
            del z, x
            print("done")
        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    assert output == "done"


@pytest.mark.slow
def test_one_tensor_used_100_000_times() -> None:
    x = leaf([1.0, 2.0])
    h = x * 1.0
    parts = [h * 1.0 for _ in range(1000)]
    total = parts[0]
    for _ in range(20):
        for p in parts:
            total = total + p
    total.sum().backward()
    close(x.grad, [20_001.0, 20_001.0])


# ---- memory --------------------------------------------------------------------------------------

LEAK_PROBE = """
import gc
import numpy as np
import nervure as nv
from nervure import _core

class Double(nv.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return 2 * x
    @staticmethod
    def backward(ctx, dy):
        if ctx.x.size and ctx.x.flat[0] > 1e9:
            raise ValueError("planned")
        return 2 * dy

w = [nv.tensor(np.full((8, 8), 0.1, np.float32), requires_grad=True) for _ in range(3)]
x = np.ones((4, 8), np.float32)
target = np.zeros(4, np.int64)

def step(k):
    h = nv.tensor(x)
    for weight in w:
        h = _core.linear(h, weight, None, "relu")
    if k % 10 == 0:
        h = Double.apply(h)
    loss = _core.cross_entropy(h, nv.tensor(target))
    loss.backward()
    loss.item(), loss.numpy()
    for weight in w:
        weight.grad = None
    if k % 10 == 0:
        for bad in (lambda: h @ nv.tensor(x), lambda: _core.sum(h, 7), lambda: loss.backward()):
            try:
                bad()
            except (ValueError, IndexError, RuntimeError):
                pass
        try:
            Double.apply(w[0] * 1e30).sum().backward()
        except ValueError:
            pass
        w[0].grad = None
    if k % 100 == 0:
        (h.exp() * h).sum()  # a graph that no backward goes through

def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096

def measure():
    gc.collect()
    return _core.memory_stats()["live_bytes"], resident()

for k in range(2000):
    step(k)
live, rss = measure()
for k in range(10_000):
    step(k)
live_after, rss_after = measure()
print(live_after - live, (rss_after - rss) / 2**20)
"""


@pytest.mark.slow
def test_no_leak_over_10_000_steps() -> None:
    live, resident = output_of(LEAK_PROBE, timeout=120.0).split()
    assert int(live) == 0
    assert float(resident) < 2.0, "MiB of resident memory gained"


def _recurrent(kind: str, x: nv.Tensor) -> nv.Tensor:
    layer = getattr(nv.nn, kind)(x.shape[2], 2)
    return layer(x)[1] if kind != "LSTM" else layer(x)[1][0]


@pytest.mark.parametrize(
    ("shape", "forward", "copies"),
    [
        ((256, 256), lambda x: nv.nn.functional.linear(x, nv.ones(2, 256)), 0),
        ((4, 16, 32, 32), lambda x: nv.nn.functional.conv2d(x, nv.ones(2, 16, 3, 3)), 0),
        ((64, 16, 64), lambda x: nv.nn.functional.conv1d(x, nv.ones(2, 16, 3)), 0),
        ((64, 1024), lambda x: nv.nn.functional.nll_loss(x, nv.zeros(64).long()), 0),
        ((64, 32, 64), lambda x: _recurrent("RNN", x), 1),
        ((64, 32, 64), lambda x: _recurrent("GRU", x), 1),
        ((64, 32, 64), lambda x: _recurrent("LSTM", x), 1),
    ],
    ids=["linear", "conv2d", "conv1d", "nll_loss", "RNN", "GRU", "LSTM"],
)
def test_a_graph_keeps_what_it_reads(shape: tuple[int, ...], forward: Any, copies: int) -> None:
    """Frozen weights need no input for their gradient; recurrent layers keep it in packed order."""
    source = nv.zeros(*shape, requires_grad=True)
    gc.collect()
    before = nv.memory_stats()["live_bytes"]
    y = forward(source + 0.0)
    gc.collect()
    kept = nv.memory_stats()["live_bytes"] - before
    size = 4 * source.numel()
    assert copies * size <= kept < (copies + 0.9) * size
    y.sum().backward()
    assert source.grad is not None


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_threads_share_a_parameter() -> None:
    """Graphs of their own, one leaf in common: no gradient is lost."""
    w = leaf(np.ones(1000))
    n_threads, n_steps = 4, 200
    failures: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for _ in range(n_steps):
                ((w * float(k + 1)).relu() + w).sum().backward()
        except BaseException as error:
            failures.append(error)

    pool = [threading.Thread(target=work, args=(k,)) for k in range(n_threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert not failures
    close(w.grad, np.full(1000, n_steps * sum(k + 2.0 for k in range(n_threads))))


@pytest.mark.slow
def test_threads_on_one_graph() -> None:
    """Two passes through the same nodes at once: each works or says so, and nothing breaks."""
    x = leaf(np.ones(200_000))
    h = x
    for _ in range(10):
        h = h * 1.0
    y = h.sum()
    outcomes: list[Any] = []

    def work() -> None:
        for _ in range(20):
            try:
                y.backward(retain_graph=True)
                outcomes.append(True)
            except RuntimeError as error:
                outcomes.append(str(error))

    pool = [threading.Thread(target=work) for _ in range(3)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert len(outcomes) == 60
    assert all(o is True or o.startswith("[backward] another backward()") for o in outcomes)
    close(x.grad, np.full(200_000, float(outcomes.count(True))))
