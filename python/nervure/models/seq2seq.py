# SPDX-License-Identifier: BSD-3-Clause
"""Recurrent encoder-decoders, with and without attention.

Sources: Sutskever et al., "Sequence to sequence learning with neural networks", 2014,
https://arxiv.org/abs/1409.3215; Bahdanau et al., 2015, https://arxiv.org/abs/1409.0473; Luong et
al., 2015, https://arxiv.org/abs/1508.04025; scheduled sampling: Bengio et al., 2015,
https://arxiv.org/abs/1506.03099
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import is_grad_enabled
from nervure.nn import (
    GRU,
    LSTM,
    AdditiveAttention,
    DotAttention,
    Dropout,
    Embedding,
    Linear,
)
from nervure.nn._lengths import Lengths, lengths_tensor

from .generation import Generation, sequence_loss

RecurrentState: TypeAlias = Any  # (layers, B, H), for LSTM a pair of these


@dataclass(frozen=True)
class Memory:
    """What the encoder leaves: its outputs (B, S, F), their lengths, and the keys of attention.

    For decoding by one operation a step, also what the context's columns of the decoder's weights
    make of the outputs, and the weights of its layers.
    """

    outputs: Tensor
    lengths: Tensor | None
    keys: Tensor | None
    mixed: Tensor | None = None
    weights: list[Tensor | None] | None = None


class DecoderState(NamedTuple):
    """Between two tokens: the memory, the decoder's recurrent state, the last weights."""

    memory: Memory
    recurrent: RecurrentState
    weights: Tensor | None = None


