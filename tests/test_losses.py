# SPDX-License-Identifier: BSD-3-Clause
"""Losses beyond the case table: every option of cross-entropy, errors, special values, threads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

import nervure as nv
from nervure import _core

INF, NAN = np.inf, np.nan
REDUCTIONS = ("mean", "sum", "none")


def leaf(x) -> nv.Tensor:
    t = nv.tensor(np.asarray(x, np.float32))
    t.requires_grad_(True)
    return t


def run(op: Callable, *inputs, dy=None) -> tuple[np.ndarray, list[np.ndarray]]:
    """The loss and the gradients of all inputs."""
    leaves = [leaf(x) for x in inputs]
    y = op(*leaves)
    y.backward() if dy is None else y.backward(nv.tensor(np.asarray(dy, np.float32)))
    return y.detach().numpy(), [t.grad.numpy() for t in leaves]


def cross_entropy_formula(x, target, weight, ignore_index, smoothing, reduction, dy):
    """Loss, dx, dtarget (of probabilities) of (N, C) in float64, and the size of dx's terms."""
    x = x.astype(np.float64)
    n, classes = x.shape
    w = np.ones(classes) if weight is None else weight.astype(np.float64)
    log_p = x - x.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    if target.dtype == np.int64:
        kept = target != ignore_index
        hot = np.eye(classes)[np.where(kept, target, 0)] * kept[:, None]
        total = (hot @ w).sum()
    else:
        kept, hot, total = np.ones(n, bool), target.astype(np.float64), float(n)
    q = w * ((1 - smoothing) * hot + smoothing / classes * kept[:, None])
    losses = -(q * log_p).sum(1)
    divisor = total if reduction == "mean" else 1.0
    spread = np.broadcast_to(np.float64(dy), (n,)) / divisor
    dx = (np.exp(log_p) * q.sum(1, keepdims=True) - q) * spread[:, None]
    dtarget = -w * log_p * (1 - smoothing) * spread[:, None]
    size = np.abs(q.sum(1) * spread).max(initial=0)
    return losses if reduction == "none" else losses.sum() / divisor, dx, dtarget, size


OPTIONS = list(
    itertools.product(REDUCTIONS, (False, True), (0.0, 0.1, 1.0), (False, True), (-100, 2))
)


