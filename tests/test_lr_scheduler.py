# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules: every value against PyTorch, the formulas, resuming, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nervure import _core, optim
from nervure._core import Tensor
from nervure.optim import lr_scheduler


def _zeros(count: int) -> list[Tensor]:
    """Parameters of one element each."""
    return [_core.tensor(np.zeros(1, np.float32), requires_grad=True) for _ in range(count)]


def _lambda(epoch: int) -> float:
    return 0.97**epoch


SCHEDULES: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("StepLR", lambda m, o: m.StepLR(o, 7, 0.5)),
    ("MultiStepLR", lambda m, o: m.MultiStepLR(o, [3, 10, 10, 40], 0.3)),
    ("ExponentialLR", lambda m, o: m.ExponentialLR(o, 0.95)),
    ("LinearLR", lambda m, o: m.LinearLR(o, 0.2, 0.9, 17)),
    ("LambdaLR", lambda m, o: m.LambdaLR(o, [_lambda, lambda e: 1.0 / (1 + e)])),
    ("CosineAnnealingLR", lambda m, o: m.CosineAnnealingLR(o, 13, 1e-3)),
    ("CosineAnnealingWarmRestarts", lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 2, 1e-3)),
    ("CosineAnnealingWarmRestarts-1", lambda m, o: m.CosineAnnealingWarmRestarts(o, 9)),
    ("OneCycleLR", lambda m, o: m.OneCycleLR(o, [0.3, 0.1], total_steps=121)),
    (
        "OneCycleLR-linear",
        lambda m, o: m.OneCycleLR(
            o, 0.3, epochs=11, steps_per_epoch=11, anneal_strategy="linear", three_phase=True
        ),
    ),
    (
        "SequentialLR",
        lambda m, o: m.SequentialLR(
            o,
            [m.LinearLR(o, 0.1, 1.0, 8), m.CosineAnnealingLR(o, 30), m.ExponentialLR(o, 0.9)],
            [8, 60],
        ),
    ),
    ("chained", lambda m, o: (m.StepLR(o, 9, 0.5), m.ExponentialLR(o, 0.99))),
]


def _two_groups(kind: Any, p: Any, q: Any) -> Any:
    return kind([{"params": [p]}, {"params": [q], "lr": 0.02}], lr=0.1)


def _trace(optimizer: Any, schedule: Any, steps: int) -> list[Any]:
    schedules = schedule if isinstance(schedule, tuple) else (schedule,)
    found = []
    for _ in range(steps):
        found.append(
            [
                (g["lr"], g.get("momentum", 0.0), g.get("betas", (0.0,))[0])
                for g in optimizer.param_groups
            ]
        )
        optimizer.step()
        for s in schedules:
            s.step()
        assert schedules[-1].get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return found


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "make"), SCHEDULES, ids=[name for name, _ in SCHEDULES])
def test_schedule_as_torch(name: str, make: Callable[[Any, Any], Any], kind: str) -> None:
    torch = pytest.importorskip("torch")
    values = [np.zeros(1, np.float32)] * 2
    ours = _two_groups(getattr(optim, kind), *_zeros(2))
    theirs = _two_groups(
        getattr(torch.optim, kind), *(torch.tensor(v, requires_grad=True) for v in values)
    )
    a = _trace(ours, make(lr_scheduler, ours), 120)
    b = _trace(theirs, make(torch.optim.lr_scheduler, theirs), 120)
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize(("name", "make"), SCHEDULES[:-1], ids=[name for name, _ in SCHEDULES[:-1]])
def test_schedule_goes_on_where_it_stopped(name: str, make: Callable[[Any, Any], Any]) -> None:
    through = _two_groups(optim.SGD, *_zeros(2))
    schedule = make(lr_scheduler, through)
    _trace(through, schedule, 23)
    optim_state, schedule_state = through.state_dict(), schedule.state_dict()
    again = _two_groups(optim.SGD, *_zeros(2))
    resumed = make(lr_scheduler, again)
    again.load_state_dict(optim_state)
    resumed.load_state_dict(schedule_state)
    assert _trace(through, schedule, 60) == _trace(again, resumed, 60)


