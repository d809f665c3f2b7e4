# SPDX-License-Identifier: BSD-3-Clause
"""Optimisers: many steps against NumPy in float64 and against PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nervure import _core, optim, reference
from nervure._core import Tensor

SHAPES = [(3,), (5, 7), (16,), (33, 2), (1,), (0, 4), ()]
STEPS = 25

OPTIMISERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.1, "alpha": 0.9}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "eps": 1e-3, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.2, "weight_decay": 0.1},
    ),
    ("Adagrad", {"lr": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "betas": (0.5, 0.6)}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
    ("NAdam", {"lr": 0.01}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.1}),
]
IDS = [f"{name}-{'-'.join(k for k in options if k != 'lr')}" for name, options in OPTIMISERS]


def _values(seed: int, shapes: list[tuple[int, ...]] = SHAPES) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


def _parameters(values: list[np.ndarray]) -> list[Tensor]:
    return [_core.tensor(v, requires_grad=True) for v in values]


def _set_gradients(parameters: list[Tensor], values: list[np.ndarray]) -> None:
    for p, g in zip(parameters, values, strict=True):
        p.grad = _core.tensor(g)


class _Expected:
    """One parameter in float64 under the reference's step functions."""

    def __init__(self, name: str, value: np.ndarray, options: dict[str, Any]) -> None:
        self.options = dict(options)
        if name == "AdamW":
            self.options.setdefault("weight_decay", 1e-2)
            self.options["decoupled_weight_decay"] = True
        if "betas" in self.options:
            self.options["beta1"], self.options["beta2"] = self.options.pop("betas")
        self.name = {"AdamW": "adam"}.get(name, name.lower())
        count = {"sgd": 1, "rmsprop": 3, "adagrad": 1, "adam": 3, "nadam": 2}[self.name]
        initial = self.options.pop("initial_accumulator_value", 0.0)
        self.state = [value.astype(np.float64)]
        self.state += [np.full(value.shape, initial) for _ in range(count)]
        self.done, self.mu_product = 0, 1.0

    def step(self, g: np.ndarray) -> None:
        self.done += 1
        extra: dict[str, Any] = (
            {"step": self.done} if self.name in ("adagrad", "adam", "nadam") else {}
        )
        if self.name == "sgd":
            extra["first_step"] = self.done == 1
        if self.name == "nadam":
            extra["mu_product"] = self.mu_product
            decay = self.options.get("momentum_decay", 4e-3)
            beta1 = self.options.get("beta1", 0.9)
            self.mu_product *= beta1 * (1.0 - 0.5 * 0.96 ** (self.done * decay))
        function = getattr(reference, f"{self.name}_step")
        value, *rest = self.state
        self.state = list(function(value, g.astype(np.float64), *rest, **self.options, **extra))


def _assert_close(actual: Tensor, expected: np.ndarray, tolerance: float = 3e-6) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=IDS)
def test_many_steps(isa: str, name: str, options: dict[str, Any]) -> None:
    values = _values(0)
    parameters = _parameters(values)
    expected = [_Expected(name, v, options) for v in values]
    optimizer = getattr(optim, name)(parameters, **options)
    for step in range(STEPS):
        gradients = _values(100 + step)
        _set_gradients(parameters, gradients)
        optimizer.step()
        for e, g in zip(expected, gradients, strict=True):
            e.step(g)
    for p, e in zip(parameters, expected, strict=True):
        _assert_close(p, e.state[0])


@pytest.mark.torch
@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=IDS)
def test_many_steps_as_torch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    values = _values(1)
    parameters = _parameters(values)
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    optimizer = getattr(optim, name)(parameters, **options)
    their_optimizer = getattr(torch.optim, name)(theirs, **options)
    for step in range(STEPS):
        gradients = _values(200 + step)
        _set_gradients(parameters, gradients)
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
        their_optimizer.step()
    for p, q in zip(parameters, theirs, strict=True):
        _assert_close(p, q.detach().numpy())
    # What PyTorch saved goes on here.
    fresh = _parameters([q.detach().numpy() for q in theirs])
    continued = getattr(optim, name)(fresh, **options)
    continued.load_state_dict(their_optimizer.state_dict())
    gradients = _values(999)
    _set_gradients(fresh, gradients)
    for p, g in zip(theirs, gradients, strict=True):
        p.grad = torch.tensor(g)
    continued.step()
    their_optimizer.step()
    for p, q in zip(fresh, theirs, strict=True):
        _assert_close(p, q.detach().numpy())


