# SPDX-License-Identifier: BSD-3-Clause
"""Largest errors of the elementary functions, as cpp/core/vmath.h states them, on every ISA."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from nervure import _core

TINY, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
INF, NAN = math.inf, math.nan
Function = Callable[[np.ndarray], np.ndarray]


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


# name: function in float64, bound in ULP, bound without fused multiply-add, largest |x| for which
BOUNDS: dict[str, tuple[Function, float, float, float]] = {
    "exp": (np.exp, 1.3, 1.3, INF),
    "log": (np.log, 0.8, 0.8, INF),
    "tanh": (np.tanh, 4.8, 5.4, INF),
    "sigmoid": (_sigmoid, 2.4, 2.4, INF),
    "softplus": (_softplus, 1.7, 1.9, INF),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))), 1.6, 1.7, INF),
    "sin": (np.sin, 1.6, 1.6, 100.0),
    "cos": (np.cos, 1.6, 1.6, 100.0),
    "sqrt": (np.sqrt, 0.51, 0.51, INF),
    "reciprocal": (np.reciprocal, 0.51, 0.51, INF),
}


def _floats(step: int) -> np.ndarray:
    """Every step-th float32, NaNs and infinities included, in whole and part vectors."""
    return np.arange(0, 2**32, step, dtype=np.uint32).view(np.float32)


def _sweep(limit: float) -> np.ndarray:
    """All magnitudes, and densely those where the functions are neither 0 nor 1 nor x."""
    near = np.linspace(-min(limit, 110.0), min(limit, 110.0), 400_001, dtype=np.float32)
    edges = np.float32([88.72283, -87.33654, 0.625, 9.01, 20.0, math.pi, math.pi / 2, 1.0])
    around = (edges.view(np.int32)[:, None] + np.arange(-500, 501, dtype=np.int32)).view(np.float32)
    x = np.concatenate([_floats(16_411), near, around.ravel(), -around.ravel()])
    return x[np.abs(x) <= limit]


def _ulps(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Errors in units of the last place of the exact value."""
    exponent = np.frexp(np.maximum(np.abs(expected), TINY))[1] - 1
    return np.abs(actual - expected) / np.ldexp(1.0, exponent - 23)


def _run(name: str, x: np.ndarray) -> np.ndarray:
    return np.array(getattr(_core, name)(_core.tensor(x)))


@pytest.mark.parametrize("name", BOUNDS)
def test_largest_error(name: str, isa: str) -> None:
    function, fused, unfused, limit = BOUNDS[name]
    x = _sweep(limit)
    with np.errstate(all="ignore"):
        expected = function(x.astype(np.float64))
    actual = _run(name, x)
    normal = (np.abs(x) >= TINY) & (np.abs(expected) >= TINY) & (np.abs(expected) <= LARGEST)
    assert normal.sum() > 200_000
    error = _ulps(actual[normal].astype(np.float64), expected[normal])
    worst = error.argmax()
    bound = unfused if isa == "baseline" else fused
    assert error[worst] <= bound, f"{error[worst]} ULP at {x[normal][worst]!r}"
    # What does not come out normal: too large, too small, not a number.
    rest = ~normal & (np.abs(x) >= TINY)
    with np.errstate(all="ignore"):
        limits = expected[rest].astype(np.float32)
    limits[np.abs(limits) < TINY] = 0.0
    np.testing.assert_array_equal(np.where(np.abs(actual[rest]) <= TINY, 0.0, actual[rest]), limits)
    assert np.isnan(actual[np.isnan(x)]).all()


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_trigonometric_functions_of_large_arguments(name: str, isa: str) -> None:
    x = np.concatenate(
        [np.linspace(-8192, 8192, 200_003, dtype=np.float32), np.float32([1e4, -3e9])]
    )
    expected = getattr(np, name)(x.astype(np.float64))
    np.testing.assert_allclose(_run(name, x), expected, rtol=0, atol=1e-7)
    far = np.float32([1e10, -7e20, 3e38])
    np.testing.assert_allclose(
        _run(name, far), getattr(np, name)(far.astype(np.float64)), atol=1e-7
    )


