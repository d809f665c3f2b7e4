# SPDX-License-Identifier: BSD-3-Clause
"""How each layer is written. ``writer(graph, module, path, x, ...)`` gives the name of its output.

``path`` is the dotted name of the module with a dot at its end, so that weights are written under
their names in the state dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nervure import nn
from nervure.nn import Module
from nervure.onnx._graph import Graph, Value

Writer = Callable[..., Any]


class ExportError(ValueError):
    """The model has no form in ONNX, or none that is written here."""


def _refuse(module: Module, what: str) -> None:
    raise ExportError(f"[export] {type(module).__name__}: {what}")


# ---- activations ---------------------------------------------------------------------------------


def silu(g: Graph, x: str) -> str:
    """``x * sigmoid(x)``."""
    return str(g.op("Mul", x, g.op("Sigmoid", x)))


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "": lambda g, x: x,
    "relu": lambda g, x: g.op("Relu", x),
    "leaky_relu": lambda g, x: g.op("LeakyRelu", x, alpha=0.01),
    "elu": lambda g, x: g.op("Elu", x),
    "gelu": lambda g, x: g.op("Gelu", x),
    "gelu_tanh": lambda g, x: g.op("Gelu", x, approximate="tanh"),
    "silu": silu,
    "tanh": lambda g, x: g.op("Tanh", x),
    "sigmoid": lambda g, x: g.op("Sigmoid", x),
    "softplus": lambda g, x: g.op("Softplus", x),
    "hardtanh": lambda g, x: g.op("Clip", x, g.scalar(-1.0), g.scalar(1.0)),
}


def _softplus(g: Graph, m: nn.Softplus, path: str, x: Value) -> str:
    if m.beta == 1.0:
        return str(g.op("Softplus", x.name))
    beta = g.scalar(m.beta)
    return str(g.op("Div", g.op("Softplus", g.op("Mul", x.name, beta)), beta))


def _hardtanh(g: Graph, m: nn.Hardtanh, path: str, x: Value) -> str:
    return str(g.op("Clip", x.name, g.scalar(m.min_val), g.scalar(m.max_val)))


# ---- dense, embedding, shapes --------------------------------------------------------------------


def linear(g: Graph, x: str, rank: int, weight: str, bias: str | None) -> str:
    """``x W^T + b`` with the weight as PyTorch has it."""
    if rank == 2:
        return str(g.op("Gemm", x, weight, *([bias] if bias else []), transB=1))
    product = g.op("MatMul", x, g.op("Transpose", weight, perm=[1, 0]))
    return str(g.op("Add", product, bias)) if bias else str(product)


def _linear(g: Graph, m: nn.Linear, path: str, x: Value) -> str:
    weight = g.weight(path + "weight", m.weight)
    bias = None if m.bias is None else g.weight(path + "bias", m.bias)
    return ACTIVATIONS[m.activation](g, linear(g, x.name, x.ndim, weight, bias))


def _embedding(g: Graph, m: nn.Embedding, path: str, x: Value) -> str:
    return str(g.op("Gather", g.weight(path + "weight", m.weight), x.name))


def _flatten(g: Graph, m: nn.Flatten, path: str, x: Value) -> str:
    return x.flatten(m.start_dim, m.end_dim).name


def _unflatten(g: Graph, m: Any, path: str, x: Value) -> str:
    at = m.dim % x.ndim
    target = [*[0] * at, *m.unflattened_size, *x.shape[at + 1 :]]
    return str(g.op("Reshape", x.name, g.numbers(target)))


# ---- convolution and pooling ---------------------------------------------------------------------


def _pads(m: Any) -> list[int]:
    if m.padding == "valid":
        return [0] * 2 * len(m.kernel_size)
    if m.padding == "same":
        total = [d * (k - 1) for d, k in zip(m.dilation, m.kernel_size, strict=True)]
        return [t // 2 for t in total] + [t - t // 2 for t in total]
    return list(m.padding) * 2


def _batched(m: Module, x: Value, rank: int) -> None:
    if x.ndim != rank:
        _refuse(m, f"expected an input with a batch, of {rank} dimensions, got {x.shape}")


def _conv(g: Graph, m: Any, path: str, x: Value) -> str:
    _batched(m, x, 2 + len(m.kernel_size))
    inputs = [x.name, g.weight(path + "weight", m.weight)]
    if m.bias is not None:
        inputs.append(g.weight(path + "bias", m.bias))
    attributes = {
        "kernel_shape": list(m.kernel_size),
        "strides": list(m.stride),
        "dilations": list(m.dilation),
        "pads": _pads(m),
        "group": m.groups,
    }
    if isinstance(m, nn.ConvTranspose2d):
        attributes["output_padding"] = list(m.output_padding)
        return ACTIVATIONS[m.activation](g, g.op("ConvTranspose", *inputs, **attributes))
    return ACTIVATIONS[m.activation](g, g.op("Conv", *inputs, **attributes))


def _sizes(value: Any, axes: int) -> list[int]:
    return list(value) if isinstance(value, (tuple, list)) else [value] * axes


def _max_pool(g: Graph, m: Any, path: str, x: Value) -> str:
    axes = m._axes
    _batched(m, x, 2 + axes)
    if m.return_indices:
        _refuse(m, "return_indices has no equal in ONNX")
    return str(
        g.op(
            "MaxPool",
            x.name,
            kernel_shape=_sizes(m.kernel_size, axes),
            strides=_sizes(m.stride, axes),
            pads=_sizes(m.padding, axes) * 2,
            dilations=_sizes(m.dilation, axes),
            ceil_mode=int(m.ceil_mode),
        )
    )


def _avg_pool(g: Graph, m: Any, path: str, x: Value) -> str:
    axes = 1 if isinstance(m, nn.AvgPool1d) else 2
    _batched(m, x, 2 + axes)
    if getattr(m, "divisor_override", None) is not None:
        _refuse(m, "divisor_override has no equal in ONNX")
    return str(
        g.op(
            "AveragePool",
            x.name,
            kernel_shape=_sizes(m.kernel_size, axes),
            strides=_sizes(m.stride, axes),
            pads=_sizes(m.padding, axes) * 2,
            count_include_pad=int(m.count_include_pad),
            ceil_mode=int(m.ceil_mode),
        )
    )


def _adaptive_pool(g: Graph, m: Any, path: str, x: Value) -> str:
    axes = 1 if type(m).__name__.endswith("1d") else 2
    _batched(m, x, 2 + axes)
    average = "Avg" in type(m).__name__
    if getattr(m, "return_indices", False):
        _refuse(m, "return_indices has no equal in ONNX")
    wanted = _sizes(m.output_size, axes)
    if all(size == 1 for size in wanted):
        return str(g.op("GlobalAveragePool" if average else "GlobalMaxPool", x.name))
    sizes = x.shape[2:]
    steps = []
    for size, want in zip(sizes, wanted, strict=True):
        out = size if want is None else want
        if size % out:
            _refuse(m, f"{size} must be a multiple of output_size = {want}")
        steps.append(size // out)
    kind = "AveragePool" if average else "MaxPool"
    return str(g.op(kind, x.name, kernel_shape=steps, strides=steps))


# ---- normalisation -------------------------------------------------------------------------------


def _scale_and_shift(g: Graph, m: Any, path: str, channels: int) -> tuple[str, str]:
    found = []
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        own = getattr(m, name)
        given = np.full(channels, value, np.float32) if own is None else own
        found.append(g.weight(path + name, given))
    return found[0], found[1]


def _batch_norm(g: Graph, m: Any, path: str, x: Value) -> str:
    if m.running_mean is None or m.running_var is None:
        _refuse(m, "without running averages there is nothing to normalise with")
    scale, shift = _scale_and_shift(g, m, path, m.num_features)
    mean = g.weight(path + "running_mean", m.running_mean)
    var = g.weight(path + "running_var", m.running_var)
    y = g.op("BatchNormalization", x.name, scale, shift, mean, var, epsilon=m.eps)
    return ACTIVATIONS[m.activation](g, y)


def _instance_norm(g: Graph, m: Any, path: str, x: Value) -> str:
    _batched(m, x, 3 if type(m).__name__.endswith("1d") else 4)
    if m.running_mean is not None:
        scale, shift = _scale_and_shift(g, m, path, m.num_features)
        mean = g.weight(path + "running_mean", m.running_mean)
        var = g.weight(path + "running_var", m.running_var)
        return str(g.op("BatchNormalization", x.name, scale, shift, mean, var, epsilon=m.eps))
    scale, shift = _scale_and_shift(g, m, path, m.num_features)
    return str(g.op("InstanceNormalization", x.name, scale, shift, epsilon=m.eps))


def _group_norm(g: Graph, m: nn.GroupNorm, path: str, x: Value) -> str:
    """Groups as the channels of an instance norm; then scale and shift by channel."""
    ones, zeros = (
        g.weight(g.name("constant"), np.full(m.num_groups, v, np.float32)) for v in (1.0, 0.0)
    )
    grouped = g.op("Reshape", x.name, g.numbers([0, m.num_groups, -1]))
    y = g.op("InstanceNormalization", grouped, ones, zeros, epsilon=m.eps)
    y = g.op("Reshape", y, g.op("Shape", x.name))
    if m.weight is None or m.bias is None:
        return str(y)
    shape = g.numbers([m.num_channels, *[1] * (x.ndim - 2)])
    y = g.op("Mul", y, g.op("Reshape", g.weight(path + "weight", m.weight), shape))
    return str(g.op("Add", y, g.op("Reshape", g.weight(path + "bias", m.bias), shape)))


def _layer_norm(g: Graph, m: nn.LayerNorm, path: str, x: Value) -> str:
    shape = tuple(m.normalized_shape)
    scale = np.ones(shape, np.float32) if m.weight is None else m.weight
    inputs = [x.name, g.weight(path + "weight", scale)]
    if m.bias is not None:
        inputs.append(g.weight(path + "bias", m.bias))
    return str(g.op("LayerNormalization", *inputs, axis=-len(shape), epsilon=m.eps))


def _rms_norm(g: Graph, m: nn.RMSNorm, path: str, x: Value) -> str:
    axes = g.numbers([-i for i in range(len(m.normalized_shape), 0, -1)])
    eps = float(np.finfo(np.float32).eps) if m.eps is None else m.eps
    mean = g.op("ReduceMean", g.op("Mul", x.name, x.name), axes, keepdims=1)
    y = g.op("Div", x.name, g.op("Sqrt", g.op("Add", mean, g.scalar(eps))))
    if m.weight is None:
        return str(y)
    return str(g.op("Mul", y, g.weight(path + "weight", m.weight)))


def _same(g: Graph, m: Module, path: str, x: Value) -> str:
    return x.name


LAYERS: dict[type, Writer] = {
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout2d: _same,
    nn.ReLU: lambda g, m, p, x: g.op("Relu", x.name),
    nn.LeakyReLU: lambda g, m, p, x: g.op("LeakyRelu", x.name, alpha=m.negative_slope),
    nn.ELU: lambda g, m, p, x: g.op("Elu", x.name, alpha=m.alpha),
    nn.GELU: lambda g, m, p, x: g.op("Gelu", x.name, approximate=m.approximate),
    nn.SiLU: lambda g, m, p, x: silu(g, x.name),
    nn.Tanh: lambda g, m, p, x: g.op("Tanh", x.name),
    nn.Sigmoid: lambda g, m, p, x: g.op("Sigmoid", x.name),
    nn.Softplus: _softplus,
    nn.Hardtanh: _hardtanh,
    nn.Softmax: lambda g, m, p, x: g.op("Softmax", x.name, axis=m.dim),
    nn.LogSoftmax: lambda g, m, p, x: g.op("LogSoftmax", x.name, axis=m.dim),
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _conv,
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool1d: _avg_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool1d: _adaptive_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.AdaptiveMaxPool1d: _adaptive_pool,
    nn.AdaptiveMaxPool2d: _adaptive_pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.InstanceNorm1d: _instance_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
}
