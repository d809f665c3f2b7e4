# SPDX-License-Identifier: BSD-3-Clause
"""Trainer: what it computes, against loops and formulas written out; what it takes and refuses."""

from __future__ import annotations

import doctest
import inspect
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import metrics, nn, optim
from nervure.callbacks import Callback, LambdaCallback
from nervure.data import ArrayDataset, DataLoader, Padded, SequenceDataset, Subset
from nervure.nn import functional as F
from nervure.optim import lr_scheduler
from nervure.train import trainer as trainer_module

X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)  # three classes


def net(outputs: int = 3, inputs: int = 4) -> nn.Sequential:
    nv.manual_seed(1)
    return nn.Sequential(nn.Linear(inputs, 8, activation="tanh"), nn.Linear(8, outputs))


def weights(model: nn.Module) -> list[np.ndarray]:
    return [np.array(p.numpy()) for p in model.parameters()]


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for name, p in a.state_dict().items():
        np.testing.assert_array_equal(p.numpy(), b.state_dict()[name].numpy(), err_msg=name)


def assert_close(a: nn.Module, b: nn.Module, rtol: float = 1e-5) -> None:
    for name, p in a.state_dict().items():
        np.testing.assert_allclose(
            p.numpy(), b.state_dict()[name].numpy(), rtol=rtol, atol=1e-6, err_msg=name
        )


def sgd(model: nn.Module, lr: float = 0.1, **more: Any) -> optim.SGD:
    return optim.SGD(model.parameters(), lr=lr, **more)


def test_the_example_of_the_docstring() -> None:
    failed, tried = doctest.testmod(trainer_module)
    assert tried
    assert not failed


# ---- fit -----------------------------------------------------------------------------------------


def test_fit_is_the_loop_one_would_write() -> None:
    model, twin = net(), net()
    trainer = nv.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), ["accuracy"])
    nv.manual_seed(7)
    history = trainer.fit(X, Y, batch_size=8, epochs=3)

    nv.manual_seed(7)
    loader = DataLoader(ArrayDataset(X, Y), 8, shuffle=True)
    optimizer = optim.Adam(twin.parameters())
    losses, accuracies = [], []
    for _ in range(3):
        total = hits = 0.0
        for x, y in loader:
            output = twin(x)
            loss = F.cross_entropy(output, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            hits += (output.numpy().argmax(1) == y.numpy()).sum()
        losses.append(total / 50)
        accuracies.append(hits / 50)
    assert_same(model, twin)
    assert history.history == {"loss": losses, "accuracy": accuracies}
    assert history.epoch == [0, 1, 2]
    assert history.params == {"epochs": 3, "steps": 7, "verbose": 0}
    assert trainer.step == 21
    assert not model.training
    assert trainer.history is history


def test_default_batch_size_and_optimizer() -> None:
    trainer = nv.Trainer(net(), "cross_entropy")
    assert trainer.fit(X, Y).params["steps"] == 2  # 32 and 18
    assert type(trainer.optimizer) is optim.Adam
    assert isinstance(trainer.loss, nn.CrossEntropyLoss)


def test_initial_epoch_counts_from_there() -> None:
    trainer = nv.Trainer(net(), "cross_entropy")
    assert trainer.fit(X, Y, initial_epoch=3, epochs=5).epoch == [3, 4]


def test_validation_split_takes_the_last_samples_before_shuffling() -> None:
    model = net()
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), ["accuracy"])
    nv.manual_seed(3)
    history = trainer.fit(X, Y, batch_size=8, epochs=2, validation_split=0.25)
    twin = net()
    other = nv.Trainer(twin, "cross_entropy", sgd(twin), ["accuracy"])
    nv.manual_seed(3)
    expected = other.fit(X[:37], Y[:37], batch_size=8, epochs=2, validation_data=(X[37:], Y[37:]))
    assert_same(model, twin)
    assert history.history == expected.history
    loss, accuracy = trainer.evaluate(X[37:], Y[37:], batch_size=8)
    assert history.history["val_loss"][-1] == loss
    assert history.history["val_accuracy"][-1] == accuracy
    assert history.params["steps"] == 5


