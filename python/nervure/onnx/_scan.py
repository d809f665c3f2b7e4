# SPDX-License-Identifier: BSD-3-Clause
"""LSTMs that ONNX's own operator does not know, with a projection or zoneout: step by step.

A Scan runs the cell over time, first dimension of the products ``x W + b``, which are made at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from nervure.onnx._graph import Graph


def lstm_layer(
    g: Graph, m: Any, path: str, layer: int, x: str, ends: str, states: list[str]
) -> list[str]:
    """One layer, time first: the output (T, B, directions * size), and the final states."""
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if m.bidirectional else 1]
    sizes = (m.proj_size or m.hidden_size, m.hidden_size)
    inside = _inside(g, x, ends) if ends else ""
    parts = []
    for direction, suffix in enumerate(suffixes):
        if states:
            number = g.weight(g.name("constant"), np.asarray(direction, np.int64))
            begin = [g.op("Gather", state, number, axis=0) for state in states]
        else:
            begin = [_zeros(g, x, size) for size in sizes]
        parts.append(_direction(g, m, path, suffix, x, inside, begin))
    outputs, *finals = zip(*parts, strict=True)
    first = g.numbers([0])
    rows = [[g.op("Unsqueeze", name, first) for name in names] for names in finals]
    return [g.op("Concat", *outputs, axis=2), *(g.op("Concat", *names, axis=0) for names in rows)]


def _inside(g: Graph, x: str, ends: str) -> str:
    """(T, B, 1): whether a step of a row comes before its end."""
    steps = g.op("Squeeze", g.op("Shape", x, start=0, end=1), g.numbers([0]))
    bounds = [g.weight(g.name("constant"), np.asarray(value, np.int64)) for value in (0, 1)]
    times = g.op("Unsqueeze", g.op("Range", bounds[0], steps, bounds[1]), g.numbers([1]))
    before = g.op("Less", times, g.op("Cast", ends, to=TensorProto.INT64))
    return str(g.op("Unsqueeze", before, g.numbers([2])))


def _zeros(g: Graph, x: str, size: int) -> str:
    batch = g.op("Shape", x, start=1, end=2)
    return str(g.op("ConstantOfShape", g.op("Concat", batch, g.numbers([size]), axis=0)))


def _direction(
    g: Graph, m: Any, path: str, suffix: str, x: str, inside: str, begin: list[str]
) -> tuple[str, str, str]:
    """The output, and the final states, of one direction."""
    weight = g.weight(f"{path}W{suffix}", np.ascontiguousarray(_own(m, "weight_ih", suffix).T))
    gates = g.op("MatMul", x, weight)
    if m.bias:
        bias = _own(m, "bias_ih", suffix) + _own(m, "bias_hh", suffix)
        gates = g.op("Add", gates, g.weight(f"{path}B{suffix}", bias))
    scanned = [gates, *([inside] if inside else [])]
    backwards = int(suffix.endswith("reverse"))
    h, c, y = g.op(
        "Scan",
        *begin,
        *scanned,
        outputs=3,
        body=_body(g, m, path, suffix, bool(inside)),
        num_scan_inputs=len(scanned),
        scan_input_directions=[backwards] * len(scanned),
        scan_output_directions=[backwards],
    )
    return y, h, c


def _body(g: Graph, m: Any, path: str, suffix: str, ends: bool) -> Any:
    """The cell as a graph: states, gates and whether the row goes on, to states and output."""
    h, c, gates = (g.name(name) for name in ("h", "c", "gates"))
    inside = g.name("inside") if ends else ""
    with g.apart() as nodes:
        new_h, new_c = _cell(g, m, path, suffix, (h, c, gates))
        y = g.op("Identity", new_h)
        if ends:  # after its end a row keeps its state and gives zeros
            y = g.op("Where", inside, y, g.scalar(0.0))
            new_h, new_c = g.op("Where", inside, new_h, h), g.op("Where", inside, new_c, c)
    float_, bool_ = TensorProto.FLOAT, TensorProto.BOOL
    inputs = [(h, float_), (c, float_), (gates, float_), *([(inside, bool_)] if ends else [])]
    outputs = [(name, float_) for name in (new_h, new_c, y)]
    borders = [
        [helper.make_tensor_value_info(name, kind, None) for name, kind in values]
        for values in (inputs, outputs)
    ]
    return helper.make_graph(nodes, f"lstm{suffix}", borders[0], borders[1])


def _cell(
    g: Graph, m: Any, path: str, suffix: str, values: tuple[str, str, str]
) -> tuple[str, str]:
    h, c, gates = values
    weight = np.ascontiguousarray(_own(m, "weight_hh", suffix).T)
    gates = g.op("Add", gates, g.op("MatMul", h, g.weight(f"{path}R{suffix}", weight)))
    i, f, n, o = g.op("Split", gates, outputs=4, axis=1, num_outputs=4)
    peepholes = _own(m, "weight_peephole", suffix) if m.peepholes else None

    def peeped(gate: str, cell: str, row: int) -> str:
        if peepholes is not None:
            own = g.weight(f"{path}P{row}{suffix}", peepholes[row])
            gate = g.op("Add", gate, g.op("Mul", cell, own))
        return str(g.op("Sigmoid", gate))

    kept = g.op("Mul", peeped(f, c, 1), c)
    inner = g.op("Add", kept, g.op("Mul", peeped(i, c, 0), g.op("Tanh", n)))
    out = g.op("Mul", peeped(o, inner, 2), g.op("Tanh", inner))
    if m.proj_size:
        projection = np.ascontiguousarray(_own(m, "weight_hr", suffix).T)
        out = g.op("MatMul", out, g.weight(f"{path}H{suffix}", projection))
    return _zoned(g, m.zoneout[0], out, h), _zoned(g, m.zoneout[1], inner, c)


def _zoned(g: Graph, p: float, new: str, old: str) -> str:
    """In evaluation, the mean of what zoneout draws."""
    if not p:
        return new
    return str(g.op("Add", new, g.op("Mul", g.op("Sub", old, new), g.scalar(p))))


def _own(m: Any, name: str, suffix: str) -> Any:
    return np.ascontiguousarray(getattr(m, name + suffix).numpy())
