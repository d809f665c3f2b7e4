# SPDX-License-Identifier: BSD-3-Clause
"""How recurrent layers and their cells are written.

ONNX has time first, one layer per node, a dimension of directions, gates in the order i, o, f, c
(LSTM) and z, r, h (GRU), and both biases in one row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nervure import nn
from nervure.nn import Module
from nervure.onnx._graph import Graph, Value
from nervure.onnx._layers import ExportError, Writer
from nervure.onnx._scan import lstm_layer

# Where the gates of ONNX are among ours: i f g o and r z n.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def reordered(values: NDArray[Any], order: tuple[int, ...]) -> NDArray[Any]:
    """The rows of the gates in another order."""
    parts = np.split(values, len(order), axis=0)
    return np.concatenate([parts[i] for i in order], axis=0)


def _weights(module: Any, kind: str, suffixes: list[str]) -> list[NDArray[Any]]:
    """W, R and B of ONNX: one row of each for every direction."""
    order = GATES[kind]

    def own(name: str) -> NDArray[Any]:
        return reordered(np.ascontiguousarray(getattr(module, name).numpy()), order)

    w = np.stack([own(f"weight_ih{s}") for s in suffixes])
    r = np.stack([own(f"weight_hh{s}") for s in suffixes])
    found = [w, r]
    if vars(module).get(f"bias_ih{suffixes[0]}") is not None:
        pairs = [(own(f"bias_ih{s}"), own(f"bias_hh{s}")) for s in suffixes]
        found.append(np.stack([np.concatenate(pair) for pair in pairs]))
    return found


def _attributes(module: Any, kind: str, directions: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "hidden_size": module.hidden_size,
        "direction": "bidirectional" if directions == 2 else "forward",
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = int(module.reset_after)
    if kind == "RNN":
        attributes["activations"] = [module.nonlinearity.capitalize()] * directions
    return attributes


def _kind(module: Module) -> str:
    return type(module).__name__.removesuffix("Cell")


def _check_norm(m: Any) -> None:
    if getattr(m, "layer_norm", False):
        raise ExportError(f"[export] {type(m).__name__}: ONNX's LSTM has no layer_norm")


def _recurrent(
    g: Graph,
    m: Any,
    path: str,
    x: Value,
    state: Any = None,
    lengths: Value | None = None,
) -> Any:
    kind, directions = _kind(m), 2 if m.bidirectional else 1
    if x.ndim != 3:
        raise ExportError(f"[export] {kind}: expected an input with a batch, got {x.shape}")
    _check_norm(m)
    steps = getattr(m, "proj_size", 0) or any(getattr(m, "zoneout", ()))
    write = lstm_layer if steps else _layer
    states: tuple[Any, ...] = () if state is None else state if kind == "LSTM" else (state,)
    y = g.op("Transpose", x.name, perm=[1, 0, 2]) if m.batch_first else x.name
    ends = "" if lengths is None else g.op("Cast", lengths.name, to=onnx.TensorProto.INT32)
    finals: list[list[str]] = []
    for layer in range(m.num_layers):
        begin = layer * directions
        own = [s[begin : begin + directions].name if m.num_layers > 1 else s.name for s in states]
        y, *final = write(g, m, path, layer, y, ends, own)
        finals.append(final)
    if m.batch_first:
        y = g.op("Transpose", y, perm=[1, 0, 2])
    joined = [
        names[0] if len(names) == 1 else g.op("Concat", *names, axis=0)
        for names in map(list, zip(*finals, strict=True))
    ]
    return y, (tuple(joined) if kind == "LSTM" else joined[0])


def _layer(
    g: Graph, m: Any, path: str, layer: int, x: str, ends: str, states: list[str]
) -> list[str]:
    """One layer, time first: the output, and the final states."""
    kind, directions = _kind(m), 2 if m.bidirectional else 1
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][:directions]
    weights = _weights(m, kind, suffixes)
    names = [g.weight(f"{path}{n}_l{layer}", w) for n, w in zip("WRB", weights, strict=False)]
    inputs = [x, *names, *[""] * (3 - len(names)), ends, *states]
    if kind == "LSTM" and m.peepholes:
        rows = [getattr(m, f"weight_peephole{s}").numpy()[[0, 2, 1]].reshape(-1) for s in suffixes]
        peepholes = g.weight(f"{path}P_l{layer}", np.stack(rows))
        inputs += [""] * (7 - len(inputs)) + [peepholes]
    while inputs and not inputs[-1]:
        inputs.pop()
    outputs = 3 if kind == "LSTM" else 2
    y, *final = g.op(kind, *inputs, outputs=outputs, **_attributes(m, kind, directions))
    # (T, directions, B, H) to (T, B, directions * H)
    y = g.op("Transpose", y, perm=[0, 2, 1, 3])
    return [g.op("Reshape", y, g.numbers([0, 0, directions * m.hidden_size])), *final]


def _cell(g: Graph, m: Any, path: str, x: Value, state: Any = None) -> Any:
    kind = _kind(m)
    if x.ndim != 2:
        raise ExportError(f"[export] {kind}Cell: expected an input with a batch, got {x.shape}")
    _check_norm(m)
    states: tuple[Any, ...] = () if state is None else state if kind == "LSTM" else (state,)
    weights = _weights(m, kind, [""])
    names = [g.weight(f"{path}{n}", w) for n, w in zip("WRB", weights, strict=False)]
    first = g.numbers([0])
    own = [g.op("Unsqueeze", s.name, first) for s in states]
    inputs = [g.op("Unsqueeze", x.name, first), *names, *[""] * (3 - len(names)), "", *own]
    while inputs and not inputs[-1]:
        inputs.pop()
    outputs = 3 if kind == "LSTM" else 2
    _, *final = g.op(kind, *inputs, outputs=outputs, **_attributes(m, kind, 1))
    squeezed = [g.op("Squeeze", name, first) for name in final]
    return tuple(squeezed) if kind == "LSTM" else squeezed[0]


RECURRENT: dict[type, Writer] = {
    nn.RNN: _recurrent,
    nn.GRU: _recurrent,
    nn.LSTM: _recurrent,
    nn.RNNCell: _cell,
    nn.GRUCell: _cell,
    nn.LSTMCell: _cell,
}
