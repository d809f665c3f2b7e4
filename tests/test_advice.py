# SPDX-License-Identifier: BSD-3-Clause
"""Advice during training: planted faults are told, each once; sound trainings are let alone."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn, optim
from nervure.data import ArrayDataset, DataLoader, StandardScaler, WeightedRandomSampler
from nervure.nn import container
from nervure.train.advice import advisor
from nervure.train.advice.advisor import FAULTS

RNG = np.random.default_rng(0)
CLASSES = 5
CENTRES = RNG.normal(size=(CLASSES, 20))
Y = RNG.integers(0, CLASSES, 320)
X = (CENTRES[Y] + RNG.normal(size=(320, 20))).astype(np.float32)
SEQUENCES = RNG.normal(size=(192, 20, 6)).astype(np.float32)
SIGNS = (SEQUENCES[:, :, 0].sum(1) > 0).astype(int)
IMAGES = RNG.normal(size=(160, 1, 8, 8)).astype(np.float32)
BRIGHT = (IMAGES[:, 0, :4].mean((1, 2)) > 0).astype(int)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on the clock, and what may be seen is seen."""
    monkeypatch.setattr(advisor, "SHARE", math.inf)
    monkeypatch.setattr(advisor, "LATER_GAP", 2)
    monkeypatch.setattr(container, "_warned_of_bias", False)
    nv.manual_seed(0)


def mlp(activation: str = "relu", outputs: int = CLASSES, depth: int = 1) -> nn.Sequential:
    hidden = [nn.Linear(32, 32, activation=activation) for _ in range(depth)]
    return nn.Sequential(nn.Linear(20, 32, activation=activation), *hidden, nn.Linear(32, outputs))


def filled(model: nn.Module, value: float) -> nn.Module:
    for p in model.parameters():
        p.detach().fill_(value)
    return model


class Last(nn.Module):
    """The last output of a recurrent layer, classified."""

    def __init__(self, recurrent: Any, outputs: int = 2) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.out = nn.Linear(recurrent.hidden_size * (2 if recurrent.bidirectional else 1), outputs)

    def forward(self, x: Any) -> Any:
        return self.out(self.recurrent(x)[0][:, -1])


class Convolutions(nn.Module):
    """With batch norm, whose layers no Sequential holds."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(8, 8, 3, padding=1, activation="relu")
        self.out = nn.Linear(8 * 64, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.second(self.relu(self.norm(self.conv(x)))).flatten(1))


class Attention(nn.Module):
    """A Transformer over sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(16, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.encoder(self.inputs(x)).mean(1))


# ---- planted faults ------------------------------------------------------------------------------

Planted = tuple[nn.Module, Any, Any, dict[str, Any]]  # model, x, y, settings


def zeros() -> Planted:
    return filled(mlp(), 0.0), X, Y, {}


def equal_weights() -> Planted:
    return filled(mlp("tanh"), 0.1), X, Y, {}


def dead() -> Planted:
    model = mlp()
    model[1].bias.detach().fill_(-50.0)
    return model, X, Y, {}


def dead_channels() -> Planted:
    model = Convolutions(bias=False)
    model.norm.bias.detach().fill_(-50.0)
    return model, IMAGES, BRIGHT, {}


def saturated_units() -> Planted:
    return mlp("tanh"), X * 1000, Y, {}


def saturated_gates(layer: Any) -> Callable[[], Planted]:
    return lambda: (Last(layer(6, 16)), SEQUENCES * 1000, SIGNS, {})


def chaotic() -> Planted:
    model = Last(nn.RNN(6, 32))
    weight = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32)
    model.recurrent.weight_hh_l0.detach().copy_(nv.tensor(weight))
    return model, SEQUENCES, SIGNS, {}


def large_weights() -> Planted:
    model = mlp(depth=6)
    rng = np.random.default_rng(1)
    for p in model.parameters():
        if p.ndim > 1:
            p.detach().copy_(nv.tensor(rng.normal(size=tuple(p.shape)).astype(np.float32)))
    return model, X, Y, {}