def drawn(rng, n, classes, weighted, probabilities, ignore_index):
    x = (3 * rng.standard_normal((n, classes))).astype(np.float32)
    weight = rng.uniform(0.1, 2, classes).astype(np.float32) if weighted else None
    if probabilities:
        return x, rng.uniform(0, 1, (n, classes)).astype(np.float32), weight
    target = rng.integers(0, classes, n)
    target[:: max(2, n // 3)] = ignore_index
    return x, target, weight


@pytest.mark.parametrize(("n", "classes"), [(1, 3), (9, 3), (20, 16), (7, 17), (5, 129), (3, 3000)])
def test_every_option_of_cross_entropy(isa, rng, n, classes):
    for reduction, weighted, smoothing, probabilities, ignored in OPTIONS:
        if probabilities and ignored >= 0:
            continue
        x, target, weight = drawn(rng, n, classes, weighted, probabilities, ignored)
        if n == 1 and not probabilities:
            target[:] = 0
        dy = rng.standard_normal(n if reduction == "none" else ()).astype(np.float32)
        options = (None if weight is None else nv.tensor(weight), ignored, smoothing, reduction)

        def op(a, *b, target=target, options=options):
            return _core.cross_entropy(a, *(b or (nv.tensor(target),)), *options)

        y, gradients = run(op, x, *([target] if probabilities else []), dy=dy)
        expected = cross_entropy_formula(x, target, weight, ignored, smoothing, reduction, dy)
        np.testing.assert_allclose(y, expected[0], rtol=3e-6, atol=3e-6)
        for actual, wanted in zip(gradients, expected[1:3], strict=False):
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6 * expected[3])


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 3), (2, 5, 4, 3), (5,)])
def test_cross_entropy_and_nll_against_torch(rng, shape):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    classes = 5
    places = shape[:1] * (len(shape) > 1) + shape[2:]
    x = rng.standard_normal(shape).astype(np.float32)
    index = np.asarray(rng.integers(0, classes, places))
    if index.ndim:
        index.reshape(-1)[0] = -100
    share = rng.uniform(0, 1, shape).astype(np.float32)
    weight = rng.uniform(0.1, 2, classes).astype(np.float32)
    for reduction, weighted, smoothing, probabilities, ignored in OPTIONS:
        if ignored >= 0 and (probabilities or not index.ndim):
            continue
        w = weight if weighted else None
        target = share if probabilities else np.where(index == -100, ignored, index)
        options = {"reduction": reduction}
        torch_options = {**options, "weight": None if w is None else torch.tensor(w)}
        options["weight"] = None if w is None else nv.tensor(w)
        if not probabilities:
            options["ignore_index"] = torch_options["ignore_index"] = ignored
        dy = rng.standard_normal(places if reduction == "none" else ()).astype(np.float32)
        pairs = [(_core.cross_entropy, functional.cross_entropy, {"label_smoothing": smoothing})]
        if not probabilities and smoothing == 0:
            pairs.append((_core.nll_loss, functional.nll_loss, {}))
        for ours, theirs, more in pairs:
            a, b = leaf(x), torch.tensor(x, requires_grad=True)
            y = ours(a, nv.tensor(target), **options, **more)
            z = theirs(b, torch.tensor(target), **torch_options, **more)
            assert y.shape == tuple(z.shape)
            np.testing.assert_allclose(y.detach().numpy(), z.detach(), rtol=3e-6, atol=1e-6)
            y.backward(nv.tensor(dy))
            z.backward(torch.tensor(dy))
            np.testing.assert_allclose(a.grad.numpy(), b.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_images_in_any_memory_order(isa, rng, reduction):
    x = rng.standard_normal((2, 7, 3, 5)).astype(np.float32)
    target = rng.integers(0, 7, (2, 3, 5))
    rows = x.transpose(0, 2, 3, 1).reshape(-1, 7)
    dy = rng.standard_normal(30 if reduction == "none" else ()).astype(np.float32)
    y, dx, _, _ = cross_entropy_formula(rows, target.reshape(-1), None, -100, 0, reduction, dy)
    dx = dx.reshape(2, 3, 5, 7).transpose(0, 3, 1, 2)
    y = y.reshape(2, 3, 5) if reduction == "none" else y
    dy = dy.reshape(y.shape)
    for order in [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)]:
        for target_order in [(0, 1, 2), (2, 0, 1)]:

            def loss(t, order=order, target_order=target_order):
                indices = nv.tensor(target).to_order(list(target_order))
                return _core.cross_entropy(t.to_order(list(order)), indices, reduction=reduction)

            actual, (gradient,) = run(loss, x, dy=dy)
            np.testing.assert_allclose(actual, y, rtol=3e-6)
            np.testing.assert_allclose(gradient, dx, rtol=1e-5, atol=1e-6)


def test_one_sample_without_a_batch(rng):
    x = rng.standard_normal(6).astype(np.float32)
    for reduction in REDUCTIONS:
        y, (dx,) = run(lambda t: _core.cross_entropy(t, nv.tensor(2), reduction=reduction), x)  # noqa: B023
        wanted = cross_entropy_formula(x[None], np.array([2]), None, -100, 0, "sum", 1.0)
        assert y.shape == ()
        np.testing.assert_allclose(y, wanted[0], rtol=3e-6)
        np.testing.assert_allclose(dx, wanted[1][0], atol=1e-6)


# ---- what must stay as it was --------------------------------------------------------------------


@pytest.mark.parametrize("op", [_core.cross_entropy, _core.nll_loss])
@pytest.mark.parametrize("bad", [5, -1, 2**40, -(2**62)])
def test_an_index_outside_the_classes_changes_nothing(op, bad):
    x = leaf(np.ones((3000, 5)))
    before = x.detach().numpy().copy()
    target = np.zeros(3000, np.int64)
    op(x, nv.tensor(target)).backward()
    gradient = x.grad.numpy().copy()
    target[2041] = bad
    for reduction in REDUCTIONS:
        with pytest.raises(IndexError, match=rf"got {bad} at row 2041") as error:
            op(x, nv.tensor(target), reduction=reduction)
        assert f"[{op.__name__}]" in str(error.value)
        assert "[0, 5)" in str(error.value)
    np.testing.assert_array_equal(x.detach().numpy(), before)
    np.testing.assert_array_equal(x.grad.numpy(), gradient)
    without_it = op(x, nv.tensor(target), ignore_index=bad).item()
    assert without_it == pytest.approx(op(x, nv.tensor(np.zeros(3000, np.int64))).item(), rel=1e-6)


