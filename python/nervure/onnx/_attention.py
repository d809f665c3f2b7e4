# SPDX-License-Identifier: BSD-3-Clause
"""How attention and positions are written."""

from __future__ import annotations

from typing import Any

import numpy as np

from nervure import _core, nn
from nervure.onnx._graph import Graph, Value
from nervure.onnx._layers import ExportError, Writer, linear

HIDDEN = float(np.finfo(np.float32).min)


def _heads(g: Graph, m: nn.MultiheadAttention, x: str) -> str:
    split = g.op("Reshape", x, g.numbers([0, 0, m.num_heads, m.head_dim]))
    return str(g.op("Transpose", split, perm=[0, 2, 1, 3]))


def _project(g: Graph, m: Any, path: str, sides: tuple[Value, Value, Value]) -> list[str]:
    e = m.embed_dim
    if m.in_proj_weight is not None:
        packed = g.weight(path + "in_proj_weight", m.in_proj_weight)
        weights = g.op("Split", packed, outputs=3, axis=0, num_outputs=3)
    else:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        weights = [g.weight(path + name, getattr(m, name)) for name in names]
    biases: list[Any] = [None] * 3
    if m.in_proj_bias is not None:
        packed = g.weight(path + "in_proj_bias", m.in_proj_bias)
        biases = g.op("Split", packed, g.numbers([e, e, e]), outputs=3, axis=0)
    zipped = zip(sides, weights, biases, strict=True)
    return [linear(g, x.name, 3, weight, bias) for x, weight, bias in zipped]


def _positions(g: Graph, x: str, axis: int) -> str:
    """0 .. n-1 along an axis of x."""
    size = g.op("Shape", x, start=axis, end=axis + 1)
    end = g.op("Squeeze", size, g.numbers([0]))
    zero, one = (g.weight(g.name("constant"), np.asarray(v, np.int64)) for v in (0, 1))
    return str(g.op("Range", zero, end, one))


def _masked(g: Graph, scores: str, visible: str) -> str:
    return str(g.op("Where", visible, scores, g.scalar(HIDDEN)))


def _added(g: Graph, scores: str, mask: Value, heads: int, padding: bool) -> str:
    """Scores with a mask in PyTorch's sense: True hides, floats are added."""
    name = mask.name
    if padding:
        name = g.op("Unsqueeze", name, g.numbers([1, 2]))
    elif mask.ndim == 3:
        name = g.op("Reshape", name, g.numbers([-1, heads, *mask.shape[1:]]))
    if mask.dtype == _core.dtype.bool:
        return _masked(g, scores, g.op("Not", name))
    return str(g.op("Add", scores, name))


