# SPDX-License-Identifier: BSD-3-Clause
"""Trainer: what it computes, against loops and formulas written out; what it takes and refuses."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from trainings import X, Y, assert_same, net, pairs, sgd

import nervure as nv
from nervure import metrics, nn, optim
from nervure.callbacks import EarlyStopping
from nervure.data import ArrayDataset, DataLoader, Subset
from nervure.nn import functional as F
from nervure.optim import lr_scheduler
from nervure.train import trainer as trainer_module


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


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_one_sample_is_no_batch(method: str) -> None:
    trainer = nv.Trainer(net(), "cross_entropy")
    with pytest.raises(ValueError, match=r"one row per sample, got \(3,\) for a batch of 4"):
        getattr(trainer, method)(X[0])
    assert getattr(trainer, method)(X[:1]).shape == (1, 3)


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
        ({"optimizer": optim.Adam}, TypeError, r"got the class Adam \(its object is Adam"),
        ({"loss": nn.MSELoss}, TypeError, "got the class MSELoss"),
        ({"metrics": [metrics.F1]}, TypeError, "got the class F1"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be positive"),
        ({"clip_value": -1.0}, ValueError, "clip_value must be positive"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, ValueError, "exclude each other"),
        ({"accumulation_steps": 0}, ValueError, "accumulation_steps must be a positive integer"),
        ({"tbptt": 1.5}, ValueError, "tbptt must be a positive integer"),
        ({"tbptt": 2, "accumulation_steps": 2}, ValueError, "exclude each other"),
        ({"scheduler": 1}, TypeError, "scheduler must be an LRScheduler, got int"),
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
        ((X, Y), {"callbacks": 1}, TypeError, "callbacks must be Callbacks, got int"),
        ((X, Y), {"callbacks": EarlyStopping}, TypeError, "got the class EarlyStopping"),
        ((X, Y), {"epochs": "3"}, ValueError, "epochs must be an integer from 1 on, got '3'"),
        ((X, Y), {"lengths": [1, 2]}, ValueError, "x has 50, lengths has 2"),
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
