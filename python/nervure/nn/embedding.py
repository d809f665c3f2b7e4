# SPDX-License-Identifier: BSD-3-Clause
"""Embedding: a vector for each of a finite number of things."""

from __future__ import annotations

from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure.nn import init
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter


class Embedding(Module):
    """A table of vectors, looked up by index.

    Parameters
    ----------
    num_embeddings : int
        Rows of the table.
    embedding_dim : int
        Features of each.
    padding_idx : int, optional
        A row that starts as zeros and never gets a gradient. Counted from the end if negative.

    Attributes
    ----------
    weight : Parameter, (num_embeddings, embedding_dim)
        Standard normal at first.

    Raises
    ------
    ValueError
        If ``padding_idx`` names no row, or for a negative size.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        super().__init__()
        rows, features = index(num_embeddings), index(embedding_dim)
        if rows < 0 or features < 0:
            raise ValueError(
                f"[Embedding] sizes must not be negative, got num_embeddings = {rows}, "
                f"embedding_dim = {features}"
            )
        if padding_idx is not None:
            padding_idx = index(padding_idx)
            if not -rows <= padding_idx < rows:
                raise ValueError(
                    f"[Embedding] padding_idx must name one of {rows} rows, got {padding_idx}"
                )
            padding_idx %= rows
        self.num_embeddings = rows
        self.embedding_dim = features
        self.padding_idx = padding_idx
        self.weight = Parameter(_core.empty((rows, features)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.numpy()[self.padding_idx] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Map indices (...), int64, to vectors (..., embedding_dim)."""
        rows = _core.take_rows(self.weight, x)
        if self.padding_idx is None:
            return rows
        return _core.where((x == self.padding_idx).unsqueeze(-1), rows.detach(), rows)

    def extra_repr(self) -> str:
        """Sizes, and the padding row if there is one."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
