# SPDX-License-Identifier: BSD-3-Clause
"""Reductions and softmax beyond the case table: accuracy, special values, ties, threads, orders."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import nervure as nv
from nervure import _core

EPS = float(np.finfo(np.float32).eps)
INF, NAN = np.inf, np.nan


def tensor(x, requires_grad=False, order=None):
    t = nv.tensor(np.asarray(x))
    if order is not None:
        t = t.to_order(list(order))
    t = t.detach()
    t.requires_grad_(requires_grad)
    return t


def gradient(op: Callable, x, dy=None, order=None) -> np.ndarray:
    t = tensor(np.asarray(x, np.float32), True, order)
    y = op(t)
    y.backward() if dy is None else y.backward(tensor(np.asarray(dy, np.float32)))
    return t.grad.numpy()


# ---- accuracy ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(10_000_000,), (10, 1_000_000), (1_000_000, 10), (2500, 4000)])
@pytest.mark.parametrize("axis", [0, -1])
def test_ten_million_values_keep_their_digits(isa, rng, shape, axis):
    x = rng.random(shape, np.float32) + np.float32(0.1)
    t, wide = tensor(x), x.astype(np.float64)
    # Positive values: the relative error of a fixed tree is far below the 1e-3 of a running sum.
    np.testing.assert_allclose(_core.sum(t, [axis]).numpy(), wide.sum(axis), rtol=6 * EPS)
    np.testing.assert_allclose(_core.mean(t, [axis]).numpy(), wide.mean(axis), rtol=6 * EPS)
    np.testing.assert_allclose(_core.var(t, [axis]).numpy(), wide.var(axis, ddof=1), rtol=2e-6)


def test_sum_of_both_signs(isa, rng):
    x = rng.standard_normal(1_000_000).astype(np.float32)
    exact = x.astype(np.float64).sum()
    assert abs(_core.sum(tensor(x)).item() - exact) < 4 * EPS * np.sqrt(x.size) * 3


@pytest.mark.parametrize("scale", [1e-33, 1e-30, 1e-24, 1e-20, 1e-19, 1e-13, 1.0, 1e18, 1e20, 1e30])
def test_deviation_whose_squares_leave_float32(isa, rng, scale):
    """As PyTorch's, the root does not suffer from what its square would be."""
    x = (rng.standard_normal((3, 40)) * scale).astype(np.float32)
    x[1] = rng.standard_normal(40)  # rows do not disturb each other
    t = tensor(x).requires_grad_()
    for keepdim in (False, True):
        y = t.std(1, keepdim=keepdim)
        expected = x.astype(np.float64).std(1, ddof=1, keepdims=keepdim)
        np.testing.assert_allclose(y.numpy(), expected, rtol=2e-6)
    assert y.numpy()[1] == tensor(x[1]).std().item()
    np.testing.assert_allclose(t.std().item(), x.astype(np.float64).std(ddof=1), rtol=2e-6)
    y.sum().backward()
    wide = x.astype(np.float64)
    slope = (wide - wide.mean(1, keepdims=True)) / (39 * wide.std(1, ddof=1, keepdims=True))
    np.testing.assert_allclose(t.grad.numpy(), slope, rtol=1e-4, atol=1e-6)


def test_deviation_of_equal_values_has_no_slope():
    x = tensor(np.full((2, 4), 3.0, np.float32)).requires_grad_()
    x.std(1).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros((2, 4)))
    assert np.isnan(tensor(np.float32([1.0, np.inf])).std().item())
    assert np.isnan(tensor(np.float32([1.0])).std().item())
    assert _core.standard_deviation(tensor(np.zeros((0, 3), np.float32)), [1]).shape == (0,)


@pytest.mark.parametrize("op", ["var", "std"])
@pytest.mark.parametrize("correction", [2, 3, 4, 10])
@pytest.mark.parametrize(
    ("shape", "dim"), [((3,), None), ((3,), 0), ((), None), ((2, 3), 1), ((3, 1), 1)]
)
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_spread_without_degrees_of_freedom(rng, op, correction, shape, dim, equal):
    torch = pytest.importorskip("torch")
    x = np.full(shape, 2.0) if equal else rng.standard_normal(shape)
    ours = tensor(x, requires_grad=True)
    theirs = torch.tensor(np.asarray(x, np.float32), requires_grad=True)
    y = getattr(ours, op)(dim=dim, correction=correction)
    expected = getattr(theirs, op)(dim=dim, correction=correction)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-6)
    y.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["var", "std"])