@pytest.mark.parametrize(
    ("name", "function", "bound"),
    [
        ("none", lambda v: 0.5 * v * math.erfc(-v / math.sqrt(2)), 2.5e-7),
        (
            "tanh",
            lambda v: v / (1 + math.exp(-1.5957691216057308 * (v + 0.044715 * v**3))),
            2.5e-7,
        ),
    ],
)
def test_gelu(name: str, function: Callable[[float], float], bound: float, isa: str) -> None:
    x = np.concatenate([np.linspace(-9, 9, 40_001), np.geomspace(1e-30, 1e4, 999)])
    x = x.astype(np.float32)
    error = np.abs(np.array(_core.gelu(_core.tensor(x), name)) - [function(float(v)) for v in x])
    assert (error <= bound * np.abs(x)).all(), error.max()
    assert _core.gelu(_core.tensor(-1000.0), name).item() == 0.0
    assert _core.gelu(_core.tensor(INF), name).item() == INF
    assert math.isnan(_core.gelu(_core.tensor(NAN), name).item())


SPECIAL = {
    "exp": [1, 1, INF, 0, INF, 0],
    "log": [-INF, -INF, INF, NAN, 87.49823, NAN],
    "sqrt": [0.0, -0.0, INF, NAN, 1e19, NAN],
    "tanh": [0.0, -0.0, 1, -1, 1, -1],
    "sigmoid": [0.5, 0.5, 1, 0, 1, 0],
    "softplus": [math.log(2), math.log(2), INF, 0, 1e38, 0],
    "elu": [0.0, 0.0, INF, -1, 1e38, -1],
    "silu": [0.0, -0.0, INF, NAN, 1e38, -0.0],
    "sin": [
        0.0,
        -0.0,
        NAN,
        NAN,
        math.sin(float(np.float32(1e38))),
        -math.sin(float(np.float32(1e38))),
    ],
    "cos": [1, 1, NAN, NAN, math.cos(float(np.float32(1e38))), math.cos(float(np.float32(1e38)))],
    "relu": [0.0, 0.0, INF, 0, 1e38, 0],
    "abs": [0.0, 0.0, INF, INF, 1e38, 1e38],
    "reciprocal": [INF, -INF, 0.0, -0.0, 1e-38, -1e-38],
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name: str, isa: str) -> None:
    x = np.float32([0.0, -0.0, INF, -INF, 1e38, -1e38])
    expected = np.float32(SPECIAL[name])
    expected[np.abs(expected) < TINY] *= 0.0
    for repeat in (1, 7):  # part of a vector, and several
        actual = _run(name, np.tile(x, repeat))
        np.testing.assert_allclose(actual, np.tile(expected, repeat), rtol=3e-7, atol=0)
        if name in ("sqrt", "tanh", "sin", "silu", "abs"):
            zero = actual == 0
            np.testing.assert_array_equal(
                np.signbit(actual[zero]), np.signbit(np.tile(expected, repeat)[zero])
            )
    payloads = np.uint32([0x7FC00000, 0xFFC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF])
    assert np.isnan(_run(name, payloads.view(np.float32))).all()


def test_pow_largest_error(isa: str, rng: np.random.Generator) -> None:
    base = np.exp(rng.uniform(-80, 80, 300_000)).astype(np.float32)
    exponent = (rng.uniform(-85, 85, base.size) / np.maximum(np.abs(np.log(base)), 0.5)).astype(
        np.float32
    )
    with np.errstate(all="ignore"):
        expected = np.power(base.astype(np.float64), exponent)
    actual = np.array(_core.pow(_core.tensor(base), _core.tensor(exponent)))
    normal = (expected >= TINY) & (expected <= LARGEST)
    assert _ulps(actual[normal].astype(np.float64), expected[normal]).max() <= 0.51


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0, -0.5, 1.0, 0.0, 2.5, -3.0])
def test_pow_of_one_exponent(exponent: float, isa: str) -> None:
    x = np.linspace(0.01, 5, 1003, dtype=np.float32)
    expected = np.power(x.astype(np.float64), exponent)
    assert _ulps(np.array(_core.tensor(x) ** exponent), expected).max() <= 1.6


def test_pow_special_cases(isa: str) -> None:
    values = np.float32(
        [
            0,
            -0.0,
            1,
            -1,
            2,
            -2,
            3,
            -3,
            0.5,
            -0.5,
            INF,
            -INF,
            NAN,
            1e10,
            -1e10,
            16777217,
            0.999,
            1.001,
        ]
    )
    base, exponent = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = np.power(base, exponent)
    actual = np.array(_core.pow(_core.tensor(base), _core.tensor(exponent)))
    np.testing.assert_allclose(actual, expected, rtol=2e-7)
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(expected[zero]))
