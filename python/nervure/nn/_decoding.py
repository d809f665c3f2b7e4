# SPDX-License-Identifier: BSD-3-Clause
"""Transformer layers in decoding: all layers are one operation.

It computes what the layers' own forwards do, for parts that are what the layers made them. Other
parts (subclasses, modules with hooks, dropout that drops) go the ordinary way.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import is_grad_enabled
from nervure.nn._lengths import Lengths, lengths_tensor
from nervure.nn.attention import MultiheadAttention
from nervure.nn.dropout import Dropout
from nervure.nn.key_value_cache import KeyValueCache, LayerCaches
from nervure.nn.linear import Linear
from nervure.nn.module import Module
from nervure.nn.norm import LayerNorm

Weights = list[Tensor | None]


def is_step(x: Tensor, cache: KeyValueCache | None) -> bool:
    """Whether ``x`` (B, 1, E) is one position in decoding without gradients."""
    if cache is None or is_grad_enabled():
        return False
    shape = x.shape
    return len(shape) == 3 and shape[1] == 1 and x.dtype == _core.dtype.float32


# ---- a layer as the operation sees it ------------------------------------------------------------


@dataclass(frozen=True)
class LayerStep:
    """A layer's weights, part after part, and its settings."""

    weights: Weights
    settings: tuple[float, bool, int, str]  # eps, norm_first, heads, activation
    memory: MultiheadAttention | None  # which looks at an encoder's output


def layer_step(
    attentions: Sequence[Module],
    linears: tuple[Module, Module],
    norms: Sequence[Module],
    dropouts: Sequence[Module],
    norm_first: bool,
) -> LayerStep | None:
    """None if the operation cannot stand for these modules."""
    weights: Weights = []
    heads, eps = set[int](), set[float]()
    looks: MultiheadAttention | None = None
    for attention, norm in zip(attentions, norms, strict=False):
        if not _is_plain(attention) or not _has_gain(norm):
            return None
        out = attention.out_proj
        weights += [attention.in_proj_weight, attention.in_proj_bias, out.weight, out.bias]
        weights += [norm.weight, norm.bias]
        heads.add(attention.num_heads)
        eps.add(norm.eps)
        looks = None if attention is attentions[0] else attention
    (first, second), norm = linears, norms[-1]
    if type(first) is not Linear or not _is_affine(second) or not _has_gain(norm):
        return None
    weights += [first.weight, first.bias, second.weight, second.bias, norm.weight, norm.bias]
    if len(heads) > 1 or len(eps | {norm.eps}) > 1 or not all(map(_is_still, dropouts)):
        return None
    return LayerStep(weights, (norm.eps, norm_first, heads.pop(), first.activation), looks)


def _is_plain(attention: Module) -> TypeGuard[MultiheadAttention]:
    if type(attention) is not MultiheadAttention or attention.in_proj_weight is None:
        return False
    drops = attention.training and attention.dropout
    return attention.batch_first and not drops and _is_affine(attention.out_proj)


def _is_affine(module: Module) -> TypeGuard[Linear]:
    return type(module) is Linear and not module.activation


def _has_gain(norm: Module) -> TypeGuard[LayerNorm]:
    return type(norm) is LayerNorm and norm.weight is not None and len(norm.normalized_shape) == 1


def _is_still(dropout: Module) -> bool:
    return type(dropout) is Dropout and not (dropout.training and dropout.p)


# ---- steps ---------------------------------------------------------------------------------------


class Steps:
    """Layers bound to their caches, which grow and change together: called for each position."""

    def __init__(
        self, layers: Sequence[LayerStep], caches: Sequence[KeyValueCache], norm: Weights
    ) -> None:
        self._weights = [weight for layer in layers for weight in layer.weights] + norm
        self._settings = layers[0].settings
        self._caches, self._stores = caches, LayerCaches(caches)
        self._looks = [layer.memory for layer in layers if layer.memory is not None]

    def __call__(self, x: Tensor, memory: Tensor | None = None, lengths: Lengths = None) -> Tensor:
        """The next position (B, 1, E) of all rows, and for a decoder the encoder's output."""
        keys, values, start = self._stores.reserve(*x.shape)
        if memory is None:
            return _core.transformer_step(x, self._weights, *self._settings, keys, values, start)
        pairs = zip(self._caches, self._looks, strict=True)
        sides = [
            cache.sides(memory, look.sides, (look.in_proj_weight, look.in_proj_bias))
            for cache, look in pairs
        ]
        ends = lengths_tensor("TransformerDecoder", lengths)
        return _core.transformer_step(
            x, self._weights, *self._settings, keys, values, start, sides, ends
        )


class Stepper:
    """What calls a stack of layers for one position after the other.

    ``step(x)`` of an encoder's layers, ``step(x, memory, memory_lengths)`` of a decoder's, x
    (B, 1, E). Layers are looked at here and not at every step: for a loop that leaves them alone.
    """

    def __init__(self, stack: Any, caches: Sequence[KeyValueCache]) -> None:
        self._stack, self._caches = stack, caches
        self._steps = _steps_of(stack, caches)

    def __call__(self, x: Tensor, *memory: Any) -> Tensor:
        if self._steps is not None and not self._stack.training and not is_grad_enabled():
            return self._steps(x, *memory)
        named = dict(zip(_MEMORY, memory, strict=False))
        y: Tensor = self._stack.forward(x, caches=self._caches, **named)
        return y

    def __deepcopy__(self, memo: dict[int, Any]) -> Stepper:
        return Stepper(self._stack, copy.deepcopy(self._caches, memo))  # of the same layers


_MEMORY = ("memory", "memory_lengths")


def _steps_of(stack: Any, caches: Sequence[KeyValueCache]) -> Steps | None:
    from nervure.nn import transformer as known  # which imports this file

    if type(stack) not in (known.TransformerEncoder, known.TransformerDecoder):
        return None
    layers: list[LayerStep] = []
    for layer in stack.layers:
        own = type(layer) in (known.TransformerEncoderLayer, known.TransformerDecoderLayer)
        step = layer.decoding_step() if own else None
        if step is None or (layers and step.settings != layers[0].settings):
            return None
        layers.append(step)
    norm: Weights = []
    if stack.norm is not None:
        if not layers or not _has_gain(stack.norm) or stack.norm.eps != layers[0].settings[0]:
            return None
        norm = [stack.norm.weight, stack.norm.bias]
    return Steps(layers, caches, norm) if layers else None