def _attention(
    g: Graph,
    m: Any,
    path: str,
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    key_padding_mask: Value | None = None,
    need_weights: bool = False,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    lengths: Value | None = None,
    cache: Any = None,
) -> Any:
    key = query if key is None else key
    value = key if value is None else value
    if query.ndim != 3 or cache is not None:
        raise ExportError("[export] MultiheadAttention: needs a batch, and takes no cache")
    sides = (query, key, value)
    if not m.batch_first:
        sides = (query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1))
    q, k, v = (_heads(g, m, name) for name in _project(g, m, path, sides))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.op("Mul", scores, g.scalar(m.head_dim**-0.5))
    for mask, padding in ((key_padding_mask, True), (attn_mask, False)):
        if mask is not None:
            if not isinstance(mask, Value):
                mask = Value(g, g.weight("mask", mask), mask)
            scores = _added(g, scores, mask, m.num_heads, padding)
    if is_causal:
        rows = g.op("Unsqueeze", _positions(g, sides[0].name, 1), g.numbers([1]))
        scores = _masked(g, scores, g.op("LessOrEqual", _positions(g, sides[1].name, 1), rows))
    if lengths is not None:
        ends = g.op("Unsqueeze", lengths.name, g.numbers([1, 2, 3]))
        scores = _masked(g, scores, g.op("Less", _positions(g, sides[1].name, 1), ends))
    weights = g.op("Softmax", scores, axis=-1)
    joined = g.op("Transpose", g.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    joined = g.op("Reshape", joined, g.numbers([0, 0, m.embed_dim]))
    out = m.out_proj
    bias = None if out.bias is None else g.weight(path + "out_proj.bias", out.bias)
    y = linear(g, joined, 3, g.weight(path + "out_proj.weight", out.weight), bias)
    if not m.batch_first:
        y = g.op("Transpose", y, perm=[1, 0, 2])
    if not need_weights:
        return y, None
    if average_attn_weights:
        weights = g.op("ReduceMean", weights, g.numbers([1]), keepdims=0)
    return y, weights


# ---- of recurrent decoders -----------------------------------------------------------------------


def _dense(g: Graph, m: nn.Linear, path: str, x: str) -> str:
    bias = None if m.bias is None else g.weight(path + "bias", m.bias)
    return linear(g, x, 3, g.weight(path + "weight", m.weight), bias)


def _weigh(
    g: Graph, scores: str, values: str, lengths: Value | None, single: bool
) -> tuple[str, str]:
    """Context and weights from the scores (B, T, S) of values (B, S, F)."""
    if lengths is None:
        weights = g.op("Softmax", scores, axis=-1)
    else:
        ends = g.op("Unsqueeze", lengths.name, g.numbers([1, 2]))
        visible = g.op("Less", _positions(g, values, 1), ends)
        weights = g.op("Softmax", _masked(g, scores, visible), axis=-1)
        weights = g.op("Where", visible, weights, g.scalar(0.0))
    context = g.op("MatMul", weights, values)
    if single:
        first = g.numbers([1])
        return g.op("Squeeze", context, first), g.op("Squeeze", weights, first)
    return context, weights


def _additive(
    g: Graph,
    m: Any,
    path: str,
    query: Value,
    keys: Value,
    values: Value | None = None,
    lengths: Value | None = None,
    *,
    projected: Value | None = None,
) -> tuple[str, str]:
    single = query.ndim == 2
    q = g.op("Unsqueeze", query.name, g.numbers([1])) if single else query.name
    q = g.op("Unsqueeze", _dense(g, m.query_proj, path + "query_proj.", q), g.numbers([2]))
    k = (
        _dense(g, m.key_proj, path + "key_proj.", keys.name)
        if projected is None
        else projected.name
    )
    joint = g.op("Tanh", g.op("Add", q, g.op("Unsqueeze", k, g.numbers([1]))))
    scores = g.op("Squeeze", _dense(g, m.score, path + "score.", joint), g.numbers([-1]))
    return _weigh(g, scores, (keys if values is None else values).name, lengths, single)


def _dot(
    g: Graph,
    m: Any,
    path: str,
    query: Value,
    keys: Value,
    values: Value | None = None,
    lengths: Value | None = None,
    *,
    projected: Value | None = None,
) -> tuple[str, str]:
    single = query.ndim == 2
    q = g.op("Unsqueeze", query.name, g.numbers([1])) if single else query.name
    k = keys.name
    if projected is not None:
        k = projected.name
    elif m.key_proj is not None:
        k = _dense(g, m.key_proj, path + "key_proj.", k)
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1]))
    if m.scale != 1.0:
        scores = g.op("Mul", scores, g.scalar(m.scale))
    return _weigh(g, scores, (keys if values is None else values).name, lengths, single)


# ---- positions -----------------------------------------------------------------------------------


def _table(g: Graph, table: Any, name: str, x: Value, offset: int) -> str:
    """Rows offset .. offset + length of a table, for the second last dimension of x."""
    length = g.op("Shape", x.name, start=x.ndim - 2, end=x.ndim - 1)
    begin = g.numbers([offset])
    end = g.op("Add", length, begin) if offset else length
    return str(g.op("Slice", g.weight(name, table), begin, end, g.numbers([0])))


def _sinusoidal(g: Graph, m: Any, path: str, x: Value, offset: int = 0) -> str:
    return str(g.op("Add", x.name, _table(g, m._table, path + "table", x, offset)))


def _learned(g: Graph, m: Any, path: str, x: Value, offset: int = 0) -> str:
    return str(g.op("Add", x.name, _table(g, m.weight, path + "weight", x, offset)))


def _rotary(g: Graph, m: Any, path: str, x: Value, offset: int = 0) -> str:
    cos = _table(g, m._cos, path + "cos", x, offset)
    sin = _table(g, m._sin, path + "sin", x, offset)
    first, second = g.op("Split", x.name, outputs=2, axis=-1, num_outputs=2)
    left = g.op("Sub", g.op("Mul", first, cos), g.op("Mul", second, sin))
    right = g.op("Add", g.op("Mul", second, cos), g.op("Mul", first, sin))
    return str(g.op("Concat", left, right, axis=-1))


ATTENTION: dict[type, Writer] = {
    nn.MultiheadAttention: _attention,
    nn.AdditiveAttention: _additive,
    nn.DotAttention: _dot,
    nn.SinusoidalPositions: _sinusoidal,
    nn.LearnedPositions: _learned,
    nn.RotaryPositions: _rotary,
}
