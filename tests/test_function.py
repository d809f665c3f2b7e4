# SPDX-License-Identifier: BSD-3-Clause
"""``nervure.Function``: operations that users write in NumPy."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from comparison import close, leaf

import nervure as nv


class Cube(nv.Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, dy: np.ndarray) -> np.ndarray:
        (x,) = ctx.saved_tensors
        return 3.0 * x**2 * dy


class Polar(nv.Function):
    """Two inputs, a parameter between them, two outputs."""

    @staticmethod
    def forward(ctx: Any, r: np.ndarray, scale: float, angle: np.ndarray) -> Any:
        ctx.r, ctx.angle, ctx.scale = r, angle, scale
        return scale * r * np.cos(angle), scale * r * np.sin(angle)

    @staticmethod
    def backward(ctx: Any, dx: np.ndarray, dy: np.ndarray) -> Any:
        cos, sin = np.cos(ctx.angle), np.sin(ctx.angle)
        dr = ctx.scale * (dx * cos + dy * sin)
        return dr, None, ctx.scale * ctx.r * (dy * cos - dx * sin)


def test_function() -> None:
    x = leaf([1.0, -2.0])
    y = Cube.apply(x * 2.0)
    np.testing.assert_allclose(y.numpy(), [8.0, -64.0])
    (y * 0.5).sum().backward()
    close(x.grad, 0.5 * 3.0 * (2.0 * x.numpy()) ** 2 * 2.0)


def test_function_unrecorded() -> None:
    with nv.no_grad():
        assert not Cube.apply(leaf([1.0])).requires_grad
    assert not Cube.apply(nv.tensor([1.0])).requires_grad


def test_function_of_several() -> None:
    r, angle = leaf([1.0, 2.0]), leaf([0.5, -1.0])
    px, py = Polar.apply(r, 3.0, angle)
    (px * px + py).sum().backward()
    assert nv.gradcheck(lambda a, b: Polar.apply(a, 3.0, b), [r, angle])
    v, t = r.numpy(), angle.numpy()
    close(r.grad, 18.0 * v * np.cos(t) ** 2 + 3.0 * np.sin(t))


def test_unused_output_of_a_function_gets_zeros() -> None:
    r, angle = leaf([1.0, 2.0]), leaf([0.5, -1.0])
    _, py = Polar.apply(r, 1.0, angle)
    py.sum().backward()
    close(r.grad, np.sin(angle.numpy()))


def test_function_with_gradient_for_tensors_only() -> None:
    """One gradient for each tensor, none for the parameter, is accepted too."""

    class Scaled(nv.Function):
        @staticmethod
        def forward(ctx: Any, factor: float, x: np.ndarray) -> np.ndarray:
            ctx.factor = factor
            return factor * x

        @staticmethod
        def backward(ctx: Any, dy: np.ndarray) -> np.ndarray:
            return ctx.factor * dy

    x = leaf([1.0])
    Scaled.apply(3.0, x).backward()
    close(x.grad, [3.0])


class Broken(nv.Function):
    """Fails where its parameter says."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, how: str) -> Any:
        ctx.how = how
        if how == "raise in forward":
            raise KeyError("in forward")
        return {"text": "no array", "integers": x.astype(np.int64), "nothing": ()}.get(how, x)

    @staticmethod
    def backward(ctx: Any, dy: np.ndarray) -> Any:
        if ctx.how == "raise in backward":
            raise KeyError("in backward")
        return {"shape": dy[:1], "count": (dy, dy, dy), "type": "text"}.get(ctx.how, (dy, None))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("raise in forward", KeyError),
        ("text", TypeError),
        ("integers", TypeError),
        ("nothing", ValueError),
        ("raise in backward", KeyError),
        ("shape", ValueError),
        ("count", ValueError),
        ("type", TypeError),
    ],
)
def test_function_that_fails(how: str, error: type[Exception]) -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(error):
        (Broken.apply(x * 1.0, how) * 2.0).sum().backward()
    # Nothing is left behind: the same leaf works on.
    x.grad = None
    (Broken.apply(x, "well") * 2.0).sum().backward()
    close(x.grad, [2.0, 2.0])


def test_function_without_methods() -> None:
    class Empty(nv.Function):
        pass

    with pytest.raises(NotImplementedError, match="forward"):
        Empty.apply(leaf([1.0]))


def test_tape_inside_a_function() -> None:
    """forward may use tensors; what happens there is not recorded."""

    class Inner(nv.Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            return (nv.tensor(x, requires_grad=True) * 2.0).numpy()

        @staticmethod
        def backward(ctx: Any, dy: np.ndarray) -> np.ndarray:
            return (nv.tensor(dy) * 2.0).numpy()

    x = leaf([1.0, 2.0])
    Inner.apply(x).sum().backward()
    close(x.grad, [2.0, 2.0])


def test_function_releases_what_it_saved() -> None:
    class Held:
        pass

    kept: list[weakref.ref[Held]] = []

    class Holding(nv.Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            ctx.held = Held()
            kept.append(weakref.ref(ctx.held))
            return x

        @staticmethod
        def backward(ctx: Any, dy: np.ndarray) -> np.ndarray:
            return dy

    y = Holding.apply(leaf([1.0]))
    y.backward()
    gc.collect()
    assert kept[0]() is None  # after backward, with y still alive
    z = Holding.apply(leaf([1.0]))
    assert kept[1]() is not None
    del z
    gc.collect()
    assert kept[1]() is None


@pytest.mark.slow
def test_functions_in_threads() -> None:
    """The lock of the interpreter is taken and given back by every thread that runs a Function."""
    results: list[float] = []

    def work(k: int) -> None:
        x = leaf(np.full(50_000, k + 1.0))
        for _ in range(20):
            x.grad = None
            Cube.apply(x * 1.0).sum().backward()
        assert x.grad is not None
        results.append(float(x.grad.numpy()[0]))

    pool = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert sorted(results) == [3.0, 12.0, 27.0]