def test_a_retained_graph_gives_its_gradient_again():
    x = leaf([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    y = _core.cross_entropy(x, nv.tensor(np.array([0, 2])), label_smoothing=0.1)
    y.backward(nv.tensor(np.float32(3)), retain_graph=True)
    first = x.grad.numpy().copy()
    y.backward(nv.tensor(np.float32(3)), retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), 2 * first)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 7 / 3 * first, rtol=1e-6)


def test_gradient_passes_through_the_graph(rng):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    target = nv.tensor(np.array([0, 1, 2, 1]))
    _, (dx,) = run(lambda t: 2.0 * _core.cross_entropy(3.0 * t, target), x)
    wanted = cross_entropy_formula(3 * x, np.array([0, 1, 2, 1]), None, -100, 0, "mean", 6.0)[1]
    np.testing.assert_allclose(dx, wanted, atol=1e-6)


# ---- special values ------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_target_ignored(smoothing):
    x, target = np.ones((3, 4)), nv.tensor(np.full(3, -100))
    y, (dx,) = run(lambda t: _core.cross_entropy(t, target, label_smoothing=smoothing), x)
    assert np.isnan(y)
    np.testing.assert_array_equal(dx, np.zeros((3, 4)))
    y, (dx,) = run(lambda t: _core.cross_entropy(t, target, None, -100, smoothing, "sum"), x)
    assert y == 0
    y, (dx,) = run(lambda t: _core.nll_loss(t, target), x)
    assert np.isnan(y)
    np.testing.assert_array_equal(dx, np.zeros((3, 4)))


def test_a_nan_in_an_ignored_row_is_not_seen(isa):
    x = np.ones((2, 4))
    x[0] = NAN
    y, (dx,) = run(lambda t: _core.cross_entropy(t, nv.tensor(np.array([-100, 1]))), x)
    np.testing.assert_allclose(y, math.log(4), rtol=1e-6)
    np.testing.assert_array_equal(dx[0], np.zeros(4))


@pytest.mark.parametrize("classes", [3, 16, 40, 3000])
def test_extreme_logits(isa, classes):
    x = np.zeros((5, classes), np.float32)
    x[0, 0] = 1e30  # certain and right
    x[1, 1] = 1e30  # certain and wrong
    x[2, 1:] = -INF
    x[3, 0] = -INF
    x[4] = -INF
    y, (dx,) = run(
        lambda t: _core.cross_entropy(t, nv.tensor(np.zeros(5, np.int64)), reduction="none"),
        x,
        dy=np.ones(5),
    )
    np.testing.assert_array_equal(y[[0, 1, 2, 3]], np.array([0, 1e30, 0, INF], np.float32))
    assert np.isnan(y[4])
    assert np.isnan(dx[4]).all()
    assert np.isfinite(dx[:4]).all()
    np.testing.assert_array_equal(dx[0], np.zeros(classes))
    np.testing.assert_array_equal(dx[1, :2], [-1, 1])


@pytest.mark.parametrize("probabilities", [False, True])
def test_an_empty_batch(probabilities):
    target = np.zeros((0, 4), np.float32) if probabilities else np.zeros(0, np.int64)
    for reduction in REDUCTIONS:
        y, (dx,) = run(
            lambda t: _core.cross_entropy(t, nv.tensor(target), reduction=reduction),  # noqa: B023
            np.zeros((0, 4)),
            dy=np.ones(0) if reduction == "none" else np.ones(()),
        )
        assert dx.shape == (0, 4)
        assert y.shape == ((0,) if reduction == "none" else ())
        if reduction != "none":
            np.testing.assert_array_equal(y, NAN if reduction == "mean" else 0)