def test_validation_data_of_all_kinds_and_frequencies() -> None:
    kinds: list[Any] = [
        (X, Y),
        [X, Y],
        (X, Y, np.ones(50)),
        ArrayDataset(X, Y),
        DataLoader(ArrayDataset(X, Y), 32),
    ]
    found = []
    for data in kinds:
        trainer = nv.Trainer(net(), "cross_entropy")
        nv.manual_seed(2)
        found.append(trainer.fit(X, Y, epochs=3, validation_data=data, validation_freq=2).history)
    for history in found:
        np.testing.assert_allclose(history["val_loss"], found[0]["val_loss"], rtol=1e-6)
    assert np.isnan(found[0]["val_loss"]).tolist() == [True, False, True]
    trainer = nv.Trainer(net(), "cross_entropy", metrics=["accuracy"])
    history = trainer.fit(
        X, Y, validation_data=(X, Y), validation_batch_size=5, validation_steps=2
    ).history
    expected = trainer.evaluate(X[:10], Y[:10], return_dict=True)
    assert history["val_accuracy"] == [expected["accuracy"]]
    np.testing.assert_allclose(history["val_loss"], [expected["loss"]], rtol=1e-6)


def pairs(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(count):
        rows = slice(10 * (i % 5), 10 * (i % 5) + 10)
        yield X[rows], Y[rows]


def sources() -> dict[str, Any]:
    dataset = ArrayDataset(X, Y)
    return {
        "arrays": ((X, Y), {"batch_size": 10, "shuffle": False}),
        "lists": ((X.tolist(), Y.tolist()), {"batch_size": 10, "shuffle": False}),
        "tensors": ((nv.tensor(X), nv.tensor(Y)), {"batch_size": 10, "shuffle": False}),
        "float64": (
            (X.astype(np.float64), Y.astype(np.uint8)),
            {"batch_size": 10, "shuffle": False},
        ),
        "dataset": ((dataset,), {"batch_size": 10, "shuffle": False}),
        "part": ((Subset(dataset, np.arange(50)),), {"batch_size": 10, "shuffle": False}),
        "loader": ((DataLoader(dataset, 10),), {}),
        "list of batches": ((Batches(),), {}),
        "generator": ((pairs(10),), {"steps_per_epoch": 5}),
        "endless": ((pairs(1000),), {"steps_per_epoch": 5}),
        "function": ((lambda: pairs(5),), {}),
        "loader by steps": ((DataLoader(dataset, 10),), {"steps_per_epoch": 5}),
    }


class Batches:
    """An iterable of batches without a length."""

    def __iter__(self) -> Iterator[Any]:
        return pairs(5)


@pytest.mark.parametrize("kind", sources())
def test_the_same_samples_train_the_same_wherever_they_come_from(kind: str) -> None:
    reference, model = net(), net()
    nv.Trainer(reference, "cross_entropy", sgd(reference)).fit(
        X, Y, batch_size=10, epochs=2, shuffle=False
    )
    args, options = sources()[kind]
    history = nv.Trainer(model, "cross_entropy", sgd(model)).fit(*args, epochs=2, **options)
    assert_same(model, reference)
    assert len(history.history["loss"]) == 2


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, left: nv.Tensor, right: nv.Tensor) -> nv.Tensor:
        return self.a(left) + self.b(right)


def test_several_inputs_and_inputs_by_name() -> None:
    models = []
    for x in ((X[:, :2], X[:, 2:]), {"right": X[:, 2:], "left": X[:, :2]}):
        nv.manual_seed(0)
        model = TwoInputs()
        trainer = nv.Trainer(model, "cross_entropy", sgd(model))
        trainer.fit(x, Y, epochs=2, validation_split=0.2)
        np.testing.assert_allclose(
            trainer.predict(x), model(nv.tensor(X[:, :2]), nv.tensor(X[:, 2:])).numpy(), rtol=1e-5
        )
        models.append(model)
    assert_same(*models)


