# SPDX-License-Identifier: BSD-3-Clause
"""Shapes and indices in every memory order against NumPy: values, gradients, views, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nervure import _core
from nervure._core import Tensor

SHAPE = (3, 4, 1, 5)
ORDERS = list(itertools.permutations(range(4)))


def _ordered(value: np.ndarray, order: tuple[int, ...], requires_grad: bool = False) -> Tensor:
    x = _core.to_order(_core.tensor(value), list(order)).detach()
    x.requires_grad = requires_grad
    return x


def _shares_memory(a: Tensor, b: Tensor) -> bool:
    return bool(np.shares_memory(a.detach().numpy(), b.detach().numpy()))


def _layout(x: Tensor) -> list[int]:
    """Strides of the dimensions that have any extent."""
    return [s for n, s in zip(x.shape, x.detach().numpy().strides, strict=True) if n != 1]


def _check(
    rng: np.random.Generator,
    value: np.ndarray,
    order: tuple[int, ...],
    op: Callable[[Any], Any],
    on_numpy: Callable[[np.ndarray], np.ndarray],
) -> Tensor:
    """Values against NumPy's; as gradient, x[i] gets the sum of dy where y shows x[i]."""
    x = _ordered(value, order, requires_grad=True)
    y = op(x)
    np.testing.assert_array_equal(y.detach().numpy(), on_numpy(value))
    dy = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(_core.tensor(dy))
    shown = on_numpy(np.arange(value.size).reshape(value.shape))
    expected = np.zeros(value.size)
    np.add.at(expected, shown.ravel(), dy.ravel().astype(np.float64))
    np.testing.assert_allclose(x.grad.numpy(), expected.reshape(value.shape), rtol=1e-6, atol=1e-6)
    assert _layout(x.grad) == _layout(x)
    return y