def deep_sigmoids() -> Planted:
    return mlp("sigmoid", depth=9), X, Y, {}


def bias() -> Planted:
    return Convolutions(bias=True), IMAGES, BRIGHT, {}


def rare() -> Planted:
    return mlp(outputs=2), X, (np.arange(320) % 10 == 0).astype(int), {"metrics": ["accuracy"]}


def fast(rate: float, **settings: Any) -> Callable[[], Planted]:
    return lambda: (mlp(), X, Y, {"lr": rate, **settings})


def regression_too_fast() -> Planted:
    model = nn.Sequential(nn.Linear(20, 32, activation="relu"), nn.Linear(32, 1))
    return model, X, X[:, 0], {"lr": 1.0, "clip_value": None, "loss": "mse"}


def softmax() -> Planted:
    return nn.Sequential(*mlp(), nn.Softmax(1)), X, Y, {}


def sigmoid() -> Planted:
    model = nn.Sequential(*mlp(outputs=1), nn.Sigmoid())
    return model, X, Y % 2, {"loss": "bce_with_logits"}


PLANTED: list[tuple[str, str, Callable[[], Planted]]] = [
    ("symmetric", r"symmetric weights: the units of '0.weight'", zeros),
    ("symmetric", r"symmetric weights: .* nn.init", equal_weights),
    ("dead_relus", r"dead ReLUs: 32 of the 32 units of Linear '1' .* LeakyReLU", dead),
    ("dead_relus", r"dead ReLUs: 8 of the 8 units of ReLU 'relu'", dead_channels),
    ("saturated", r"saturated units: .* Linear '0' .* Standardise", saturated_units),
    ("saturated", r"saturated gates: .* LSTM 'recurrent'", saturated_gates(nn.LSTM)),
    ("saturated", r"saturated gates: .* GRU 'recurrent'", saturated_gates(nn.GRU)),
    ("saturated", r"saturated units: .* RNN 'recurrent'", saturated_gates(nn.RNN)),
    ("exploding", r"exploding gradients: .*clip_norm=1", chaotic),
    ("exploding", r"exploding gradients: .* smaller weights", large_weights),
    ("vanishing", r"vanishing gradients: '0.weight' .* ReLU or GELU", deep_sigmoids),
    ("bias_before_norm", r"bias before batch norm: that of Conv2d 'conv' .* bias=False", bias),
    ("imbalance", r"class imbalance: 90% of the labels are 0.*class_weight='balanced'", rare),
    ("diverging", r"diverges: the loss grew from 1\.\d* to .* divide it by 10", fast(30.0)),
    ("diverging", r"diverges: the loss is (nan|inf)", fast(1e30, clip_value=None)),
    ("diverging", r"diverges: the loss (grew|is)", regression_too_fast),
    ("softmax_twice", r"softmax applied before cross-entropy: .* Leave the softmax out", softmax),
    ("softmax_twice", r"sigmoid applied before the loss: .* Leave the sigmoid out", sigmoid),
]


def trainer_of(planted: Planted, **more: Any) -> nv.Trainer:
    model, _, _, settings = planted
    settings = {"loss": "cross_entropy", **settings, **more}
    rate = settings.pop("lr", None)
    parameters = model.parameters()
    made = optim.Adam(parameters) if rate is None else optim.SGD(parameters, lr=rate)
    return nv.Trainer(model, settings.pop("loss"), made, **settings)


def told(trainer: nv.Trainer, x: Any, y: Any, **options: Any) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(x, y, **{"batch_size": 32, "epochs": 2, **options})
    return caught


@pytest.mark.parametrize(("name", "text", "plant"), PLANTED, ids=[p[0] for p in PLANTED])
def test_each_fault_is_told_once_with_its_cure(
    name: str, text: str, plant: Callable[[], Planted]
) -> None:
    planted = plant()
    trainer = trainer_of(planted)
    caught = told(trainer, *planted[1:3])
    assert [w.category for w in caught] == [nv.TrainingWarning], [str(w.message) for w in caught]
    assert caught[0].filename == __file__  # the line that trains
    assert re.search(text, str(caught[0].message))
    assert len(trainer.warnings) == 1  # for the report
    assert trainer.warnings[0] in str(caught[0].message)
    assert told(trainer, *planted[1:3], epochs=1) == []