def test_outputs_of_one_column_go_with_flat_targets(rng: np.random.Generator) -> None:
    target = X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32)
    model = net(1)
    trainer = nv.Trainer(model, "mse", optim.Adam(model.parameters(), 0.05), ["mae", "mse"])
    history = trainer.fit(X, target, epochs=60, batch_size=10)
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
    loss, mae, mse = trainer.evaluate(X, target)
    errors = trainer.predict(X)[:, 0] - target
    np.testing.assert_allclose(mae, np.abs(errors).mean(), rtol=1e-5)
    np.testing.assert_allclose([loss, mse], (errors**2).mean(), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool", "uint8"])
@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_binary_targets(dtype: str, shape: tuple[int, ...]) -> None:
    y = (Y > 0).astype(dtype).reshape(shape)
    model = net(1)
    trainer = nv.Trainer(
        model,
        "bce_with_logits",
        optim.Adam(model.parameters(), 0.02),
        ["accuracy", "f1", "roc_auc"],
    )
    found = trainer.fit(X, y, epochs=30, class_weight="balanced", validation_split=0.2).history
    assert found["val_accuracy"][-1] > 0.8
    logs = trainer.evaluate(X, y, return_dict=True)
    p = trainer.predict_proba(X)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-trainer.predict(X))), rtol=1e-5)
    labels = (p[:, 0] > 0.5).astype(int)
    assert logs["accuracy"] == (labels == (Y > 0)).mean()
    assert logs["f1"] == metrics.f1((Y > 0).astype(int), labels)
    assert logs["roc_auc"] == metrics.roc_auc((Y > 0).astype(int), p[:, 0])


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


# ---- sequences -----------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """h <- tanh(x W + h U); a row that has ended keeps its state."""

    def __init__(self, inputs: int = 2, hidden: int = 4, outputs: int = 3) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, outputs)
        self.calls: list[tuple[int, Any, Any]] = []

    def forward(self, x: nv.Tensor, state: Any = None, lengths: Any = None) -> Any:
        self.calls.append(
            (x.shape[1], None if lengths is None else lengths.tolist(), state is not None)
        )
        h = nv.zeros(x.shape[0], 4) if state is None else state
        outputs = []
        for t in range(x.shape[1]):
            new = (self.inner(x[:, t]) + self.outer(h)).tanh()
            if lengths is not None:
                goes_on = nv.tensor((lengths.numpy() > t)[:, None])
                new = nv.where(goes_on, new, h)
            h = new
            outputs.append(self.head(h))
        return nv.stack(outputs, 1), h