OPS: list[tuple[str, Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = [
    ("reshape-merge", lambda x: x.reshape(12, 5), lambda a: a.reshape(12, 5)),
    ("reshape-split", lambda x: x.reshape(3, 2, 2, 5), lambda a: a.reshape(3, 2, 2, 5)),
    ("reshape-mix", lambda x: x.reshape(6, -1, 2), lambda a: a.reshape(6, -1, 2)),
    ("reshape-ones", lambda x: x.reshape(1, 3, 1, 4, 5, 1), lambda a: a.reshape(1, 3, 1, 4, 5, 1)),
    ("permute", lambda x: x.permute(2, 0, 3, 1), lambda a: a.transpose(2, 0, 3, 1)),
    ("transpose", lambda x: x.transpose(-1, 0), lambda a: a.swapaxes(-1, 0)),
    ("squeeze", lambda x: x.squeeze(), lambda a: a.squeeze()),
    ("squeeze-dim", lambda x: x.squeeze(2), lambda a: a.squeeze(2)),
    ("squeeze-long", lambda x: x.squeeze(1), lambda a: a),
    ("unsqueeze", lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    ("unsqueeze-end", lambda x: x.unsqueeze(-1), lambda a: a[..., None]),
    ("flatten", lambda x: x.flatten(), lambda a: a.reshape(-1)),
    ("flatten-part", lambda x: x.flatten(1, 2), lambda a: a.reshape(3, 4, 5)),
    ("expand", lambda x: x.expand(2, 3, 4, 6, -1), lambda a: np.broadcast_to(a, (2, 3, 4, 6, 5))),
    ("expand-nothing", lambda x: x.expand(-1, -1, -1, -1), lambda a: a),
    ("flip", lambda x: x.flip(0, -1), lambda a: np.flip(a, (0, -1))),
    ("cat-self", lambda x: _core.cat([x, x], 1), lambda a: np.concatenate([a, a], 1)),
    ("stack-self", lambda x: _core.stack([x, x], -1), lambda a: np.stack([a, a], -1)),
    ("split", lambda x: x.split([1, 0, 3], 1)[2], lambda a: a[:, 1:]),
    ("chunk", lambda x: x.chunk(2, 3)[1], lambda a: a[..., 3:]),
    ("slice", lambda x: x[1:, ::2, :, 1:4], lambda a: a[1:, ::2, :, 1:4]),
    ("slice-empty", lambda x: x[:, 2:2], lambda a: a[:, 2:2]),
    ("slice-step", lambda x: x[..., 1::3], lambda a: a[..., 1::3]),
    ("select", lambda x: x[1], lambda a: a[1]),
    ("select-negative", lambda x: x[..., -2], lambda a: a[..., -2]),
    ("select-all", lambda x: x[2, 0, 0, 4], lambda a: a[2, 0, 0, 4]),
    ("newaxis", lambda x: x[:, None, 1, ..., 0], lambda a: a[:, None, 1, ..., 0]),
    ("rows", lambda x: x[np.array([2, 0, 2, -1])], lambda a: a[np.array([2, 0, 2, -1])]),
    ("rows-2d", lambda x: x[np.array([[2, 0], [2, 1]])], lambda a: a[np.array([[2, 0], [2, 1]])]),
    (
        "rows-inside",
        lambda x: x[:, :, 0, np.array([4, 4, 1])],
        lambda a: a[:, :, 0, np.array([4, 4, 1])],
    ),
    ("rows-none", lambda x: x[np.zeros(0, int)], lambda a: a[np.zeros(0, int)]),
    (
        "index_select",
        lambda x: x.index_select(3, _core.tensor([4, 0, 4, 2, 2, 2])),
        lambda a: a[..., [4, 0, 4, 2, 2, 2]],
    ),
    (
        "mask",
        lambda x: x[np.array([True, False, True])],
        lambda a: a[np.array([True, False, True])],
    ),
    (
        "mask-2d",
        lambda x: x[np.arange(12).reshape(3, 4) % 3 == 1],
        lambda a: a[np.arange(12).reshape(3, 4) % 3 == 1],
    ),
    ("mask-none", lambda x: x[np.zeros(3, bool)], lambda a: a[np.zeros(3, bool)]),
]


@pytest.mark.parametrize(("name", "op", "on_numpy"), OPS, ids=[name for name, _, _ in OPS])
def test_every_memory_order(
    rng: np.random.Generator,
    name: str,
    op: Callable[[Any], Any],
    on_numpy: Callable[[np.ndarray], np.ndarray],
) -> None:
    value = rng.standard_normal(SHAPE).astype(np.float32)
    for order in ORDERS:
        _check(rng, value, order, op, on_numpy)


GATHERS = [
    ((5,), (9,), 0),
    ((4, 6), (4, 9), 1),
    ((4, 6), (9, 6), 0),
    ((4, 6), (3, 2), 0),
    ((4, 6), (3, 2), 1),
    ((3, 4, 5), (3, 7, 5), 1),
    ((3, 4, 5), (2, 4, 3), 0),
    ((3, 4, 5), (3, 4, 8), -1),
    ((3, 4), (0, 4), 0),
    ((3, 4), (3, 0), 1),
    ((2, 3, 300), (2, 5, 290), 1),
]


@pytest.mark.parametrize(("shape", "index_shape", "dim"), GATHERS)
def test_gather(
    rng: np.random.Generator,
    isa: str,
    shape: tuple[int, ...],
    index_shape: tuple[int, ...],
    dim: int,
) -> None:
    value = rng.standard_normal(shape).astype(np.float32)
    indices = rng.integers(0, shape[dim], index_shape)

    def on_numpy(a: np.ndarray) -> np.ndarray:
        part = a[
            tuple(slice(None) if i == dim % a.ndim else slice(n) for i, n in enumerate(index_shape))
        ]
        return np.take_along_axis(part, indices, dim)

    for order in itertools.permutations(range(len(shape))):
        y = _check(rng, value, order, lambda x: x.gather(dim, _core.tensor(indices)), on_numpy)
        assert y.is_contiguous()


def test_scalars() -> None:
    x = _core.tensor(2.5, requires_grad=True)
    assert x.reshape(1, 1).shape == (1, 1)
    assert x.flatten().shape == (1,)
    assert x.unsqueeze(0).shape == (1,)
    assert x.squeeze().shape == ()
    np.testing.assert_array_equal(x.expand(3).detach().numpy(), np.full(3, 2.5))
    assert float(_core.gather(x, 0, _core.tensor(0)).detach().numpy()) == 2.5
    _core.stack([x, x]).backward(_core.tensor([1.0, 2.0]))
    assert float(x.grad.numpy()) == 3.0


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_other_types(rng: np.random.Generator, dtype: str) -> None:
    value = rng.integers(0, 2, SHAPE).astype(dtype)
    for order in ORDERS:
        x = _ordered(value, order)
        for name, op, on_numpy in OPS:
            np.testing.assert_array_equal(op(x).numpy(), on_numpy(value), err_msg=name)
        indices = rng.integers(0, 4, (3, 2, 1, 5))
        np.testing.assert_array_equal(
            x.gather(1, _core.tensor(indices)).numpy(), np.take_along_axis(value, indices, 1)
        )


def test_no_elements_in_a_huge_shape() -> None:
    """Strides and pieces beyond 64 bits are refused, or never computed."""
    empty = _core.tensor(np.zeros((0, 3), np.float32))
    for shape in ((0, 2**40, 2**40), (2**40, 2**40, 0), (2**62, 0), (-1, 2**40, 2**40)):
        with pytest.raises(ValueError, match=r"\[reshape\]"):
            empty.reshape(shape)
    wide = empty.reshape(0, 2**40)
    assert wide.shape == (0, 2**40)
    assert wide.T.shape == (2**40, 0)
    with pytest.raises(ValueError, match=r"\[chunk\] an empty dimension has at most"):
        empty.chunk(2**62, 0)
    x = _core.tensor(np.arange(6, dtype=np.float32), requires_grad=True)
    assert [float(part) for part in x.detach().chunk(2**63 - 1)] == list(range(6))
    y = x[1 :: 2**62]
    np.testing.assert_array_equal(y.numpy(), [1])
    _core.slice(x, 0, 2, 6, 2**63 - 1).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize("inner", [8, 33, 64])
def test_rows_of_a_narrow_table_same_bits_for_any_threads(inner: int, isa: str) -> None:
    rng = np.random.default_rng(inner)
    table = rng.standard_normal((501, inner)).astype(np.float32)
    indices = rng.integers(-501, 501, 4000)
    dy = rng.standard_normal((4000, inner)).astype(np.float32)
    expected = np.zeros((501, inner))
    np.add.at(expected, indices, dy.astype(np.float64))
    results = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        x = _core.tensor(table, requires_grad=True)
        x[_core.tensor(indices)].backward(_core.tensor(dy))
        results.append(x.grad.numpy())
    np.testing.assert_allclose(results[0], expected, atol=1e-4)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_views_share_memory() -> None:
    """Permutations always; reshapes that merge or split what is adjacent and in order in memory."""
    x = _ordered(np.zeros((2, 6, 4, 5), np.float32), (0, 2, 3, 1))  # channels-last
    views: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.permute(3, 1, 0, 2),
        lambda t: t.transpose(1, 2),
        lambda t: t.unsqueeze(2),
        lambda t: t.unsqueeze(2).squeeze(2),
        lambda t: t.flatten(2),  # H and W lie together
        lambda t: t.reshape(2, 3, 2, 4, 5),
        lambda t: t.reshape(1, 2, 6, 20, 1),
    ]
    for view in views:
        assert _shares_memory(x, view(x))
    copies: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.flatten(1),
        lambda t: t.reshape(12, 20),
        lambda t: t.reshape(2, 4, 6, 5),
    ]
    for copy in copies:
        assert not _shares_memory(x, copy(x))
    pooled = _ordered(np.zeros((2, 6, 1, 1), np.float32), (0, 2, 3, 1))
    assert _shares_memory(pooled, pooled.flatten(1))


def test_memory_order_is_kept() -> None:
    x = _ordered(np.zeros((2, 6, 4, 5), np.float32), (0, 2, 3, 1))
    for y in (
        x[:, 1:3],
        x[1:],
        x.flip(1),
        _core.cat([x, x], 1),
        x.split([2, 4], 1)[0],
        x[np.array([1, 0, 1])],
        x.index_select(1, _core.tensor([3])),
    ):
        assert y.order == (0, 2, 3, 1)
    assert x[0].order == (1, 2, 0)


def test_cat_of_different_orders_types_and_sizes(rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal((2, n, 3)).astype(np.float32) for n in (4, 0))
    c = rng.integers(0, 9, (2, 5, 3))
    y = _core.cat([_ordered(a, (2, 0, 1)), _core.tensor(b), _core.tensor(c)], -2)
    np.testing.assert_array_equal(y.numpy(), np.concatenate([a, b, c.astype(np.float32)], 1))
    assert y.dtype == _core.dtype.float32
    p, q = _core.tensor(a, requires_grad=True), _ordered(a, (1, 0, 2), requires_grad=True)
    _core.cat([p, _core.tensor(b), q], 1).backward(
        _core.tensor(np.arange(48, dtype=np.float32).reshape(2, 8, 3))
    )
    np.testing.assert_array_equal(p.grad.numpy(), np.arange(48).reshape(2, 8, 3)[:, :4])
    np.testing.assert_array_equal(q.grad.numpy(), np.arange(48).reshape(2, 8, 3)[:, 4:])


def test_split_with_some_parts_unused(rng: np.random.Generator) -> None:
    x = _core.tensor(rng.standard_normal((3, 10)).astype(np.float32), requires_grad=True)
    parts = x.split([3, 3, 4], 1)
    assert [p.shape for p in parts] == [(3, 3), (3, 3), (3, 4)]
    (parts[0].sum() + (parts[2] * 2.0).sum()).backward()
    np.testing.assert_array_equal(
        x.grad.numpy(), np.tile(np.repeat([1.0, 0.0, 2.0], [3, 3, 4]), (3, 1))
    )
    assert [p.shape[0] for p in _core.tensor(np.zeros(7)).chunk(3)] == [3, 3, 1]
    assert [p.shape[0] for p in _core.tensor(np.zeros(0)).chunk(3)] == [0, 0, 0]


@pytest.mark.parametrize("width", [1, 3, 64, 200])
def test_repeated_indices_same_bits_for_any_threads(
    rng: np.random.Generator, isa: str, width: int
) -> None:
    value = np.zeros((50, width), np.float32)
    indices = rng.integers(0, 50, 4000)
    dy = rng.standard_normal((4000, width)).astype(np.float32)
    across = rng.integers(0, 50, (4000, width))
    found = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        x = _core.tensor(value, requires_grad=True)
        x[indices].backward(_core.tensor(dy))
        z = _core.tensor(value, requires_grad=True)
        z.gather(0, _core.tensor(across)).backward(_core.tensor(dy))
        found.append((x.grad.numpy(), z.grad.numpy()))
    expected = np.zeros((50, width))
    np.add.at(expected, indices, dy.astype(np.float64))
    np.testing.assert_allclose(found[0][0], expected, rtol=1e-4, atol=1e-4)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])
        np.testing.assert_array_equal(found[0][1], other[1])