def test_every_fault_is_planted() -> None:
    assert {name for name, _, _ in PLANTED} == {*FAULTS, "imbalance"}


@pytest.mark.parametrize(("name", "text", "plant"), PLANTED, ids=[p[0] for p in PLANTED])
def test_without_advice_nothing_is_said(name: str, text: str, plant: Callable[[], Planted]) -> None:
    planted = plant()
    assert told(trainer_of(planted, advice=False), *planted[1:3], epochs=1) == []


# ---- sound trainings -----------------------------------------------------------------------------


class Residual(nn.Module):
    """A branch whose last layer begins with zeros, as is usual."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(20, 32)
        self.branch = nn.Sequential(nn.Linear(32, 32, activation="relu"), nn.Linear(32, 32))
        filled(self.branch[1], 0.0)
        self.out = nn.Linear(32, CLASSES)

    def forward(self, x: Any) -> Any:
        x = self.inputs(x)
        return self.out(x + self.branch(x))


class Words(nn.Module):
    """The next of some words, with a table whose gradient is row-sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.recurrent = nn.GRU(16, 16)
        self.out = nn.Linear(16, 50)

    def forward(self, x: Any, state: Any = None) -> Any:
        y, state = self.recurrent(self.table(x), state)
        return self.out(y), state


def open_gates() -> nn.Module:
    """An LSTM that begins by remembering everything."""
    model = Last(nn.LSTM(6, 16))
    model.recurrent.bias_ih_l0.detach()[16:32].fill_(6.0)
    return model


XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
WORDS = RNG.integers(0, 50, (64, 21))

