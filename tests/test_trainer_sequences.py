# SPDX-License-Identifier: BSD-3-Clause
"""Trainer on sequences: lengths, padding, truncated backpropagation through time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from trainings import assert_same, net, sgd, weights

import nervure as nv
from nervure import nn, optim
from nervure.data import Padded, SequenceDataset
from nervure.nn import functional as F

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


def test_exact_match_is_that_of_whole_sequences(rng: np.random.Generator) -> None:
    x = [rng.normal(size=(n, 2)).astype(np.float32) for n in (1, 2, 3, 3)]
    model = Recurrent()
    y = [model(nv.tensor(s[None]))[0][0].argmax(1).numpy() for s in x]  # all that it gives
    y[2] = (y[2] + np.array([0, 1, 0])) % 3  # but for one step of one sequence
    trainer = nv.Trainer(
        model, "cross_entropy", sgd(model), ["exact_match", "accuracy"], class_dim=-1
    )
    found = trainer.evaluate(SequenceDataset(x, y), batch_size=3, return_dict=True)
    assert (found["exact_match"], found["accuracy"]) == (0.75, 8 / 9)
    images = nv.Trainer(nn.Identity(), "cross_entropy", sgd(model), ["exact_match"])
    scores = np.eye(3)[[[0, 1], [2, 1]]].transpose(0, 2, 1)  # (N, C, T)
    assert images.evaluate(scores, np.array([[0, 1], [2, 2]]))[1] == 0.5
    soft = np.eye(3, dtype=np.float32)[[[0, 1], [2, 2]]]  # (N, T, C), probabilities
    assert images.evaluate(scores, soft.transpose(0, 2, 1))[1] == 0.5
    steps = nv.Trainer(nn.Identity(), "cross_entropy", sgd(model), ["exact_match"], class_dim=-1)
    assert steps.evaluate(scores.transpose(0, 2, 1), soft)[1] == 0.5
    with pytest.raises(ValueError, match="exact_match needs whole sequences"):
        nv.Trainer(model, "cross_entropy", metrics=["exact_match"], tbptt=2, class_dim=-1)


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
