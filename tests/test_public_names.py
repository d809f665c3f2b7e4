# SPDX-License-Identifier: BSD-3-Clause
"""The top level: names, tensors from nothing, no_grad, Function, and what importing does."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nervure as nv


def run(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    cleared = {
        k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**cleared, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


# ---- importing -----------------------------------------------------------------------------------


def test_every_public_name_exists() -> None:
    for name in nv.__all__:
        assert getattr(nv, name) is not None
        assert name in dir(nv)
    with pytest.raises(AttributeError, match="module 'nervure' has no attribute 'nothing'"):
        _ = nv.nothing


def test_importing_loads_little() -> None:
    loaded = run(
        "import sys; before = set(sys.modules); import nervure; "
        "print(' '.join(m.split('.')[0] for m in set(sys.modules) - before))"
    )
    assert "numpy" not in loaded.split()
    assert run("import sys, nervure; print('nervure.nn' in sys.modules)") == "False"


def test_the_environment_is_left_as_it_was() -> None:
    code = (
        "import os, nervure; print(os.environ.get('GOMP_SPINCOUNT'), os.getenv('OMP_WAIT_POLICY'))"
    )
    assert run(code) == "None None"
    assert run(code, GOMP_SPINCOUNT="7") == "7 None"
    assert run(code, OMP_WAIT_POLICY="active") == "None active"


@pytest.mark.parametrize("chosen", [None, "7"])
def test_openmp_spins_briefly_unless_the_user_chose(chosen: str | None) -> None:
    code = """
import os, sys

class Look:
    def find_spec(self, name, *rest):
        if name == "nervure._core":
            print(os.environ["GOMP_SPINCOUNT"])

