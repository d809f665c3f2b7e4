# SPDX-License-Identifier: BSD-3-Clause
"""From a model that predicts the next token to whole sequences: greedy, sampling, beam search.

Whatever follows the protocol :class:`Decoder` can be decoded. Tokens after the end are ``eos``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import nervure as nv
from nervure import Tensor, _core
from nervure.nn._lengths import Lengths

Tokens = NDArray[np.int64]


class Decoder(Protocol):
    """What the functions of this file need of a model."""

    bos: int
    eos: int

    def start(self, source: Tensor, source_lengths: Lengths) -> Any:
        """The state before the first token."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits (B, V) of the next token after ``tokens`` (B,), and the state after them."""

    def reorder(self, state: Any, rows: Tensor) -> Any:
        """The state of these rows of the batch, in this order; they may repeat."""

    def weights(self, state: Any) -> Tensor | None:
        """Attention of the last step over the source, (B, S), if there is any."""


@dataclass
class Decoded:
    """Decoded sequences.

    Attributes
    ----------
    tokens : array, (B, L), int64
        Without the start token; ``eos`` ends a sequence and fills what is behind it.
    lengths : array, (B,), int64
        Tokens before ``eos``.
    scores : array, (B,)
        Sum of the logarithms of the tokens' probabilities; for beam search divided by the length
        penalty.
    attention : array, (B, L, S), or None
        Weights over the source for each token, of models that have them. Not for beam search.
    """

    tokens: Tokens
    lengths: Tokens
    scores: NDArray[np.float32]
    attention: NDArray[np.float32] | None = None


def _check(max_length: int) -> None:
    if max_length < 1:
        raise ValueError(f"[decode] max_length must be at least 1, got {max_length}")


def _finish(tokens: Tokens, eos: int, scores: Any, attention: Any = None) -> Decoded:
    ended = np.cumsum(tokens == eos, axis=1) > 0
    tokens = np.where(ended, eos, tokens)
    lengths = (~ended).sum(axis=1)
    return Decoded(tokens, lengths, np.asarray(scores, np.float32), attention)


def greedy(
    model: Decoder, source: Tensor, source_lengths: Lengths = None, max_length: int = 50
) -> Decoded:
    """Take the most probable token at each step.

    Raises
    ------
    ValueError
        If ``max_length`` is below 1.
    """
    return _one_by_one(model, source, source_lengths, max_length, None, None)