class LastStep(nn.Module):
    """Classifies a sequence by its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Recurrent()

    def forward(self, x: nv.Tensor, lengths: nv.Tensor) -> nv.Tensor:
        return self.body.head(self.body(x, lengths=lengths)[1])


def sequences(rng: np.random.Generator, steps: bool) -> tuple[list[Any], Any]:
    x = [rng.normal(size=(n, 2)).astype(np.float32) for n in rng.integers(1, 9, 12)]
    y = [rng.integers(0, 3, len(s)) for s in x] if steps else rng.integers(0, 3, 12)
    return x, y


def test_lengths_are_given_to_the_model(rng: np.random.Generator) -> None:
    x, y = sequences(rng, steps=False)
    lengths = np.array([len(s) for s in x])
    padded = np.full((12, 8, 2), 1e6, np.float32)  # to be ignored
    for row, s in zip(padded, x, strict=True):
        row[: len(s)] = s
    outputs = []
    for args, more in (
        ((padded, y), {"lengths": lengths}),
        ((SequenceDataset(x, y),), {}),
        (([(Padded(padded, lengths), y)].__iter__(),), {"steps_per_epoch": 1}),
    ):
        nv.manual_seed(0)
        model = LastStep()
        trainer = nv.Trainer(model, "cross_entropy", sgd(model), ["accuracy"])
        batch = {} if "steps_per_epoch" in more else {"batch_size": 12}
        trainer.fit(*args, **more, **batch, shuffle=False)
        outputs.append(trainer.predict(padded, lengths=lengths))
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        trainer.predict(SequenceDataset(x), batch_size=5), outputs[0], rtol=1e-4, atol=1e-6
    )


def test_models_that_take_no_lengths() -> None:
    trainer = nv.Trainer(net(), "cross_entropy")
    with pytest.raises(TypeError, match=r"forward\(\) of Sequential takes no lengths"):
        trainer.predict(np.zeros((2, 3, 4)), lengths=[1, 2])


def test_padding_of_targets_counts_neither_in_loss_nor_metrics(rng: np.random.Generator) -> None:
    x, y = sequences(rng, steps=True)
    model = Recurrent()
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), ["accuracy"], class_dim=-1)
    loss, accuracy = trainer.evaluate(SequenceDataset(x, y), batch_size=12)
    singles = [model(nv.tensor(s[None]))[0][0].numpy() for s in x]
    scores, labels = np.concatenate(singles), np.concatenate(y)
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    assert loss == pytest.approx(-log_p[np.arange(len(labels)), labels].mean(), rel=1e-5)
    assert accuracy == (scores.argmax(1) == labels).mean()
    # Batches of different lengths are joined, filled up with zeros.
    joined = trainer.predict(SequenceDataset(x), batch_size=5)
    assert joined.shape == (12, max(map(len, x)), 3)
    for row, single in zip(joined, singles, strict=True):
        np.testing.assert_allclose(row[: len(single)], single, rtol=1e-4, atol=1e-5)


def test_truncated_backpropagation(rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 7, 2)).astype(np.float32)
    y = rng.integers(0, 3, (6, 7))
    nv.manual_seed(0)
    model = Recurrent()
    nv.manual_seed(0)
    twin = Recurrent()
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), ["accuracy"], tbptt=3, class_dim=-1)
    history = trainer.fit(x, y, batch_size=6, epochs=2, shuffle=False)
    assert [call[0] for call in model.calls] == [3, 3, 1] * 2
    assert [call[2] for call in model.calls] == [False, True, True] * 2
    assert trainer.step == 6
    optimizer = sgd(twin)
    for epoch in range(2):
        state, total, hits = None, 0.0, 0
        for start in (0, 3, 6):
            part = slice(start, start + 3)
            out, state = twin(nv.tensor(x[:, part]), state)
            loss = F.cross_entropy(out.reshape(-1, 3), nv.tensor(y[:, part].reshape(-1)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = state.detach()
            total += loss.item() * out.shape[1] / 7
            hits += (out.numpy().argmax(-1) == y[:, part]).sum()
        assert history.history["loss"][epoch] == pytest.approx(total, rel=1e-6)
        assert history.history["accuracy"][epoch] == hits / 42
    assert_same(model, twin)


def test_truncated_backpropagation_with_lengths(rng: np.random.Generator) -> None:
    x, y = sequences(rng, steps=True)
    x[0], y[0] = rng.normal(size=(7, 2)).astype(np.float32), rng.integers(0, 3, 7)
    y[1][:] = -100
    model = Recurrent()
    before = weights(model)
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), tbptt=4, class_dim=-1)
    trainer.fit(SequenceDataset(x[:2], y[:2]), batch_size=2, shuffle=False)
    lengths = [len(s) for s in x[:2]]
    assert [call[1] for call in model.calls] == [
        [min(n, 4) for n in lengths],
        [max(n - 4, 0) for n in lengths],
    ]
    assert any((a != b).any() for a, b in zip(weights(model), before, strict=True))
    # Nothing to learn in the first stretch: the state goes on, and no update is made.
    early = [np.full(4, -100), np.full(1, -100)]
    late = [np.concatenate([e, v])[: len(s)] for e, v, s in zip(early, y, x, strict=False)]
    model.calls.clear()
    trainer.step = 0
    x2 = [np.zeros((6, 2), np.float32), np.zeros((5, 2), np.float32)]
    y2 = [np.array([-100] * 4 + [1, 2]), np.array([-100] * 4 + [0])]
    history = trainer.fit(SequenceDataset(x2, y2), batch_size=2, shuffle=False)
    assert [call[2] for call in model.calls] == [False, True]
    assert trainer.step == 1
    assert np.isfinite(history.history["loss"][0])
    assert late


def test_truncated_backpropagation_needs_time_and_state(rng: np.random.Generator) -> None:
    model = Recurrent()
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), tbptt=2, class_dim=-1)
    with pytest.raises(ValueError, match=r"tbptt needs inputs \(B, T, ...\) and targets"):
        trainer.fit(np.zeros((2, 4, 2)), np.zeros(2, int))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x: nv.Tensor, state: Any = None) -> nv.Tensor:
            return self.layer(x)

    plain = Plain()
    with pytest.raises(TypeError, match=r"returns \(output, state\), got Tensor"):
        nv.Trainer(plain, "cross_entropy", sgd(plain), tbptt=2, class_dim=-1).fit(
            np.zeros((2, 4, 2)), np.zeros((2, 4), int)
        )


def test_truncated_backpropagation_of_an_lstm(rng: np.random.Generator) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 8), nn.Linear(8, 3)

        def forward(self, x: nv.Tensor, state: Any = None, lengths: Any = None) -> Any:
            out, state = self.lstm(x, state, lengths)
            return self.head(out), state

    x, y = sequences(rng, steps=True)
    y = [(s[:, 0] > 0).astype(np.int64) for s in x]
    model = Tagger()
    trainer = nv.Trainer(
        model, "cross_entropy", optim.Adam(model.parameters(), 0.02), tbptt=3, class_dim=-1
    )
    history = trainer.fit(SequenceDataset(x, y), batch_size=4, epochs=20).history["loss"]
    assert history[-1] < 0.6 * history[0]


# ---- prediction ----------------------------------------------------------------------------------


def test_predictions_are_in_order_and_joined() -> None:
    model = net()
    trainer = nv.Trainer(model, "cross_entropy", metrics=["accuracy"])
    expected = model(nv.tensor(X)).numpy()
    for x, more in (
        (X, {}),
        (X, {"batch_size": 7}),
        (ArrayDataset(X, Y), {}),
        (DataLoader(ArrayDataset(X), 9), {}),
        ((b for b in np.array_split(X, 4)), {}),
    ):
        np.testing.assert_allclose(trainer.predict(x, **more), expected, rtol=1e-5, atol=1e-6)
    assert trainer.predict(X, batch_size=8, steps=2).shape == (16, 3)
    p = trainer.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert (p.argmax(1) == expected.argmax(1)).all()
    loss, accuracy = trainer.evaluate(X, Y)
    assert trainer.evaluate(X, Y, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert accuracy == (p.argmax(1) == Y).mean()
    assert loss == pytest.approx(-np.log(p[np.arange(50), Y]).mean(), rel=1e-5)
    plain = nv.Trainer(model, "cross_entropy")
    assert isinstance(plain.evaluate(X, Y), float)


def test_probabilities_by_loss() -> None:
    outputs = {
        "nll": nn.Sequential(net(), nn.LogSoftmax(-1)),
        "bce": nn.Sequential(net(), nn.Sigmoid()),
    }
    p = nv.Trainer(outputs["nll"], "nll").predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    trainer = nv.Trainer(outputs["bce"], F.binary_cross_entropy)
    np.testing.assert_array_equal(trainer.predict_proba(X), trainer.predict(X))
    with pytest.raises(ValueError, match="predict_proba needs a loss of classes"):
        nv.Trainer(net(), "mse").predict_proba(X)


def test_models_with_several_outputs() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 1)

        def forward(self, x: nv.Tensor) -> dict[str, nv.Tensor]:
            return {"class": self.a(x), "size": self.b(x)}

    def loss(output: Any, y: Any) -> nv.Tensor:
        return F.cross_entropy(output["class"], y["class"]) + F.mse_loss(output["size"], y["size"])

    model = Both()
    trainer = nv.Trainer(model, loss, sgd(model))
    y = {"class": Y, "size": X[:, :1]}
    history = trainer.fit(X, y, epochs=5).history["loss"]
    assert history[-1] < history[0]
    with pytest.raises(ValueError, match="metrics need a model with one output and one target"):
        nv.Trainer(model, loss, "sgd", ["accuracy"]).fit(X, y)
    found = trainer.predict(X, batch_size=20)
    assert found["class"].shape == (50, 3)
    assert found["size"].shape == (50, 1)


# ---- metrics -------------------------------------------------------------------------------------


def test_metrics_by_name_object_and_function() -> None:
    def share(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        assert y_true.shape == (50,)
        assert y_pred.shape == (50, 3)
        np.testing.assert_allclose(y_pred.sum(1), 1, rtol=1e-5)  # probabilities
        return float((y_pred.argmax(1) == y_true).mean())

    trainer = nv.Trainer(
        net(), "cross_entropy", metrics=["acc", metrics.F1("macro"), "recall_weighted", share]
    )
    found = trainer.evaluate(X, Y, batch_size=7, return_dict=True)
    labels = trainer.predict(X).argmax(1)
    assert list(found) == ["loss", "acc", "f1", "recall_weighted", "share"]
    assert found["acc"] == found["share"] == (labels == Y).mean()
    assert found["f1"] == metrics.f1(Y, labels, average="macro")
    named = nv.Trainer(net(), "cross_entropy", metrics={"hits": "accuracy"})
    assert named.evaluate(X, Y, return_dict=True)["hits"] == found["acc"]
    alone = nv.Trainer(net(), "cross_entropy", metrics="accuracy")
    assert alone.evaluate(X, Y)[1] == found["acc"]
    for bad, error, message in (
        (["accurate"], ValueError, r"metric must be one of acc, accuracy, .* got 'accurate'"),
        (["accuracy", metrics.Accuracy()], ValueError, "two metrics are called 'accuracy'"),
        ([3], TypeError, "must be a Metric or a name, got int"),
    ):
        with pytest.raises(error, match=message):
            nv.Trainer(net(), "cross_entropy", metrics=bad)


def test_metrics_of_training_are_those_of_its_own_outputs() -> None:
    """Many more samples than are counted at a time, and a metric that must see all of them."""
    x = np.tile(X, (100, 1))
    y = np.tile(Y, 100)
    model = net()
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def remember(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        seen.append((y_true, y_pred))
        return 0.0

    trainer = nv.Trainer(model, "cross_entropy", sgd(model, 0.0), ["accuracy", remember])
    history = trainer.fit(x, y, batch_size=64, shuffle=False).history
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0][0], y)
    assert history["accuracy"][0] == (seen[0][1].argmax(1) == y).mean()
    assert history["accuracy"][0] == trainer.evaluate(X, Y)[1]


# ---- Ctrl-C --------------------------------------------------------------------------------------


class Press(Callback):
    """Presses Ctrl-C at some batches, in the middle of an update."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.events: list[str] = []

    def on_gradients(self, batch: int, logs: Any = None) -> None:
        if self.trainer.step in self.steps:
            for _ in range(self.steps.count(self.trainer.step)):
                signal.raise_signal(signal.SIGINT)

    def on_interrupt(self, epoch: int, logs: Any = None) -> None:
        self.events.append(f"interrupt {epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.events.append(f"epoch {epoch}")

    def on_train_end(self, logs: Any = None) -> None:
        self.events.append("end")


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_ends_after_the_update_and_keeps_everything() -> None:
    model, twin = net(), net()
    press = Press(7)
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), ["accuracy"])
    history = trainer.fit(
        X, Y, batch_size=10, epochs=4, shuffle=False, callbacks=press, validation_data=(X, Y)
    )
    assert trainer.interrupted
    assert trainer.step == 8
    assert press.events == ["epoch 0", "interrupt 1", "end"]
    assert history.epoch == [0, 1]
    assert np.isfinite(history.history["loss"]).all()
    assert np.isnan(history.history["val_loss"]).tolist() == [False, True]
    other = nv.Trainer(twin, "cross_entropy", sgd(twin))
    other.fit(X, Y, batch_size=10, shuffle=False)
    other.fit(X[:30], Y[:30], batch_size=10, shuffle=False)
    assert_same(model, twin)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not trainer.fit(X, Y).epoch == []
    assert not trainer.interrupted


