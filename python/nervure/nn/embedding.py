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
    sparse : bool, default True
        Whether the gradient of the table holds only the rows that were looked up. (PyTorch's
        default is False.) See the notes.

    Attributes
    ----------
    weight : Parameter, (num_embeddings, embedding_dim)
        Standard normal at first.

    Raises
    ------
    ValueError
        If ``padding_idx`` names no row, or for a negative size.

    Notes
    -----
    A row-sparse gradient costs time in proportion to the indices, not to the table; so does the
    step of SGD, RMSprop, Adagrad, Adam and AdamW, which update the rows looked up since the last
    step and leave all others alone: no momentum, no decay of averages and no ``weight_decay`` or
    ``l1`` acts on these (as in ``torch.optim.SparseAdam``; steps are counted for the table as a
    whole). SGD without momentum and weight decay, and Adagrad without weight decay, end with the
    same numbers as with dense gradients, the others do not. NAdam raises ValueError. Gradients add
    up over several backward passes, and clipping works on the rows that are there.

    ``weight.grad`` is dense: reading it makes the gradient a dense one, and the next step updates
    every row. :func:`nervure.nn.utils.row_gradient` gives the rows themselves.

    With ``sparse=False`` gradient and steps are PyTorch's dense ones. The same goes for a table
    that is no leaf, and for one that also gets a dense gradient from elsewhere (tied weights).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        sparse: bool = True,
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
        self.sparse = bool(sparse)
        self.weight = Parameter(_core.empty((rows, features)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.numpy()[self.padding_idx] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Map indices (...), int64, to vectors (..., embedding_dim).

        Raises
        ------
        IndexError
            For an index outside 0 .. num_embeddings - 1; -100 and other marks are no rows.
        """
        padding = -1 if self.padding_idx is None else self.padding_idx
        return _core.embedding(self.weight, x, padding, self.sparse)

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        return text if self.sparse else f"{text}, sparse=False"