def test_binary_cross_entropy_at_the_ends(isa):
    p, t = np.array([0, 0, 1, 1, 1e-30, 1e-8]), np.array([0, 1, 0, 1, 1, 0])
    y, (dp, dt) = run(
        lambda a, b: _core.binary_cross_entropy(a, b, reduction="none"), p, t, dy=np.ones(6)
    )
    np.testing.assert_allclose(y, [0, 100, 100, 0, 69.07755, 1e-8], rtol=1e-6)
    np.testing.assert_allclose(dp[:4], [0, -1e12, 1e12, 0], rtol=1e-6)
    assert np.isfinite(dt).all()


def test_binary_cross_entropy_with_large_logits(isa):
    x, t = np.array([1000, -1000, 1000, -1000, 0, -20.0]), np.array([1, 0, 0, 1, 0.5, 0])
    y, (dx, dt) = run(
        lambda a, b: _core.binary_cross_entropy_with_logits(a, b, reduction="none"),
        x,
        t,
        dy=np.ones(6),
    )
    np.testing.assert_allclose(y, [0, 0, 1000, 1000, math.log(2), math.exp(-20)], rtol=1e-6)
    np.testing.assert_allclose(dx, [0, 0, 1, -1, 0, math.exp(-20)], rtol=1e-6)
    np.testing.assert_allclose(dt, -x, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 4), (3, 4)])
def test_weights_of_the_binary_losses_are_spread(rng, shape):
    x, t = rng.standard_normal((3, 4)), rng.uniform(0, 1, (3, 4))
    w, v = rng.uniform(0.1, 2, shape).astype(np.float32), rng.uniform(0.1, 2, shape)
    sigmoid = 1 / (1 + np.exp(-x))
    weight, pos_weight = nv.tensor(w), nv.tensor(v.astype(np.float32))
    y, (dx, _) = run(
        lambda a, b: _core.binary_cross_entropy_with_logits(a, b, weight, pos_weight, "sum"), x, t
    )
    np.testing.assert_allclose(
        y, -(w * (v * t * np.log(sigmoid) + (1 - t) * np.log(1 - sigmoid))).sum(), rtol=1e-5
    )
    np.testing.assert_allclose(
        dx, w * ((1 - t) * sigmoid - v * t * (1 - sigmoid)), rtol=1e-5, atol=1e-6
    )


def test_the_kink_of_the_difference_losses(isa):
    x = np.array([0.0, 0.5, -0.5, 2.0, -2.0, NAN])
    zero = np.zeros(6)
    for op, slopes in [
        (_core.l1_loss, [0, 1, -1, 1, -1, NAN]),
        (lambda a, b, **r: _core.smooth_l1_loss(a, b, 0.0, **r), [0, 1, -1, 1, -1, NAN]),
        (lambda a, b, **r: _core.smooth_l1_loss(a, b, 0.5, **r), [0, 1, -1, 1, -1, NAN]),
        (lambda a, b, **r: _core.huber_loss(a, b, 0.5, **r), [0, 0.5, -0.5, 0.5, -0.5, NAN]),
        (_core.mse_loss, [0, 1, -1, 4, -4, NAN]),
    ]:
        _, (dx, dt) = run(lambda a, b: op(a, b, reduction="none"), x, zero, dy=np.ones(6))  # noqa: B023
        np.testing.assert_array_equal(dx, np.array(slopes, np.float32))
        np.testing.assert_array_equal(dt, -dx)


# ---- errors --------------------------------------------------------------------------------------