@pytest.mark.usefixtures("_ctrl_c")
def test_a_second_ctrl_c_stops_at_once() -> None:
    press = Press(3, 3)
    trainer = nv.Trainer(net(), "cross_entropy")
    history = trainer.fit(X, Y, batch_size=10, epochs=4, callbacks=press)
    assert trainer.interrupted
    assert trainer.step == 3
    assert press.events == ["end"]  # no whole state to keep in a file
    assert history.epoch == [0]


@pytest.mark.usefixtures("_ctrl_c")
def test_other_handlers_stay_in_charge() -> None:
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    trainer = nv.Trainer(net(), "cross_entropy")
    trainer.fit(X, Y, batch_size=10, callbacks=Press(2))
    assert pressed == [signal.SIGINT]
    assert not trainer.interrupted
    assert trainer.step == 5


def test_errors_come_out_and_leave_a_usable_trainer() -> None:
    trainer = nv.Trainer(net(), "cross_entropy")

    def fail(epoch: int, logs: Any) -> None:
        raise RuntimeError("from a callback")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="from a callback"):
        trainer.fit(X, Y, callbacks=LambdaCallback(on_epoch_end=fail))
    assert signal.getsignal(signal.SIGINT) is before
    assert len(trainer.fit(X, Y, epochs=2).epoch) == 2