SOUND: dict[str, Callable[[], tuple[Any, ...]]] = {
    "mlp": lambda: (mlp(), X, Y, {"epochs": 20, "metrics": ["accuracy"]}),
    "mlp, pixels": lambda: (mlp(), X * 80 + 127, Y, {"epochs": 5}),
    "mlp, sgd": lambda: (mlp(), X, Y, {"epochs": 20, "lr": 0.1}),
    "mlp, fast": lambda: (mlp(), X, Y, {"epochs": 20, "lr": 0.5}),
    "tanh": lambda: (mlp("tanh", depth=3), X, Y, {"epochs": 10}),
    "sigmoid": lambda: (mlp("sigmoid", depth=2), X, Y, {"epochs": 10}),
    "logistic": lambda: (filled(nn.Linear(20, CLASSES), 0.0), X, Y, {"epochs": 10}),
    "residual": lambda: (Residual(), X, Y, {"epochs": 5}),
    "regression": lambda: (mlp(outputs=1), X, X[:, 0], {"loss": "mse", "epochs": 20}),
    "small targets": lambda: (mlp(outputs=1), X, X[:, 0] * 1e-3, {"loss": "mse"}),
    "large targets": lambda: (mlp(outputs=1), X, X[:, 0] * 1e5, {"loss": "mse"}),
    "sum": lambda: (mlp(outputs=20), X, X, {"loss": nn.MSELoss(reduction="sum")}),
    "xor": lambda: (
        nn.Sequential(nn.Linear(2, 4, activation="tanh"), nn.Linear(4, 1)),
        *(XOR, np.array([0, 1, 1, 0])),
        {"loss": "bce_with_logits", "epochs": 300, "lr": 1.0},
    ),
    "probabilities": lambda: (
        nn.Sequential(nn.Linear(2, 4, activation="sigmoid"), nn.Linear(4, 1), nn.Sigmoid()),
        *(XOR, np.array([0, 1, 1, 0])),
        {"loss": "bce", "epochs": 300, "lr": 1.0},
    ),
    "cnn with batch norm": lambda: (Convolutions(bias=False), IMAGES, BRIGHT, {"epochs": 4}),
    "rnn": lambda: (Last(nn.RNN(6, 16)), SEQUENCES, SIGNS, {"epochs": 4}),
    "lstm": lambda: (Last(nn.LSTM(6, 16)), SEQUENCES, SIGNS, {"epochs": 4}),
    "open gates": lambda: (open_gates(), SEQUENCES, SIGNS, {"epochs": 2}),
    "two layers": lambda: (
        Last(nn.GRU(6, 16, num_layers=2, bidirectional=True)),
        *(SEQUENCES, SIGNS, {"epochs": 3}),
    ),
    "words": lambda: (Words(), WORDS[:, :-1], WORDS[:, 1:], {"class_dim": -1, "epochs": 3}),
    "stretches": lambda: (Words(), WORDS[:, :-1], WORDS[:, 1:], {"class_dim": -1, "tbptt": 7}),
    "groups": lambda: (mlp(), X, Y, {"accumulation_steps": 3, "epochs": 4}),
    "transformer": lambda: (Attention(), SEQUENCES, SIGNS, {"epochs": 4}),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_trainings_are_left_in_peace(name: str) -> None:
    model, x, y, settings = SOUND[name]()
    epochs = settings.pop("epochs", 2)
    kinds = [type(module) for module in model.modules()]
    trainer = trainer_of((model, x, y, settings))
    assert [str(w.message) for w in told(trainer, x, y, epochs=epochs)] == []
    losses = trainer.history.history["loss"]
    assert losses[-1] < losses[0]  # it is sound
    assert [type(module) for module in model.modules()] == kinds  # nobody listens any more


def test_looking_changes_nothing() -> None:
    states = []
    for advice in (True, False):
        nv.manual_seed(3)
        model = nn.Sequential(*mlp(), nn.Dropout(0.5))
        settings: dict[str, Any] = {"metrics": ["accuracy"], "advice": advice}
        trainer = trainer_of((model, X, Y, settings))
        trainer.fit(X, Y, epochs=3)
        states.append((trainer.history.history, model.state_dict(), nv._core.rng_state()))
    assert states[0][0] == states[1][0]
    assert states[0][2] == states[1][2]
    for name, value in states[0][1].items():
        np.testing.assert_array_equal(value.numpy(), states[1][1][name].numpy())


def test_a_table_keeps_its_sparse_gradient() -> None:
    model = Words()
    seen = []
    watch = nv.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            nv._core.row_gradient(model.table.weight) is not None
        )
    )
    trainer = nv.Trainer(model, "cross_entropy", class_dim=-1)
    trainer.fit(WORDS[:, :-1], WORDS[:, 1:], callbacks=watch)
    assert seen == [True, True]


# ---- single faults -------------------------------------------------------------------------------

RARE = (np.arange(320) % 10 == 0).astype(int)


def test_imbalance_that_is_dealt_with_is_not_told() -> None:
    def said(x: Any = X, y: Any = RARE, metrics: Any = "accuracy", **options: Any) -> int:
        trainer = nv.Trainer(mlp(outputs=2), "cross_entropy", metrics=metrics)
        return len(told(trainer, x, y, epochs=1, **options))

    data = ArrayDataset(X, RARE)
    assert said() == said(data, None) == 1
    assert said(DataLoader(data, 32, shuffle=True), None, batch_size=None) == 1
    sampler = WeightedRandomSampler.balanced(RARE)
    assert said(DataLoader(data, 32, sampler=sampler), None, batch_size=None) == 0
    assert said(class_weight="balanced") == said(sample_weight=np.ones(320)) == 0
    assert said(metrics=["accuracy", "f1_macro"]) == said(metrics=None) == 0
    assert said(y=Y % 2) == 0  # no class is rare
    assert said(X[:40], RARE[:40]) == 0  # a few labels say little
    assert said((b for b in DataLoader(data, 32)), None, batch_size=None) == 0  # not known