def test_indices_changed_after_the_forward() -> None:
    """The backward uses the indices of the forward: a change can neither alter nor crash it."""
    for op in (lambda x, i: _core.take_rows(x, i), lambda x, i: _core.gather(x, 0, i)):
        x = _core.tensor(np.zeros(5, np.float32), requires_grad=True)
        indices = _core.tensor([1, 1, 4])
        y = op(x, indices)
        indices.numpy()[:] = 10**12
        y.backward(_core.full((3,), 1.0))
        np.testing.assert_array_equal(x.grad.numpy(), [0, 2, 0, 0, 1])


X = np.zeros((3, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: x.gather(1, _core.tensor([[7]])),
            IndexError,
            r"\[gather\] index 7 is out of range for dimension 1 with size 5",
        ),
        (
            lambda x: x.gather(1, _core.tensor([[-1]])),
            IndexError,
            r"\[gather\] index -1 is out of range",
        ),
        (
            lambda x: x.gather(0, _core.tensor([[0] * 6])),
            ValueError,
            r"\[gather\] indices of shape \(1, 6\) reach beyond",
        ),
        (
            lambda x: x.gather(0, _core.tensor([0])),
            ValueError,
            r"\[gather\] indices must have 2 dimensions",
        ),
        (
            lambda x: x.gather(0, _core.tensor([[0.5]])),
            TypeError,
            r"\[gather\] indices must be int64",
        ),
        (
            lambda x: x.gather(2, _core.tensor([[0]])),
            IndexError,
            r"\[gather\] dimension out of range",
        ),
        (
            lambda x: x.index_select(1, _core.tensor([5])),
            IndexError,
            r"\[index_select\] index 5 is out of range",
        ),
        (
            lambda x: x.index_select(1, _core.tensor([-1])),
            IndexError,
            r"\[index_select\] index -1 is out of range",
        ),
        (
            lambda x: x.index_select(0, _core.tensor([[1]])),
            ValueError,
            r"\[index_select\] indices must be \(n,\)",
        ),
        (
            lambda x: x[np.array([0, 3])],
            IndexError,
            r"\[take_rows\] index 3 is out of range for dimension 0 with size 3",
        ),
        (lambda x: x[np.array([-4])], IndexError, r"\[take_rows\] index -4 is out of range"),
        (
            lambda x: x[3],
            IndexError,
            r"\[select\] index 3 is out of range for dimension 0 with size 3",
        ),
        (lambda x: x[:, -6], IndexError, r"\[select\] index -6 is out of range for dimension 1"),
        (
            lambda x: _core.slice(x, 0, 2, 1),
            IndexError,
            r"\[slice\] needs 0 <= start <= stop <= 3, got 2 and 1",
        ),
        (lambda x: _core.slice(x, 0, 0, 4), IndexError, r"\[slice\] needs"),
        (lambda x: _core.slice(x, 0, 0, 1, 0), ValueError, r"\[slice\] step must be positive"),
        (
            lambda x: x[np.array([True, False])],
            IndexError,
            r"\[masked_select\] mask must have the leading dimensions",
        ),
        (
            lambda x: x.reshape(4, 4),
            ValueError,
            r"\[reshape\] cannot give 15 elements of shape \(3, 5\) the shape \(4, 4\)",
        ),
        (lambda x: x.reshape(-1, -1), ValueError, r"\[reshape\] only one size may be -1"),
        (lambda x: x.reshape(-1, 4), ValueError, r"\[reshape\] cannot give"),
        (lambda x: x.reshape(-1, 0), ValueError, r"\[reshape\] cannot give"),
        (lambda x: x.reshape(-3, 5), ValueError, r"\[reshape\] sizes must not be negative"),
        (
            lambda x: _core.cat([_core.empty((2**59, 0))] * 17),
            ValueError,
            r"\[cat\] .*too many elements",
        ),
        (lambda x: x.reshape(2**32, 2**32), ValueError, r"\[reshape\] .* too many elements"),
        (lambda x: x.permute(0), ValueError, r"\[permute\] needs each of the 2 dimensions once"),
        (lambda x: x.permute(0, 0), ValueError, r"\[permute\] dimension 0 appears twice"),
        (lambda x: x.transpose(0, 2), IndexError, r"\[transpose\] dimension out of range"),
        (
            lambda x: x.flatten(1, 0),
            ValueError,
            r"\[flatten\] start_dim must not come after end_dim",
        ),
        (
            lambda x: x.expand(3),
            ValueError,
            r"\[expand\] the new shape must have at least 2 dimensions",
        ),
        (lambda x: x.expand(3, 4), ValueError, r"\[expand\] cannot expand \(3, 5\) to \(3, 4\)"),
        (lambda x: x.expand(-1, 3, 5), ValueError, r"\[expand\] cannot expand"),
        (lambda x: x.flip(0, -2), ValueError, r"\[flip\] dimension -2 appears twice"),
        (lambda x: _core.cat([]), ValueError, r"\[cat\] needs at least one tensor"),
        (
            lambda x: _core.cat([x, x[:, 1:]], 0),
            ValueError,
            r"\[cat\] tensor 1 must have the shape \(3, 5\) but for dimension 0, got \(3, 4\)",
        ),
        (lambda x: _core.cat([x[0, 0], x[0, 0]]), ValueError, r"\[cat\] 0-d tensors"),
        (lambda x: _core.stack([x, x[1:]]), ValueError, r"\[stack\] tensor 1 must have the shape"),
        (lambda x: x.split([2, 2], 1), ValueError, r"\[split\] sizes must add up to 5"),
        (lambda x: x.split([6, -1], 1), ValueError, r"\[split\] each size must be in \[0, 5\]"),
        (lambda x: x.chunk(0), ValueError, r"\[chunk\] needs a positive number of chunks"),
    ],
)
def test_errors(call: Callable[[Tensor], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call(_core.tensor(X))
