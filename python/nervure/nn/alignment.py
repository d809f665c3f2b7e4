# SPDX-License-Identifier: BSD-3-Clause
"""The attention of recurrent decoders: additive (Bahdanau) and multiplicative (Luong)."""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor
from nervure.nn import functional as F
from nervure.nn._lengths import Lengths, checked_lengths
from nervure.nn.linear import Linear
from nervure.nn.module import Module


class AdditiveAttention(Module):
    r"""Bahdanau's attention: ``score_j = v^T tanh(W_q q + W_k k_j)`` [1]_.

    Parameters
    ----------
    query_size, key_size : int
        Features of the query (a decoder's state) and of the keys (an encoder's outputs).
    hidden_size : int
        Features in which the two are compared.

    Attributes
    ----------
    query_proj : Linear, (hidden_size, query_size), no bias
    key_proj : Linear, (hidden_size, key_size), with bias
    score : Linear, (1, hidden_size), no bias

    References
    ----------
    .. [1] Bahdanau et al., "Neural machine translation by jointly learning to align and
       translate", 2015, https://arxiv.org/abs/1409.0473
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int) -> None:
        super().__init__()
        self.query_proj = Linear(query_size, hidden_size, bias=False)
        self.key_proj = Linear(key_size, hidden_size)
        self.score = Linear(hidden_size, 1, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """``W_k k_j`` of all keys, (B, S, hidden_size): the same for every step of a decoder."""
        return self.key_proj.forward(keys)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor | None = None,
        lengths: Lengths = None,
        *,
        projected: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Weigh the values by how their keys fit the query.

        Parameters
        ----------
        query : Tensor, (B, query_size) or (B, T, query_size)
        keys : Tensor, (B, S, key_size)
        values : Tensor, (B, S, F), optional
            ``keys`` by default.
        lengths : Tensor, array or sequence of int, (B,), optional
            How many keys of each row count.
        projected : Tensor, (B, S, hidden_size), optional
            :meth:`project` of the keys, if it has been computed before.

        Returns
        -------
        tuple of Tensor
            The context, (B, F) or (B, T, F), and the weights, (B, S) or (B, T, S). A row without
            keys has weights and a context of zeros.
        """
        values = keys if values is None else values
        projected = self.project(keys) if projected is None else projected
        single = len(query.shape) == 2
        if single:
            query = query.unsqueeze(1)
        joint = (self.query_proj(query).unsqueeze(2) + projected.unsqueeze(1)).tanh()
        scores = self.score(joint).squeeze(-1)
        return _weigh("AdditiveAttention", scores, values, lengths, single)


class DotAttention(Module):
    r"""Luong's attention: ``score_j = q . k_j`` ("dot") or ``q^T W k_j`` ("general") [1]_.

    Parameters
    ----------
    query_size : int, optional
        With ``key_size``: the general form, whose ``W`` is (query_size, key_size). Without: the dot
        product of query and keys of the same size.
    key_size : int, optional
    scale : float, default 1.0
        Factor of the scores.

    Raises
    ------
    ValueError
        If only one of the sizes is given.

    References
    ----------
    .. [1] Luong et al., "Effective approaches to attention-based neural machine translation",
       2015, https://arxiv.org/abs/1508.04025
    """

    def __init__(
        self, query_size: int | None = None, key_size: int | None = None, *, scale: float = 1.0
    ) -> None:
        super().__init__()
        if (query_size is None) != (key_size is None):
            raise ValueError("[DotAttention] give both query_size and key_size, or neither")
        self.scale = scale
        self.key_proj: Linear | None = None
        if query_size is not None and key_size is not None:
            self.key_proj = Linear(key_size, query_size, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """``W k_j`` of all keys; the keys themselves in the dot form."""
        return keys if self.key_proj is None else self.key_proj.forward(keys)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor | None = None,
        lengths: Lengths = None,
        *,
        projected: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Weigh the values by how their keys fit the query; see :class:`AdditiveAttention`."""
        values = keys if values is None else values
        projected = self.project(keys) if projected is None else projected
        single = len(query.shape) == 2
        if single:
            query = query.unsqueeze(1)
        scores = _core.matmul(query, projected.transpose(1, 2))
        scores = scores if self.scale == 1.0 else scores * self.scale
        return _weigh("DotAttention", scores, values, lengths, single)


def _weigh(
    name: str, scores: Tensor, values: Tensor, lengths: Lengths, single: bool
) -> tuple[Tensor, Tensor]:
    """Context and weights from the scores (B, T, S) of values (B, S, F)."""
    ends = checked_lengths(name, lengths, scores.shape[0], scores.shape[-1])
    weights = F.softmax(scores, -1) if ends is None else _masked_softmax(scores, ends)
    context = _core.matmul(weights, values)
    if single:
        return context.squeeze(1), weights.squeeze(1)
    return context, weights


def _masked_softmax(scores: Tensor, lengths: Tensor) -> Tensor:
    keys = _core.arange(0, scores.shape[-1], 1, _core.dtype.int64)
    hidden = _core.ge(keys, lengths.reshape(-1, 1, 1))
    # Lower than any score, but finite: a row without keys must not be 0 / 0.
    weights = F.softmax(_core.masked_fill(scores, hidden, -3e38), -1)
    return _core.masked_fill(weights, hidden, 0.0)