def test_schedule_formulas() -> None:
    """The closed forms, without PyTorch."""

    def rates(make: Callable[[optim.Optimizer], lr_scheduler.LRScheduler]) -> list[float]:
        optimizer = optim.SGD(_zeros(1), lr=1.0)
        return [row[0][0] for row in _trace(optimizer, make(optimizer), 30)]

    t = np.arange(30)
    np.testing.assert_allclose(rates(lambda o: lr_scheduler.StepLR(o, 4, 0.5)), 0.5 ** (t // 4))
    np.testing.assert_allclose(rates(lambda o: lr_scheduler.ExponentialLR(o, 0.9)), 0.9**t)
    np.testing.assert_allclose(
        rates(lambda o: lr_scheduler.LinearLR(o, 0.5, 1.0, 10)), 0.5 + 0.5 * np.minimum(t, 10) / 10
    )
    np.testing.assert_allclose(
        rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 10, 0.1)),
        0.1 + 0.45 * (1 + np.cos(np.pi * t / 10)),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        rates(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10)),
        0.5 * (1 + np.cos(np.pi * (t % 10) / 10)),
    )


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_reduce_on_plateau_as_torch(mode: str, threshold_mode: str) -> None:
    torch = pytest.importorskip("torch")
    options = {
        "mode": mode,
        "threshold_mode": threshold_mode,
        "patience": 2,
        "cooldown": 3,
        "factor": 0.5,
        "threshold": 0.05,
        "min_lr": [1e-2, 1e-3],
    }
    values = [np.zeros(1, np.float32)] * 2
    ours = _two_groups(optim.SGD, *_zeros(2))
    theirs = _two_groups(torch.optim.SGD, *(torch.tensor(v, requires_grad=True) for v in values))
    a = lr_scheduler.ReduceLROnPlateau(ours, **options)  # type: ignore[arg-type]
    b = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    generator = np.random.default_rng(11)
    for epoch in range(120):
        metric = float(5.0 / (1 + epoch // 10) + 0.2 * generator.standard_normal())
        a.step(metric)
        b.step(metric)
        assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-14)
    assert a.get_last_lr()[0] == 1e-2


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, 0),
        lambda o: lr_scheduler.LinearLR(o, 0.0),
        lambda o: lr_scheduler.LinearLR(o, 0.5, 1.5),
        lambda o: lr_scheduler.LinearLR(o, total_iters=0),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 0),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 0),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 0),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3).step(-1.0),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=0),
        lambda o: lr_scheduler.OneCycleLR(o, [0.1, 0.2], total_steps=5),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=5, pct_start=1.5),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=5, anneal_strategy="log"),
        lambda o: lr_scheduler.LambdaLR(o, [_lambda, _lambda]),
        lambda o: lr_scheduler.SequentialLR(o, [], []),
        lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 2)], [3]),
        lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.ReduceLROnPlateau(o)], []),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, "best"),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="both"),
        lambda o: lr_scheduler.StepLR(o, 2, last_epoch=3),
    ],
)
def test_bad_schedules(make: Callable[[optim.Optimizer], object]) -> None:
    optimizer = optim.SGD(_zeros(1))
    with pytest.raises(ValueError, match=r"^\[(lr_scheduler|OneCycleLR)\] "):
        make(optimizer)


def test_one_cycle_ends() -> None:
    optimizer = optim.Adagrad(_zeros(1))
    with pytest.raises(ValueError, match="needs an optimiser with momentum"):
        lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3, cycle_momentum=False)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="the cycle has 3 steps"):
        schedule.step()


def test_schedules_want_optimisers() -> None:
    for make in (
        lambda: lr_scheduler.StepLR(None, 3),  # type: ignore[arg-type]
        lambda: lr_scheduler.OneCycleLR(None, 0.1, total_steps=3),  # type: ignore[arg-type]
        lambda: lr_scheduler.ReduceLROnPlateau(None),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"^\[lr_scheduler\] needs an Optimizer"):
            make()


@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_one_cycle_after_add_param_group(cycle_momentum: bool) -> None:
    p, q = _zeros(2)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=10, cycle_momentum=cycle_momentum
    )
    optimizer.add_param_group({"params": [q], "lr": 0.5, "momentum": 0.7})
    before = optimizer.param_groups[0]["lr"]
    for _ in range(3):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] > before
    assert (optimizer.param_groups[1]["lr"], optimizer.param_groups[1]["momentum"]) == (0.5, 0.7)
    assert schedule.get_last_lr()[1] == 0.5
