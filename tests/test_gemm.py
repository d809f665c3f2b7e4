# SPDX-License-Identifier: BSD-3-Clause
"""Matrix products: every path, memory order and instruction set against NumPy in float64."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys

import numpy as np
import pytest

import nervure as nv
from nervure import _core, kernels

Array = np.ndarray
EPS = float(np.finfo(np.float32).eps)

SMALL = (1, 2, 3, 5, 8, 9)
# One shape or more for every path: tiles and their edges, few rows in place, dot products, swapped
# operands, packed blocks, B beyond the cache, rows 1 KiB apart, deep sums split, shallow ones,
# vectors; sizes around powers of two.
SHAPES = (
    (7, 16, 31),
    (15, 17, 33),
    (31, 33, 129),
    (37, 53, 71),
    (64, 64, 64),
    (63, 65, 127),
    (129, 127, 255),
    (17, 200, 300),
    (200, 17, 300),
    (193, 97, 65),
    (260, 400, 270),
    (513, 400, 66),
    (300, 200, 1600),
    (784, 250, 32),
    (250, 784, 33),
    (32, 1030, 256),
    (1030, 40, 20),
    (64, 64, 2048),
    (10, 10, 5000),
    (3, 2000, 5),
    (2000, 3, 5),
    (192, 1200, 130),
    (20, 2050, 260),
    (50, 2050, 260),
    (200, 970, 253),
)
VECTORS = (
    (1, 1, 4097),
    (1, 1030, 300),
    (1030, 1, 300),
    (1, 3, 3000),
    (3, 1, 3000),
    (1, 2100, 7),
    (2100, 1, 7),
)
TRANSPOSED = tuple(itertools.product((False, True), repeat=2))


def stored(matrix: Array, transposed: bool, padding: int) -> Array:
    """The same matrix, column-major if transposed, as a block of a larger one full of NaN."""
    rows = matrix.T if transposed else matrix
    larger = np.full((rows.shape[0] + 1, rows.shape[1] + padding), np.nan, np.float32)
    larger[:-1, : rows.shape[1]] = rows
    block = larger[:-1, : rows.shape[1]]
    return block.T if transposed else block


def check(actual: Array, a: Array, b: Array, expected: Array) -> None:
    """Every element within c eps sqrt(K) of its sum of absolute products."""
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    bound = 2.0 * EPS * max(1.0, np.sqrt(a.shape[1]) / 4) * (scale + np.abs(expected) + 1.0)
    assert actual.dtype == np.float32
    error = np.abs(actual - expected)
    assert (error <= bound).all(), (
        f"error {error.max():.3g}, allowed {bound.flat[error.argmax()]:.3g}"
    )


def operands(rng: np.random.Generator, m: int, n: int, k: int) -> tuple[Array, Array]:
    """Normal numbers."""
    return (
        rng.standard_normal((m, k)).astype(np.float32),
        rng.standard_normal((k, n)).astype(np.float32),
    )


def product(a: Array, b: Array) -> Array:
    """In float64."""
    return a.astype(np.float64) @ b.astype(np.float64)


@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_every_small_size(
    isa: str, rng: np.random.Generator, transposed: tuple[bool, bool]
) -> None:
    """Tile edges in both directions, with bias, rectifier and accumulation in turn."""
    for number, (m, n, k) in enumerate(itertools.product(SMALL, SMALL, (1, 2, 7, 16, 17, 40))):
        a, b = operands(rng, m, n, k)
        out = rng.standard_normal((m, n)).astype(np.float32)
        bias = rng.standard_normal(n).astype(np.float32) if number & 1 else None
        expected = product(a, b) + (0.0 if bias is None else bias)
        if number & 2:
            expected = expected + out
        if number & 4:
            expected = np.maximum(expected, 0.0)
        kernels.gemm(
            stored(a, transposed[0], number % 3),
            stored(b, transposed[1], number % 2),
            out,
            bias=bias,
            activation="relu" if number & 4 else "",
            accumulate=bool(number & 2),
        )
        check(out, a, b, expected)


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("shape", SHAPES + VECTORS, ids=lambda s: "x".join(map(str, s)))
def test_paths(
    isa: str, rng: np.random.Generator, shape: tuple[int, int, int], transposed: tuple[bool, bool]
) -> None:
    """Right, and the same bits for any number of threads."""
    a, b = operands(rng, *shape)
    left, right = stored(a, transposed[0], 3), stored(b, transposed[1], 0)
    bias = rng.standard_normal(shape[1]).astype(np.float32)
    start = rng.standard_normal((shape[0], shape[1])).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        plain = kernels.gemm(left, right)
        full = kernels.gemm(
            left, right, start.copy(), bias=bias, activation="relu", accumulate=True
        )
        results.append((plain, full))
    check(results[0][0], a, b, product(a, b))
    check(results[0][1], a, b, np.maximum(product(a, b) + bias + start, 0.0))
    for plain, full in results[1:]:
        assert plain.tobytes() == results[0][0].tobytes()
        assert full.tobytes() == results[0][1].tobytes()


ACTIVATIONS = {
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "hardtanh": lambda z: np.clip(z, -1, 1),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "shape", [(5, 19, 7), (1, 40, 30), (40, 1, 30), (64, 64, 2048), (300, 200, 90), (20, 40, 200)]
)
def test_fused_activation(
    isa: str, rng: np.random.Generator, activation: str, shape: tuple[int, int, int]
) -> None:
    """On the finished sum, whatever the path."""
    a, b = operands(rng, *shape)
    a /= np.float32(np.sqrt(shape[2]))
    bias = rng.standard_normal(shape[1]).astype(np.float32)
    expected = ACTIVATIONS[activation](product(a, b) + bias)
    np.testing.assert_allclose(
        kernels.gemm(a, b, bias=bias, activation=activation), expected, rtol=3e-5, atol=3e-5
    )
    transposed = np.asfortranarray(b)
    np.testing.assert_allclose(
        kernels.gemm(a, transposed, bias=bias, activation=activation),
        expected,
        rtol=3e-5,
        atol=3e-5,
    )


@pytest.mark.parametrize(
    "shape", [(0, 5, 3), (5, 0, 3), (0, 0, 0), (4, 5, 0), (1, 5, 0), (5, 1, 0), (300, 200, 0)]
)
def test_empty(isa: str, shape: tuple[int, int, int]) -> None:
    """A sum over nothing is 0; bias and activation still apply."""
    m, n, k = shape
    a, b = np.zeros((m, k), np.float32), np.zeros((k, n), np.float32)
    bias = np.linspace(-1, 1, n, dtype=np.float32)
    out = kernels.gemm(a, b, np.full((m, n), np.nan, np.float32), bias=bias, activation="relu")
    assert np.array_equal(out, np.tile(np.maximum(bias, 0), (m, 1)))


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(
    isa: str, rng: np.random.Generator, value: float, transposed: tuple[bool, bool]
) -> None:
    """NaN and infinity reach what depends on them and nothing else, through the rectifier too."""
    for m, n, k in (
        (9, 33, 20),
        (40, 40, 200),
        (300, 200, 100),
        (1, 50, 40),
        (50, 1, 40),
        (64, 64, 1500),
    ):
        a, b = operands(rng, m, n, k)
        a[m // 2, k // 2] = value
        b = np.abs(b)
        out = kernels.gemm(
            stored(a, transposed[0], 0), stored(b, transposed[1], 0), activation="relu"
        )
        hit = np.zeros((m, n), bool)
        hit[m // 2] = True
        assert (np.isnan(out) if np.isnan(value) else np.isinf(out))[hit].all()
        assert np.isfinite(out[~hit]).all()


def fenced(matrix: Array, pages: list[mmap.mmap]) -> Array:
    """A copy that ends where memory does: reading or writing one element more is a crash."""
    page = mmap.PAGESIZE
    room = -(-max(matrix.nbytes, 1) // page) * page
    pages.append(mmap.mmap(-1, room + page))
    start = np.frombuffer(pages[-1], np.uint8).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    protect = libc.mprotect(ctypes.c_void_p(start + room), ctypes.c_size_t(page), 0)
    assert protect == 0, ctypes.get_errno()
    copy = np.frombuffer(pages[-1], np.float32, matrix.size, offset=room - matrix.nbytes).reshape(
        matrix.shape
    )
    copy[...] = matrix
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_nothing_behind_the_end_is_touched(
    isa: str, rng: np.random.Generator, transposed: tuple[bool, bool]
) -> None:
    """Operands, bias and result each end at a page that may not be read or written."""
    for m, n, k in (
        (1, 37, 70),
        (5, 19, 131),
        (37, 53, 71),
        (65, 49, 301),
        (33, 1030, 257),
        (197, 201, 67),
        (19, 21, 1100),
    ):
        a, b = operands(rng, m, n, k)
        pages: list[mmap.mmap] = []
        left = fenced(a.T, pages).T if transposed[0] else fenced(a, pages)
        right = fenced(b.T, pages).T if transposed[1] else fenced(b, pages)
        bias = fenced(rng.standard_normal(n).astype(np.float32), pages)
        out = fenced(rng.standard_normal((m, n)).astype(np.float32), pages)
        expected = product(a, b) + bias + out
        kernels.gemm(left, right, out, bias=bias, accumulate=True)
        check(out, a, b, expected)


@pytest.mark.parametrize("shape", [(128, 784, 576), (64, 200, 1000), (150, 512, 512)], ids=str)
def test_same_bits_wherever_operands_begin(
    isa: str, rng: np.random.Generator, shape: tuple[int, int, int]
) -> None:
    """An array that begins within a cache line takes another path, with the same sums."""
    a, b = operands(rng, *shape)
    results = set()
    for shift in (0, 4, 7):
        room = np.empty(b.size + 32, np.float32)
        begin = -room.ctypes.data // 4 % 16 + shift
        moved = room[begin : begin + b.size].reshape(b.shape)
        moved[...] = b
        results.add(kernels.gemm(a, moved).tobytes())
    assert len(results) == 1


def ordered(array: Array, order: tuple[int, ...]) -> nv.Tensor:
    """A tensor of these values whose dimensions lie in memory in this order."""
    back = [order.index(i) for i in range(array.ndim)]
    return nv.tensor(np.ascontiguousarray(array.transpose(order))).permute(*back)


BATCHES = (
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 1, 3), (5, 3, 4)),
    ((1, 2, 3), (5, 3, 4)),
    ((6, 1, 2, 3), (5, 3, 4)),
    ((2, 3, 4, 5), (2, 3, 5, 6)),
    ((2, 1, 3, 2, 3), (4, 1, 3, 5)),
    ((40, 20, 30), (40, 30, 20)),
    ((3, 200, 210), (3, 210, 100)),
    ((0, 2, 3), (0, 3, 4)),
    ((2, 4, 0), (2, 0, 3)),
)


@pytest.mark.parametrize("threads_", [1, 2])
@pytest.mark.parametrize("shapes", BATCHES, ids=str)
def test_batches(
    isa: str, rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...], threads_: int
) -> None:
    """NumPy's rules, values and gradients, over several memory orders of the operands."""
    _core.set_num_threads(threads_)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    dy = rng.standard_normal(expected.shape).astype(np.float32)
    da, db = gradients(a, b, dy)
    for swap in (False, True):
        x, y = (
            ordered(
                v,
                (*range(v.ndim - 2), v.ndim - 1, v.ndim - 2)
                if swap and v.ndim > 1
                else tuple(range(v.ndim)),
            )
            for v in (a, b)
        )
        x, y = x.detach(), y.detach()
        x.requires_grad = y.requires_grad = True
        z = x @ y
        z.backward(nv.tensor(dy))
        for actual, wanted in ((z, expected), (x.grad, da), (y.grad, db)):
            assert actual is not None
            assert actual.shape == wanted.shape
            np.testing.assert_allclose(actual.numpy(), wanted, rtol=2e-4, atol=2e-4)


