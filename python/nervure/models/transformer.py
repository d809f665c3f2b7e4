# SPDX-License-Identifier: BSD-3-Clause
"""The Transformer encoder-decoder, and the decoder-only GPT.

Sources: Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762;
Radford et al., "Language models are unsupervised multitask learners", 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from nervure import _core
from nervure._core import Tensor
from nervure.nn import (
    Dropout,
    Embedding,
    KeyValueCache,
    LayerNorm,
    LearnedPositions,
    Linear,
    Module,
    SinusoidalPositions,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
    init,
)
from nervure.nn._decoding import Stepper
from nervure.nn._lengths import Lengths, lengths_tensor

from .generation import Generation, sequence_loss


@dataclass(frozen=True)
class TransformerState:
    """Between two tokens: the encoder's output and what the decoder's layers remember."""

    memory: Tensor
    lengths: Tensor | None
    caches: list[KeyValueCache]
    layers: Stepper  # the decoder's, for one position after the other


class TransformerSeq2Seq(Generation):
    r"""Transformer encoder and decoder over token sequences, on the interface of ``Seq2Seq``.

    Parameters
    ----------
    source_size, target_size : int
        Sizes of the two vocabularies.
    d_model, nhead : int, default 128 and 4
    num_encoder_layers, num_decoder_layers : int, default 2
    dim_feedforward : int, default 512
    dropout : float, default 0.1
    activation : str, default "relu"
    norm_first : bool, default True
        Norms before attention and network; one more norm at the end of each stack.
    max_length : int, default 1024
        Positions there are.
    bos, eos, padding : int
        As for ``Seq2Seq``.

    Notes
    -----
    Embeddings are multiplied by ``sqrt(d_model)`` and get sinusoidal positions.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        d_model: int = 128,
        nhead: int = 4,
        num_encoder_layers: int = 2,
        num_decoder_layers: int = 2,
        dim_feedforward: int = 512,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = True,
        max_length: int = 1024,
        bos: int = 1,
        eos: int = 2,
        padding: int = 0,
    ) -> None:
        super().__init__(bos, eos, padding)
        self._check_tokens(target_size)
        sizes: dict[str, Any] = {
            "d_model": d_model,
            "nhead": nhead,
            "dim_feedforward": dim_feedforward,
            "dropout": dropout,
            "activation": activation,
            "norm_first": norm_first,
        }
        self.scale = math.sqrt(d_model)
        self.source_embedding = Embedding(source_size, d_model, sparse=False)
        self.target_embedding = Embedding(target_size, d_model, sparse=False)
        self.positions = SinusoidalPositions(d_model, max_length)
        self.drop = Dropout(dropout)
        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(**sizes),
            num_encoder_layers,
            LayerNorm(d_model) if norm_first else None,
        )
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(**sizes),
            num_decoder_layers,
            LayerNorm(d_model) if norm_first else None,
        )
        self.output = Linear(d_model, target_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier for every matrix, so that layers do not start alike; embeddings by 1/sqrt(d)."""
        for parameter in self.parameters():
            if len(parameter.shape) > 1:
                init.xavier_uniform_(parameter)
        for embedding in (self.source_embedding, self.target_embedding):
            init.normal_(embedding.weight, std=1.0 / self.scale)

    def encode(self, source: Tensor, source_lengths: Lengths = None) -> Tensor:
        """Read a source (B, S): the memory (B, S, d_model)."""
        x = self._embedded(self.source_embedding, source, 0)
        return self.encoder.forward(x, lengths=lengths_tensor("TransformerSeq2Seq", source_lengths))

    def _embedded(self, embedding: Embedding, tokens: Tensor, offset: int) -> Tensor:
        x = embedding.forward(tokens) * self.scale
        return self.drop.forward(self.positions.forward(x, offset))

    def forward(self, source: Tensor, target: Tensor, source_lengths: Lengths = None) -> Tensor:
        """Logits (B, T, target_size) of the tokens of ``target``, each after those before it."""
        ends = lengths_tensor("TransformerSeq2Seq", source_lengths)
        memory = self.encode(source, ends)
        x = self._embedded(self.target_embedding, self.shifted(target), 0)
        y = self.decoder.forward(x, memory, tgt_is_causal=True, memory_lengths=ends)
        return self.output.forward(y)

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Lengths = None,
        target_lengths: Lengths = None,
        *,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Mean cross-entropy over the tokens of the targets; see ``Seq2Seq.loss``."""
        logits = self.forward(source, target, source_lengths)
        return sequence_loss(logits, target, target_lengths, self.padding, label_smoothing)

    def start(self, source: Tensor, source_lengths: Lengths = None) -> TransformerState:
        """The state before the first token."""
        caches = [KeyValueCache() for _ in range(self.decoder.num_layers)]
        lengths = lengths_tensor("TransformerSeq2Seq", source_lengths)
        memory = self.encode(source, lengths)
        return TransformerState(memory, lengths, caches, Stepper(self.decoder, caches))

    def step(self, tokens: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Logits (B, target_size) of the next token after ``tokens`` (B,); the caches grow."""
        offset = state.caches[0].length if state.caches else 0
        x = self._embedded(self.target_embedding, tokens.unsqueeze(1), offset)
        y = state.layers(x, state.memory, state.lengths)
        return self.output.forward(y).squeeze(1), state

    def reorder(self, state: TransformerState, rows: Tensor) -> TransformerState:
        """The state of these rows of the batch, in this order; changes the caches."""
        memory = _core.take_rows(state.memory, rows)
        for cache in state.caches:
            cache.select(rows, memory)
        lengths = None if state.lengths is None else _core.take_rows(state.lengths, rows)
        return replace(state, memory=memory, lengths=lengths)

    def weights(self, state: TransformerState) -> None:
        """None: the fused attention does not keep its weights."""
        return


class GPT(Module):
    r"""Decoder-only Transformer: predicts each token from those before it.

    Parameters
    ----------
    vocab_size : int
    max_length : int, default 256
        Longest context.
    d_model, nhead, num_layers : int, default 128, 4, 4
    dim_feedforward : int, optional
        ``4 * d_model`` by default.
    dropout : float, default 0.0
    tie_weights : bool, default True
        Whether the output layer is the embedding transposed.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int = 256,
        *,
        d_model: int = 128,
        nhead: int = 4,
        num_layers: int = 4,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.embedding = Embedding(vocab_size, d_model, sparse=False)
        self.positions = LearnedPositions(d_model, max_length)
        self.drop = Dropout(dropout)
        layer = TransformerEncoderLayer(
            d_model,
            nhead,
            dim_feedforward or 4 * d_model,
            dropout,
            activation="gelu",
            norm_first=True,
        )
        self.blocks = TransformerEncoder(layer, num_layers, LayerNorm(d_model))
        self.head = None if tie_weights else Linear(d_model, vocab_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrices normal with standard deviation 0.02; those that write to the residual less."""
        depth = max(1, len(self.blocks.layers))
        for name, parameter in self.named_parameters():
            if len(parameter.shape) > 1:
                residual = name.endswith(("out_proj.weight", "linear2.weight"))
                init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if residual else 0.02)

    def forward(self, tokens: Tensor, caches: list[KeyValueCache] | None = None) -> Tensor:
        """Logits (B, T, vocab_size) of what follows each token of (B, T).

        With ``caches`` (one per layer, see :meth:`new_caches`), ``tokens`` continue what was given
        before, one at a time.
        """
        x = self._embedded(tokens, caches[0].length if caches else 0)
        return self._scores(self.blocks.forward(x, is_causal=caches is None, caches=caches))

    def _embedded(self, tokens: Tensor, offset: int) -> Tensor:
        return self.drop.forward(self.positions.forward(self.embedding.forward(tokens), offset))

    def _scores(self, y: Tensor) -> Tensor:
        if self.head is not None:
            return self.head.forward(y)
        return _core.linear(y, self.embedding.weight, None, "")

    def new_caches(self) -> list[KeyValueCache]:
        """Empty caches, one for each layer."""
        return [KeyValueCache(self.max_length) for _ in self.blocks.layers]

    def generate(
        self,
        prompt: Tensor,
        length: int,
        *,
        temperature: float | None = 1.0,
        top_k: int | None = None,
    ) -> Tensor:
        """Continue prompts by ``length`` tokens, one step at a time.

        Parameters
        ----------
        prompt : Tensor, (B, T), int64
            At least one token for each row.
        length : int
            How many to add.
        temperature : float, default 1.0
            Tokens are drawn from ``softmax(scores / temperature)`` by the library's generator
            (``nv.manual_seed``). None takes the best one.
        top_k : int, optional
            Draw among so many best ones only.

        Returns
        -------
        Tensor, (B, T + length)
            The prompts and what follows.

        Raises
        ------
        TypeError
            If the prompt is not a Tensor.
        ValueError
            For an empty prompt, a negative length, a temperature or ``top_k`` that is not positive,
            or if the result would be longer than ``max_length``.
        """
        from .decoding import check_drawing, check_prompt, choose

        check_prompt("GPT.generate", prompt, length)
        check_drawing("GPT.generate", temperature, top_k)
        if prompt.shape[1] + length > self.max_length:
            raise ValueError(
                f"[GPT.generate] prompt and continuation must fit {self.max_length} positions, "
                f"got {prompt.shape[1]} and {length}"
            )
        training = self.training
        self.eval()
        try:
            return self._continue(prompt, length, temperature, top_k, choose)
        finally:
            self.train(training)

    def _continue(
        self,
        prompt: Tensor,
        length: int,
        temperature: float | None,
        top_k: int | None,
        choose: Any,
    ) -> Tensor:
        import nervure as nv

        with nv.no_grad():
            layers, given = Stepper(self.blocks, self.new_caches()), prompt.shape[1]
            tokens = [prompt]
            for t in range(given):
                y = layers(self._embedded(prompt[:, t : t + 1], t))
            for t in range(given, given + length):
                if t > given:
                    y = layers(self._embedded(tokens[-1], t - 1))
                tokens.append(choose(self._scores(y), temperature, top_k))
            return _core.cat(tokens, 1)
