# SPDX-License-Identifier: BSD-3-Clause
"""Element-wise operations where the case table does not reach."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest

from nervure import Tensor, _core

INF, NAN = math.inf, math.nan

# Around the vector widths and the kernels' blocks of 1024, rows of 512, pieces of 32768 elements.
BROADCASTS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()),
    ((5,), ()),
    ((1,), (3, 1)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((7, 1, 5), (1, 6, 1)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((2, 3, 4, 5), (2, 1, 4, 1)),
    ((2, 1, 2, 1, 3, 1, 2, 3), (1, 2, 1, 2, 1, 2, 2, 1)),
    ((33, 17), (17,)),
    ((33, 17), (33, 1)),
    ((31, 511), (511,)),
    ((31, 513), (31, 1)),
    ((2500, 15), (15,)),
    ((2500, 15), (2500, 1)),
    ((3, 33000), (3, 1)),
    ((3, 33000), (33000,)),
    ((2, 33000), (1, 1)),
    ((40, 3, 700), (3, 1)),
    ((40, 700, 3), (700, 1)),
    ((5, 1, 1100), (1, 9, 1)),
    ((0, 4), (4,)),
    ((0, 4), (1,)),
    ((1,), (3, 0)),
    ((2, 0, 3), (2, 1, 1)),
]

OPERATIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _tensor(x: Any, order: tuple[int, ...] | None = None, grad: bool = False) -> Tensor:
    tensor = _core.tensor(x)
    if order is not None:
        tensor = tensor.to_order(order)
    return tensor.requires_grad_() if grad else tensor


def _values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)).astype(np.float32)


def _sum_to(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    added = dy.ndim - len(shape)
    dims = tuple(i for i in range(dy.ndim) if i < added or shape[i - added] == 1)
    return dy.sum(axis=dims, keepdims=True).reshape(shape)


def _gradients(op: str, dy: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    if op == "add":
        da, db = dy, dy
    elif op == "sub":
        da, db = dy, -dy
    elif op == "mul":
        da, db = dy * b, dy * a
    elif op == "div":
        da, db = dy / b, -dy * a / b**2
    else:
        first = a > b if op == "maximum" else a < b
        da = dy * np.where(a == b, 0.5, first)
        db = dy - da
    return _sum_to(da, a.shape), _sum_to(db, b.shape)


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("swapped", [False, True])
def test_broadcasting(op: str, swapped: bool, isa: str, rng: np.random.Generator) -> None:
    for shapes in BROADCASTS:
        a, b = (_values(rng, s) for s in (reversed(shapes) if swapped else shapes))
        x, y = _tensor(a, grad=True), _tensor(b, grad=True)
        z = getattr(_core, op)(x, y)
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        expected = OPERATIONS[op](wide_a, wide_b)
        np.testing.assert_allclose(np.array(z.detach()), expected, rtol=2e-7, err_msg=str(shapes))
        dy = rng.standard_normal(z.shape).astype(np.float32)
        z.backward(_core.tensor(dy))
        for leaf, gradient in zip((x, y), _gradients(op, dy, wide_a, wide_b), strict=True):
            assert leaf.grad is not None
            actual, scale = np.array(leaf.grad), np.sqrt(max(1, dy.size // max(1, leaf.numel())))
            np.testing.assert_allclose(
                actual, gradient, rtol=1e-6, atol=3e-6 * scale, err_msg=str(shapes)
            )


@pytest.mark.parametrize("op", ["sub", "mul", "lt"])
def test_memory_orders(op: str, isa: str, rng: np.random.Generator) -> None:
    shape = (3, 5, 18, 7)
    a, b, row = _values(rng, shape), _values(rng, shape), _values(rng, (5, 1, 7))
    for first, second in itertools.product([(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)], repeat=2):
        x, y = _tensor(a, first, grad=op != "lt"), _tensor(b, second, grad=op != "lt")
        z = getattr(_core, op)(x, y)
        assert z.order == first
        expected = {"sub": a - b, "mul": a * b, "lt": a < b}[op]
        np.testing.assert_array_equal(np.array(z.detach()), expected)
        with_row = getattr(_core, op)(_tensor(row, (2, 0, 1)), x.detach())
        assert with_row.order == first
        np.testing.assert_array_equal(
            np.array(with_row), {"sub": row - a, "mul": row * a, "lt": row < a}[op]
        )
        if op == "lt":
            continue
        dy = _values(rng, shape)
        z.backward(_tensor(dy, second))
        assert x.grad is not None
        assert y.grad is not None
        np.testing.assert_array_equal(np.array(x.grad), dy * b if op == "mul" else dy)
        np.testing.assert_array_equal(np.array(y.grad), dy * a if op == "mul" else -dy)
        assert (x.grad.order, y.grad.order) == (first, second)


@pytest.mark.parametrize(
    "shape", [(2, 3, 17, 33), (1, 64, 5, 64), (5, 16, 1, 48), (130, 67), (9, 1), (4, 0, 3)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_copies_between_memory_orders(
    shape: tuple[int, ...], dtype: type, isa: str, rng: np.random.Generator
) -> None:
    values = rng.integers(0, 2 if dtype is np.bool_ else 1000, shape).astype(dtype)
    orders = list(itertools.permutations(range(len(shape))))
    for first, second in itertools.product(orders[::5] if len(orders) > 2 else orders, orders):
        x = _core.tensor(values).to_order(first)
        y = x.to_order(second)
        np.testing.assert_array_equal(np.array(y), values)
        target = _core.empty(shape, first, x.dtype)
        _core.copy_(target, y)
        np.testing.assert_array_equal(np.array(target), values)


def test_copy_broadcasts_and_converts(isa: str) -> None:
    target = _core.full((3, 4, 5), 9.0).to_order((2, 0, 1))
    _core.copy_(target, _core.tensor(np.arange(4)[:, None]))
    np.testing.assert_array_equal(
        np.array(target), np.broadcast_to(np.arange(4.0)[:, None], (3, 4, 5))
    )
    square = _core.tensor(np.arange(36, dtype=np.float32).reshape(6, 6))
    expected = np.array(square).T.copy()
    _core.copy_(square, square.T)  # the same memory
    np.testing.assert_array_equal(np.array(square), expected)


def test_layout_is_kept_by_every_unary_operation() -> None:
    x = _core.rand((2, 3, 4)).to_order((1, 2, 0))
    functions = "neg abs exp log sqrt square reciprocal sin cos relu silu tanh sigmoid elu gelu"
    for name in [*functions.split(), "isnan", "isfinite", "clone"]:
        y = getattr(_core, name)(x)
        assert y.order == (1, 2, 0), name


def test_same_tensor_twice(isa: str) -> None:
    x = _tensor(np.linspace(1, 2, 19, dtype=np.float32), grad=True)
    values = np.array(x.detach())
    for result, gradient in (
        (x + x, np.full(19, 2.0)),
        (x * x, 2 * values),
        (x - x, np.zeros(19)),
        (x / x, np.zeros(19)),
        (_core.maximum(x, x), np.ones(19)),
        (x * x.exp() + x, np.exp(values) * (1 + values) + 1),
    ):
        result.backward(_core.full((19,), 1.0))
        assert x.grad is not None
        np.testing.assert_allclose(np.array(x.grad), gradient, rtol=1e-6, atol=2e-7)
        x.grad = None


def test_gradients_of_both_inputs_do_not_share_memory() -> None:
    x, y = _tensor(np.ones(5, np.float32), grad=True), _tensor(np.ones(5, np.float32), grad=True)
    (x + y).backward(_core.full((5,), 3.0))
    assert x.grad is not None
    assert y.grad is not None
    x.grad.fill_(7.0)
    assert np.array(y.grad).tolist() == [3.0] * 5


@pytest.mark.parametrize("shape", [(), (1,), (7,), (300,), (1, 300), (4096, 1)])
def test_gradient_of_a_huge_broadcast(
    shape: tuple[int, ...], threads: int, rng: np.random.Generator
) -> None:
    full = (4096, 7 if shape == (7,) else 300)
    x, w = _values(rng, full), _values(rng, shape)
    a, b = _core.tensor(x), _tensor(w, grad=True)
    dy = _values(rng, full)
    (a * b).backward(_core.tensor(dy))
    assert b.grad is not None
    exact = _sum_to(dy.astype(np.float64) * x, shape)
    # Pairwise sums: the error hardly grows with the number of terms.
    np.testing.assert_allclose(
        np.array(b.grad), exact, rtol=0, atol=2e-6 * np.sqrt(x.size / max(1, w.size))
    )


def test_gradient_of_a_broadcast_has_the_same_bits_for_any_number_of_threads() -> None:
    _core.manual_seed(3)
    x, dy = _core.randn((3000, 65)), _core.randn((3000, 65))
    found = set()
    for count in (1, 2, 3):
        _core.set_num_threads(count)
        for shape in ((65,), (3000, 1), ()):
            b = _core.full(shape, 1.5).requires_grad_()
            (x * b).backward(dy)
            assert b.grad is not None
            found.add((shape, np.array(b.grad).tobytes()))
    assert len(found) == 3


def test_integers_and_booleans() -> None:
    big = np.int64([2**53, 2**53 + 1, -(2**62), 5])
    a, b = _core.tensor(big), _core.tensor(big[::-1].copy())
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        expected = getattr(
            np,
            {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal"}.get(
                name, "greater" if name == "gt" else "greater_equal"
            ),
        )(big, big[::-1])
        result = np.array(getattr(_core, name)(a, b))
        assert result.dtype == np.bool_
        np.testing.assert_array_equal(result, expected)
    mask = _core.tensor(np.array([True, False, True, False]))
    assert np.array(_core.add(mask, a)).dtype == np.float32
    assert np.array(_core.add(mask, mask)).tolist() == [2.0, 0.0, 2.0, 0.0]
    assert np.array(_core.where(mask, a, b)).tolist() == [2**53, -(2**62), -(2**62), 2**53]
    assert np.array(mask == 1).tolist() == [True, False, True, False]
    for name in ("logical_and", "logical_or"):
        with pytest.raises(TypeError, match=rf"^\[{name}\] inputs must be boolean"):
            getattr(_core, name)(mask, a)
    with pytest.raises(TypeError, match=r"^\[where\] condition must be boolean"):
        _core.where(a, a, b)


def test_conversions() -> None:
    x = _core.tensor(np.float32([1.9, -1.9, 0.0, NAN, INF, -INF, 1e19]))
    smallest = -(2**63)
    assert np.array(_core.cast(x, _core.dtype.int64)).tolist() == [1, -1, 0] + [smallest] * 4
    assert np.array(_core.cast(x, _core.dtype.bool)).tolist() == [True, True, False] + [True] * 4
    assert np.array(_core.cast(_core.tensor(np.int64([3, 0])), _core.dtype.bool)).tolist() == [
        True,
        False,
    ]


def test_arange_and_full() -> None:
    for arguments in (
        (0, 10, 3),
        (5, -5, -2),
        (0, 0, 1),
        (3, 1, 1),
        (0.5, 3.1, 0.25),
        (0, 1e6, 7.5),
    ):
        expected = np.arange(*arguments, dtype=np.float64)
        np.testing.assert_allclose(np.array(_core.arange(*arguments)), expected, rtol=6e-8)
    np.testing.assert_array_equal(
        np.array(_core.arange(0, 100_000, 3, _core.dtype.int64)), np.arange(0, 100_000, 3)
    )
    assert np.array(_core.full((2, 0), 1.0)).shape == (2, 0)
    for bad in ((0, INF, 1), (0, 1, 0), (NAN, 1, 1)):
        with pytest.raises(ValueError, match=r"^\[arange\]"):
            _core.arange(*bad)


SPECIAL = np.float32([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 3.4e38, -3.4e38])


@pytest.mark.parametrize("op", [*OPERATIONS, "eq", "ne", "lt", "le", "gt", "ge"])
def test_nan_and_infinity_in_binary_operations(op: str, isa: str) -> None:
    a, b = (x.ravel() for x in np.meshgrid(SPECIAL, SPECIAL))
    numpy_name = {
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
    }
    function = OPERATIONS.get(op) or getattr(np, numpy_name.get(op, "greater_equal"))
    with np.errstate(all="ignore"):
        expected = function(a, b)
    if expected.dtype == np.float32:
        expected[np.abs(expected) < np.finfo(np.float32).tiny] = 0.0  # kernels flush denormals
    np.testing.assert_array_equal(
        np.array(getattr(_core, op)(_core.tensor(a), _core.tensor(b))), expected
    )


PLAIN = "abs exp log sqrt square reciprocal relu silu tanh sigmoid sin cos"
UNARY: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(PLAIN.split(), ()),
    "leaky_relu": (0.1,),
    "gelu": ("none",),
    "softplus": (2.0, 3.0),
    "hardtanh": (-0.5, 2.0),
    "clip": (-0.5, 2.0),
}


@pytest.mark.parametrize("op", UNARY)
def test_against_torch_at_special_values(op: str, isa: str) -> None:
    torch = pytest.importorskip("torch")
    function = getattr(torch, op, None) or getattr(torch.nn.functional, op)
    arguments = {"gelu": ()}.get(op, UNARY[op])
    x = np.float32([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 1e30, -1e30, 0.5, -0.5, 2.0, 1.5, 1.6])
    theirs, ours = torch.tensor(x, requires_grad=True), _tensor(x, grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = function(theirs, *arguments)
        expected.backward(torch.ones(x.size))
    actual = getattr(_core, op)(ours, *UNARY[op])
    actual.backward(_core.full((x.size,), 1.0))
    assert ours.grad is not None
    assert theirs.grad is not None
    for mine, other in ((actual.detach(), expected.detach()), (ours.grad, theirs.grad)):
        wanted = other.numpy()
        # At infinity torch multiplies infinity by zero where these have a limit.
        known = ~np.isnan(wanted) if op in ("gelu", "silu") else np.ones(x.size, bool)
        np.testing.assert_allclose(np.array(mine)[known], wanted[known], rtol=2e-6, atol=2e-7)


def test_where_and_masked_fill(isa: str, rng: np.random.Generator) -> None:
    for shape in ((), (5,), (33, 65), (700, 3), (3, 2000)):
        mask = rng.random(shape) < 0.5
        a, b = _values(rng, shape), _values(rng, shape[-1:])
        x, y = _tensor(a, grad=True), _tensor(b, grad=True)
        z = _core.where(_core.tensor(mask), x, y)
        np.testing.assert_array_equal(np.array(z.detach()), np.where(mask, a, b))
        dy = _values(rng, shape)
        z.backward(_core.tensor(dy))
        assert x.grad is not None
        assert y.grad is not None
        np.testing.assert_array_equal(np.array(x.grad), dy * mask)
        np.testing.assert_allclose(
            np.array(y.grad), _sum_to(dy.astype(np.float64) * ~mask, b.shape), atol=1e-4
        )
        x.grad = None
        filled = _core.masked_fill(x, _core.tensor(mask), -INF)
        np.testing.assert_array_equal(np.array(filled.detach()), np.where(mask, -INF, a))
        filled.backward(_core.tensor(dy))
        assert x.grad is not None
        np.testing.assert_array_equal(np.array(x.grad), dy * ~mask)


def test_elu_with_a_negative_alpha(isa: str) -> None:
    x = _tensor(np.float32([-2.0, -0.5, 0.5, 2.0]), grad=True)
    y = _core.elu(x, -1.5)
    y.backward(_core.full((4,), 1.0))
    assert x.grad is not None
    values = np.float64([-2.0, -0.5, 0.5, 2.0])
    np.testing.assert_allclose(
        np.array(x.grad), np.where(values > 0, 1, -1.5 * np.exp(values)), rtol=1e-6
    )


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0, -1.0])
def test_elu_carries_a_nan_to_its_gradient(alpha: float, isa: str) -> None:
    x = _core.tensor(np.float32([NAN, 1.0, -1.0] * 7), requires_grad=True)
    _core.elu(x, alpha).sum().backward()
    assert np.isnan(x.grad.numpy()[::3]).all()
    assert np.isfinite(np.delete(x.grad.numpy(), np.s_[::3])).all()