def gradients(a: Array, b: Array, dy: Array) -> tuple[Array, Array]:
    """Of sum(a @ b * dy), through einsum over whole matrices, broadcast dimensions summed."""
    left = a.astype(np.float64)[None, :] if a.ndim == 1 else a.astype(np.float64)
    right = b.astype(np.float64)[:, None] if b.ndim == 1 else b.astype(np.float64)
    grad = dy.astype(np.float64)
    if a.ndim == 1:
        grad = np.expand_dims(grad, -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        grad = np.expand_dims(grad, -1)
    return (
        folded(grad @ right.swapaxes(-1, -2), left.shape).reshape(a.shape),
        folded(left.swapaxes(-1, -2) @ grad, right.shape).reshape(b.shape),
    )


def folded(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Summed over the dimensions that broadcasting repeated."""
    extra = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(extra)))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=repeated, keepdims=True)


def test_views_are_not_copied(rng: np.random.Generator) -> None:
    """Transposed and head-split operands are multiplied where they lie."""
    heads = nv.tensor(rng.standard_normal((4, 60, 8, 32)).astype(np.float32)).permute(0, 2, 1, 3)
    keys = nv.tensor(rng.standard_normal((4, 60, 8, 32)).astype(np.float32)).permute(0, 2, 3, 1)
    heads @ keys
    before = _core.memory_stats()["allocations"]
    scores = heads @ keys
    used = _core.memory_stats()["allocations"] - before
    np.testing.assert_allclose(scores.numpy(), heads.numpy() @ keys.numpy(), rtol=1e-4, atol=1e-4)
    matrices = 4 * 8
    assert used <= 1 + matrices, "one result, and at most one piece of working memory per product"


def test_linear_weight_in_either_order(isa: str, rng: np.random.Generator) -> None:
    """The weight's gradient lies as the weight does."""
    x = rng.standard_normal((33, 20)).astype(np.float32)
    w = rng.standard_normal((17, 20)).astype(np.float32)
    dy = rng.standard_normal((33, 17)).astype(np.float32)
    for order in ((0, 1), (1, 0)):
        weight = ordered(w, order).detach()
        weight.requires_grad = True
        y = _core.linear(nv.tensor(x), weight, None, "")
        y.backward(nv.tensor(dy))
        np.testing.assert_allclose(y.numpy(), x @ w.T, rtol=1e-4, atol=1e-4)
        assert weight.grad is not None
        np.testing.assert_allclose(weight.grad.numpy(), dy.T @ x, rtol=1e-4, atol=1e-4)
        assert weight.grad.numpy().strides == weight.numpy().strides


@pytest.mark.parametrize("activation", ["", "relu", "gelu", "tanh"])
def test_linear_gives_the_same_bits_for_any_thread_count(
    isa: str, rng: np.random.Generator, activation: str
) -> None:
    """Forward and all gradients."""
    x = rng.standard_normal((700, 130)).astype(np.float32)
    w = rng.standard_normal((90, 130)).astype(np.float32)
    b = rng.standard_normal(90).astype(np.float32)
    dy = rng.standard_normal((700, 90)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        tensors = [nv.tensor(v) for v in (x, w, b)]
        for t in tensors:
            t.requires_grad = True
        y = _core.linear(*tensors, activation)
        y.backward(nv.tensor(dy))
        results.append(
            [
                y.numpy().tobytes(),
                *(t.grad.numpy().tobytes() for t in tensors if t.grad is not None),
            ]
        )
    assert len(results[0]) == 4
    assert results[0] == results[1] == results[2]


def test_no_gradient_for_the_first_layer(rng: np.random.Generator) -> None:
    """An input that needs no gradient gets none."""
    x = nv.tensor(rng.standard_normal((4, 3)).astype(np.float32))
    w = nv.tensor(rng.standard_normal((2, 3)).astype(np.float32))
    w.requires_grad = True
    _core.linear(x, w, None, "relu").backward(nv.tensor(np.ones((4, 2), np.float32)))
    assert x.grad is None
    assert w.grad is not None
