# SPDX-License-Identifier: BSD-3-Clause
"""Language model of characters: recurrent layers that predict the next one."""

from __future__ import annotations

from typing import Any

from nervure import _core, nn
from nervure._core import Tensor
from nervure._grad_mode import no_grad
from nervure.nn import functional as F

_CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class CharRNN(nn.Module):
    """Recurrent layers over characters (or other tokens), and a dense layer that scores the next.

    Parameters
    ----------
    vocab_size : int
        Number of different characters.
    hidden_size : int, default 256
        Units of each recurrent layer.
    num_layers : int, default 1
        Recurrent layers on top of each other.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Kind of layer.
    embedding_dim : int, optional
        Features of a character's learnt vector; None reads characters as one-hot vectors.
    dropout : float, default 0.0
        Probability with which an output is dropped, between the layers and before the scores.

    Raises
    ------
    ValueError
        For an unknown cell or a size below 1.

    Notes
    -----
    Called as ``scores, state = model(tokens, state=None)``. For truncated backpropagation through
    time hand over ``state`` without its past (``detach()`` of each tensor), as
    ``Trainer(tbptt=...)`` does.

    References
    ----------
    .. [1] Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015,
       https://karpathy.github.io/2015/05/21/rnn-effectiveness/
    .. [2] Graves, "Generating sequences with recurrent neural networks", 2013,
       https://arxiv.org/abs/1308.0850

    Examples
    --------
    >>> import nervure as nv
    >>> from nervure.models import CharRNN
    >>> model = CharRNN(50, hidden_size=32, cell="gru")
    >>> scores, state = model(nv.zeros(4, 10, dtype=nv.int64))
    >>> scores.shape, state.shape
    ((4, 10, 50), (1, 4, 32))
    >>> model.generate(nv.zeros(1, 1, dtype=nv.int64), 7).shape
    (1, 8)
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int = 256,
        num_layers: int = 1,
        *,
        cell: str = "lstm",
        embedding_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in _CELLS:
            raise ValueError(f'[CharRNN] cell must be "lstm", "gru" or "rnn", got {cell!r}')
        if vocab_size < 1 or (embedding_dim is not None and embedding_dim < 1):
            raise ValueError(
                f"[CharRNN] sizes must be at least 1, got vocab_size = {vocab_size}, "
                f"embedding_dim = {embedding_dim}"
            )
        self.vocab_size = vocab_size
        self.cell = cell
        self.embedding = (
            None if embedding_dim is None else nn.Embedding(vocab_size, embedding_dim, sparse=False)
        )
        self.rnn = _CELLS[cell](
            embedding_dim or vocab_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, vocab_size)

    def _vectors(self, tokens: Tensor) -> Tensor:
        if self.embedding is None:
            return F.one_hot(tokens, self.vocab_size).float()
        vectors: Tensor = self.embedding(tokens)
        return vectors

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores (B, T, vocab_size) of what follows each token of (B, T), and the state."""
        y, state = self.rnn(self._vectors(tokens), state)
        return self.output(self.dropout(y)), state

    def step(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores (B, vocab_size) of what follows the tokens (B,), and the state after them."""
        y, state = self.rnn.step(self._vectors(tokens), state)
        return self.output(self.dropout(y)), state

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
        temperature : float, optional
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
        ValueError
            For an empty prompt, a negative length, or a temperature or ``top_k`` that is not
            positive.
        """
        if prompt.ndim != 2 or prompt.shape[1] < 1 or length < 0:
            raise ValueError(
                "[CharRNN.generate] expected a prompt (B, T) of 1 or more tokens and a length of 0 "
                f"or more, got {prompt.shape} and {length}"
            )
        if temperature is not None and not temperature > 0:
            raise ValueError(
                f"[CharRNN.generate] temperature must be positive or None, got {temperature}"
            )
        if top_k is not None and top_k < 1:
            raise ValueError(f"[CharRNN.generate] top_k must be at least 1, got {top_k}")
        training = self.training
        self.eval()
        try:
            with no_grad():
                return self._continue(prompt, length, temperature, top_k)
        finally:
            self.train(training)

    def _continue(
        self, prompt: Tensor, length: int, temperature: float | None, top_k: int | None
    ) -> Tensor:
        from nervure.models.decoding import choose

        tokens = [prompt]
        scores, state = self.forward(prompt)
        last = scores[:, -1]
        for _ in range(length):
            chosen = choose(last, temperature, top_k)
            tokens.append(chosen.unsqueeze(1))
            if len(tokens) <= length:
                last, state = self.step(chosen, state)
        return _core.cat(tokens, 1)
