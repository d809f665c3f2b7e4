# SPDX-License-Identifier: BSD-3-Clause
"""Functions on the parameters of a model as a whole, under PyTorch's names."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import no_grad
from nervure.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from nervure.nn.norm import BatchNorm1d, BatchNorm2d
from nervure.nn.parameter import Parameter

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "fuse_conv_bn_eval",
    "parameters_to_vector",
    "row_gradient",
    "vector_to_parameters",
]

C = TypeVar("C", Conv1d, Conv2d, ConvTranspose2d)


def _as_list(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients together so that their norm is at most ``max_norm``.

    ``g <- g * min(1, max_norm / (norm + 1e-6))`` with the norm of all gradients as one vector.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float
        Greatest norm allowed.
    norm_type : float, default 2.0
        Exponent of the norm; infinity gives the greatest absolute value.
    error_if_nonfinite : bool, default False
        Whether a norm that is infinite or NaN is an error.

    Returns
    -------
    float
        The norm before scaling.

    Raises
    ------
    ValueError
        For a non-finite norm when ``error_if_nonfinite``, or an impossible ``max_norm`` or
        ``norm_type``.

    References
    ----------
    Pascanu et al., "On the difficulty of training recurrent neural networks", 2012,
    https://arxiv.org/abs/1211.5063
    """
    return _core.clip_grad_norm_(_as_list(parameters), max_norm, norm_type, error_if_nonfinite)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value].

    Raises
    ------
    ValueError
        If ``clip_value`` is negative.
    """
    _core.clip_grad_value_(_as_list(parameters), clip_value)


def row_gradient(parameter: Tensor) -> tuple[Tensor, Tensor] | None:
    """The rows of a row-sparse gradient, which that of an Embedding's table is.

    Parameters
    ----------
    parameter : Tensor
        Such a table.

    Returns
    -------
    (Tensor, Tensor) or None
        Numbers of the rows (n,), ascending, a copy, and their gradients (n, features), which are
        the gradient's own memory: what is changed in them counts at the next step. None for a
        dense gradient, or none.
    """
    return _core.row_gradient(parameter)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Join all parameters, each in row-major order, to one vector; gradients flow through it.

    Raises
    ------
    ValueError
        If there are no parameters.
    """
    flat = [_core.reshape(p, (-1,)) for p in parameters]
    if not flat:
        raise ValueError("[parameters_to_vector] there are no parameters")
    return _core.cat(flat, 0)


def vector_to_parameters(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the parts of a vector into the parameters: the reverse of :func:`parameters_to_vector`.

    Raises
    ------
    ValueError
        If the vector has not exactly as many elements as the parameters; nothing is changed then.
    """
    targets = list(parameters)
    total = sum(p.numel() for p in targets)
    if tuple(vector.shape) != (total,):
        raise ValueError(
            f"[vector_to_parameters] vector must be ({total},), got shape {tuple(vector.shape)}"
        )
    values = vector.detach()
    start = 0
    for target in targets:
        stop = start + target.numel()
        target.detach().copy_(values[start:stop].reshape(tuple(target.shape)))
        start = stop


def fuse_conv_bn_eval(conv: C, bn: BatchNorm1d | BatchNorm2d) -> C:
    """Fold a batch normalisation in evaluation mode into the convolution before it.

    ``w' = w * gain`` and ``b' = (b - mean) * gain + bias`` with ``gain = weight / sqrt(var + eps)``
    of each output channel; the activation of the normalisation goes along.

    Parameters
    ----------
    conv : Conv1d, Conv2d or ConvTranspose2d
        Without an activation.
    bn : BatchNorm1d or BatchNorm2d
        With running statistics.

    Returns
    -------
    Conv1d, Conv2d or ConvTranspose2d
        A new layer that computes what both do; they themselves are not changed.

    Raises
    ------
    ValueError
        If a layer is in training mode, ``bn`` has no running statistics, the numbers of channels
        differ, or ``conv`` has an activation or is transposed and in groups.
    """
    mean, variance = bn.running_mean, bn.running_var
    if mean is None or variance is None:
        raise ValueError("[fuse_conv_bn_eval] bn must have running statistics")
    _check_fusible(conv, bn)
    fused = copy.deepcopy(conv)
    with no_grad():
        gain = 1.0 / (variance + bn.eps).sqrt()
        if bn.weight is not None:
            gain = gain * bn.weight
        bias = (-mean if conv.bias is None else conv.bias - mean) * gain
        if bn.bias is not None:
            bias = bias + bn.bias
        of_outputs = [1] * len(conv.weight.shape)
        of_outputs[1 if conv._transposed else 0] = conv.out_channels
        fused.weight.copy_(conv.weight * gain.reshape(of_outputs))
    fused.bias = Parameter(bias)
    fused.activation = bn.activation
    return fused


def _check_fusible(conv: Conv1d | Conv2d | ConvTranspose2d, bn: BatchNorm1d | BatchNorm2d) -> None:
    problem = ""
    if conv.training or bn.training:
        problem = "both layers must be in evaluation mode: call eval() first"
    elif conv.out_channels != bn.num_features:
        problem = f"conv has {conv.out_channels} output channels, bn {bn.num_features} features"
    elif conv.activation:
        problem = f"conv must have no activation, got {conv.activation!r}"
    elif conv._transposed and conv.groups > 1:
        problem = f"a transposed convolution must have groups=1, got {conv.groups}"
    if problem:
        raise ValueError(f"[fuse_conv_bn_eval] {problem}")
