# SPDX-License-Identifier: BSD-3-Clause
"""Trainer: the update, with weights, clipping, penalties, schedules and averages."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from trainings import X, Y, assert_close, net, sgd, weights

import nervure as nv
from nervure import nn, optim
from nervure.callbacks import LambdaCallback
from nervure.data import ArrayDataset, Subset
from nervure.nn import functional as F
from nervure.optim import lr_scheduler

# ---- weights of samples and classes --------------------------------------------------------------


def one_step(loss: Any, y: np.ndarray, w: np.ndarray, **fit: Any) -> tuple[nn.Module, float]:
    model = net()
    trainer = nv.Trainer(model, loss, sgd(model))
    history = trainer.fit(X, y, batch_size=50, shuffle=False, sample_weight=w, **fit)
    return model, history.history["loss"][0]


def weighted_step(y: np.ndarray, w: np.ndarray) -> tuple[nn.Module, float]:
    twin = net()
    optimizer = sgd(twin)
    losses = F.cross_entropy(twin(nv.tensor(X)), nv.tensor(y), reduction="none")
    loss = (losses * nv.tensor(w.astype(np.float32))).sum() / 50
    loss.backward()
    optimizer.step()
    return twin, loss.item()


@pytest.mark.parametrize("loss", ["cross_entropy", F.cross_entropy, nn.CrossEntropyLoss()])
def test_weights_of_samples(loss: Any, rng: np.random.Generator) -> None:
    w = rng.random(50).astype(np.float32)
    model, value = one_step(loss, Y, w)
    twin, expected = weighted_step(Y, w)
    assert_close(model, twin)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_weights_of_classes(rng: np.random.Generator) -> None:
    table = np.array([0.5, 2.0, 1.0])  # class 2 is not named
    model, value = one_step("cross_entropy", Y, None, class_weight={1: 2.0, 0: 0.5})
    twin, expected = weighted_step(Y, table[Y])
    assert_close(model, twin)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    w = rng.random(50)
    both, _ = one_step("cross_entropy", Y, w, class_weight={0: 0.5, 1: 2.0})
    assert_close(both, weighted_step(Y, table[Y] * w)[0])


@pytest.mark.parametrize("source", ["arrays", "dataset", "part"])
def test_balanced_weights_are_those_of_scikit_learn(source: str) -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    expected = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=Y)
    model = net()
    whole = ArrayDataset(np.concatenate([X, X]), np.concatenate([Y, np.zeros(50, int)]))
    args = {
        "arrays": (X, Y),
        "dataset": (ArrayDataset(X, Y),),
        "part": (Subset(whole, np.arange(50)),),
    }[source]
    trainer = nv.Trainer(model, "cross_entropy", sgd(model))
    trainer.fit(*args, batch_size=50, shuffle=False, class_weight="balanced")
    assert_close(model, weighted_step(Y, expected[Y])[0])


def test_class_weights_do_not_touch_validation() -> None:
    plain, weighted = (
        nv.Trainer(net(), "cross_entropy", "sgd").fit(X, Y, class_weight=w, validation_data=(X, Y))
        for w in (None, {0: 1.0, 1: 1.0, 2: 1.0})
    )
    np.testing.assert_allclose(plain.history["val_loss"], weighted.history["val_loss"], rtol=1e-6)
    trainer = nv.Trainer(net(), "cross_entropy")
    assert trainer.evaluate(X, Y, sample_weight=np.full(50, 2.0)) == pytest.approx(
        2 * trainer.evaluate(X, Y), rel=1e-6
    )


def test_weights_with_targets_per_step(rng: np.random.Generator) -> None:
    """(N, C, T) outputs and (N, T) targets: a sample's loss is the mean over its steps."""
    x = rng.normal(size=(6, 3, 5)).astype(np.float32)
    y = rng.integers(0, 3, (6, 5))
    w = rng.random(6).astype(np.float32)

    class Identity(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(nv.ones(3, 1))

        def forward(self, x: nv.Tensor) -> nv.Tensor:
            return x * self.scale

    each = F.cross_entropy(nv.tensor(x), nv.tensor(y), reduction="none").numpy()
    trainer = nv.Trainer(Identity(), "cross_entropy", "sgd")
    np.testing.assert_allclose(
        trainer.evaluate(x, y, sample_weight=w), (each.mean(1) * w).sum() / 6, rtol=1e-5
    )
    table = np.array([0.5, 1.0, 3.0])
    value = trainer.fit(x, y, class_weight=dict(enumerate(table))).history["loss"][0]
    np.testing.assert_allclose(value, (each * table[y]).sum() / 30, rtol=1e-5)
    last = nv.Trainer(nn.Identity(), "cross_entropy", sgd(net()), ["accuracy"], class_dim=-1)
    turned = np.moveaxis(x, 1, -1)
    loss, accuracy = last.evaluate(turned, y)
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-5)
    assert accuracy == (x.argmax(1) == y).mean()
    np.testing.assert_allclose(last.predict_proba(turned).sum(-1), np.ones((6, 5)), rtol=1e-5)


