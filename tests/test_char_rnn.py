# SPDX-License-Identifier: BSD-3-Clause
"""The language model of characters: its scores, its state, and what it writes."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import nervure as nv
from nervure import models, optim
from nervure.models import GPT, CharRNN, char_rnn
from nervure.nn import functional as F

CELLS = ["lstm", "gru", "rnn"]


def tokens(*shape, high=11):
    return nv.tensor(np.random.default_rng(0).integers(0, high, shape))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_dim", [None, 5])
def test_scores_are_those_of_the_layers(cell, embedding_dim):
    model = CharRNN(11, 7, 2, cell=cell, embedding_dim=embedding_dim)
    x = tokens(3, 6)
    scores, _ = model(x)
    one_hot = nv.tensor(np.eye(11, dtype=np.float32)[x.numpy()])
    vectors = one_hot if embedding_dim is None else one_hot @ model.embedding.weight
    expected = model.output(model.rnn(vectors)[0])
    np.testing.assert_allclose(scores.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    scores.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_state_goes_on_from_stretch_to_stretch_and_step_to_step(cell):
    model = CharRNN(11, 8, 2, cell=cell, embedding_dim=4).eval()
    x = tokens(2, 9)
    whole, _ = model(x)
    first, state = model(x[:, :4])
    second, _ = model(x[:, 4:], state)
    np.testing.assert_array_equal(nv.cat([first, second], 1).numpy(), whole.numpy())
    state = None
    for t in range(9):
        scores, state = model.step(x[:, t], state)
        np.testing.assert_allclose(scores.numpy(), whole.numpy()[:, t], rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_only():
    model = CharRNN(11, 32, 2, dropout=0.5)
    x = tokens(2, 9)
    assert (model(x)[0].numpy() != model(x)[0].numpy()).any()
    model.eval()
    np.testing.assert_array_equal(model(x)[0].numpy(), model(x)[0].numpy())
    CharRNN(11, 8, 1, dropout=0.5)  # one layer: no warning, it acts before the scores


def test_it_learns_and_writes_a_cycle():
    nv.manual_seed(0)
    cycle = np.arange(11 * 40) % 11
    streams = cycle.reshape(4, -1)
    model = CharRNN(11, 24, cell="gru")
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    state = None
    for step in range(40):
        at = step % 8 * 13
        x, y = streams[:, at : at + 13], streams[:, at + 1 : at + 14].reshape(-1)
        state = None if at == 0 else state.detach()
        optimizer.zero_grad()
        scores, state = model(nv.tensor(x.copy()), state)
        F.cross_entropy(scores.reshape(-1, 11)[: len(y)], nv.tensor(y.copy())).backward()
        optimizer.step()
    model.train()
    written = model.generate(nv.tensor([[3, 4], [9, 10]]), 20, temperature=None)
    expected = (np.array([[3], [9]]) + np.arange(22)) % 11
    np.testing.assert_array_equal(written.numpy(), expected)
    assert model.training
    likely = model.generate(nv.tensor([[3, 4]]), 20, temperature=0.1)
    np.testing.assert_array_equal(likely.numpy(), expected[:1])


def test_temperature_and_top_k():
    nv.manual_seed(0)
    model = CharRNN(11, 8)
    for p in model.parameters():
        p.detach().fill_(0.0)
    model.output.bias.numpy()[:] = np.log([8, 4, 2, 1e-4, *[1e-6] * 7])
    start = nv.tensor(np.zeros((2000, 1), np.int64))

    def shares(**settings):
        drawn = model.generate(start, 3, **settings).numpy()[:, 1:]
        return np.bincount(drawn.ravel(), minlength=11) / drawn.size

    np.testing.assert_allclose(shares()[:3], np.array([8, 4, 2]) / 14, atol=0.03)
    np.testing.assert_allclose(shares(temperature=0.5)[:3], np.array([64, 16, 4]) / 84, atol=0.03)
    np.testing.assert_allclose(shares(top_k=2)[:3], [2 / 3, 1 / 3, 0], atol=0.03)
    assert shares(temperature=None)[0] == 1
    nv.manual_seed(5)
    first = model.generate(start, 3).numpy()
    nv.manual_seed(5)
    np.testing.assert_array_equal(model.generate(start, 3).numpy(), first)


def test_trainer_carries_the_state():
    nv.manual_seed(0)
    model = CharRNN(11, 16, embedding_dim=4)
    x = (np.arange(25) + np.arange(0, 88, 11)[:, None] // 11) % 11
    trainer = nv.Trainer(
        model, "cross_entropy", optim.Adam(model.parameters(), lr=0.03), ["accuracy"],
        tbptt=6, class_dim=-1,
    )  # fmt: skip
    history = trainer.fit(x[:, :-1], x[:, 1:], batch_size=8, epochs=15, verbose=0)
    assert trainer.step == 60
    assert history.history["accuracy"][-1] > 0.99


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "transformer"}, "cell must be"),
        ({"vocab_size": 0}, "vocab_size = 0"),
        ({"embedding_dim": 0}, "embedding_dim = 0"),
        ({"hidden_size": 0}, "hidden_size >= 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        CharRNN(**{"vocab_size": 5, **settings})


@pytest.mark.parametrize("model", [CharRNN(5, 4), GPT(5, 8, d_model=4, nhead=1, num_layers=1)])
@pytest.mark.parametrize(
    ("prompt", "length", "settings", "message"),
    [
        ([[]], 3, {}, "1 or more tokens"),
        ([1, 2], 3, {}, "1 or more tokens"),
        ([[1]], -1, {}, "length of 0"),
        ([[1]], 3, {"temperature": 0.0}, "temperature must be positive"),
        ([[1]], 3, {"top_k": 0}, "top_k must be at least 1"),
    ],
)
def test_generate_is_checked(model, prompt, length, settings, message):
    with pytest.raises(ValueError, match=message):
        model.generate(nv.tensor(np.array(prompt, np.int64)), length, **settings)
    with pytest.raises(TypeError, match="the prompt must be a Tensor, got list"):
        model.generate(prompt, length, **settings)


def test_nothing_to_add():
    prompt = tokens(2, 3, high=5)
    np.testing.assert_array_equal(CharRNN(5, 4).generate(prompt, 0).numpy(), prompt.numpy())


def test_docstring():
    assert models.CharRNN is char_rnn.CharRNN
    assert doctest.testmod(char_rnn).failed == 0
