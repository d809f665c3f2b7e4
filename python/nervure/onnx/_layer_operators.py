# SPDX-License-Identifier: BSD-3-Clause
"""The larger operators of ONNX in terms of ours: convolution, pooling, norms, recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nervure import _core
from nervure._core import Tensor
from nervure.onnx._layers import ExportError
from nervure.onnx._operators import Attributes, Operator, ints, tensor
from nervure.onnx._recurrent import GATES


def _padding(a: Attributes, x: Tensor, value: float) -> tuple[Tensor, list[int]]:
    """Symmetric padding; of an uneven one the rest is laid around the input."""
    axes = x.ndim - 2
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ExportError(f"[onnx] auto_pad={a['auto_pad']} is not known")
    pads = list(a.get("pads", [0] * 2 * axes))
    before, after = pads[:axes], pads[axes:]
    for axis in range(axes):
        extra = after[axis] - before[axis]
        if extra:
            shape = list(x.shape)
            shape[axis + 2] = abs(extra)
            filling = _core.full(tuple(shape), value)
            x = _core.cat([x, filling] if extra > 0 else [filling, x], axis + 2)
    return x, [min(b, e) for b, e in zip(before, after, strict=True)]


def _conv(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x, weight = tensor(x), tensor(weight)
    axes = x.ndim - 2
    x, padding = _padding(a, x, 0.0)
    settings = (a.get("strides", [1] * axes), padding, a.get("dilations", [1] * axes))
    run = {1: _core.conv1d, 2: _core.conv2d}.get(axes)
    if run is None:
        raise ExportError(f"[onnx] Conv over {axes} dimensions is not known")
    return run(x, weight, None if bias is None else tensor(bias), *settings, a.get("group", 1))


def _conv_transpose(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x = tensor(x)
    if x.ndim != 4 or "output_shape" in a:
        raise ExportError("[onnx] ConvTranspose is known for images and without output_shape")
    pads = list(a.get("pads", [0] * 4))
    if pads[:2] != pads[2:] or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ExportError("[onnx] ConvTranspose with uneven padding is not known")
    return _core.conv_transpose2d(
        x,
        tensor(weight),
        None if bias is None else tensor(bias),
        a.get("strides", [1, 1]),
        pads[:2],
        a.get("output_padding", [0, 0]),
        a.get("group", 1),
        a.get("dilations", [1, 1]),
    )


def _max_pool(a: Attributes, x: Any) -> Tensor:
    x, padding = _padding(a, tensor(x), -np.inf)
    kernel = a["kernel_shape"]
    ones = [1] * len(kernel)
    return _core.max_pool(
        x,
        kernel,
        a.get("strides", ones),
        padding,
        a.get("dilations", ones),
        bool(a.get("ceil_mode")),
    )


def _avg_pool(a: Attributes, x: Any) -> Tensor:
    x = tensor(x)
    kernel = a["kernel_shape"]
    axes = len(kernel)
    pads = list(a.get("pads", [0] * 2 * axes))
    if pads[:axes] != pads[axes:] or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ExportError("[onnx] AveragePool with uneven padding is not known")
    return _core.avg_pool(
        x,
        kernel,
        a.get("strides", [1] * axes),
        pads[:axes],
        bool(a.get("ceil_mode")),
        bool(a.get("count_include_pad")),
    )


def _global(ours: Any) -> Operator:
    def run(a: Attributes, x: Any) -> Tensor:
        x = tensor(x)
        result: Tensor = ours(x, tuple(range(2, x.ndim)), True)
        return result

    return run


def _batch_norm(a: Attributes, x: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Tensor:
    x, scale, shift, mean, var = (tensor(v) for v in (x, scale, shift, mean, var))
    return _core.batch_norm(x, mean, var, scale, shift, False, 0.1, a.get("epsilon", 1e-5))


def _instance_norm(a: Attributes, x: Any, scale: Any, shift: Any) -> Tensor:
    eps = a.get("epsilon", 1e-5)
    x, scale, shift = tensor(x), tensor(scale), tensor(shift)
    return _core.instance_norm(x, None, None, scale, shift, True, 0.1, eps)


def _layer_norm(a: Attributes, x: Any, scale: Any, shift: Any = None) -> Tensor:
    x = tensor(x)
    shape = x.shape[a.get("axis", -1) % x.ndim :]
    shift = None if shift is None else tensor(shift)
    return _core.layer_norm(x, shape, tensor(scale), shift, a.get("epsilon", 1e-5))


# ---- recurrent -----------------------------------------------------------------------------------


def _ours(values: Any, order: tuple[int, ...], axis: int) -> Tensor:
    """Gates of ONNX in our order."""
    values = tensor(values)
    size = values.shape[axis] // len(order)
    parts = _core.split(values, [size] * len(order), axis)
    return _core.cat([parts[order.index(i)] for i in range(len(order))], axis)


def _weights(kind: str, w: Any, r: Any, b: Any, peepholes: Any, hidden: int) -> list[Tensor | None]:
    order = GATES[kind]
    w, r = _ours(w, order, 1), _ours(r, order, 1)
    found: list[Tensor | None] = []
    for direction in range(w.shape[0]):
        found += [w[direction], r[direction]]
        if b is None:
            found += [None, None]
        else:
            both = _core.split(tensor(b)[direction], [len(order) * hidden] * 2, 0)
            found += [_ours(part, order, 0) for part in both]
        if kind == "LSTM":
            rows = None
            if peepholes is not None:  # i, o, f there
                i, o, f = _core.split(tensor(peepholes)[direction], [hidden] * 3, 0)
                rows = _core.stack([i, f, o], 0)
            found += [None, rows]
    return found


def _check(kind: str, a: Attributes, directions: int) -> str:
    """Refuse what is not known; gives the non-linearity of an RNN."""
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
    given = a.get("activations", usual[kind] * directions)
    plain = kind == "RNN" and given in (["Relu"] * directions, ["Tanh"] * directions)
    wrong = a.get("direction", "forward") == "reverse" or a.get("layout") or a.get("input_forget")
    if wrong or "clip" in a or not (plain or given == usual[kind] * directions):
        raise ExportError(f"[onnx] {kind} of this kind is not known: {a}")
    return str(given[0]).lower()


def _recurrent(kind: str) -> Operator:
    def run(
        a: Attributes,
        x: Any,
        w: Any,
        r: Any,
        b: Any = None,
        ends: Any = None,
        h: Any = None,
        c: Any = None,
        peepholes: Any = None,
    ) -> Any:
        x, hidden, directions = tensor(x), a["hidden_size"], tensor(w).shape[0]
        nonlinearity = _check(kind, a, directions)
        weights = _weights(kind, w, r, b, peepholes, hidden)
        lengths = None if ends is None else _core.tensor(np.asarray(ints(ends), np.int64))
        first, cell = (None if s is None else tensor(s) for s in (h, c))
        rows = x.permute(1, 0, 2)
        if kind == "LSTM":
            y, *final = _core.lstm(rows, first, cell, weights, lengths)
        elif kind == "GRU":
            after = bool(a.get("linear_before_reset"))
            y, *final = _core.gru(rows, first, weights, lengths, after)
        else:
            y, *final = _core.rnn(rows, first, weights, lengths, nonlinearity)
        batch, steps = y.shape[:2]
        y = y.reshape(batch, steps, directions, hidden).permute(1, 2, 0, 3)
        return (y, *final)

    return run


LAYER_OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _avg_pool,
    "GlobalAveragePool": _global(_core.mean),
    "GlobalMaxPool": _global(_core.amax),
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LSTM": _recurrent("LSTM"),
    "GRU": _recurrent("GRU"),
    "RNN": _recurrent("RNN"),
}