@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=IDS)
def test_same_bits_for_any_threads(name: str, options: dict[str, Any]) -> None:
    shapes = [(40_000,), (3,), (129, 257), (1,)]
    found = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        parameters = _parameters(_values(2, shapes))
        optimizer = getattr(optim, name)(parameters, **options)
        for step in range(3):
            _set_gradients(parameters, _values(3 + step, shapes))
            optimizer.step()
        found.append([p.detach().numpy() for p in parameters])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=IDS)
def test_parameters_without_gradient_wait(name: str, options: dict[str, Any]) -> None:
    """Each parameter counts its own steps; one whose gradient comes late starts then."""
    values = _values(4)
    parameters = _parameters(values)
    expected = [_Expected(name, v, options) for v in values]
    optimizer = getattr(optim, name)(parameters, **options)
    generator = np.random.default_rng(5)
    for step in range(12):
        present = [step >= 3 * i and generator.random() < 0.7 for i in range(len(SHAPES))]
        gradients = _values(300 + step)
        optimizer.zero_grad()
        assert all(p.grad is None for p in parameters)
        for p, e, g, here in zip(parameters, expected, gradients, present, strict=True):
            if here:
                p.grad = _core.tensor(g)
                e.step(g)
        optimizer.step()
    for p, e in zip(parameters, expected, strict=True):
        _assert_close(p, e.state[0])


@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=IDS)
def test_state_dict_round_trip(name: str, options: dict[str, Any]) -> None:
    """Stopping and going on gives the same bits as going on."""
    kind = getattr(optim, name)
    through, first = _parameters(_values(6)), _parameters(_values(6))
    a, b = kind(through, **options), kind(first, **options)
    for step in range(4):
        for parameters, optimizer in ((through, a), (first, b)):
            _set_gradients(parameters, _values(400 + step))
            optimizer.step()
    saved = b.state_dict()
    assert json.dumps([{**g, "params": g["params"]} for g in saved["param_groups"]])
    second = _parameters([p.detach().numpy() for p in first])
    c = kind(second, lr=123.0)
    c.load_state_dict(saved)
    assert c.param_groups[0]["lr"] == options["lr"]
    for step in range(4, 8):
        for parameters, optimizer in ((through, a), (second, c)):
            _set_gradients(parameters, _values(400 + step))
            optimizer.step()
    for p, q in zip(through, second, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


def test_state_in_pytorch_layout() -> None:
    p, q = _parameters(_values(7, [(2, 3), (4,)]))
    optimizer = optim.Adam([{"params": [p]}, {"params": q, "lr": 0.5}])
    _set_gradients([p, q], _values(8, [(2, 3), (4,)]))
    optimizer.step()
    saved = optimizer.state_dict()
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in saved["param_groups"]] == [1e-3, 0.5]
    assert set(saved["state"]) == {0, 1}
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert saved["state"][1]["step"] == 1
    np.testing.assert_allclose(
        saved["state"][1]["exp_avg"].numpy(), 0.1 * q.grad.numpy(), rtol=1e-6
    )


def test_state_may_be_changed_between_steps() -> None:
    (p,) = _parameters([np.zeros(3, np.float32)])
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    _set_gradients([p], [np.zeros(3, np.float32)])
    optimizer.step()
    optimizer.state[p]["momentum_buffer"] = _core.full((3,), 2.0)
    optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), np.full(3, -1.0))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "NAdam"])
