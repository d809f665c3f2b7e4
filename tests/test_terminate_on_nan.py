# SPDX-License-Identifier: BSD-3-Clause
"""TerminateOnNaN: it names the layer and the samples where the first infinity or NaN arose."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn, optim
from nervure.callbacks import TerminateOnNaN
from nervure.data import ArrayDataset, DataLoader

# ---- TerminateOnNaN ------------------------------------------------------------------------------


class Fragile(nn.Module):
    """log(x) in the middle: minus infinity at 0, NaN below."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1)
        self.log = Log()
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(1, 1)

    def forward(self, x: nv.Tensor) -> nv.Tensor:
        return self.last(self.drop(self.log(self.first(x))))


class Log(nn.Module):
    def forward(self, x: nv.Tensor) -> nv.Tensor:
        return x.log()


def fragile(dropout: float = 0.0) -> Fragile:
    nv.manual_seed(0)
    model = Fragile(dropout)
    model.first.weight.fill_(1.0)
    model.first.bias.fill_(0.0)
    return model


POSITIVE = np.arange(1.0, 31.0, dtype=np.float32)[:, None]


def run_until_nan(model: nn.Module, x: Any, y: Any, **more: Any) -> tuple[Any, nv.Trainer]:
    guard = TerminateOnNaN()
    options = {"batch_size": 5, "epochs": 4, **more}
    trainer = nv.Trainer(model, "mse", optim.SGD(model.parameters(), lr=1e-4))
    with pytest.warns(RuntimeWarning, match=r"\[TerminateOnNaN\] infinity or NaN first arose"):
        trainer.fit(x, y, callbacks=guard, **options)
    return guard.found, trainer


def test_the_layer_and_the_samples_are_named() -> None:
    x = POSITIVE.copy()
    x[[12, 13]] = [[0.0], [-3.0]]
    model = fragile()
    found, trainer = run_until_nan(model, x, np.zeros(30), shuffle=False)
    assert found.what == "output"
    assert found.layer == "'log' (Log)"
    assert (found.step, found.epoch, found.batch) == (3, 0, 2)
    assert found.rows == [2, 3]
    assert found.samples == [12, 13]
    assert str(found) == (
        "infinity or NaN first arose in the output of 'log' (Log), at step 3 (epoch 1, batch 3), "
        "in row 2, 3 of the batch, sample 12, 13 of the data set"
    )
    assert trainer.step == 2
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())
    assert len(trainer.history.epoch) == 1


def test_samples_are_named_when_they_are_shuffled() -> None:
    x = POSITIVE.copy()
    x[17] = -1
    found, _ = run_until_nan(fragile(), x, np.zeros(30))
    assert found.samples == [17]
    loader = DataLoader(ArrayDataset(x, np.zeros(30)), 5, shuffle=True, seed=4)
    found, _ = run_until_nan(fragile(), loader, None, batch_size=None)
    assert found.samples == [17]
    batches = ((x[i : i + 5], np.zeros(5)) for i in range(0, 30, 5))
    found, _ = run_until_nan(fragile(), batches, None, batch_size=None, epochs=1)
    assert (found.rows, found.samples, found.batch) == ([2], None, 3)


def test_the_step_is_repeated_with_the_same_random_numbers() -> None:
    """Dropout comes first: a row that it drops does no harm, and must not be blamed."""

    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.log, self.last = nn.Dropout(0.5), Log(), nn.Linear(1, 1)

        def forward(self, x: nv.Tensor) -> nv.Tensor:
            return self.last(self.log(self.drop(x) + 1.0))

    for seed in range(5):
        nv.manual_seed(seed)
        model = Dropped()
        seen: list[np.ndarray] = []
        model.drop.register_forward_hook(lambda m, args, out, to=seen: to.append(out.numpy()))
        found, _ = run_until_nan(model, -POSITIVE - 1, np.zeros(30), batch_size=30, shuffle=False)
        assert found.layer == "'log' (Log)"
        assert found.rows == np.flatnonzero(seen[0]).tolist()
        assert 0 < len(found.rows) < 30