PAIRS = {
    "mse_loss": _core.mse_loss,
    "l1_loss": _core.l1_loss,
    "huber_loss": _core.huber_loss,
    "smooth_l1_loss": _core.smooth_l1_loss,
    "kl_div": _core.kl_div,
    "binary_cross_entropy": _core.binary_cross_entropy,
    "binary_cross_entropy_with_logits": _core.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("name", PAIRS)
def test_sizes_that_differ_and_unknown_reductions(name):
    a, b = nv.zeros(3, 1), nv.zeros(3)
    with pytest.raises(ValueError, match=rf"\[{name}\] .* got \(3, 1\) and \(3,\)"):
        PAIRS[name](a, b)
    with pytest.raises(ValueError, match=rf"\[{name}\] reduction must be .* got 'average'"):
        PAIRS[name](b, b, reduction="average")
    if name != "kl_div":
        with pytest.raises(ValueError, match="reduction must be"):
            PAIRS[name](b, b, reduction="batchmean")


def test_impossible_arguments():
    x, index = nv.zeros(2, 3), nv.tensor(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"must be \(2,\) for an input of \(2, 3\), got \(3,\)"):
        _core.cross_entropy(x, nv.tensor(np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match=r"input's shape \(2, 3\), got \(2,\)"):
        _core.cross_entropy(x, nv.zeros(2))
    with pytest.raises(TypeError, match="target"):
        _core.cross_entropy(x, nv.tensor(np.zeros((2, 3), bool)))
    with pytest.raises(TypeError, match="input"):
        _core.cross_entropy(nv.tensor(np.zeros((2, 3), np.int64)), index)
    with pytest.raises(ValueError, match=r"weight must be \(C,\) with C = 3, got \(2,\)"):
        _core.cross_entropy(x, index, nv.zeros(2))
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], got 1.5"):
        _core.cross_entropy(x, index, label_smoothing=1.5)
    with pytest.raises(ValueError, match="ignore_index"):
        _core.cross_entropy(x, x, ignore_index=1)
    with pytest.raises(ValueError, match="at least one class"):
        _core.cross_entropy(nv.zeros(2, 0), index)
    with pytest.raises(ValueError, match="input must be"):
        _core.cross_entropy(nv.tensor(np.float32(0)), nv.tensor(0))
    with pytest.raises(ValueError, match="delta must be positive"):
        _core.huber_loss(x, x, 0.0)
    with pytest.raises(ValueError, match="beta must not be negative"):
        _core.smooth_l1_loss(x, x, -1.0)
    with pytest.raises(ValueError, match="probabilities must lie between 0 and 1"):
        _core.binary_cross_entropy(x + 1.5, x)
    with pytest.raises(ValueError, match="target must lie between 0 and 1"):
        _core.binary_cross_entropy(x, x - 0.5)
    with pytest.raises(ValueError, match=r"pos_weight must broadcast .* \(2, 3\), got \(2,\)"):
        _core.binary_cross_entropy_with_logits(x, x, None, nv.zeros(2))


# ---- accuracy and threads ------------------------------------------------------------------------


def test_the_mean_over_a_million_elements(isa, rng):
    x, t = rng.random((2, 1_000_003), np.float32)
    y, (dx, _) = run(_core.mse_loss, x, t)
    wide = x.astype(np.float64) - t
    np.testing.assert_allclose(y, (wide**2).mean(), rtol=1e-6)
    np.testing.assert_allclose(dx, 2 * wide / x.size, rtol=1e-6, atol=1e-12)


def test_the_same_bits_for_any_number_of_threads(isa, rng):
    logits = rng.standard_normal((3001, 65)).astype(np.float32)
    wide = rng.standard_normal((40, 5003)).astype(np.float32)
    share = rng.uniform(0, 1, logits.shape).astype(np.float32)
    weight = nv.tensor(rng.uniform(0.5, 2, 65).astype(np.float32))
    index, few = nv.tensor(rng.integers(0, 65, 3001)), nv.tensor(rng.integers(0, 5003, 40))
    calls = [
        (lambda t: _core.cross_entropy(t, index), (logits,)),
        (lambda t: _core.cross_entropy(t, index, weight, 3, 0.1), (logits,)),
        (lambda t: _core.cross_entropy(t, few), (wide,)),
        (lambda a, b: _core.cross_entropy(a, b, weight), (logits, share)),
        (lambda t: _core.nll_loss(t, index, weight), (logits,)),
        *((op, (share, share[::-1].copy())) for op in PAIRS.values()),
    ]
    bits = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        results = [run(op, *inputs) for op, inputs in calls]
        bits.append([[y.tobytes(), *(g.tobytes() for g in dx)] for y, dx in results])
    assert bits[1] == bits[0]
    assert bits[2] == bits[0]