def test_gradients_in_other_memory_orders(name: str, order: tuple[int, ...]) -> None:
    value, gradient = _values(9, [(3, 4, 5), (3, 4, 5)])
    plain, ordered = _core.tensor(value), _core.to_order(_core.tensor(value), list(order))
    optimizers = [getattr(optim, name)([p], lr=0.1) for p in (plain, ordered)]
    plain.grad = _core.tensor(gradient)
    ordered.grad = _core.to_order(_core.tensor(gradient), [2, 1, 0])
    for optimizer in optimizers * 3:
        optimizer.step()
    np.testing.assert_array_equal(plain.numpy(), ordered.numpy())
    assert ordered.order == order
    for state in optimizers[1].state.get(ordered, {}).values():
        assert not isinstance(state, Tensor) or state.order == order


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "NAdam"])
def test_l1_gives_exact_zeros(name: str) -> None:
    """A soft threshold by lr l1 after the step; weights that it reaches are exactly zero."""
    value, gradient = _values(10, [(1000,), (1000,)])
    with_l1, without = _parameters([value, value])
    for p, l1 in ((with_l1, 20.0), (without, 0.0)):
        optimizer = getattr(optim, name)([p], lr=0.01, l1=l1)
        _set_gradients([p], [gradient])
        optimizer.step()
    plain = without.detach().numpy()
    expected = np.sign(plain) * np.maximum(np.abs(plain) - np.float32(0.2), 0.0)
    np.testing.assert_allclose(with_l1.detach().numpy(), expected, atol=1e-7)
    assert np.array_equal(with_l1.detach().numpy() == 0.0, expected == 0.0)
    assert 50 < np.sum(expected == 0.0) < 950


@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=IDS)
def test_clipping_inside_the_step(isa: str, name: str, options: dict[str, Any]) -> None:
    values, limit = _values(3), 0.3
    inside, apart = _parameters(values), _parameters(values)
    first, second = (getattr(optim, name)(p, **options) for p in (inside, apart))
    for step in range(3):
        gradients = _values(300 + step)
        gradients[0].reshape(-1)[0] = np.inf  # is limited, too
        for parameters in (inside, apart):
            _set_gradients(parameters, gradients)
        with first.clipped(limit):
            first.step()
        _core.clip_grad_value_(apart, limit)
        second.step()
        for p, q, g in zip(inside, apart, gradients, strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
            np.testing.assert_array_equal(p.grad.numpy(), g)  # the gradient stays
    for parameters, optimizer in ((inside, first), (apart, second)):
        _set_gradients(parameters, _values(400))
        optimizer.step()  # outside of the block nothing is limited
    for p, q in zip(inside, apart, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


def test_clipping_inside_the_step_leaves_nan_and_refuses_nonsense() -> None:
    p = _core.tensor(np.ones(3, np.float32))
    p.requires_grad = True
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = _core.tensor(np.array([np.nan, -7.0, 0.5], np.float32))
    with optimizer.clipped(2.0):
        optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), [np.nan, 3.0, 0.5])
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="clip_value must be a number and not negative"):
            with optimizer.clipped(bad):
                pass
        with pytest.raises(ValueError, match=r"^\[sgd_step\] clip_value must not be negative"):
            _core.UpdateList([p], [[]], [], bad).sgd_step(1, 0, 0, 0, 0, False, False, True)


def test_groups() -> None:
    p, q, r = _parameters([np.ones(2, np.float32)] * 3)
    optimizer = optim.SGD([{"params": [p], "lr": 0.5}, {"params": [q]}], lr=0.25)
    optimizer.add_param_group({"params": r, "lr": 1.0, "l1": 0.25})
    _set_gradients([p, q, r], [np.ones(2, np.float32)] * 3)
    optimizer.step()
    assert [float(t.detach().numpy()[0]) for t in (p, q, r)] == [0.5, 0.75, 0.0]
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert float(p.detach().numpy()[0]) == 0.25
    optimizer.param_groups[1]["params"].append(_core.tensor([1.0, 1.0]))
    _set_gradients(optimizer.param_groups[1]["params"], [np.ones(2, np.float32)] * 2)
    optimizer.step()
    assert float(optimizer.param_groups[1]["params"][1].numpy()[0]) == 0.75


