# SPDX-License-Identifier: BSD-3-Clause
"""Encoder-decoders: learning a small task, lengths, decoding, scheduled sampling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import optim
from nervure.models import decoding
from nervure.models.generation import sequence_loss
from nervure.models.seq2seq import Seq2Seq
from nervure.models.transformer import TransformerSeq2Seq

KINDS: dict[str, Any] = {
    "plain": lambda: Seq2Seq(10, 10, embed_dim=16, hidden_size=32),
    "additive": lambda: Seq2Seq(10, 10, embed_dim=16, hidden_size=32, attention="additive"),
    "dot": lambda: Seq2Seq(10, 10, embed_dim=16, hidden_size=32, attention="dot"),
    "one direction, dot": lambda: Seq2Seq(
        10, 10, embed_dim=16, hidden_size=32, attention="dot", bidirectional=False
    ),
    "stacked LSTM, general": lambda: Seq2Seq(
        10, 10, embed_dim=16, hidden_size=32, attention="general", cell="lstm", num_layers=2
    ),
    "LSTM, additive": lambda: Seq2Seq(
        10, 10, embed_dim=16, hidden_size=32, attention="additive", cell="lstm"
    ),
    "Transformer": lambda: TransformerSeq2Seq(
        10, 10, d_model=32, nhead=2, dim_feedforward=64, dropout=0.0
    ),
    "Transformer, post-norm": lambda: TransformerSeq2Seq(
        10, 10, d_model=32, nhead=2, dim_feedforward=64, dropout=0.0, norm_first=False
    ),
}


def _reversals(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ragged sources, and their reversals that end with eos."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, count)
    source = np.zeros((count, 5), np.int64)
    target = np.zeros((count, 6), np.int64)
    for i, n in enumerate(lengths):
        source[i, :n] = rng.integers(3, 10, n)
        target[i, :n] = source[i, :n][::-1]
        target[i, n] = 2
    return source, target, lengths


@pytest.mark.parametrize("kind", ["additive", "stacked LSTM, general", "Transformer"])
def test_learns_to_reverse(kind: str) -> None:
    nv.manual_seed(0)
    model = KINDS[kind]()
    optimizer = optim.Adam(model.parameters(), lr=1e-2 if kind != "Transformer" else 3e-3)
    for step in range(400):
        source, target, lengths = map(nv.tensor, _reversals(64, step))
        optimizer.zero_grad()
        model.loss(source, target, lengths, lengths + 1).backward()
        optimizer.step()
    source, target, lengths = _reversals(100, 9999)
    for method in ("greedy", "beam"):
        result = model.generate(nv.tensor(source), nv.tensor(lengths), 8, method=method)
        right = [
            result.lengths[i] == n and (result.tokens[i, :n] == target[i, :n]).all()
            for i, n in enumerate(lengths)
        ]
        assert np.mean(right) > 0.85, method


@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_the_whole(kind: str) -> None:
    nv.manual_seed(1)
    model = KINDS[kind]()
    model.eval()
    source, target, lengths = map(nv.tensor, _reversals(4))
    whole = model(source, target, lengths).numpy()
    state = model.start(source, lengths)
    inputs = model.shifted(target).numpy()
    for t in range(target.shape[1]):
        logits, state = model.step(nv.tensor(inputs[:, t].copy()), state)
        np.testing.assert_allclose(logits.numpy(), whole[:, t], atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_the_source_does_not_matter(kind: str) -> None:
    nv.manual_seed(2)
    model = KINDS[kind]()
    model.eval()
    source, target, lengths = _reversals(4)
    clean = model(*map(nv.tensor, (source, target, lengths))).numpy()
    source[np.arange(5) >= lengths[:, None]] = 7
    again = model(*map(nv.tensor, (source, target, lengths))).numpy()
    np.testing.assert_allclose(again, clean, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "additive", "dot"])
def test_scheduled_sampling(kind: str) -> None:
    nv.manual_seed(3)
    model = KINDS[kind]()
    source, target, lengths = map(nv.tensor, _reversals(5))
    free = model(source, target, lengths, teacher_forcing=0.0)
    expected = model.generate(source, lengths, 6).tokens
    picked = free.numpy().argmax(-1)
    for i in range(5):  # the same tokens until the first end
        stop = list(expected[i]).index(2) + 1 if 2 in expected[i] else expected.shape[1]
        np.testing.assert_array_equal(picked[i, :stop], expected[i, :stop])
    loss = model.loss(source, target, lengths, lengths + 1, teacher_forcing=0.5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(ValueError, match="teacher_forcing"):
        model(source, target, lengths, teacher_forcing=1.5)


def test_every_parameter_learns() -> None:
    for kind, make in KINDS.items():
        model = make()
        source, target, lengths = map(nv.tensor, _reversals(5))
        model.loss(source, target, lengths, lengths + 1).backward()
        missing = [name for name, p in model.named_parameters() if p.grad is None]
        assert not missing, kind


def test_attention_weights_of_generation() -> None:
    model = KINDS["additive"]()
    source, _, lengths = _reversals(5)
    result = model.generate(nv.tensor(source), nv.tensor(lengths), 7)
    assert result.attention.shape == (5, result.tokens.shape[1], 5)
    np.testing.assert_allclose(result.attention.sum(-1), 1.0, atol=1e-5)
    hidden = np.broadcast_to((np.arange(5) >= lengths[:, None])[:, None], result.attention.shape)
    assert (result.attention[hidden] == 0).all()


def test_loss_counts_the_tokens_of_the_targets_only() -> None:
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((2, 4, 5)).astype(np.float32)
    target = np.array([[3, 4, 2, 0], [4, 2, 0, 0]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    terms = [-math.log(p[i, t, target[i, t]]) for i, n in enumerate((3, 2)) for t in range(n)]
    by_length = sequence_loss(nv.tensor(logits), nv.tensor(target), nv.tensor(np.array([3, 2])), 0)
    by_padding = sequence_loss(nv.tensor(logits), nv.tensor(target), None, 0)
    assert by_length.item() == pytest.approx(np.mean(terms), rel=1e-5)
    assert by_padding.item() == pytest.approx(np.mean(terms), rel=1e-5)


# ---- decoding ------------------------------------------------------------------------------------


class Table:
    """A decoder whose next token depends on the last alone, so that all sequences can be listed."""

    bos, eos = 0, 1

    def __init__(self, seed: int, size: int = 4) -> None:
        scores = np.random.default_rng(seed).standard_normal((size, size)) * 1.5
        scores[:, 0] = -np.inf
        self.log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))

    def start(self, source: nv.Tensor, source_lengths: nv.Tensor | None) -> None:
        return None

    def step(self, tokens: nv.Tensor, state: None) -> tuple[nv.Tensor, None]:
        return nv.tensor(self.log_p[tokens.numpy()].astype(np.float32)), None

    def reorder(self, state: None, rows: nv.Tensor) -> None:
        return None

    def weights(self, state: None) -> None:
        return None

    def best(self, longest: int, penalty: float) -> tuple[float, list[int]]:
        """By trying all sequences that end within `longest` tokens."""
        found: list[tuple[float, list[int]]] = []

        def extend(sequence: list[int], score: float) -> None:
            last = sequence[-1] if sequence else self.bos
            ending = score + self.log_p[last, self.eos]
            found.append((ending / ((5 + len(sequence)) / 6) ** penalty, sequence))
            if len(sequence) + 1 < longest:
                for token in range(2, len(self.log_p)):
                    extend([*sequence, token], score + self.log_p[last, token])

        extend([], 0.0)
        return max(found)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_wide_beam_finds_the_best_sequence(seed: int, penalty: float) -> None:
    model = Table(seed)
    source = nv.tensor(np.zeros((2, 3), np.int64))
    result = decoding.beam_search(model, source, None, 5, 200, penalty)
    score, sequence = model.best(5, penalty)
    for row in range(2):
        assert list(result.tokens[row, : result.lengths[row]]) == sequence
        assert result.scores[row] == pytest.approx(score, rel=1e-4)


def test_beam_of_one_follows_the_best_token() -> None:
    model = Table(3)
    source = nv.tensor(np.zeros((1, 3), np.int64))
    greedy = decoding.greedy(model, source, None, 6)
    total = 0.0
    last = 0
    for token in greedy.tokens[0]:
        assert token == model.log_p[last].argmax()
        total += model.log_p[last, token]
        last = token
        if token == 1:
            break
    assert greedy.scores[0] == pytest.approx(total, rel=1e-5)


def test_samples_follow_the_probabilities() -> None:
    nv.manual_seed(5)
    model = Table(1)
    source = nv.tensor(np.zeros((4000, 1), np.int64))
    first = decoding.sample(model, source, None, 1).tokens[:, 0]
    p = np.exp(model.log_p[0])
    counts = np.bincount(first, minlength=4) / 4000
    np.testing.assert_allclose(counts, p, atol=0.04)
    cold = decoding.sample(model, source, None, 1, temperature=1e-3).tokens[:, 0]
    assert (cold == p.argmax()).all()
    top = decoding.sample(model, source, None, 1, top_k=2).tokens[:, 0]
    assert set(np.unique(top)) <= set(np.argsort(-p)[:2])


@pytest.mark.parametrize(
    "call",
    [
        lambda m, s: decoding.greedy(m, s, None, 0),
        lambda m, s: decoding.sample(m, s, None, 5, temperature=0.0),
        lambda m, s: decoding.sample(m, s, None, 5, top_k=0),
        lambda m, s: decoding.beam_search(m, s, None, 5, 0),
        lambda m, s: KINDS["plain"]().generate(s, method="best"),
        lambda m, s: Seq2Seq(5, 5, cell="rnn"),
        lambda m, s: Seq2Seq(5, 5, attention="luong"),
        lambda m, s: Seq2Seq(5, 5, bos=9),
        lambda m, s: Seq2Seq(5, 5, eos=-1),
        lambda m, s: TransformerSeq2Seq(5, 5, bos=5),
    ],
)
def test_errors(call: Any) -> None:
    with pytest.raises(ValueError, match=r"^\["):
        call(Table(0), nv.tensor(np.full((1, 3), 3)))


@pytest.mark.parametrize("seed", range(6))
def test_beam_of_one_gives_the_same_array(seed: int) -> None:
    source = nv.tensor(np.zeros((2, 3), np.int64))
    greedy = decoding.greedy(Table(seed), source, None, 6)
    beam = decoding.beam_search(Table(seed), source, None, 6, 1, 0.0)
    np.testing.assert_array_equal(beam.tokens, greedy.tokens)  # with the `eos` that ends it
    np.testing.assert_array_equal(beam.lengths, greedy.lengths)


@pytest.mark.parametrize("kind", list(KINDS))
def test_lengths_may_be_a_list(kind: str) -> None:
    nv.manual_seed(5)
    model = KINDS[kind]().eval()
    source, target, lengths = _reversals(5)
    some = nv.tensor(source), nv.tensor(target)
    loss = model.loss(*some, lengths.tolist(), (lengths + 1).tolist()).item()
    assert loss == model.loss(*some, nv.tensor(lengths), nv.tensor(lengths + 1)).item()
    tokens = model.generate(some[0], lengths.tolist(), 4).tokens
    np.testing.assert_array_equal(tokens, model.generate(some[0], nv.tensor(lengths), 4).tokens)