@pytest.mark.parametrize("correction", [-(2**63), -(2**53) - 1, 2**53 + 1, 2**63 - 1])
def test_absurd_corrections(op, correction):
    with pytest.raises(ValueError, match="correction must lie between"):
        getattr(nv.ones(3), op)(correction=correction)


@pytest.mark.parametrize("shape", [(100_000,), (1000, 100), (100, 1000)])
@pytest.mark.parametrize("axis", [0, -1])
def test_variance_far_from_zero(isa, rng, shape, axis):
    """The sum of squares less the square of the sum would lose every digit here."""
    x = (rng.standard_normal(shape) + 3000).astype(np.float32)
    expected = x.astype(np.float64).var(axis, ddof=1)
    np.testing.assert_allclose(_core.var(tensor(x), [axis]).numpy(), expected, rtol=1e-5)


def test_softmax_of_a_long_row(isa, rng):
    x = (5 * rng.standard_normal((2, 200_003))).astype(np.float32)
    wide = x.astype(np.float64)
    e = np.exp(wide - wide.max(1, keepdims=True))
    expected = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(_core.softmax(tensor(x), 1).numpy(), expected, rtol=4e-6)
    np.testing.assert_allclose(
        _core.log_softmax(tensor(x), 1).numpy(), np.log(expected), atol=1e-5, rtol=1e-6
    )


# ---- shapes and memory orders --------------------------------------------------------------------