def test_zero_grad_and_closure() -> None:
    (p,) = _parameters([np.float32([2.0])])
    optimizer = optim.SGD([p], lr=0.25)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = p * p
        loss.backward()
        return loss

    _core.set_grad_enabled(False)
    assert float(optimizer.step(closure)) == 4.0
    assert not _core.grad_enabled()
    np.testing.assert_array_equal(p.detach().numpy(), [1.0])
    optimizer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(p.grad.numpy(), [0.0])


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "NAdam"])
@pytest.mark.parametrize(
    "bad", [{"lr": -1.0}, {"lr": float("nan")}, {"weight_decay": -0.1}, {"l1": -1.0}]
)
def test_bad_options(name: str, bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"^\[optim\] {next(iter(bad))} must be"):
        getattr(optim, name)(_parameters([np.ones(1, np.float32)]), **bad)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda p: optim.SGD([]), ValueError),
        (lambda p: optim.SGD(p), TypeError),
        (lambda p: optim.SGD([p, p]), ValueError),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError),
        (lambda p: optim.SGD([p, [1.0]]), TypeError),
        (lambda p: optim.SGD([{"lr": 0.1}]), ValueError),
        (lambda p: optim.SGD([p * 1.0]), ValueError),
        (lambda p: optim.SGD([_core.tensor([1])]), TypeError),
        (lambda p: optim.SGD([p], nesterov=True), ValueError),
        (lambda p: optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True), ValueError),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError),
        (lambda p: optim.NAdam([p], betas=(-0.1, 0.9)), ValueError),
        (lambda p: optim.AdamW([p], betas=0.9), ValueError),
        (lambda p: optim.AdamW([p], betas=("0.9", 0.9)), ValueError),
        (lambda p: optim.SGD([p]).load_state_dict({}), ValueError),
        (lambda p: optim.RMSprop([p], alpha=1.5), ValueError),
        (lambda p: optim.SGD([p]).load_state_dict({"state": {}, "param_groups": []}), ValueError),
        (
            lambda p: optim.SGD([p], momentum=0.9).load_state_dict(
                {
                    "state": {0: {"momentum_buffer": _core.rand((9,))}},
                    "param_groups": [{"params": [0]}],
                }
            ),
            ValueError,
        ),
    ],
)
def test_errors(make: Callable[[Tensor], object], error: type[Exception]) -> None:
    (p,) = _parameters([np.ones(2, np.float32)])
    with pytest.raises(error, match=r"^\["):
        make(p)


def test_nothing_is_written_when_something_is_wrong() -> None:
    parameters = _parameters([np.ones(2, np.float32), np.ones(3, np.float32)])
    _set_gradients(parameters, [np.ones(2, np.float32), np.ones(3, np.float32)])
    good = [_core.full((2,), 0.0), _core.full((3,), 0.0)]
    with pytest.raises(ValueError, match=r"^\[adam_step\] second_moments\[1\] must have the shape"):
        _core.adam_step(
            parameters,
            good,
            [good[0], _core.full((4,), 0.0)],
            None,
            0.1,
            0.9,
            0.999,
            1e-8,
            0.0,
            0.0,
            False,
            False,
            False,
            1,
        )
    for p in parameters:
        np.testing.assert_array_equal(p.detach().numpy(), np.ones(p.shape))


def test_state_is_found_by_identity() -> None:
    layer = _core.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    optimizer = optim.Adam([layer], lr=0.1)
    _set_gradients([layer], [np.ones((2, 3), np.float32)])
    optimizer.step()
    same = _core.row_major(layer)  # another Python object for the same tensor
    assert same is not layer
    assert optimizer.state[same] is optimizer.state[layer]
    assert same in optimizer.state
    assert _core.tensor(np.ones((2, 3), np.float32)) not in optimizer.state
    assert "step" not in optimizer.state
    assert next(iter(optimizer.state)) is layer
    optimizer.param_groups[0]["params"] = [same]
    optimizer.step()
    assert optimizer.state[layer]["step"] == 2
    assert optimizer.state_dict()["state"][0]["step"] == 2
    del optimizer.state[same]
    assert len(optimizer.state) == 0
    with pytest.raises(KeyError):
        optimizer.state[layer]
    with pytest.raises(TypeError, match="belongs to a tensor"):
        optimizer.state["step"] = {}  # type: ignore[index]


@pytest.mark.parametrize("shift", [1, -1, 3])
def test_gradient_that_overlaps_its_parameter(shift: int) -> None:
    n = 1000
    memory = np.arange(n + 3, dtype=np.float32)
    start = max(0, -shift)
    values, gradient = memory[start : start + n], memory[start + shift : start + shift + n]
    expected = values - 0.5 * gradient
    p = _core.from_numpy(values)
    p.requires_grad_()
    p.grad = _core.from_numpy(gradient)
    optim.SGD([p], lr=0.5).step()
    np.testing.assert_array_equal(values, expected)
