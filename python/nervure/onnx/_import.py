# SPDX-License-Identifier: BSD-3-Clause
"""An ONNX graph as a module."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from onnx import AttributeProto

from nervure import _core
from nervure._core import Tensor
from nervure.nn import Module, Parameter
from nervure.onnx._layer_operators import LAYER_OPERATORS
from nervure.onnx._layers import ExportError
from nervure.onnx._operators import OPERATORS
from nervure.onnx._proto import array, read
from nervure.serialize import FormatError

MIN_OPSET = 13  # since then axes are inputs everywhere but in reductions
_KNOWN = {**OPERATORS, **LAYER_OPERATORS}


class _Node(NamedTuple):
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class ImportedModel(Module):
    """A model from an ONNX file; made by :func:`load`.

    Called with the inputs of the file, in their order or by name; gives its outputs, a tuple if
    there are several. Weights are parameters under the names of the file, so that the model can be
    trained; it computes as in evaluation mode (no dropout, running averages stay).

    Attributes
    ----------
    input_names, output_names : tuple of str
    """

    def __init__(self, proto: Any) -> None:
        super().__init__()
        graph = proto.graph
        self._paths: dict[str, str] = {}
        self._constants: dict[str, Any] = {}
        for tensor in graph.initializer:
            self._add(tensor.name, array(tensor))
        self.input_names = tuple(i.name for i in graph.input if i.name not in self._known())
        self.output_names = tuple(o.name for o in graph.output)
        self._nodes = [self._node(node) for node in graph.node]

    def _known(self) -> set[str]:
        return {*self._paths, *self._constants}

    def _add(self, name: str, values: Any) -> None:
        """Floats become a parameter, at the place that the dots in the name say."""
        if values.dtype.kind != "f" or name.startswith("constant"):
            floats = values.dtype.kind == "f"
            self._constants[name] = values.astype(np.float32) if floats else values
            return
        *folders, leaf = [part or "_" for part in name.split(".")]
        module: Module = self
        for folder in folders:
            inner = vars(module).get(folder)
            if inner is None:
                inner = Module()
                module.add_module(folder, inner)
            module = inner
            if not isinstance(module, Module):
                raise FormatError(f"[load] the weight {name!r} has no place")
        if hasattr(module, leaf):
            leaf = f"{leaf}_"
            if hasattr(module, leaf):
                raise FormatError(f"[load] the weight {name!r} has no place")
        tensor = _core.tensor(values.astype(np.float32))
        setattr(module, leaf, Parameter(tensor))
        self._paths[name] = ".".join([*folders, leaf])

    def _node(self, node: Any) -> _Node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _KNOWN:
            raise ExportError(f"[onnx] the operator {node.op_type} is not known")
        attributes = {a.name: _attribute(a) for a in node.attribute}
        if node.op_type == "Split" and len(node.input) < 2:
            attributes.setdefault("num_outputs", len(node.output))
        return _Node(node.op_type, tuple(node.input), tuple(node.output), attributes)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Compute the outputs of the graph."""
        values = self._bound(inputs, named)
        values.update(self._constants)
        for name, path in self._paths.items():
            values[name] = self.get_parameter(path)
        for node in self._nodes:
            arguments = [values[name] if name else None for name in node.inputs]
            found = _KNOWN[node.kind](node.attributes, *arguments)
            found = found if isinstance(found, tuple) else (found,)
            for name, value in zip(node.outputs, found, strict=False):
                values[name] = value
        results = [values[name] for name in self.output_names]
        tensors = [r if isinstance(r, Tensor) else _core.tensor(r) for r in results]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def _bound(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        values = dict(zip(self.input_names, inputs, strict=False))
        twice = values.keys() & named.keys()
        values.update(named)
        if len(inputs) > len(self.input_names) or twice or values.keys() != set(self.input_names):
            raise TypeError(
                f"[onnx] the model takes {', '.join(self.input_names)}, got {len(inputs)} inputs "
                f"by place and {', '.join(named) or 'none'} by name"
            )
        return {k: v if isinstance(v, Tensor) else _core.tensor(v) for k, v in values.items()}


def _attribute(attribute: Any) -> Any:
    kind = attribute.type
    if kind == AttributeProto.FLOAT:
        return float(attribute.f)
    if kind == AttributeProto.INT:
        return int(attribute.i)
    if kind == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == AttributeProto.FLOATS:
        return [float(v) for v in attribute.floats]
    if kind == AttributeProto.INTS:
        return [int(v) for v in attribute.ints]
    if kind == AttributeProto.STRINGS:
        return [v.decode("utf-8", "replace") for v in attribute.strings]
    if kind == AttributeProto.TENSOR:
        return array(attribute.t)
    raise ExportError(f"[onnx] the attribute {attribute.name} is of a kind that is not known")


def load(path: str | os.PathLike[str]) -> ImportedModel:
    """Read an ONNX file as a module.

    Parameters
    ----------
    path : str or PathLike
        The file, of opset 13 or newer, with its weights inside.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is damaged.
    ValueError
        If the model has an operator, or a setting of one, that is not known here.
    """
    proto = read(path)
    version = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version < MIN_OPSET:
        raise ExportError(f"[onnx] opset {version} is too old, {MIN_OPSET} is needed")
    return ImportedModel(proto)