# ---- what is shown -------------------------------------------------------------------------------


def test_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = nv.Trainer(net(), "cross_entropy", metrics=["accuracy"])
    trainer.fit(X, Y, epochs=2)
    trainer.predict(X)
    trainer.evaluate(X, Y)
    assert capsys.readouterr().out == ""  # no terminal
    for verbose in (1, 2):
        trainer.fit(X, Y, epochs=2, verbose=verbose, validation_data=(X, Y))
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
        for word in ("loss", "accuracy", "val_loss", "val_accuracy", "samples/s"):
            assert all(word in line for line in lines)
    with pytest.raises(ValueError, match="verbose must be 'auto', 0, 1 or 2, got 3"):
        trainer.fit(X, Y, verbose=3)


def test_the_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich.progress", None)  # the plain bar
    monkeypatch.setattr("nervure.callbacks.ProgressBar.interval", 0.0)
    monkeypatch.setattr("nervure.progress._Clock.interval", 0.0)
    trainer = nv.Trainer(net(), "cross_entropy")
    trainer.fit(X, Y, batch_size=5, epochs=2)
    shown = capsys.readouterr().out
    pictures = [part for part in shown.split("\r\x1b[K") if "[" in part]
    assert any("Epoch 2/2 [##########----------] loss" in p for p in pictures)
    assert any("samples/s  0:00 left" in p for p in pictures)
    trainer.predict(X, batch_size=5)
    assert "predict [##########----------]" in capsys.readouterr().out
    trainer.evaluate(X, Y, batch_size=5)
    assert "evaluate [##########----------]" in capsys.readouterr().out
    trainer.fit((pair for pair in pairs(5)), verbose=1)  # nobody knows how many
    assert "Epoch 1/1 [3] loss" in capsys.readouterr().out