def test_class_numbers_as_inputs() -> None:
    """No gradient reaches them: the samples are tried one by one."""

    class Looked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(nv.arange(30.0).reshape(30, 1))

        def forward(self, x: nv.Tensor) -> nv.Tensor:
            return self.table[x].sqrt()

    found, _ = run_until_nan(Looked(), np.arange(30)[::-1].copy(), np.ones(30), shuffle=False)
    assert (found.what, found.layer, found.samples) == ("gradient", "table", [29])


def test_inputs_parameters_losses_and_gradients() -> None:
    x = POSITIVE.copy()
    x[7] = np.inf
    found, _ = run_until_nan(fragile(), x, np.zeros(30), shuffle=False)
    assert (found.what, found.samples) == ("input", [7])
    assert "in the input" in str(found)

    model = fragile()
    model.last.bias.fill_(math.nan)
    found, _ = run_until_nan(model, POSITIVE, np.zeros(30))
    assert (found.what, found.layer, found.rows) == ("parameter", "last.bias", [])

    y = np.zeros(30)
    y[21] = np.nan
    found, _ = run_until_nan(fragile(), POSITIVE, y, shuffle=False)
    assert (found.what, found.samples) == ("loss", [21])
    assert "in the loss" in str(found)

    class Root(nn.Module):
        """The square root has an infinite slope at 0, where its value is 0."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(1, 1, bias=False)
            self.shift = nn.Linear(1, 1)

        def forward(self, x: nv.Tensor) -> nv.Tensor:
            return self.shift(self.scale(x).sqrt())

    model = Root()
    model.scale.weight.fill_(1.0)
    x = POSITIVE.copy()
    x[3] = 0
    found, trainer = run_until_nan(model, x, np.ones(30), shuffle=False)
    assert (found.what, found.layer, found.samples) == ("gradient", "scale.weight", [3])
    assert "in the gradient of 'scale.weight'" in str(found)
    assert trainer.step == 0


@pytest.mark.parametrize("bad", [2, 7, 12])
def test_the_batch_is_found_among_those_of_an_update(bad: int) -> None:
    x = POSITIVE.copy()
    x[bad] = -1
    model = fragile()
    guard = TerminateOnNaN()
    trainer = nv.Trainer(model, "mse", optim.SGD(model.parameters(), 1e-4), accumulation_steps=3)
    with pytest.warns(RuntimeWarning, match="first arose"):
        trainer.fit(x, np.zeros(30), batch_size=5, shuffle=False, callbacks=guard)
    assert guard.found is not None
    assert (guard.found.samples, guard.found.batch) == ([bad], bad // 5)


def test_sums_that_overflow_and_gradients_that_nearly_do() -> None:
    """Each batch has a finite gradient, both together have not; one alone is no alarm."""

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(nv.zeros(1))

        def forward(self, x: nv.Tensor) -> nv.Tensor:
            return x * self.weight

    def loss(output: nv.Tensor, y: nv.Tensor) -> nv.Tensor:
        return output.sum()

    x = np.full((2, 1), 3e38, np.float32)
    for batches, alarm in ((1, False), (2, True)):
        model = Steep()
        optimizer = optim.SGD(model.parameters(), lr=1e-38)
        trainer = nv.Trainer(model, loss, optimizer, accumulation_steps=batches)
        # The weights of the batches would halve their gradients.
        trainer._objective.reduction = "sum"
        guard = TerminateOnNaN()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(x[:batches], x[:batches], batch_size=1, callbacks=guard)
        assert (guard.found is not None) == alarm
    assert guard.found is not None
    assert (guard.found.what, guard.found.layer) == ("gradient", "all layers")


def test_a_healthy_training_is_not_changed() -> None:
    results = []
    for guards in ([], [TerminateOnNaN()]):
        model = fragile()
        trainer = nv.Trainer(model, "mse", optim.SGD(model.parameters(), 1e-3))
        nv.manual_seed(1)
        trainer.fit(POSITIVE, np.ones(30), epochs=3, batch_size=5, callbacks=guards)
        results.append(trainer.history.history["loss"])
    assert results[0] == results[1]
    assert np.isfinite(results[0]).all()
