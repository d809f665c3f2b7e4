# SPDX-License-Identifier: BSD-3-Clause
"""Multi-head attention."""

from __future__ import annotations

import math
from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import is_grad_enabled
from nervure.nn import functional as F
from nervure.nn import init
from nervure.nn._lengths import Lengths, lengths_tensor
from nervure.nn.key_value_cache import KeyValueCache
from nervure.nn.linear import Linear
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter


class MultiheadAttention(Module):
    r"""Multi-head attention: ``concat(head_1, ..., head_h) W_O`` [1]_.

    ``head_i = softmax(Q_i K_i^T / sqrt(d)) V_i`` with ``Q = query W_Q^T + b_Q`` cut into heads of
    ``d = embed_dim / num_heads`` features, likewise ``K`` and ``V``.

    Parameters
    ----------
    embed_dim : int
        Features of query and output.
    num_heads : int
        Divides ``embed_dim``.
    dropout : float, default 0.0
        Probability of dropping an attention weight while training.
    bias : bool, default True
        Biases of all four projections.
    kdim, vdim : int, optional
        Features of key and value; ``embed_dim`` by default.
    batch_first : bool, default True
        Whether sequences are ``(B, T, E)`` or ``(T, B, E)``. (PyTorch's default is False.)

    Attributes
    ----------
    in_proj_weight : Parameter, (3 embed_dim, embed_dim)
        Projections of query, key and value one under the other. With ``kdim`` or ``vdim`` it is
        None, and ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight`` stand instead.
    in_proj_bias : Parameter, (3 embed_dim,), or None
    out_proj : Linear

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide ``embed_dim``, for sizes below 1, or a probability outside
        [0, 1).

    Notes
    -----
    Names, shapes and initial values are PyTorch's, and so are the masks of :meth:`forward`, in
    which True means *hidden* (in ``scaled_dot_product_attention`` it means visible, there too as
    in PyTorch).

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        embed_dim, num_heads = index(embed_dim), index(num_heads)
        kdim = embed_dim if kdim is None else index(kdim)
        vdim = embed_dim if vdim is None else index(vdim)
        if min(embed_dim, num_heads, kdim, vdim) < 1 or embed_dim % num_heads:
            raise ValueError(
                "[MultiheadAttention] sizes must be positive and num_heads must divide embed_dim, "
                f"got embed_dim = {embed_dim}, num_heads = {num_heads}, kdim = {kdim}, "
                f"vdim = {vdim}"
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"[MultiheadAttention] dropout must be in [0, 1), got {dropout}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.in_proj_weight: Parameter | None = None
        if kdim == embed_dim and vdim == embed_dim:
            self.in_proj_weight = Parameter(_core.empty((3 * embed_dim, embed_dim), (1, 0)))
        else:
            self.q_proj_weight = Parameter(_core.empty((embed_dim, embed_dim), (1, 0)))
            self.k_proj_weight = Parameter(_core.empty((embed_dim, kdim), (1, 0)))
            self.v_proj_weight = Parameter(_core.empty((embed_dim, vdim), (1, 0)))
        self.in_proj_bias = Parameter(_core.empty((3 * embed_dim,))) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        if self.in_proj_weight is not None:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            for weight in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        lengths: Lengths = None,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every position of ``query`` look at the positions of ``key`` and ``value``.

        Parameters
        ----------
        query : Tensor, (B, T, embed_dim), or (T, embed_dim)
        key : Tensor, (B, S, kdim), optional
            ``query`` by default: self-attention.
        value : Tensor, (B, S, vdim), optional
            ``key`` by default.
        key_padding_mask : Tensor, (B, S), optional
            Boolean: True hides a key. float32: added to the scores.
        need_weights : bool, default False
            Also return the weights. They are then stored, which costs time and memory. (PyTorch's
            default is True.)
        attn_mask : Tensor, (T, S) or (B * num_heads, T, S), optional
            Boolean: True hides a key from a query. float32: added to the scores.
        average_attn_weights : bool, default True
            Weights averaged over the heads, (B, T, S), or of each, (B, num_heads, T, S).
        is_causal : bool, default False
            Position ``i`` looks at positions ``0 .. i`` only. Needs no ``attn_mask``.
        lengths : Tensor, array or sequence of int, (B,), optional
            How many keys of each row count, instead of a ``key_padding_mask``.
        cache : KeyValueCache, optional
            Keys and values of earlier calls. ``key`` holds the new positions only; the query looks
            at the earlier ones and the new. Not for training.

        Returns
        -------
        tuple of Tensor and Tensor or None
            The output, (B, T, embed_dim), and the weights if asked for.

        Raises
        ------
        ValueError
            For shapes that do not fit, or arguments that exclude each other.
        """
        batched = len(query.shape) == 3
        if len(query.shape) not in (2, 3):
            raise ValueError(
                "[MultiheadAttention] query must be (B, T, embed_dim) or (T, embed_dim), "
                f"got {query.shape}"
            )
        key = query if key is None else key
        value = key if value is None else value
        packed = key is query and value is query
        if not packed and not len(key.shape) == len(value.shape) == len(query.shape):
            raise ValueError(
                "[MultiheadAttention] query, key and value must have the same number of "
                f"dimensions, got {query.shape}, {key.shape}, {value.shape}"
            )
        if not batched:
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
            if key_padding_mask is not None and len(key_padding_mask.shape) == 1:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        mask = self._mask(key_padding_mask, attn_mask, query.shape, key.shape)
        lengths = lengths_tensor("MultiheadAttention", lengths)
        p = self.dropout if self.training else 0.0
        weights = None
        if cache is not None:
            self._check_cache(query.shape[1], mask, lengths, is_causal)
        in_one = packed and self.in_proj_weight is not None and not need_weights
        if in_one and cache is not None and not p and not is_grad_enabled():
            assert self.in_proj_weight is not None
            sides = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            keys, values, start = cache.reserve(*query.shape)
            y = _core.attend_cached(sides, keys, values, start, self.num_heads)
        elif in_one and cache is None:
            assert self.in_proj_weight is not None
            sides = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            y = _core.self_attention(sides, mask, lengths, self.num_heads, p, is_causal)
        else:
            q, k, v = self._project(query, key, value)
            if cache is not None:
                k, v, lengths = cache.append(k, v)
                is_causal = False
            q, k, v = self._heads(q), self._heads(k), self._heads(v)
            if need_weights:
                weights = F.attention_weights(q, k, mask, is_causal, lengths=lengths)
                y = _core.matmul(F.dropout(weights, p), v)
                weights = weights.mean(1) if average_attn_weights else weights
            else:
                y = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal, lengths=lengths)
            y = y.transpose(1, 2)
            y = y.reshape(*y.shape[:2], self.embed_dim)
        y = self.out_proj(y)
        if not batched:
            return y.squeeze(0), None if weights is None else weights.squeeze(0)
        return (y if self.batch_first else y.transpose(0, 1)), weights

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.num_heads, self.head_dim).transpose(1, 2)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        e = self.embed_dim
        bias = self.in_proj_bias
        if self.in_proj_weight is None:
            weights: tuple[Tensor, ...] = (
                self.q_proj_weight,
                self.k_proj_weight,
                self.v_proj_weight,
            )
        elif key is value and key is query:
            parts = F.linear(query, self.in_proj_weight, bias).split(e, -1)
            return parts[0], parts[1], parts[2]
        elif key is value:
            w_query, w_sides = self.in_proj_weight.split([e, 2 * e], 0)
            b_query, b_sides = (None, None) if bias is None else bias.split([e, 2 * e], 0)
            sides = F.linear(key, w_sides, b_sides).split(e, -1)
            return F.linear(query, w_query, b_query), sides[0], sides[1]
        else:
            weights = tuple(self.in_proj_weight.split(e, 0))
        biases = (None, None, None) if bias is None else tuple(bias.split(e, 0))
        q, k, v = map(F.linear, (query, key, value), weights, biases)
        return q, k, v

    def sides(self, memory: Tensor) -> Tensor:
        """Keys and values of ``memory`` (B, S, E) side by side, (B, S, 2 E), of packed weights.

        Raises
        ------
        ValueError
            If ``kdim`` or ``vdim`` differ from ``embed_dim``.
        """
        if self.in_proj_weight is None:
            raise ValueError("[MultiheadAttention] sides need weights that are packed")
        _, weight = self.in_proj_weight.split([self.embed_dim, 2 * self.embed_dim], 0)
        if self.in_proj_bias is None:
            return F.linear(memory, weight)
        _, bias = self.in_proj_bias.split([self.embed_dim, 2 * self.embed_dim], 0)
        return F.linear(memory, weight, bias)

    def _check_cache(
        self, queries: int, mask: Tensor | None, lengths: Tensor | None, is_causal: bool
    ) -> None:
        if mask is not None or lengths is not None:
            raise ValueError("[MultiheadAttention] a cache excludes masks and lengths")
        if queries > 1 and is_causal:
            raise ValueError(
                "[MultiheadAttention] with a cache, a causal query must be one position long, "
                f"got {queries}"
            )

    def _mask(
        self,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
        query: tuple[int, ...],
        key: tuple[int, ...],
    ) -> Tensor | None:
        """Both as one that broadcasts to (B, heads, T, S): True is visible, floats are added."""
        batch, queries, keys = query[0], query[1], key[1]
        padding = None
        if key_padding_mask is not None:
            if key_padding_mask.shape != (batch, keys):
                raise ValueError(
                    f"[MultiheadAttention] key_padding_mask must be (B, S) = ({batch}, {keys}), "
                    f"got {key_padding_mask.shape}"
                )
            padding = key_padding_mask.reshape(batch, 1, 1, keys)
        if attn_mask is not None:
            if attn_mask.shape == (batch * self.num_heads, queries, keys):
                attn_mask = attn_mask.reshape(batch, self.num_heads, queries, keys)
            elif attn_mask.shape != (queries, keys):
                raise ValueError(
                    "[MultiheadAttention] attn_mask must be (T, S) = "
                    f"({queries}, {keys}) or (B * heads, T, S) = "
                    f"({batch * self.num_heads}, {queries}, {keys}), got {attn_mask.shape}"
                )
        masks = [m for m in (padding, attn_mask) if m is not None]
        if not masks:
            return None
        if all(m.dtype == _core.dtype.bool for m in masks):
            hidden = masks[0] if len(masks) == 1 else _core.logical_or(masks[0], masks[1])
            return _core.logical_not(hidden)
        added = [_as_scores(m) for m in masks]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def extra_repr(self) -> str:
        """The sizes and what differs from the defaults."""
        text = f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"
        return text + (f", dropout={self.dropout}" if self.dropout else "")


def _as_scores(mask: Tensor) -> Tensor:
    """True, which hides, as minus infinity; floats as they are."""
    if mask.dtype != _core.dtype.bool:
        return mask
    return _core.masked_fill(_core.full(mask.shape, 0.0), mask, -math.inf)