sys.meta_path.insert(0, Look())
import nervure
"""
    environment = {} if chosen is None else {"GOMP_SPINCOUNT": chosen}
    assert run(code, **environment) == (chosen or "1000")


@pytest.mark.parametrize(
    "name",
    ["_grad_mode", "function", "nn.module", "nn.container", "nn.linear", "nn.init", "serialize"],
)
def test_examples_of_docstrings(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"nervure.{name}"))
    assert failed == 0


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert nv.show_config() is None
    printed = capsys.readouterr().out
    config = nv.show_config("dicts")
    assert config is not None
    assert config["version"] == nv.__version__
    assert config["threads"] == nv.get_num_threads()
    for name in ("version", "cpu", "isa", "threads_from", "compiler", "build_type"):
        assert str(config[name]) in printed  # type: ignore[literal-required]
    with pytest.raises(ValueError, match=r"\[show_config\] mode must be"):
        nv.show_config("json")


# ---- tensors from nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (lambda: nv.zeros(2, 3), np.zeros((2, 3), "f4")),
        (lambda: nv.zeros((2, 3), dtype=nv.int64), np.zeros((2, 3), "i8")),
        (lambda: nv.zeros([]), np.zeros((), "f4")),
        (lambda: nv.zeros(), np.zeros((), "f4")),
        (lambda: nv.ones(4, dtype=nv.bool), np.ones(4, bool)),
        (lambda: nv.ones([0, 2]), np.ones((0, 2), "f4")),
        (lambda: nv.full((2, 2), 1.5), np.full((2, 2), 1.5, "f4")),
        (lambda: nv.full((2,), 3), np.full(2, 3, "i8")),
        (lambda: nv.full(2, True), np.full(2, True)),
        (lambda: nv.full((2,), 3, dtype=nv.float32), np.full(2, 3.0, "f4")),
        (lambda: nv.arange(4), np.arange(4)),
        (lambda: nv.arange(1, 4), np.arange(1, 4)),
        (lambda: nv.arange(5, 0, -2), np.arange(5, 0, -2)),
        (lambda: nv.arange(4.0), np.arange(4, dtype="f4")),
        (lambda: nv.arange(0, 1, 0.25), np.arange(0, 1, 0.25, dtype="f4")),
        (lambda: nv.arange(3, dtype=nv.float32), np.arange(3, dtype="f4")),
        (lambda: nv.tensor([[1, 2]]), np.array([[1, 2]])),
        (lambda: nv.tensor([1.0, 2.0]), np.array([1.0, 2.0], "f4")),
        (lambda: nv.tensor([True]), np.array([True])),
        (lambda: nv.zeros_like(nv.ones(2, dtype=nv.int64)), np.zeros(2, "i8")),
        (lambda: nv.ones_like(nv.zeros(2, 2)), np.ones((2, 2), "f4")),
        (lambda: nv.full_like(nv.zeros(2), 7), np.full(2, 7.0, "f4")),
        (lambda: nv.full_like(nv.zeros(2), 7, dtype=nv.int64), np.full(2, 7)),
    ],
)
def test_creation(tensor: Callable[[], nv.Tensor], expected: np.ndarray) -> None:
    actual = tensor()
    assert actual.numpy().dtype == expected.dtype
    assert not actual.requires_grad
    np.testing.assert_array_equal(actual.numpy(), expected)


def test_creation_can_ask_for_gradients() -> None:
    x = nv.zeros(2)
    for t in (
        *(nv.zeros(2, requires_grad=True), nv.ones(2, requires_grad=True)),
        *(nv.empty(2, requires_grad=True), nv.full((2,), 1.0, requires_grad=True)),
        *(nv.rand(2, requires_grad=True), nv.randn(2, requires_grad=True)),
        *(nv.arange(2.0, requires_grad=True), nv.tensor([1.0], requires_grad=True)),
        *(nv.zeros_like(x, requires_grad=True), nv.ones_like(x, requires_grad=True)),
        *(nv.rand_like(x, requires_grad=True), nv.randn_like(x, requires_grad=True)),
        *(nv.full_like(x, 2.0, requires_grad=True), nv.empty_like(x, requires_grad=True)),
    ):
        assert t.requires_grad
        assert t.is_leaf


def test_likes_keep_the_memory_order() -> None:
    x = nv._core.empty((2, 3), (1, 0))
    for t in (nv.zeros_like(x), nv.ones_like(x), nv.empty_like(x), nv.randn_like(x)):
        assert t.shape == (2, 3)
        assert t.order == (1, 0)


def test_random_numbers() -> None:
    nv.manual_seed(5)
    first = [nv.rand(3).numpy(), nv.randn(3, 2).numpy(), nv.randperm(9).numpy()]
    integers = nv.randint(10, (1000,)).numpy()
    nv.manual_seed(5)
    again = [nv.rand((3,)).numpy(), nv.randn((3, 2)).numpy(), nv.randperm(9).numpy()]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(first[2]) == list(range(9))
    assert set(integers) == set(range(10))
    assert set(nv.randint(-2, 1, (100,)).numpy()) == {-2, -1, 0}
    assert nv.randint(5, 3).shape == (3,)
    with pytest.raises(TypeError, match=r"\[randint\] expected \(high, size\)"):
        nv.randint(3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="randint"):
        nv.randint(3, 3, (1,))


@pytest.mark.parametrize("bad", ["ab", 1.5, None, (1.5,), ("a",)])
def test_sizes_that_are_refused(bad: Any) -> None:
    for create in (nv.zeros, nv.ones, nv.empty, nv.rand, nv.randn):
        with pytest.raises(TypeError):
            create(bad)
    with pytest.raises(ValueError, match="-1"):
        nv.zeros(-1)


def test_operations_on_several_tensors() -> None:
    a, b = nv.tensor([[1.0, -2.0]]), nv.tensor([[3.0, 4.0]])
    assert nv.cat([a, b]).numpy().tolist() == [[1.0, -2.0], [3.0, 4.0]]
    assert nv.cat((a, b), dim=1).shape == (1, 4)
    assert nv.stack([a, b], dim=2).shape == (1, 2, 2)
    assert nv.where(a > 0.0, a, b).numpy().tolist() == [[1.0, 4.0]]
    assert nv.where(a > 0.0, 0.5, a).numpy().tolist() == [[0.5, -2.0]]
    assert nv.where(a > 0.0, 1, 0.0).numpy().tolist() == [[1.0, 0.0]]
    assert nv.matmul(a, b.transpose(0, 1)).item() == -5.0
    assert nv.maximum(a, b).numpy().tolist() == [[3.0, 4.0]]
    assert nv.minimum(a, b).numpy().tolist() == [[1.0, -2.0]]


def test_where_keeps_integers() -> None:
    condition, tokens = nv.tensor([True, False]), nv.tensor([2**40 + 1, 3])
    for a, b, expected in (
        (tokens, 0, np.array([2**40 + 1, 0])),
        (7, tokens, np.array([7, 3])),
        (True, False, np.array([True, False])),
        (tokens.float(), 1, np.array([2.0**40, 1.0], "f4")),
    ):
        found = nv.where(condition, a, b).numpy()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_what_cannot_become_a_tensor() -> None:
    for beyond in (2**63, [2**63], np.array([2**64 - 1], np.uint64)):
        with pytest.raises(TypeError, match="integers that fit int64, got"):
            nv.tensor(beyond)
    assert nv.tensor(np.array([2**63 - 1], np.uint64)).tolist() == [2**63 - 1]
    assert nv.tensor(np.array([2**63], np.uint64), dtype=nv.float32).tolist() == [2.0**63]
    with pytest.raises(TypeError, match=r"\[zeros_like\] expected a Tensor, got ndarray"):
        nv.zeros_like(np.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step leads away from end"):
        nv.arange(0, 5, -1)


def test_an_integer_tensor_is_an_index() -> None:
    names = ["ant", "bee", "cat"]
    assert names[nv.tensor([0.1, 0.2, 0.7]).argmax()] == "cat"
    assert names[: nv.tensor(2)] == ["ant", "bee"]
    assert list(range(nv.tensor(2))) == [0, 1]
    array = np.arange(5)
    assert array[nv.tensor([3])].shape == (1,)  # type: ignore[index]  # a list of one index
    assert array[nv.tensor(3)] == 3  # type: ignore[index]
    for wrong in (nv.tensor(1.0), nv.tensor([1]), nv.tensor(True)):
        with pytest.raises(TypeError, match="only a 0-d int64 tensor is an integer"):
            names[wrong]


# ---- no_grad -------------------------------------------------------------------------------------


def test_no_grad_as_a_block() -> None:
    w = nv.tensor([1.0], requires_grad=True)
    assert nv.is_grad_enabled()
    with nv.no_grad():
        assert not (w * 2.0).requires_grad
        with nv.no_grad():
            assert not nv.is_grad_enabled()
        assert not nv.is_grad_enabled()
    assert (w * 2.0).requires_grad
    block = nv.no_grad()
    with pytest.raises(ZeroDivisionError), block, block:
        _ = 1 / 0
    assert nv.is_grad_enabled()


def test_no_grad_as_a_decorator() -> None:
    w = nv.tensor([1.0], requires_grad=True)

    @nv.no_grad()
    def double(x: nv.Tensor, deeper: bool = False) -> nv.Tensor:
        """Twice x."""
        return double(x) if deeper else x * 2.0

    assert not double(w).requires_grad
    assert not double(w, deeper=True).requires_grad
    assert nv.is_grad_enabled()
    assert double.__doc__ == "Twice x."
    with pytest.raises(TypeError, match="cannot decorate a generator function"):

        @nv.no_grad()
        def numbers() -> Any:
            yield 1


def test_no_grad_holds_for_its_own_thread() -> None:
    seen: list[bool] = []
    with nv.no_grad():
        thread = threading.Thread(target=lambda: seen.append(nv.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# ---- Function ------------------------------------------------------------------------------------


class Hypotenuse(nv.Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
        length = scale * np.hypot(x, y)
        ctx.save_for_backward(x, y, length)
        ctx.scale = scale
        return length

    @staticmethod
    def backward(ctx: Any, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, None]:
        x, y, length = ctx.saved_tensors
        factor = ctx.scale**2 * dy / length
        return factor * x, factor * y, None


def test_function() -> None:
    x = nv.tensor([3.0, 6.0], requires_grad=True)
    y = nv.tensor([4.0, 8.0], requires_grad=True)
    z = Hypotenuse.apply(x, y, 2.0)
    assert z.numpy().tolist() == [10.0, 20.0]
    (z * nv.tensor([1.0, 10.0])).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1.2, 12.0], rtol=1e-6)
    np.testing.assert_allclose(y.grad.numpy(), [1.6, 16.0], rtol=1e-6)
    with nv.no_grad():
        assert not Hypotenuse.apply(x, y, 2.0).requires_grad


def test_function_that_is_incomplete() -> None:
    class Empty(nv.Function):
        pass

    class Forward(nv.Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            return x + ctx.forgotten

    with pytest.raises(NotImplementedError, match=r"must define forward"):
        Empty.apply(nv.zeros(1))
    with pytest.raises(AttributeError, match=r"forward\(\) has set no ctx.forgotten"):
        Forward.apply(nv.zeros(1))

    class OneWay(nv.Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            return 2 * x

    with pytest.raises(NotImplementedError, match=r"must define backward"):
        OneWay.apply(nv.zeros(1, requires_grad=True)).backward()


def test_function_with_a_gradient_of_the_wrong_shape() -> None:
    class Wrong(nv.Function):
        @staticmethod
        def forward(ctx: Any, x: np.ndarray) -> np.ndarray:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, dy: np.ndarray) -> np.ndarray:
            return dy[None]

    with pytest.raises(ValueError, match=r"gradient of input 0 must have shape \(3,\)"):
        Wrong.apply(nv.zeros(3, requires_grad=True)).sum().backward()


# ---- memory and threads --------------------------------------------------------------------------


def test_memory_and_threads() -> None:
    before = nv.memory_stats()["live_bytes"]
    x = nv.zeros(1000, 1000)
    assert nv.memory_stats()["live_bytes"] >= before + 4_000_000
    del x
    assert nv.memory_stats()["live_bytes"] <= before
    nv.trim_memory()
    assert nv.memory_stats()["cached_bytes"] < 4_000_000
    nv.set_num_threads(1)
    assert nv.get_num_threads() == 1
    with pytest.raises(ValueError, match="thread"):
        nv.set_num_threads(0)