def sample(
    model: Decoder,
    source: Tensor,
    source_lengths: Lengths = None,
    max_length: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Decoded:
    """Draw each token from ``softmax(logits / temperature)``, among the ``top_k`` best if given.

    Draws come from the library's generator (``nv.manual_seed``).

    Raises
    ------
    ValueError
        If ``temperature`` is not positive, or ``max_length`` or ``top_k`` is below 1.
    """
    if not temperature > 0:
        raise ValueError(f"[sample] temperature must be positive, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"[sample] top_k must be at least 1, got {top_k}")
    return _one_by_one(model, source, source_lengths, max_length, temperature, top_k)


def _one_by_one(
    model: Decoder,
    source: Tensor,
    source_lengths: Lengths,
    max_length: int,
    temperature: float | None,
    top_k: int | None,
) -> Decoded:
    _check(max_length)
    batch = source.shape[0]
    with nv.no_grad():
        state = model.start(source, source_lengths)
        token = nv.tensor(np.full(batch, model.bos, np.int64))
        running = set(range(batch))
        tokens, chosen, attention = [], [], []
        for _ in range(max_length):
            logits, state = model.step(token, state)
            log_p = _core.log_softmax(logits, 1)
            if temperature is None:
                best, token = _core.max(log_p, 1)
            else:
                token = choose(logits, temperature, top_k)
                best = log_p.gather(1, token.unsqueeze(1)).squeeze(1)
            tokens.append(token)
            chosen.append(best)
            weights = model.weights(state)
            if weights is not None:
                attention.append(weights)
            for row, number in enumerate(token.tolist()):
                if number == model.eos:
                    running.discard(row)
            if not running:
                break
        stacked = _core.stack(attention, 1).numpy() if attention else None
        written = _core.stack(tokens, 1).numpy()
        log_chosen = _core.stack(chosen, 1).numpy()
    ends = written == model.eos
    counts = np.cumsum(ends, axis=1) <= ends  # up to the first end, and with it
    scores = np.where(counts, log_chosen, 0.0).sum(axis=1, dtype=np.float64)
    return _finish(written, model.eos, scores, stacked)


def choose(logits: Tensor, temperature: float | None = None, top_k: int | None = None) -> Tensor:
    """One token for each of logits (..., V): the most probable, or drawn with a temperature."""
    if temperature is None:
        return _core.argmax(logits, -1)
    scaled = _core.log_softmax(logits, -1).numpy() / np.float32(temperature)
    if top_k is not None and top_k < scaled.shape[-1]:
        least = np.partition(scaled, -top_k, axis=-1)[..., -top_k, None]
        scaled = np.where(scaled < least, -np.inf, scaled)
    # The largest of log p + Gumbel noise is distributed as p.
    noise = np.clip(nv.rand(*scaled.shape).numpy(), 1e-12, 1 - 1e-7)
    return nv.tensor((scaled - np.log(-np.log(noise))).argmax(axis=-1))


def beam_search(
    model: Decoder,
    source: Tensor,
    source_lengths: Lengths = None,
    max_length: int = 50,
    beam_size: int = 5,
    length_penalty: float = 1.0,
) -> Decoded:
    r"""Keep the ``beam_size`` best beginnings at each step; return the best whole sequence.

    Sequences are compared by ``log p / ((5 + n) / 6)^length_penalty`` with ``n`` tokens [1]_; 0
    compares the bare sums, which favours short ones.

    Raises
    ------
    ValueError
        If ``beam_size`` or ``max_length`` is below 1.

    References
    ----------
    .. [1] Wu et al., "Google's neural machine translation system", 2016, equation 14
    """
    _check(max_length)
    if beam_size < 1:
        raise ValueError(f"[beam_search] beam_size must be at least 1, got {beam_size}")
    batch = source.shape[0]
    with nv.no_grad():
        state = model.start(source, source_lengths)
        state = model.reorder(state, nv.tensor(np.repeat(np.arange(batch), beam_size)))
        beams = _Beams(batch, beam_size, model.bos, model.eos, length_penalty)
        for _ in range(max_length):
            logits, state = model.step(nv.tensor(beams.last()), state)
            rows = beams.advance(nv.nn.functional.log_softmax(logits, -1).numpy())
            if beams.done():
                break
            state = model.reorder(state, nv.tensor(rows))
    return beams.best()


class _Beams:
    """The beginnings kept for each row of the batch, and the best whole sequence so far."""

    def __init__(self, batch: int, size: int, bos: int, eos: int, penalty: float) -> None:
        self.size, self.eos, self.penalty = size, eos, penalty
        self.tokens = np.full((batch, size, 1), bos, np.int64)
        self.scores = np.full((batch, size), -np.inf)
        self.scores[:, 0] = 0.0  # all beams are alike at first: only one counts
        self.finished: list[list[tuple[float, Tokens]]] = [[] for _ in range(batch)]

    def last(self) -> Tokens:
        return np.array(self.tokens[:, :, -1].reshape(-1), np.int64)

    def advance(self, log_p: NDArray[np.float32]) -> Tokens:
        """Extend by the best next tokens; the rows (of batch times beams) they extend."""
        batch, size = self.scores.shape
        vocabulary = log_p.shape[1]
        totals = self.scores[:, :, None] + log_p.reshape(batch, size, vocabulary)
        flat = totals.reshape(batch, -1)
        count = min(2 * size, flat.shape[1])  # enough for `size` that do not end
        best = np.argsort(-flat, axis=1, kind="stable")[:, :count]
        length = self.tokens.shape[2] + 1
        tokens = np.full((batch, size, length), self.eos, np.int64)
        scores = np.full((batch, size), -np.inf)
        parents = np.zeros((batch, size), np.int64)
        for row in range(batch):
            kept = 0
            for place in best[row]:
                beam, token = divmod(int(place), vocabulary)
                score = flat[row, place]
                if not np.isfinite(score) or kept == size:
                    break
                sequence = np.append(self.tokens[row, beam], token)
                if token == self.eos:
                    self._keep(row, score, sequence[1:-1])
                    continue
                tokens[row, kept], scores[row, kept], parents[row, kept] = sequence, score, beam
                kept += 1
        self.tokens, self.scores = tokens, scores
        return np.asarray((np.arange(batch)[:, None] * size + parents).reshape(-1), np.int64)

    def _normalised(self, score: float, length: int) -> float:
        return float(score / ((5 + length) / 6) ** self.penalty)

    def _keep(self, row: int, score: float, sequence: Tokens) -> None:
        self.finished[row].append((self._normalised(score, len(sequence)), sequence))
        self.finished[row].sort(key=lambda item: -item[0])
        del self.finished[row][self.size :]

    def done(self) -> bool:
        """Whether every row has `size` whole sequences, which is when beam search usually ends.

        With a length penalty a longer sequence could still overtake; waiting for it would mean
        going on to `max_length` nearly always.
        """
        return all(len(finished) >= self.size for finished in self.finished)

    def best(self) -> Decoded:
        sequences, scores, width = [], [], 1
        for row, finished in enumerate(self.finished):
            candidates = list(finished)
            if not candidates:  # cut off by max_length
                sequence = self.tokens[row, 0, 1:]
                candidates = [(self._normalised(self.scores[row, 0], len(sequence)), sequence)]
            score, sequence = max(candidates, key=lambda item: item[0])
            sequences.append(sequence)
            scores.append(score)
            width = max(width, len(sequence) + bool(finished))  # and its `eos`
        lengths = np.array([len(s) for s in sequences], np.int64)
        tokens = np.full((len(sequences), width), self.eos, np.int64)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)] = sequence
        return Decoded(tokens, lengths, np.asarray(scores, np.float32))