# ---- the update ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [5, 8])
def test_accumulated_gradients_are_those_of_the_large_batch(batch_size: int) -> None:
    """8 does not divide 50: the last group is smaller, and so is its last batch."""
    model, large = net(), net()
    small = nv.Trainer(model, "cross_entropy", sgd(model, momentum=0.9), accumulation_steps=3)
    history = small.fit(X, Y, batch_size=batch_size, epochs=2, shuffle=False)
    trainer = nv.Trainer(large, "cross_entropy", sgd(large, momentum=0.9))
    expected = trainer.fit(X, Y, batch_size=3 * batch_size, epochs=2, shuffle=False)
    assert small.step == trainer.step
    assert_close(model, large)
    np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-5)


def gradients(**options: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients as backward left them, and as the optimiser got them (lr 1, one step)."""
    model = net()
    raw: list[np.ndarray] = []
    watch = LambdaCallback(
        on_gradients=lambda batch, logs=None: raw.extend(
            np.array(p.grad.numpy()) for p in model.parameters()
        )
    )
    before = weights(model)
    nv.Trainer(model, "cross_entropy", sgd(model, 1.0), **options).fit(
        X, Y, batch_size=50, callbacks=[watch]
    )
    return raw, [b - a for a, b in zip(weights(model), before, strict=True)]


def test_clipping() -> None:
    raw, used = gradients()
    norm = np.sqrt(sum((g**2).sum() for g in raw))
    for g, u in zip(raw, used, strict=True):
        np.testing.assert_allclose(u, g, atol=1e-6)
    raw, used = gradients(clip_norm=norm / 4)
    for g, u in zip(raw, used, strict=True):
        np.testing.assert_allclose(u, g / 4, rtol=1e-3, atol=1e-6)
    limit = float(np.abs(raw[0]).max() / 3)
    raw, used = gradients(clip_value=limit)
    for g, u in zip(raw, used, strict=True):
        np.testing.assert_allclose(u, g.clip(-limit, limit), atol=1e-6)


class Plain(optim.SGD):
    """A step that somebody wrote."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.detach().copy_(p.detach() - p.grad * group["lr"])


@pytest.mark.parametrize("kind", [optim.SGD, Plain])
def test_elements_of_gradients_are_limited_to_5(kind: type[optim.SGD]) -> None:
    x, y = np.array([[1.0, -0.001]], np.float32), np.array([-100.0])

    def step(**options: Any) -> tuple[nv.Trainer, list[float]]:
        model = nn.Linear(2, 1, bias=False)
        model.weight.detach().fill_(0.0)
        trainer = nv.Trainer(model, "mse", kind(model.parameters(), 1.0), advice=False, **options)
        trainer.fit(x, y)
        moved = model.weight.numpy()[0].copy()
        model.weight.grad = nv.tensor(np.array([[7.0, 0.0]], np.float32))
        trainer.optimizer.step()  # outside of fit nothing is limited
        assert moved[0] - model.weight.numpy()[0, 0] == 7.0
        return trainer, moved.tolist()

    trainer, moved = step()  # the gradient is (200, -0.2)
    assert trainer.clip_value == 5.0
    np.testing.assert_allclose(moved, [-5.0, 0.2], rtol=1e-6)
    np.testing.assert_allclose(step(clip_value=None)[1], [-200.0, 0.2], rtol=1e-6)
    trainer, moved = step(clip_norm=20.0)  # then the norm alone
    assert trainer.clip_value is None
    np.testing.assert_allclose(moved, [-20.0, 0.02], rtol=1e-4)
    parameter = inspect.signature(nv.Trainer).parameters["clip_value"]
    assert repr(parameter.default) == "5.0"


def test_penalties_are_added_to_the_loss() -> None:
    model = net()
    w1, b1, w2, _ = weights(model)
    plain = nv.Trainer(net(), "cross_entropy").evaluate(X, Y)

    def loss(**options: Any) -> float:
        return float(nv.Trainer(net(), "cross_entropy", **options).evaluate(X, Y)) - plain

    sums = {"1": (np.abs(w1).sum(), (w1**2).sum()), "2": (np.abs(w2).sum(), (w2**2).sum())}
    assert loss(l1=0.1) == pytest.approx(0.1 * (sums["1"][0] + sums["2"][0]), rel=1e-4)
    assert loss(l2={"0": 0.5, "1": 0.25}) == pytest.approx(
        0.5 * sums["1"][1] + 0.25 * sums["2"][1], rel=1e-4
    )
    assert loss(l1={"0.bias": 0.3}) == pytest.approx(0.3 * np.abs(b1).sum(), rel=1e-3)
    # What is said of a layer beats what is said of all.
    assert loss(l2={"": 1.0, "1": 0.0}) == pytest.approx(sums["1"][1], rel=1e-4)

    raw, _ = gradients()
    with_penalty, _ = gradients(l1={"0": 0.1}, l2={"1": 0.2})
    np.testing.assert_allclose(with_penalty[0], raw[0] + 0.1 * np.sign(w1), atol=1e-6)
    np.testing.assert_allclose(with_penalty[2], raw[2] + 0.4 * w2, atol=1e-6)
    np.testing.assert_allclose(with_penalty[1], raw[1], atol=1e-6)
    history = nv.Trainer(net(), "cross_entropy", l2=0.1).fit(X, Y, batch_size=50).history
    assert history["loss"][0] == pytest.approx(
        plain + 0.1 * (sums["1"][1] + sums["2"][1]), rel=1e-4
    )


def test_schedules_by_step_and_by_epoch() -> None:
    model = net()
    optimizer = sgd(model, 1.0)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    trainer = nv.Trainer(model, "cross_entropy", optimizer, scheduler=schedule)
    history = trainer.fit(X, Y, batch_size=25, epochs=3)
    assert history.history["learning_rate"] == [1.0, 0.5, 0.25]
    model = net()
    optimizer = sgd(model, 1.0)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    rates: list[float] = []
    watch = LambdaCallback(
        on_gradients=lambda b, logs=None: rates.append(optimizer.param_groups[0]["lr"])
    )
    nv.Trainer(model, "cross_entropy", optimizer, scheduler=schedule, scheduler_step="step").fit(
        X, Y, batch_size=25, epochs=2, callbacks=watch
    )
    assert rates == [1.0, 0.5, 0.25, 0.125]


@pytest.mark.parametrize("validated", [False, True])
def test_plateau_schedules_watch_the_loss(validated: bool) -> None:
    model = net()
    optimizer = sgd(model, 0.0)  # nothing ever improves
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    seen: list[float] = []
    original = schedule.step
    schedule.step = lambda value: (seen.append(float(value)), original(value))  # type: ignore
    trainer = nv.Trainer(model, "cross_entropy", optimizer, scheduler=schedule)
    data = (X[:10], Y[:10]) if validated else None
    history = trainer.fit(X, Y, epochs=2, validation_data=data).history
    assert seen == history["val_loss" if validated else "loss"]


def test_averaged_weights() -> None:
    model, twin = net(), net()
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), ema_decay=0.75)
    after: list[list[np.ndarray]] = []
    watch = LambdaCallback(on_train_batch_end=lambda b, logs=None: after.append(weights(model)))
    history = trainer.fit(X, Y, batch_size=25, epochs=2, callbacks=watch, validation_data=(X, Y))
    expected = after[0]
    for step in after[1:]:
        expected = [0.75 * e + 0.25 * w for e, w in zip(expected, step, strict=True)]
    own = weights(model)
    assert all((a == b).all() for a, b in zip(own, after[-1], strict=True))
    for target, values in zip(twin.parameters(), expected, strict=True):
        target.detach().copy_(values)
    other = nv.Trainer(twin, "cross_entropy")
    np.testing.assert_allclose(trainer.predict(X), other.predict(X), rtol=1e-4, atol=1e-5)
    assert history.history["val_loss"][-1] == pytest.approx(other.evaluate(X, Y), rel=1e-5)
    assert all((a == b).all() for a, b in zip(weights(model), own, strict=True))
    assert trainer.average is not None
    trainer.average.copy_to_model()
    for p, values in zip(weights(model), expected, strict=True):
        np.testing.assert_allclose(p, values, rtol=1e-5, atol=1e-7)


def test_evaluation_leaves_modes_and_gradients_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    trainer = nv.Trainer(model, "cross_entropy")
    model.train()
    model.get_submodule("1").training = False
    assert trainer.evaluate(X, Y) == trainer.evaluate(X, Y)
    np.testing.assert_array_equal(trainer.predict(X), trainer.predict(X))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert nv.is_grad_enabled()
    assert all(p.grad is None for p in model.parameters())