class Seq2Seq(Generation):
    r"""Recurrent encoder, context, recurrent decoder.

    Parameters
    ----------
    source_size, target_size : int
        Sizes of the two vocabularies.
    embed_dim : int, default 128
        Features of the embeddings.
    hidden_size : int, default 128
        Features of the recurrent states.
    num_layers : int, default 1
        Stacked layers of encoder and decoder.
    cell : str, default "gru"
        ``"gru"`` or ``"lstm"``.
    bidirectional : bool, default True
        Whether the encoder also reads backwards.
    attention : str, optional
        ``"additive"`` (Bahdanau: the context of the state before is an input of each step),
        ``"dot"`` or ``"general"`` (Luong: the context is joined to the decoder's output). None: the
        decoder knows the source by its initial state alone.
    dropout : float, default 0.0
        Of embeddings, between stacked layers, and of what enters the output layer.
    bos, eos, padding : int
        Tokens that start a target, end it, and fill rows behind their end; 1, 2 and 0 by default.

    Raises
    ------
    ValueError
        For an unknown ``cell`` or ``attention``, or a ``bos`` or ``eos`` beyond the vocabulary.

    Notes
    -----
    The decoder's initial state is ``tanh(W h)`` of the encoder's final states of both directions.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        embed_dim: int = 128,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: str = "gru",
        bidirectional: bool = True,
        attention: str | None = None,
        dropout: float = 0.0,
        bos: int = 1,
        eos: int = 2,
        padding: int = 0,
    ) -> None:
        super().__init__(bos, eos, padding)
        self._check_tokens(target_size)
        if cell not in ("gru", "lstm"):
            raise ValueError(f'[Seq2Seq] cell must be "gru" or "lstm", got {cell!r}')
        if attention not in (None, "additive", "dot", "general"):
            raise ValueError(
                '[Seq2Seq] attention must be None, "additive", "dot" or "general", '
                f"got {attention!r}"
            )
        recurrent: Any = GRU if cell == "gru" else LSTM
        directions = 2 if bidirectional else 1
        memory_size = directions * hidden_size
        between = dropout if num_layers > 1 else 0.0
        self.cell = cell
        self.num_layers = num_layers
        self.directions = directions
        self.attention_kind = attention
        self.source_embedding = Embedding(source_size, embed_dim, sparse=False)
        self.target_embedding = Embedding(target_size, embed_dim, sparse=False)
        self.encoder = recurrent(
            embed_dim, hidden_size, num_layers, bidirectional=bidirectional, dropout=between
        )
        self.bridge = Linear(memory_size, hidden_size, activation="tanh")
        self.bridge_cell = (
            Linear(memory_size, hidden_size, activation="tanh") if cell == "lstm" else None
        )
        inputs = embed_dim + (memory_size if attention == "additive" else 0)
        self.decoder = recurrent(inputs, hidden_size, num_layers, dropout=between)
        self.attention: AdditiveAttention | DotAttention | None = None
        if attention == "additive":
            self.attention = AdditiveAttention(hidden_size, memory_size, hidden_size)
        elif attention is not None:
            general = attention == "general" or memory_size != hidden_size
            self.attention = DotAttention(hidden_size, memory_size) if general else DotAttention()
        joined = hidden_size + (memory_size if attention else 0)
        self.join = Linear(joined, hidden_size, activation="tanh") if attention else None
        self.output = Linear(hidden_size, target_size)
        self.drop = Dropout(dropout)

    # ---- encoder -------------------------------------------------------------------------------

    def encode(
        self, source: Tensor, source_lengths: Lengths = None
    ) -> tuple[Memory, RecurrentState]:
        """Read a source (B, S): the memory, and the decoder's initial state."""
        lengths = lengths_tensor("Seq2Seq", source_lengths)
        embedded = self.drop.forward(self.source_embedding.forward(source))
        outputs, state = self.encoder.forward(embedded, lengths=lengths)
        keys = None if self.attention is None else self.attention.project(outputs)
        memory = Memory(outputs, lengths, keys)
        if self.bridge_cell is None:
            return memory, self._bridged(self.bridge, state)
        hidden, cell = state
        return memory, (self._bridged(self.bridge, hidden), self._bridged(self.bridge_cell, cell))

    def _bridged(self, bridge: Linear, state: Tensor) -> Tensor:
        """(layers * directions, B, H) as (layers, B, H)."""
        _, batch, size = state.shape
        state = state.reshape(self.num_layers, self.directions, batch, size).transpose(1, 2)
        return bridge.forward(state.reshape(self.num_layers, batch, self.directions * size))

    # ---- decoder -------------------------------------------------------------------------------

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Lengths = None,
        teacher_forcing: float = 1.0,
    ) -> Tensor:
        """Logits (B, T, target_size) of the tokens of ``target``, each after those before it.

        Parameters
        ----------
        source, target : Tensor, (B, S) and (B, T), int64
            The target without ``bos``, with ``eos``.
        source_lengths : Tensor, array or sequence of int, (B,), optional
        teacher_forcing : float, default 1.0
            Probability, for each step, of feeding the true token before it instead of the most
            probable one (scheduled sampling). 1.0 is much the fastest: see Notes.

        Notes
        -----
        With ``teacher_forcing=1.0`` and any attention but the additive one, the decoder runs over
        all steps in one call.

        Raises
        ------
        ValueError
            If ``teacher_forcing`` is outside [0, 1].
        """
        if not 0.0 <= teacher_forcing <= 1.0:
            raise ValueError(f"[Seq2Seq] teacher_forcing must be in [0, 1], got {teacher_forcing}")
        memory, recurrent = self.encode(source, source_lengths)
        inputs = self.shifted(target)
        if teacher_forcing == 1.0 and self.attention_kind != "additive":
            embedded = self.drop.forward(self.target_embedding.forward(inputs))
            outputs, _ = self.decoder.forward(embedded, recurrent)
            return self.output.forward(self._joined(outputs, memory)[0])
        state = DecoderState(memory, recurrent)
        if teacher_forcing == 1.0:
            return self._additive_steps(inputs, state)
        forced = (_core.rand((target.shape[1],)).numpy() < teacher_forcing).tolist()
        logits: list[Tensor] = []
        tokens = inputs[:, 0]
        for t in range(target.shape[1]):
            if t > 0:
                tokens = inputs[:, t] if forced[t] else _core.argmax(logits[-1].detach(), -1)
            step, state = self.step(tokens, state)
            logits.append(step)
        return _core.stack(logits, 1)

    def _additive_steps(self, inputs: Tensor, state: DecoderState) -> Tensor:
        """Step by step, but embeddings and the output layer for all steps at once."""
        embedded = self.drop.forward(self.target_embedding.forward(inputs))
        joined = []
        for x in embedded.split(1, 1):
            hidden, state = self._advance(x, state)
            joined.append(hidden)
        return self.output.forward(_core.cat(joined, 1))

    def start(self, source: Tensor, source_lengths: Lengths = None) -> DecoderState:
        """The state before the first token."""
        memory, recurrent = self.encode(source, source_lengths)
        weights = self._step_weights()
        if weights is not None:
            assert self.join is not None
            mixed = _core.attentive_memory(
                memory.outputs, self.decoder.weight_ih_l0, self.join.weight
            )
            memory = replace(memory, mixed=mixed, weights=weights)
        return DecoderState(memory, recurrent)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits (B, target_size) of the next token after ``tokens`` (B,), and the next state."""
        if state.memory.weights is not None and not self.training and not is_grad_enabled():
            joined, state = self._attentive_step(tokens, state)
            return self.output.forward(joined), state
        x = self.drop.forward(self.target_embedding.forward(tokens.unsqueeze(1)))
        hidden, state = self._advance(x, state)
        return self.output.forward(hidden).squeeze(1), state

    def _step_weights(self) -> list[Tensor | None] | None:
        """Those of the decoder if one operation can stand for a step with attention.

        That is in evaluation, with additive attention, and with the parts that were made here.
        """
        drops = type(self.drop) is not Dropout or (self.drop.training and self.drop.p)
        if is_grad_enabled() or drops:
            return None
        attention, join = self.attention, self.join
        if type(attention) is not AdditiveAttention:
            return None
        plain = all(type(m) is Linear for m in (attention.query_proj, attention.score, join))
        if not plain or type(self.decoder) is not (GRU if self.cell == "gru" else LSTM):
            return None
        if join is None or join.activation != "tanh":
            return None
        return self.decoder.step_weights()

    def _attentive_step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """What the output layer sees after ``tokens`` (B,), by one operation; the next state."""
        memory, attention, join = state.memory, self.attention, self.join
        assert isinstance(attention, AdditiveAttention)
        assert join is not None
        assert memory.keys is not None
        assert memory.mixed is not None
        assert memory.weights is not None
        h, c = (state.recurrent, None) if self.cell == "gru" else state.recurrent
        joined, weights, *recurrent = _core.attentive_step(
            self.target_embedding.forward(tokens),
            h,
            c,
            memory.keys,
            memory.mixed,
            memory.lengths,
            attention.query_proj.weight,
            attention.score.weight,
            memory.weights,
            join.weight,
            join.bias,
        )
        next_state = recurrent[0] if self.cell == "gru" else tuple(recurrent)
        return joined, DecoderState(memory, next_state, weights)

    def _advance(self, x: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One step from embedded tokens (B, 1, E): what the output layer sees, the next state."""
        memory = state.memory
        if self.attention_kind != "additive":
            output, recurrent = self.decoder.forward(x, state.recurrent)
            joined, weights = self._joined(output, memory)
            return joined, DecoderState(memory, recurrent, weights)
        assert self.attention is not None
        assert self.join is not None
        before = state.recurrent if self.cell == "gru" else state.recurrent[0]
        context, weights = self.attention.forward(
            before[-1], memory.outputs, lengths=memory.lengths, projected=memory.keys
        )
        context = context.unsqueeze(1)
        output, recurrent = self.decoder.forward(_core.cat([x, context], -1), state.recurrent)
        joined = self.drop.forward(self.join.forward(_core.cat([output, context], -1)))
        return joined, DecoderState(memory, recurrent, weights)

    def _joined(self, outputs: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """Luong's ``tanh(W [context; output])``; the outputs themselves without attention."""
        if self.attention is None or self.join is None:
            return self.drop.forward(outputs), None
        context, weights = self.attention.forward(
            outputs, memory.outputs, lengths=memory.lengths, projected=memory.keys
        )
        joined = self.drop.forward(self.join.forward(_core.cat([outputs, context], -1)))
        return joined, weights[:, -1]

    def reorder(self, state: DecoderState, rows: Tensor) -> DecoderState:
        """The state of these rows of the batch, in this order."""

        def of(x: Tensor | None) -> Tensor | None:
            return None if x is None else _core.take_rows(x, rows)

        memory, recurrent = state.memory, state.recurrent
        pick = _rows_of_layers(rows)
        return state._replace(
            memory=replace(
                memory,
                outputs=_core.take_rows(memory.outputs, rows),
                lengths=of(memory.lengths),
                keys=of(memory.keys),
                mixed=of(memory.mixed),
            ),
            recurrent=pick(recurrent) if self.cell == "gru" else tuple(map(pick, recurrent)),
            weights=of(state.weights),
        )

    def weights(self, state: DecoderState) -> Tensor | None:
        """Attention of the last step over the source, (B, S); None without attention."""
        return state.weights

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Lengths = None,
        target_lengths: Lengths = None,
        *,
        teacher_forcing: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Mean cross-entropy over the tokens of the targets; those behind the lengths do not count.

        Without ``target_lengths``, those equal to ``padding`` do not count.
        """
        logits = self.forward(source, target, source_lengths, teacher_forcing)
        return sequence_loss(logits, target, target_lengths, self.padding, label_smoothing)


def _rows_of_layers(rows: Tensor) -> Any:
    return lambda state: _core.index_select(state, 1, rows)
