# SPDX-License-Identifier: BSD-3-Clause
"""Writing a model as an ONNX graph."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import nervure as nv
from nervure import _core, serialize
from nervure._core import Tensor
from nervure.nn import Module, Sequential
from nervure.nn._watch import evaluating
from nervure.onnx._attention import ATTENTION
from nervure.onnx._graph import Graph, Value, example_of
from nervure.onnx._layers import LAYERS, ExportError, Writer
from nervure.onnx._recurrent import RECURRENT

OPSET = 20
IR_VERSION = 9
EXAMPLE_SIZES = (2, 5, 3, 7)  # of symbolic dimensions, one after the other

WRITERS: dict[type, Writer] = {**LAYERS, **RECURRENT, **ATTENTION}
_TYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


class Input(NamedTuple):
    """An input of a model: sizes, names for the symbolic ones, and the element type."""

    shape: tuple[int | str, ...]
    dtype: str = "float32"


class _Standin:
    """A module whose ``forward`` is run on values: its own attributes, its parts standing in."""

    def __init__(self, graph: Graph, module: Module, path: str) -> None:
        self._graph, self._module, self._path = graph, module, path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, kind = self._module, type(self._module)
        writer = WRITERS.get(kind)
        if writer is None:
            return self._trace(*args, **kwargs)
        args = tuple(map(self._value, args))
        kwargs = {key: self._value(value) for key, value in kwargs.items()}
        example = module(
            *map(example_of, args), **{key: example_of(value) for key, value in kwargs.items()}
        )
        names = writer(self._graph, module, self._path, *args, **kwargs)
        return _paired(self._graph, names, example)

    def _value(self, value: Any) -> Any:
        """Tensors of the model's own as weights."""
        if type(value) is tuple:
            return tuple(map(self._value, value))
        if isinstance(value, Tensor):
            return Value(self._graph, self._graph.weight("tensor", value), value)
        return value

    def _trace(self, *args: Any, **kwargs: Any) -> Any:
        kind = type(self._module)
        if kind is Sequential:
            for part in self:
                args = (part(*args),)
            return args[0]
        forward: Any = kind.forward
        try:
            return forward(self, *args, **kwargs)
        except (TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise ExportError(
                f"[export] {kind.__name__}: its forward() does something that is not written to "
                f"ONNX ({reason}); known are layers, arithmetic, shapes, and activations as "
                "methods, x.relu(), not other functions"
            ) from error

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The same as calling."""
        return self(*args, **kwargs)

    def _standin(self, name: str, value: Any) -> Any:
        return _Standin(self._graph, value, f"{self._path}{name}.")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, Module):
            return self._standin(name, value)
        if isinstance(value, types.MethodType) and value.__self__ is self._module:
            return types.MethodType(value.__func__, self)
        if isinstance(value, Tensor):
            path = f"{self._path}{name}"
            return Value(self._graph, self._graph.weight(path, value), value)
        return value

    def __iter__(self) -> Iterator[Any]:
        module: Any = self._module
        named = dict(module.named_children())
        for key in module:
            if isinstance(key, Module):
                yield self._standin(next(n for n, m in named.items() if m is key), key)
            else:
                yield key

    def __len__(self) -> int:
        module: Any = self._module
        return len(module)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            return list(self)[key]
        return self._standin(str(key), getattr(self._module, str(key)))


def _paired(graph: Graph, names: Any, example: Any) -> Any:
    """Names and examples, both nested alike, as values."""
    if isinstance(names, tuple):
        return tuple(_paired(graph, n, e) for n, e in zip(names, example, strict=True))
    return None if names is None else Value(graph, names, example)


def export(
    model: Module,
    path: str | os.PathLike[str],
    inputs: Any,
    *,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model, as it computes in evaluation mode, to an ONNX file.

    Parameters
    ----------
    model : Module
        A layer, a container, or a module of one's own whose ``forward`` calls layers and does
        arithmetic, ``reshape``, ``flatten``, ``transpose``, ``permute``, ``squeeze``,
        ``unsqueeze``, ``mean``, activations as methods, and slices with numbers.
    path : str or PathLike
        The file; written whole or not at all.
    inputs : shape, Input or array, or a mapping of names to these
        What ``forward`` takes. A shape ``("batch", "time", 8)`` has names for sizes that vary; of
        an array the first dimension varies. Names in a mapping are the argument names of
        ``forward``; ``{"x": ("batch", "time", 8), "lengths": Input(("batch",), "int64")}`` gives
        sequence lengths to a recurrent model. A single input is called ``"input"`` in the file.
    output_names : sequence of str, optional
        Default: ``"output"``, and ``"output_1"`` and so on for further ones, such as final states.
    metadata : mapping of str to str, optional
        Notes kept in the file.

    Raises
    ------
    ValueError
        (``ExportError``) For a layer or setting that ONNX does not have, or a ``forward`` that does
        something else than the above.
    TypeError
        For what is no module, inputs that are no shapes, or metadata other than text.

    Notes
    -----
    Weights keep their names in the state dict, except for those of recurrent layers, which ONNX
    lays out differently (``W_l0``, ``R_l0``, ``B_l0``). Opset 20.
    """
    if not isinstance(model, Module):
        raise TypeError(f"[export] model must be a Module, got {type(model).__name__}")
    if metadata is not None and not (
        isinstance(metadata, Mapping)
        and all(isinstance(text, str) for pair in metadata.items() for text in pair)
    ):
        raise TypeError("[export] metadata must map strings to strings")
    specs = inputs if isinstance(inputs, Mapping) else {"input": inputs}
    specs = {name: _spec(name, spec) for name, spec in specs.items()}
    graph = Graph()
    values = _examples(graph, specs)
    with evaluating(model), nv.no_grad():
        standin = _Standin(graph, model, "")
        named = isinstance(inputs, Mapping)
        found = standin(**values) if named else standin(values["input"])
    _write(graph, specs, _flat(found), path, output_names, metadata)


def _spec(name: str, spec: Any) -> Input:
    if isinstance(spec, Input):
        shape, dtype = tuple(spec.shape), spec.dtype
    elif isinstance(spec, (tuple, list)):
        shape, dtype = tuple(spec), "float32"
    elif hasattr(spec, "shape"):
        array = np.asarray(spec)
        dtype = "int64" if array.dtype.kind in "iu" else array.dtype.name
        dtype = "float32" if dtype == "float64" else dtype
        shape = ("batch", *array.shape[1:])
    else:
        raise TypeError(f"[export] {name} must be a shape, an Input or an array, got {spec!r}")
    if dtype not in _TYPES:
        raise ValueError(f"[export] {name} must be float32, int64 or bool, got {dtype}")
    for size in shape:
        if not (isinstance(size, str) or (isinstance(size, int) and size > 0)):
            raise ValueError(f"[export] sizes must be positive or names, got {shape} for {name}")
    return Input(shape, dtype)


def _examples(graph: Graph, specs: Mapping[str, Input]) -> dict[str, Value]:
    """Values with examples; equal names of sizes are equal sizes."""
    sizes: dict[str, int] = {}
    values = {}
    for name, spec in specs.items():
        shape = []
        for size in spec.shape:
            if isinstance(size, str):
                size = sizes.setdefault(size, EXAMPLE_SIZES[len(sizes) % len(EXAMPLE_SIZES)])
            shape.append(size)
        # a 1 is a class of any embedding and a length of any row
        example = _core.tensor(np.ones(shape, np.dtype(spec.dtype)))
        values[name] = Value(graph, graph.name(name), example)
    return values


def _flat(found: Any) -> list[Value]:
    if isinstance(found, (tuple, list)):
        return [value for part in found for value in _flat(part)]
    if found is None:
        return []
    if not isinstance(found, Value):
        raise ExportError(f"[export] the model must give tensors, got {type(found).__name__}")
    return [found]


def _write(
    graph: Graph,
    specs: Mapping[str, Input],
    outputs: list[Value],
    path: str | os.PathLike[str],
    output_names: Sequence[str] | None,
    metadata: Mapping[str, str] | None,
) -> None:
    count = len(outputs)
    names = ["output", *(f"output_{i}" for i in range(1, count))]
    names = names if output_names is None else list(output_names)
    if len(names) != count or len(set(names) | specs.keys()) != count + len(specs):
        raise ValueError(f"[export] output_names must be {count} new names, got {names}")
    results = []
    for name, value in zip(names, outputs, strict=True):
        graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
        kind = _TYPES[value.dtype.name]
        results.append(helper.make_tensor_value_info(name, kind, [None] * value.ndim))
    ours = [
        helper.make_tensor_value_info(name, _TYPES[spec.dtype], list(spec.shape))
        for name, spec in specs.items()
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    body = helper.make_graph(graph.nodes, "nervure", ours, results, weights)
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="nervure",
        producer_version=nv.__version__,
        ir_version=IR_VERSION,
    )
    if metadata is not None:
        helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    with serialize._replacing(os.path.realpath(path)) as file:
        file.write(model.SerializeToString())