WAYS = {
    "sum": (_core.sum, lambda x, axis: x.sum(axis)),
    "mean": (_core.mean, lambda x, axis: x.mean(axis)),
    "var": (lambda x, d: _core.var(x, d, correction=0), lambda x, axis: x.var(axis)),
    "amax": (_core.amax, lambda x, axis: x.max(axis)),
    "amin": (_core.amin, lambda x, axis: x.min(axis)),
    "logsumexp": (_core.logsumexp, lambda x, axis: np.log(np.exp(x).sum(axis))),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_set_of_dims_in_every_memory_order(isa, rng, name):
    op, formula = WAYS[name]
    x = rng.standard_normal((3, 5, 2, 17)).astype(np.float32)
    wide = x.astype(np.float64)
    for order in [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (2, 0, 3, 1)]:
        t = tensor(x, order=order)
        for n in range(1, 5):
            for dims in itertools.combinations(range(4), n):
                y = op(t, list(dims)).numpy()
                expected = formula(wide, dims)
                assert y.shape == expected.shape
                np.testing.assert_allclose(y, expected, rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize("name", WAYS)
def test_gradient_over_dims_apart_in_memory(isa, rng, name):
    """The dims 0 and 2 of a row-major array, and the same of a channels-last one."""
    op, _ = WAYS[name]
    x = rng.standard_normal((4, 3, 6)).astype(np.float32)
    dy = rng.standard_normal(3).astype(np.float32)
    together = gradient(lambda t: op(t, [1]), x.transpose(1, 0, 2).reshape(3, 24), dy)
    expected = together.reshape(3, 4, 6).transpose(1, 0, 2)
    for order in [(0, 1, 2), (0, 2, 1), (2, 1, 0)]:
        dx = gradient(lambda t: op(t, [0, 2]), x, dy, order)
        np.testing.assert_allclose(dx, expected, rtol=2e-6, atol=1e-6)


def test_results_keep_the_order_of_what_remains():
    x = tensor(np.zeros((2, 3, 4, 5), np.float32), order=(0, 2, 3, 1))
    assert list(_core.mean(x, [2, 3], True).order) == [0, 2, 3, 1]
    assert list(_core.sum(x, [0]).order) == [1, 2, 0]


@pytest.mark.parametrize("n", [1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129])
@pytest.mark.parametrize("other", [1, 2, 5, 70])
def test_sizes_around_the_vector_width(isa, rng, n, other):
    for x, axis in [
        (rng.standard_normal((other, n)), 1),
        (rng.standard_normal((n, other)), 0),
        (rng.standard_normal((2, n, other)), 1),
    ]:
        x = x.astype(np.float32)
        t, wide = tensor(x), x.astype(np.float64)
        np.testing.assert_allclose(_core.sum(t, [axis]).numpy(), wide.sum(axis), atol=3e-6 * n)
        np.testing.assert_array_equal(_core.amax(t, [axis]).numpy(), x.max(axis))
        np.testing.assert_array_equal(_core.argmin(t, axis).numpy(), x.argmin(axis))
        e = np.exp(wide - wide.max(axis, keepdims=True))
        expected = e / e.sum(axis, keepdims=True)
        np.testing.assert_allclose(_core.softmax(t, axis).numpy(), expected, rtol=2e-6)


@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_integers_and_booleans_become_floats(dtype, rng):
    x = rng.integers(0, 2, (20, 30)).astype(dtype)
    for dims in ([0], [1], []):
        y = _core.sum(tensor(x), dims or None)
        assert y.dtype == nv.float32
        np.testing.assert_array_equal(y.numpy(), x.sum(tuple(dims) or None))
    np.testing.assert_allclose(_core.mean(tensor(x)).item(), x.mean(), rtol=1e-6)
    np.testing.assert_array_equal(_core.argmax(tensor(x), 1).numpy(), x.argmax(1))


# ---- nothing, one thing --------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "dims", "left"), [((0,), [0], ()), ((3, 0), [1], (3,))])
def test_reducing_nothing(shape, dims, left):
    x = tensor(np.zeros(shape, np.float32))
    np.testing.assert_array_equal(_core.sum(x, dims).numpy(), np.zeros(left))
    assert np.isnan(_core.mean(x, dims).numpy()).all()
    assert np.isnan(_core.var(x, dims).numpy()).all()
    assert (_core.logsumexp(x, dims).numpy() == -INF).all()
    for op in (_core.amax, _core.amin):
        with pytest.raises(ValueError, match="at least one value"):
            op(x, dims)
    for op in (_core.max, _core.min, _core.argmax, _core.argmin):
        with pytest.raises(ValueError, match="at least one value"):
            op(x, dims[0])
    with pytest.raises(ValueError, match="at least one value"):
        _core.argmax(x)


@pytest.mark.parametrize("op", [_core.sum, _core.mean, _core.amax, _core.amin, _core.logsumexp])
def test_no_results(op):
    assert op(tensor(np.zeros((0, 3), np.float32)), [1]).shape == (0,)
    assert gradient(lambda t: op(t, [1]), np.zeros((0, 3)), np.zeros(0)).shape == (0, 3)


def test_scalars():
    x = tensor(np.float32(3))
    for op in (_core.sum, _core.mean, _core.amax, _core.amin, _core.logsumexp):
        assert op(x).item() == 3
        assert op(x, [0]).shape == ()
        assert op(x, [-1], True).shape == ()
        np.testing.assert_array_equal(gradient(op, 3.0), np.float32(1))
    assert _core.argmax(x).item() == 0
    values, indices = _core.max(x, 0)
    assert (values.item(), indices.item()) == (3, 0)
    assert _core.softmax(x, 0).item() == 1
    assert np.isnan(_core.var(x).item())


def test_keepdim():
    x = tensor(np.zeros((2, 3, 4), np.float32))
    assert _core.sum(x, [0, 2], True).shape == (1, 3, 1)
    assert _core.argmax(x, 1, True).shape == (2, 1, 4)
    assert _core.argmax(x, None, True).shape == (1, 1, 1)
    assert [t.shape for t in _core.max(x, -1, True)] == [(2, 3, 1), (2, 3, 1)]


def test_wrong_dims():
    x = tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(
        IndexError, match=r"\[sum\] dimension out of range: expected -2 to 1, got 2"
    ):
        _core.sum(x, [2])
    with pytest.raises(ValueError, match=r"\[mean\] dimension -2 appears more than once"):
        _core.mean(x, [0, -2])
    with pytest.raises(IndexError, match=r"\[softmax\]"):
        _core.softmax(x, 2)


# ---- largest and smallest ------------------------------------------------------------------------

PLACES = [5, 40, 300, 5000, 70_000, 200_001]


@pytest.mark.parametrize("n", PLACES)
def test_the_first_of_equals_and_a_nan_before_everything(isa, rng, n):
    x = rng.integers(-3, 3, n).astype(np.float32)  # many ties
    for axis, shape in [(0, (n,)), (1, (1, n)), (0, (n, 1)), (0, (n, 3))]:
        many = np.broadcast_to(x.reshape(shape if shape != (n, 3) else (n, 1)), shape).copy()
        np.testing.assert_array_equal(_core.argmax(tensor(many), axis).numpy(), many.argmax(axis))
        np.testing.assert_array_equal(_core.argmin(tensor(many), axis).numpy(), many.argmin(axis))
        np.moveaxis(many, axis, 0)[[n // 2, n - 1]] = NAN
        t = tensor(many)
        assert (_core.argmax(t, axis).numpy() == n // 2).all()
        assert (_core.argmin(t, axis).numpy() == n // 2).all()
        assert np.isnan(_core.amax(t, [axis]).numpy()).all()
        assert np.isnan(_core.amin(t, [axis]).numpy()).all()


@pytest.mark.parametrize("n", PLACES)
@pytest.mark.parametrize("value", [INF, -INF])
def test_nothing_but_infinity(isa, n, value):
    x = tensor(np.full((2, n), value, np.float32))
    assert (_core.argmax(x, 1).numpy() == 0).all()
    assert (_core.argmin(x, 1).numpy() == 0).all()
    assert (_core.amax(x, [1]).numpy() == value).all()


@pytest.mark.parametrize("n", PLACES)
def test_largest_at_either_end(isa, n):
    for place in (0, n - 1):
        x = np.zeros(n, np.float32)
        x[place] = 1
        assert _core.argmax(tensor(x)).item() == place
        assert _core.argmin(tensor(-x)).item() == place


def test_argmax_of_all_counts_in_row_major_order():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    x[1, 0] = 9
    assert _core.argmax(tensor(x, order=(1, 0))).item() == 3


def test_ties_share_the_gradient(isa):
    x = [[1, 3, 3, 2], [5, 5, 5, 5]]
    expected = [[0, 1, 1, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(gradient(lambda t: _core.amax(t, [1]), x, [2, 4]), expected)
    columns = gradient(lambda t: _core.amin(t, [0]), -np.transpose(x), [2, 4])
    np.testing.assert_array_equal(columns, np.transpose(expected))


def test_max_sends_the_gradient_to_the_first(isa):
    dx = gradient(lambda t: _core.max(t, 1)[0], [[1, 3, 3], [7, 5, 7]], [2, 4])
    np.testing.assert_array_equal(dx, [[0, 2, 0], [4, 0, 0]])


# ---- softmax and logsumexp of special values -----------------------------------------------------


@pytest.mark.parametrize("width", [3, 16, 40, 5000])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_of_special_rows(isa, width, axis):
    rows = np.zeros((6, width), np.float32)
    rows[0] = -INF
    rows[1, 1] = NAN
    rows[2, 0] = INF
    rows[3, 1:] = -INF
    rows[4] = 1e30
    rows[5, 0] = -3e38
    x = rows if axis == 1 else rows.T.copy()
    y, log_y = (op(tensor(x), axis).numpy() for op in (_core.softmax, _core.log_softmax))
    y, log_y = (y, log_y) if axis == 1 else (y.T, log_y.T)
    assert np.isnan(y[:3]).all()
    assert np.isnan(log_y[:3]).all()
    np.testing.assert_array_equal(y[3], np.eye(1, width)[0])
    np.testing.assert_array_equal(log_y[3], np.where(np.eye(1, width)[0] == 1, 0, -INF))
    np.testing.assert_allclose(y[4], np.full(width, 1 / width), rtol=1e-6)
    np.testing.assert_allclose(log_y[4], np.full(width, -np.log(width)), rtol=1e-6)
    assert y[5, 0] == 0
    assert log_y[5, 0] < -2e38


def test_softmax_over_every_dim_in_every_order(isa, rng):
    x = rng.standard_normal((3, 66, 5)).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    for dim in range(3):
        wide = x.astype(np.float64)
        e = np.exp(wide - wide.max(dim, keepdims=True))
        p = e / e.sum(dim, keepdims=True)
        expected = p * (dy - (dy * p).sum(dim, keepdims=True))
        expected_log = dy - p * dy.sum(dim, keepdims=True, dtype=np.float64)
        for order in itertools.permutations(range(3)):
            y = _core.softmax(tensor(x, order=order), dim)
            assert list(y.order) == list(order)
            np.testing.assert_allclose(y.numpy(), p, rtol=2e-6)
            dx = gradient(lambda t: _core.softmax(t, dim), x, dy, order)  # noqa: B023
            np.testing.assert_allclose(dx, expected, atol=1e-6)
            dx = gradient(lambda t: _core.log_softmax(t, dim), x, dy, order)  # noqa: B023
            np.testing.assert_allclose(dx, expected_log, atol=3e-6)


def test_logsumexp_of_infinities(isa):
    x = np.array([[-INF, -INF, -INF], [INF, 0, -INF], [NAN, 0, 1], [1e30, 1e30, 0]], np.float32)
    y = _core.logsumexp(tensor(x), [1]).numpy()
    np.testing.assert_array_equal(y, np.array([-INF, INF, NAN, 1e30], np.float32))
    np.testing.assert_array_equal(_core.logsumexp(tensor(x.T.copy()), [0]).numpy(), y)
    dx = gradient(lambda t: _core.logsumexp(t, [1]), x, np.ones(4))
    np.testing.assert_array_equal(dx[0], np.zeros(3))


# ---- threads -------------------------------------------------------------------------------------


def _bits_of_everything(x: np.ndarray) -> list[bytes]:
    found = []
    for op in [_core.sum, _core.mean, _core.var, _core.amax, _core.logsumexp]:
        for dims in ([0], [1], [0, 1]):
            t = tensor(x, True)
            y = op(t, dims)
            found.append(y.detach().numpy().tobytes())
            _core.sum(y).backward()
            found.append(t.grad.numpy().tobytes())
    for dim in (0, 1):
        t = tensor(x, True)
        y = _core.log_softmax(t, dim)
        y.backward(tensor(x))
        found += [y.detach().numpy().tobytes(), t.grad.numpy().tobytes()]
        found.append(_core.argmax(t, dim).numpy().tobytes())
    return found


@pytest.mark.parametrize("shape", [(3, 300_001), (100_003, 7), (501, 3001)])
def test_the_same_bits_for_any_number_of_threads(isa, rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    _core.set_num_threads(1)
    one = _bits_of_everything(x)
    for threads in (2, 3):
        _core.set_num_threads(threads)
        assert _bits_of_everything(x) == one


@pytest.mark.parametrize("inner", [2, 3, 17, 100])
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_down_few_tall_columns(name: str, inner: int, isa: str, threads: int) -> None:
    rows = 3 * 65536 // inner + 5
    x = np.random.default_rng(inner).integers(-50, 50, (rows, inner)).astype(np.float32)
    x[rows // 2, 0] = x[rows - 2, 0] = np.nan
    x[rows - 1, 1] = 100.0 if name == "max" else -100.0
    values, indices = getattr(_core, name)(_core.tensor(x), 0)
    np.testing.assert_array_equal(values.numpy(), getattr(np, name)(x, 0))
    np.testing.assert_array_equal(indices.numpy(), getattr(np, f"arg{name}")(x, 0))
    alone = getattr(_core, f"a{name}")(_core.tensor(x), [0])
    np.testing.assert_array_equal(alone.numpy(), getattr(np, name)(x, 0))
    both = getattr(_core, f"arg{name}")(_core.tensor(np.stack([x, x[::-1]])), 1)
    np.testing.assert_array_equal(both.numpy()[0], getattr(np, f"arg{name}")(x, 0))
    np.testing.assert_array_equal(both.numpy()[1], getattr(np, f"arg{name}")(x[::-1], 0))
