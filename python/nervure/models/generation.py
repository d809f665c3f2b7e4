# SPDX-License-Identifier: BSD-3-Clause
"""What the encoder-decoders share: special tokens, the loss, and decoding."""

from __future__ import annotations

from typing import Any

from nervure import _core
from nervure._core import Tensor
from nervure.nn import Module
from nervure.nn import functional as F
from nervure.nn._lengths import Lengths, checked_lengths

from . import decoding
from .decoding import Decoded

_IGNORED = -100


class Generation(Module):
    """Base of the models that write a target token by token.

    A subclass defines ``start``, ``step``, ``reorder`` and ``weights``
    (:class:`nervure.models.decoding.Decoder`).

    Attributes
    ----------
    bos, eos, padding : int
        Tokens that start a target, end it, and fill rows behind their end.
    """

    def __init__(self, bos: int, eos: int, padding: int) -> None:
        super().__init__()
        self.bos = bos
        self.eos = eos
        self.padding = padding

    def _check_tokens(self, target_size: int) -> None:
        """Refuse a first or last token that no target can have."""
        for name in ("bos", "eos"):
            token = getattr(self, name)
            if not 0 <= token < target_size:
                raise ValueError(
                    f"[{type(self).__name__}] {name} must be a token of the target's vocabulary, "
                    f"0 to {target_size - 1}, got {token}"
                )

    def shifted(self, target: Tensor) -> Tensor:
        """The decoder's inputs (B, T): ``bos``, then the target without its last token."""
        batch, length = target.shape
        first = _core.full((batch, 1), self.bos, _core.dtype.int64)
        return _core.cat([first, target[:, : length - 1]], 1)

    def generate(
        self,
        source: Tensor,
        source_lengths: Lengths = None,
        max_length: int = 50,
        *,
        method: str = "greedy",
        beam_size: int = 5,
        length_penalty: float = 1.0,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Decoded:
        """Write a target for each source.

        Parameters
        ----------
        source : Tensor, (B, S), int64
        source_lengths : Tensor, array or sequence of int, (B,), optional
        max_length : int, default 50
            Tokens after which a target is cut off.
        method : str, default "greedy"
            ``"greedy"``, ``"sample"`` (with ``temperature`` and ``top_k``) or ``"beam"`` (with
            ``beam_size`` and ``length_penalty``).

        Returns
        -------
        Decoded
            Tokens, lengths, scores and, where the model has them, attention weights.

        Raises
        ------
        ValueError
            For an unknown method, or settings outside their ranges.
        """
        training = self.training
        self.eval()
        model: Any = self
        try:
            if method == "greedy":
                return decoding.greedy(model, source, source_lengths, max_length)
            if method == "sample":
                return decoding.sample(
                    model, source, source_lengths, max_length, temperature, top_k
                )
            if method == "beam":
                return decoding.beam_search(
                    model, source, source_lengths, max_length, beam_size, length_penalty
                )
        finally:
            self.train(training)
        raise ValueError(f'[generate] method must be "greedy", "sample" or "beam", got {method!r}')


def sequence_loss(
    logits: Tensor,
    target: Tensor,
    lengths: Lengths,
    padding: int,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of logits (B, T, V) over the tokens that count.

    Those are the first ``lengths`` of each row, or without lengths those that differ from
    ``padding``.
    """
    if lengths is None:
        hidden = target == padding
    else:
        if isinstance(lengths, Tensor) and lengths.dtype == _core.dtype.float32:
            lengths = _whole(lengths)  # `lengths + 1`, with the end: arithmetic gives float32
        ends = checked_lengths("sequence_loss", lengths, *target.shape)
        assert ends is not None
        place = _core.arange(0, target.shape[1], 1, _core.dtype.int64)
        hidden = _core.ge(place, ends.unsqueeze(1))
    masked = _core.masked_fill(target, hidden, _IGNORED)
    return F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        masked.reshape(-1),
        ignore_index=_IGNORED,
        label_smoothing=label_smoothing,
    )


def _whole(lengths: Tensor) -> Tensor:
    found = _core.cast(lengths, _core.dtype.int64)
    if not _core.eq(found, lengths).numpy().all():
        raise ValueError(f"[sequence_loss] lengths must be whole numbers, got {lengths.tolist()}")
    return found
