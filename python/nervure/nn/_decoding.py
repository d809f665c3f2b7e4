# SPDX-License-Identifier: BSD-3-Clause
"""Transformer layers in decoding: each part of a layer is one operation.

They compute what the layers' own forwards do, for parts that are what the layers made them. Other
parts (subclasses, modules with hooks, dropout that drops) go the ordinary way.
"""

from __future__ import annotations

from typing import TypeGuard

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import is_grad_enabled
from nervure.nn.attention import KeyValueCache, MultiheadAttention
from nervure.nn.dropout import Dropout
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


def attention_weights(attention: Module, norm: Module, dropout: Module) -> Weights | None:
    """What the operations of attention take; None if they cannot stand for these modules."""
    if type(attention) is not MultiheadAttention or not _is_still(dropout):
        return None
    weight, out = attention.in_proj_weight, attention.out_proj
    if weight is None or not attention.batch_first or (attention.training and attention.dropout):
        return None
    if not _is_affine(out) or not _has_gain(norm):
        return None
    return [weight, attention.in_proj_bias, out.weight, out.bias, norm.weight, norm.bias]


def network_weights(
    first: Module, second: Module, norm: Module, *dropouts: Module
) -> Weights | None:
    """Likewise for the two-layer network."""
    if type(first) is not Linear or not _is_affine(second) or not _has_gain(norm):
        return None
    if not all(map(_is_still, dropouts)):
        return None
    return [first.weight, first.bias, second.weight, second.bias, norm.weight, norm.bias]


def _is_affine(module: Module) -> TypeGuard[Linear]:
    return type(module) is Linear and not module.activation


def _has_gain(norm: Module) -> TypeGuard[LayerNorm]:
    return type(norm) is LayerNorm and norm.weight is not None and len(norm.normalized_shape) == 1


def _is_still(dropout: Module) -> bool:
    return type(dropout) is Dropout and not (dropout.training and dropout.p)