def test_the_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, thing: Any) -> None:
            shown.append(repr(thing))

    class IPython:
        @staticmethod
        def get_ipython() -> Any:
            return type("Shell", (), {"kernel": object()})()

        class display:
            @staticmethod
            def display(thing: Any, display_id: bool) -> Handle:
                return Handle()

    monkeypatch.setitem(sys.modules, "IPython", IPython)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", IPython.display)  # type: ignore[arg-type]
    monkeypatch.setattr("nervure.callbacks.ProgressBar.interval", 0.0)
    monkeypatch.setattr("nervure.progress._Clock.interval", 0.0)
    nv.Trainer(net(), "cross_entropy").fit(X, Y, batch_size=5)
    assert any("[##########----------] loss" in s and "left" in s for s in shown)
    assert shown[-1] == ""


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": len}, TypeError, "model must be a Module, got builtin"),
        ({"loss": "entropy"}, ValueError, "loss must be one of bce, .*got 'entropy'"),
        ({"loss": 3}, TypeError, "loss must be a name or callable, got int"),
        ({"loss": nn.MSELoss(reduction="none")}, ValueError, "must have a reduction"),
        ({"optimizer": "adamax"}, ValueError, "optimizer must be one of adagrad"),
        ({"optimizer": 1}, TypeError, "must be an Optimizer or a name"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be positive"),
        ({"clip_value": -1.0}, ValueError, "clip_value must be positive"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, ValueError, "exclude each other"),
        ({"accumulation_steps": 0}, ValueError, "accumulation_steps must be a positive integer"),
        ({"tbptt": 1.5}, ValueError, "tbptt must be a positive integer"),
        ({"tbptt": 2, "accumulation_steps": 2}, ValueError, "exclude each other"),
        ({"scheduler": 1}, TypeError, "scheduler is a int"),
        ({"scheduler_step": "batch"}, ValueError, "must be 'epoch' or 'step'"),
        ({"class_dim": 2}, ValueError, "class_dim must be 1 or -1"),
        ({"ema_decay": 1.0}, ValueError, r"ema_decay must be in \[0, 1\)"),
        ({"l1": -1.0}, ValueError, "l1 must be finite and not negative"),
        ({"l2": {"2": 1.0}}, ValueError, "no module or parameter '2', it has 0.weight"),
    ],
)
def test_trainers_that_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        nv.Trainer(**{"model": net(), "loss": "mse", **options})


