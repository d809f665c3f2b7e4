# SPDX-License-Identifier: BSD-3-Clause
"""nervure.gradcheck accepts right gradients, names wrong ones, and leaves everything as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nervure as nv


def leaf(values: Any) -> nv.Tensor:
    return nv.tensor(np.asarray(values, np.float32), requires_grad=True)


class Wrong(nv.Function):
    """x^2 whose gradient is off by a factor at one element."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        ctx.x = x
        return x**2

    @staticmethod
    def backward(ctx: Any, dy: np.ndarray) -> np.ndarray:
        dx = 2.0 * ctx.x * dy
        dx[1, 2] *= 1.1
        return dx


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x,
        lambda x: x.exp().sum(),
        lambda x: nv.matmul(x, x.transpose(0, 1)),
        lambda x: (x.tanh() * 100.0, x.sigmoid()),
        lambda x: x.relu(),
        lambda x: x.softmax(1).log().mean(),
        lambda x: (x * 1e-3).sum(),
    ],
)
def test_right_gradients_pass(rng: np.random.Generator, function: Any) -> None:
    assert nv.gradcheck(function, leaf(rng.standard_normal((3, 4)))) is True


def test_kink_nearby_is_no_error() -> None:
    assert nv.gradcheck(lambda x: x.relu() * 5.0, leaf([0.003, -0.004, 1.0]))


def test_wrong_gradient_is_named(rng: np.random.Generator) -> None:
    x = leaf(rng.uniform(1.0, 2.0, (3, 4)))
    with pytest.raises(RuntimeError, match=r"^\[gradcheck\] .*input 1 .*\(1, 2\): backward gives"):
        nv.gradcheck(lambda a, b: Wrong.apply(b) + a, [leaf(np.ones((3, 4))), x])


def test_missing_gradient_is_wrong() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with pytest.raises(RuntimeError, match="input 1"):
        nv.gradcheck(lambda a, b: a * b.detach(), [x, y])


def test_nan_is_wrong() -> None:
    with pytest.raises(RuntimeError, match="nan"):
        nv.gradcheck(lambda x: x.log(), leaf([-1.0]))


def test_everything_is_left_as_it_was(rng: np.random.Generator) -> None:
    x = leaf(rng.standard_normal((2, 3)))
    before = x.numpy().copy()
    x.grad = nv.tensor(np.full((2, 3), 7.0, np.float32))
    assert nv.gradcheck(lambda t: t * t, x)
    np.testing.assert_array_equal(x.numpy(), before)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 7.0))
    with nv.no_grad():
        assert nv.gradcheck(lambda t: t * t, x)
        assert not nv.is_grad_enabled()


def test_other_arguments_pass_through() -> None:
    x = leaf([1.0, 2.0])
    assert nv.gradcheck(lambda a, k, c: a * k + c, [x, 3.0, nv.tensor([1.0, 1.0])])


def test_random_functions_are_refused() -> None:
    with pytest.raises(RuntimeError, match="different results"):
        nv.gradcheck(lambda x: x * nv.rand(3), leaf([1.0, 2.0, 3.0]))


def test_inputs_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^\[gradcheck\]"):
        nv.gradcheck(lambda x: x, nv.tensor([1.0]))
    with pytest.raises(ValueError, match="leaf"):
        nv.gradcheck(lambda x: x, leaf([1.0]) * 2.0)
    with pytest.raises(TypeError, match=r"^\[gradcheck\]"):
        nv.gradcheck(lambda x: x.numpy(), leaf([1.0]))


def test_empty_inputs() -> None:
    assert nv.gradcheck(lambda x: x * x, leaf(np.zeros((0, 3))))
