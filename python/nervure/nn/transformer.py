# SPDX-License-Identifier: BSD-3-Clause
"""Transformer layers and stacks of them.

Source: Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762; the
order of norms in ``norm_first``: Xiong et al., "On layer normalization in the Transformer
architecture", 2020, https://arxiv.org/abs/2002.04745
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from nervure._core import Tensor
from nervure.nn._decoding import LayerStep, Steps, is_step, layer_step
from nervure.nn._lengths import Lengths
from nervure.nn.attention import MultiheadAttention
from nervure.nn.container import ModuleList
from nervure.nn.dropout import Dropout
from nervure.nn.key_value_cache import KeyValueCache
from nervure.nn.linear import Linear
from nervure.nn.module import Module
from nervure.nn.norm import LayerNorm

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")


def _check_activation(owner: str, activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"[{owner}] activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}"
        )
    return activation


class TransformerEncoderLayer(Module):
    r"""Self-attention and a two-layer network, each with a residual connection and a norm.

    ``x = norm1(x + attention(x)); y = norm2(x + linear2(activation(linear1(x))))``, or with
    ``norm_first``: ``x = x + attention(norm1(x)); y = x + linear2(activation(linear1(norm2(x))))``.

    Parameters
    ----------
    d_model : int
        Features of input and output.
    nhead : int
        Heads of the attention; divides ``d_model``.
    dim_feedforward : int, default 2048
        Features between the two layers.
    dropout : float, default 0.1
        Of the attention weights, of the hidden features, and of what is added to the input.
    activation : str, default "relu"
        ``"relu"``, ``"gelu"``, ``"gelu_tanh"`` or ``"silu"``; computed with the first product.
    layer_norm_eps : float, default 1e-5
    batch_first : bool, default True
        Whether sequences are ``(B, T, d_model)`` or ``(T, B, d_model)``. (PyTorch's default is
        False.)
    norm_first : bool, default False
        Norms before attention and network instead of after them: trains without warm-up.
    bias : bool, default True
        Biases of the linear layers and norms.

    Attributes
    ----------
    self_attn : MultiheadAttention
    linear1, linear2 : Linear
    norm1, norm2 : LayerNorm

    Raises
    ------
    ValueError
        For sizes that do not fit or an unknown activation.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        activation = _check_activation("TransformerEncoderLayer", activation)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, activation=activation)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias)
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.norm_first = norm_first

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        lengths: Lengths = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Map ``(B, T, d_model)`` to the same shape.

        Parameters
        ----------
        src : Tensor
        src_mask, src_key_padding_mask, is_causal, lengths, cache
            As ``attn_mask``, ``key_padding_mask`` and the others of
            :meth:`MultiheadAttention.forward`.
        """
        masked = src_mask is not None or src_key_padding_mask is not None or lengths is not None
        if is_step(src, cache) and not masked:
            assert cache is not None
            step = self.decoding_step()
            if step is not None:
                return Steps([step], [cache], [])(src)

        def attend(x: Tensor) -> Tensor:
            y, _ = self.self_attn.forward(
                x,
                key_padding_mask=src_key_padding_mask,
                attn_mask=src_mask,
                is_causal=is_causal,
                lengths=lengths,
                cache=cache,
            )
            return self.dropout1.forward(y)

        if self.norm_first:
            x = src + attend(self.norm1.forward(src))
            return x + self._feed_forward(self.norm2.forward(x))
        x = self.norm1.forward(src + attend(src))
        return self.norm2.forward(x + self._feed_forward(x))

    def decoding_step(self) -> LayerStep | None:
        """The layer as an operation of decoding sees it.

        None if its parts are not those it was made with, or drop something.
        """
        if type(self)._feed_forward is not TransformerEncoderLayer._feed_forward:
            return None
        return layer_step(
            [self.self_attn],
            (self.linear1, self.linear2),
            [self.norm1, self.norm2],
            [self.dropout, self.dropout1, self.dropout2],
            self.norm_first,
        )

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout.forward(self.linear1.forward(x))
        return self.dropout2.forward(self.linear2.forward(hidden))


class TransformerEncoder(Module):
    """``num_layers`` copies of a layer, one after the other, and a norm at the end if given.

    Parameters
    ----------
    encoder_layer : TransformerEncoderLayer
        Copied; every layer starts from the same values, as in PyTorch.
    num_layers : int
    norm : Module, optional

    Raises
    ------
    ValueError
        If ``num_layers`` is negative.
    """

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__()
        self.layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        lengths: Lengths = None,
        caches: Sequence[KeyValueCache] | None = None,
    ) -> Tensor:
        """Pass ``(B, T, d_model)`` through all layers; ``caches``: one per layer."""
        x: Tensor = src
        for i, layer in enumerate(self.layers):
            x = layer(
                x,
                mask,
                src_key_padding_mask,
                is_causal,
                lengths=lengths,
                cache=None if caches is None else caches[i],
            )
        if self.norm is not None:
            x = self.norm(x)
        return x


class TransformerDecoderLayer(Module):
    r"""Causal self-attention, attention over an encoder's output, and a two-layer network.

    Parameters as for :class:`TransformerEncoderLayer`.

    Attributes
    ----------
    self_attn, multihead_attn : MultiheadAttention
        Over the target, and over the encoder's output.
    linear1, linear2 : Linear
    norm1, norm2, norm3 : LayerNorm
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        activation = _check_activation("TransformerDecoderLayer", activation)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first
        )
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, activation=activation)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias)
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.norm_first = norm_first

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        tgt_lengths: Lengths = None,
        memory_lengths: Lengths = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Map a target ``(B, T, d_model)`` and a memory ``(B, S, d_model)`` to ``(B, T, d_model)``.

        The masks and lengths are those of :meth:`MultiheadAttention.forward`, of the target and of
        the memory; ``cache`` is for the target.
        """
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_lengths)
        if is_step(tgt, cache) and not memory_is_causal and all(m is None for m in masks):
            assert cache is not None
            step = self.decoding_step()
            if step is not None:
                return Steps([step], [cache], [])(tgt, memory, memory_lengths)

        def attend_target(x: Tensor) -> Tensor:
            y, _ = self.self_attn.forward(
                x,
                key_padding_mask=tgt_key_padding_mask,
                attn_mask=tgt_mask,
                is_causal=tgt_is_causal,
                lengths=tgt_lengths,
                cache=cache,
            )
            return self.dropout1.forward(y)

        def attend_memory(x: Tensor) -> Tensor:
            y, _ = self.multihead_attn.forward(
                x,
                memory,
                key_padding_mask=memory_key_padding_mask,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
                lengths=memory_lengths,
            )
            return self.dropout2.forward(y)

        if self.norm_first:
            x = tgt + attend_target(self.norm1.forward(tgt))
            x = x + attend_memory(self.norm2.forward(x))
            return x + self._feed_forward(self.norm3.forward(x))
        x = self.norm1.forward(tgt + attend_target(tgt))
        x = self.norm2.forward(x + attend_memory(x))
        return self.norm3.forward(x + self._feed_forward(x))

    def decoding_step(self) -> LayerStep | None:
        """As :meth:`TransformerEncoderLayer.decoding_step`."""
        if type(self)._feed_forward is not TransformerDecoderLayer._feed_forward:
            return None
        return layer_step(
            [self.self_attn, self.multihead_attn],
            (self.linear1, self.linear2),
            [self.norm1, self.norm2, self.norm3],
            [self.dropout, self.dropout1, self.dropout2, self.dropout3],
            self.norm_first,
        )

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout.forward(self.linear1.forward(x))
        return self.dropout3.forward(self.linear2.forward(hidden))


class TransformerDecoder(Module):
    """``num_layers`` copies of a layer, one after the other, and a norm at the end if given.

    Parameters
    ----------
    decoder_layer : TransformerDecoderLayer
        Copied; every layer starts from the same values, as in PyTorch.
    num_layers : int
    norm : Module, optional

    Raises
    ------
    ValueError
        If ``num_layers`` is negative.
    """

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__()
        self.layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        tgt_lengths: Lengths = None,
        memory_lengths: Lengths = None,
        caches: Sequence[KeyValueCache] | None = None,
    ) -> Tensor:
        """Pass a target through all layers; ``caches``: one per layer."""
        x: Tensor = tgt
        for i, layer in enumerate(self.layers):
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                tgt_is_causal,
                memory_is_causal,
                tgt_lengths=tgt_lengths,
                memory_lengths=memory_lengths,
                cache=None if caches is None else caches[i],
            )
        if self.norm is not None:
            x = self.norm(x)
        return x


def _copies(owner: str, layer: Module, count: int) -> ModuleList:
    if count < 0:
        raise ValueError(f"[{owner}] num_layers must not be negative, got {count}")
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])