def test_schedules_that_are_refused() -> None:
    model = net()
    optimizer = sgd(model)
    with pytest.raises(ValueError, match="one of the trainer's optimizer"):
        nv.Trainer(model, "mse", scheduler=lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(ValueError, match="goes by epochs"):
        nv.Trainer(
            model,
            "mse",
            optimizer,
            scheduler=lr_scheduler.ReduceLROnPlateau(optimizer),
            scheduler_step="step",
        )


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((X,), {}, ValueError, "need targets"),
        ((X, Y[:3]), {}, ValueError, "x has 50, y has 3"),
        ((X, Y), {"epochs": 0}, ValueError, "epochs must be an integer from 1 on"),
        ((X, Y), {"validation_freq": 0}, ValueError, "validation_freq must be"),
        ((X, Y), {"batch_size": 0}, ValueError, "batch_size must be a positive integer"),
        ((X, Y), {"validation_split": 1.0}, ValueError, r"must be in \[0, 1\), got 1.0"),
        ((X, Y), {"validation_split": 0.999}, ValueError, "leaves a part empty"),
        ((ArrayDataset(X, Y),), {"validation_split": 0.5}, ValueError, "needs arrays"),
        ((ArrayDataset(X, Y), Y), {}, ValueError, "has its own targets and weights: no y"),
        ((DataLoader(ArrayDataset(X, Y)),), {"batch_size": 3}, ValueError, "no batch_size"),
        ((lambda: iter([(X, Y, Y, Y)]),), {}, ValueError, "got 4 parts"),
        ((lambda: iter([(X, Y[:2])]),), {}, ValueError, r"same number of samples, got \[2, 50\]"),
        ((lambda: iter([]),), {}, ValueError, "no batches to train with"),
        ((X, Y), {"class_weight": {}}, ValueError, "must not be empty"),
        ((X, Y), {"class_weight": {0: -1.0}}, ValueError, "finite and not negative"),
        ((X, Y), {"class_weight": "even"}, ValueError, "a dict or 'balanced', got 'even'"),
        ((lambda: iter([(X, Y)]),), {"class_weight": "balanced"}, ValueError, "all labels"),
        ((X, Y), {"callbacks": [1]}, TypeError, "callbacks must be Callbacks, got int"),
        ((X, Y), {"validation_data": (X,)}, ValueError, "validation_data must be"),
        ((5,), {}, TypeError, None),
    ],
)
def test_data_that_are_refused(
    args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str | None
) -> None:
    trainer = nv.Trainer(net(), "cross_entropy")
    with pytest.raises((error, ValueError) if message is None else error, match=message):
        trainer.fit(*args, **options)


def test_generators_that_end_too_soon() -> None:
    trainer = nv.Trainer(net(), "cross_entropy")
    with pytest.raises(ValueError, match="can be gone through once: give steps_per_epoch"):
        trainer.fit(pairs(5), epochs=2)
    with pytest.raises(ValueError, match="the data ran out after 5 batches"):
        trainer.fit(pairs(5), epochs=2, steps_per_epoch=4)
    assert len(trainer.fit(pairs(5)).epoch) == 1


def test_losses_that_cannot_be_weighted() -> None:
    trainer = nv.Trainer(net(), lambda output, y: F.cross_entropy(output, y))
    with pytest.raises(ValueError, match="need the loss of each sample"):
        trainer.fit(X, Y, sample_weight=np.ones(50))
    with pytest.raises(ValueError, match="the loss must give one number, got"):
        nv.Trainer(net(), lambda output, y: output).fit(X, Y)
    with pytest.raises(ValueError, match="class numbers"):
        nv.Trainer(net(1), "mse").fit(X, X[:, 0], class_weight={0: 1.0})
