# SPDX-License-Identifier: BSD-3-Clause
"""Initial values: limits, moments, structure, and the fans and gains of PyTorch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn
from nervure.nn import init

SHAPES = [(300, 200), (40, 50, 3), (30, 20, 3, 3)]


def moments(t: nv.Tensor) -> tuple[float, float, float]:
    x = t.numpy().astype(np.float64)
    return float(x.mean()), float(x.std()), float(np.abs(x).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("fill", "bound"),
    [
        (lambda t: init.xavier_uniform_(t, 1.5), lambda i, o: 1.5 * math.sqrt(6 / (i + o))),
        (lambda t: init.kaiming_uniform_(t), lambda i, o: math.sqrt(6 / i)),
        (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), lambda i, o: 1 / math.sqrt(i)),
        (
            lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="tanh"),
            lambda i, o: 5 / 3 * math.sqrt(3 / o),
        ),
        (lambda t: init.uniform_(t, -0.5, 0.5), lambda i, o: 0.5),
    ],
    ids=["xavier", "kaiming", "kaiming sqrt 5", "kaiming fan_out tanh", "uniform"],
)
def test_uniform(
    shape: tuple[int, ...], fill: Callable[[nv.Tensor], nv.Tensor], bound: Callable[..., float]
) -> None:
    nv.manual_seed(1)
    t = nv.empty(shape)
    assert fill(t) is t
    receptive = math.prod(shape[2:])
    b = bound(shape[1] * receptive, shape[0] * receptive)
    mean, std, largest = moments(t)
    n = t.numel()
    assert 0.99 * b < largest <= b * (1 + 1e-6)
    assert abs(mean) < 5 * b / math.sqrt(3 * n)
    assert std == pytest.approx(b / math.sqrt(3), rel=5 / math.sqrt(n))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("fill", "deviation"),
    [
        (lambda t: init.xavier_normal_(t, 0.5), lambda i, o: 0.5 * math.sqrt(2 / (i + o))),
        (
            lambda t: init.kaiming_normal_(t, nonlinearity="relu"),
            lambda i, o: math.sqrt(2 / i),
        ),
        (lambda t: init.kaiming_normal_(t, a=1.0, mode="fan_out"), lambda i, o: 1 / math.sqrt(o)),
        (lambda t: init.normal_(t, 0.0, 0.02), lambda i, o: 0.02),
    ],
    ids=["xavier", "kaiming relu", "kaiming fan_out", "normal"],
)
def test_normal(
    shape: tuple[int, ...],
    fill: Callable[[nv.Tensor], nv.Tensor],
    deviation: Callable[..., float],
) -> None:
    nv.manual_seed(2)
    t = nv.empty(shape)
    assert fill(t) is t
    receptive = math.prod(shape[2:])
    s = deviation(shape[1] * receptive, shape[0] * receptive)
    mean, std, largest = moments(t)
    n = t.numel()
    assert abs(mean) < 5 * s / math.sqrt(n)
    assert std == pytest.approx(s, rel=5 / math.sqrt(2 * n))
    assert 3 * s < largest < 7 * s


def test_mean_of_normal() -> None:
    mean, std, _ = moments(init.normal_(nv.empty(100, 100), 3.0, 0.5))
    assert mean == pytest.approx(3.0, abs=0.025)
    assert std == pytest.approx(0.5, rel=0.04)


def test_trunc_normal() -> None:
    t = nv.empty(200, 200)
    assert init.trunc_normal_(t, 1.0, 2.0, -1.0, 2.0) is t
    x = t.numpy()
    assert -1.0 <= x.min() < -0.99
    assert 1.99 < x.max() <= 2.0
    # The limits are -1 and 1/2 deviations from the mean.
    density = statistics.NormalDist()
    shift = (density.pdf(-1.0) - density.pdf(0.5)) / (density.cdf(0.5) - density.cdf(-1.0))
    assert x.mean() == pytest.approx(1.0 + 2.0 * shift, abs=0.02)


def test_constants() -> None:
    t = nv.empty(2, 3)
    assert init.constant_(t, 2.5) is t
    assert (t.numpy() == 2.5).all()
    assert (init.ones_(t).numpy() == 1.0).all()
    assert (init.zeros_(t).numpy() == 0.0).all()


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (1, 1), (0, 3)])
def test_eye(shape: tuple[int, int]) -> None:
    t = nv.empty(shape)
    assert init.eye_(t) is t
    np.testing.assert_array_equal(t.numpy(), np.eye(*shape, dtype=np.float32))


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((4, 4, 3), 1), ((6, 2, 3), 3), ((6, 4, 5, 3), 2), ((2, 5, 2, 3, 4), 1), ((6, 3, 1), 2)],
)
def test_dirac(shape: tuple[int, ...], groups: int) -> None:
    t = nv.empty(shape)
    assert init.dirac_(t, groups) is t
    expected = np.zeros(shape, np.float32)
    middle = tuple(size // 2 for size in shape[2:])
    per_group = shape[0] // groups
    for group in range(groups):
        for i in range(min(per_group, shape[1])):
            expected[(group * per_group + i, i, *middle)] = 1.0
    np.testing.assert_array_equal(t.numpy(), expected)
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.dirac_(torch.empty(shape), groups)
    np.testing.assert_array_equal(t.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 7), (5, 9), (9, 5), (64, 64), (65, 65), (130, 200), (1, 50), (8, 3, 3, 3)]
)
def test_orthogonal(shape: tuple[int, ...]) -> None:
    nv.manual_seed(3)
    t = nv.empty(shape)
    assert init.orthogonal_(t, gain=2.0) is t
    q = t.numpy().reshape(shape[0], -1).astype(np.float64) / 2.0
    q = q if q.shape[0] <= q.shape[1] else q.T
    np.testing.assert_allclose(q @ q.T, np.eye(q.shape[0]), atol=2e-6)


def test_orthogonal_is_uniform() -> None:
    """Every element has mean 0 and mean square 1/n, and the determinant has either sign."""
    nv.manual_seed(4)
    samples = np.stack([init.orthogonal_(nv.empty(3, 3)).numpy() for _ in range(2000)])
    assert np.abs(samples.mean(0)).max() < 5 / math.sqrt(3 * 2000)
    np.testing.assert_allclose((samples**2).mean(0), np.full((3, 3), 1 / 3), atol=0.04)
    assert 0.45 < (np.linalg.det(samples.astype(np.float64)) > 0).mean() < 0.55


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.95, 1.0])
def test_sparse(sparsity: float) -> None:
    nv.manual_seed(5)
    t = nv.empty(50, 40)
    assert init.sparse_(t, sparsity, std=0.1) is t
    x = t.numpy()
    assert ((x == 0.0).sum(0) == math.ceil(sparsity * 50)).all()
    if sparsity == 0.5:
        assert x[x != 0.0].std() == pytest.approx(0.1, rel=0.12)
        assert len({tuple(column) for column in (x == 0.0).T}) == 40


@pytest.mark.parametrize("name", ["linear", "conv1d", "conv2d", "sigmoid", "tanh", "relu", "selu"])
def test_gain_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.3)
    )


def test_gains() -> None:
    assert init.calculate_gain("relu") == math.sqrt(2.0)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2.0 / (1.0 + 0.01**2))
    assert init.calculate_gain("tanh") == 5.0 / 3.0


FILLS: list[Callable[[nv.Tensor], Any]] = [
    init.uniform_,
    init.normal_,
    init.trunc_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.orthogonal_,
    init.eye_,
    init.zeros_,
    lambda t: init.sparse_(t, 0.5),
]


@pytest.mark.parametrize("fill", FILLS, ids=lambda f: getattr(f, "__name__", "fill"))
def test_parameters_of_any_order_are_filled_in_place(fill: Callable[[nv.Tensor], Any]) -> None:
    parameter = nn.Parameter(nv._core.empty((6, 5), (1, 0)))
    address = parameter.numpy().ctypes.data
    nv.manual_seed(6)
    assert fill(parameter) is parameter
    assert parameter.numpy().ctypes.data == address
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert np.isfinite(parameter.numpy()).all()


@pytest.mark.parametrize("fill", FILLS, ids=lambda f: getattr(f, "__name__", "fill"))
def test_values_depend_on_the_seed_and_not_on_threads(fill: Callable[[nv.Tensor], Any]) -> None:
    results = []
    for threads in (1, 2, 3):
        nv.set_num_threads(threads)
        nv.manual_seed(7)
        results.append(fill(nv.empty(200, 300)).numpy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("fill", FILLS, ids=lambda f: getattr(f, "__name__", "fill"))
def test_empty_tensors(fill: Callable[[nv.Tensor], Any], shape: tuple[int, int]) -> None:
    assert fill(nv.empty(shape)).shape == shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.xavier_uniform_(nv.zeros(3)), r"\[xavier_uniform_\].*2 dimensions.*\(3,\)"),
        (lambda: init.kaiming_normal_(nv.zeros(3)), r"\[kaiming_normal_\].*at least 2 dimensions"),
        (lambda: init.kaiming_uniform_(nv.zeros(3, 3), mode="fan"), "mode must be 'fan_in' or"),
        (lambda: init.kaiming_uniform_(nv.zeros(3, 3), nonlinearity="x"), "unknown nonlinearity"),
        (lambda: init.calculate_gain("relu", 0.1), "relu takes no parameter"),
        (lambda: init.orthogonal_(nv.zeros(3)), r"\[orthogonal_\] expected at least 2"),
        (lambda: init.eye_(nv.zeros(3)), r"\[eye_\] expected a matrix"),
        (lambda: init.dirac_(nv.zeros(3, 3)), r"\[dirac_\] expected 3 to 5 dimensions"),
        (lambda: init.dirac_(nv.zeros(3, 3, 3), 2), "groups must divide 3"),
        (lambda: init.dirac_(nv.zeros(3, 3, 3), 0), "groups must divide 3"),
        (lambda: init.sparse_(nv.zeros(3), 0.1), r"\[sparse_\] expected a matrix"),
        (lambda: init.sparse_(nv.zeros(3, 3), 1.1), r"sparsity must be in \[0, 1\]"),
    ],
)
def test_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_linear_starts_as_in_pytorch() -> None:
    nv.manual_seed(8)
    layer = nn.Linear(400, 300)
    bound = 1.0 / 20.0
    for p in layer.parameters():
        _, std, largest = moments(p)
        assert 0.98 * bound < largest <= bound
        assert std == pytest.approx(bound / math.sqrt(3.0), rel=0.1)
    before = layer.weight.numpy().copy()
    layer.reset_parameters()
    assert not np.array_equal(layer.weight.numpy(), before)