def test_imbalance_of_other_labels() -> None:
    def said(model: nn.Module, loss: str, x: Any, y: Any, **options: Any) -> int:
        trainer = nv.Trainer(model, loss, metrics=["accuracy"], **options)
        return len(told(trainer, x, y, epochs=1))

    assert said(mlp(outputs=1), "bce_with_logits", X, RARE.astype(np.float32)) == 1
    assert said(mlp(outputs=2), "cross_entropy", X, np.eye(2, dtype=np.float32)[RARE]) == 1
    smooth = np.eye(2, dtype=np.float32)[Y % 2] * 0.9 + 0.05
    assert said(mlp(outputs=2), "cross_entropy", X, smooth) == 0
    tags = np.full((64, 20), -100)
    tags[:, :10] = np.arange(10) == 0
    assert said(Words(), "cross_entropy", WORDS[:, :-1], tags, class_dim=-1) == 1
    tags[:, :10] = np.arange(10) % 2  # padding is no class
    assert said(Words(), "cross_entropy", WORDS[:, :-1], tags, class_dim=-1) == 0


def test_data_that_are_no_numbers_are_not_the_learning_rate() -> None:
    x = X.copy()
    x[100, 3] = np.nan
    assert told(trainer_of((mlp(), x, Y, {})), x, Y) == []


def test_the_container_told_of_the_bias_first() -> None:
    with pytest.warns(UserWarning, match="has no effect"):
        norm = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.Linear(16, CLASSES))
    assert told(trainer_of((norm, X, Y, {})), X, Y) == []


def test_probabilities_for_binary_cross_entropy_may_come_by_chance() -> None:
    model = mlp(outputs=1)
    model[-1].bias.detach().fill_(0.5)
    filled_weight = model[-1].weight.detach()
    filled_weight.copy_(filled_weight * 1e-3)  # logits, all in (0, 1)
    assert told(trainer_of((model, X, Y % 2, {"loss": "bce_with_logits"})), X, Y % 2) == []


def test_units_that_die_later_are_seen() -> None:
    model = mlp()

    def kill(epoch: int, logs: Any) -> None:
        if epoch == 2:
            model[0].bias.detach().fill_(-50.0)

    trainer = trainer_of((model, X, Y, {}))
    caught = told(trainer, X, Y, epochs=6, callbacks=nv.callbacks.LambdaCallback(on_epoch_end=kill))
    assert ["dead ReLUs" in str(w.message) for w in caught] == [True]


def test_advice_can_be_made_an_error() -> None:
    planted = softmax()
    with warnings.catch_warnings():
        warnings.simplefilter("error", nv.TrainingWarning)
        with pytest.raises(nv.TrainingWarning, match="softmax"):
            trainer_of(planted).fit(X, Y)
    assert type(planted[0][0]) is nn.Linear


# ---- what it costs -------------------------------------------------------------------------------


def test_looking_takes_its_share_of_the_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisor, "SHARE", 0.01)
    now, looks = [0.0], []
    monkeypatch.setattr(advisor.time, "perf_counter", lambda: now[0])
    look = advisor.Sight

    def costly(*args: Any) -> Any:
        now[0] += 0.5
        looks.append(now[0])
        return look(*args)

    monkeypatch.setattr(advisor, "Sight", costly)

    def one_step(batch: int, logs: Any) -> None:
        now[0] += 0.1

    trainer = trainer_of((mlp(), X, Y, {}))
    step = nv.callbacks.LambdaCallback(on_train_batch_end=one_step)
    trainer.fit(X, Y, batch_size=32, epochs=300, callbacks=step)
    assert trainer.step == 3000
    assert looks[0] == 0.5  # the first update is looked at in any case
    assert 5 <= len(looks) <= 8
    assert len(looks) * 0.5 <= 0.01 * now[0] + 0.5 * 2


def test_scaled_inputs_are_the_cure() -> None:
    x = StandardScaler().fit(X * 1000).transform(X * 1000)
    assert told(trainer_of((mlp("tanh"), x, Y, {})), x, Y) == []
