# SPDX-License-Identifier: BSD-3-Clause
"""The graph that is being written, and the values that flow through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nervure._core import Tensor


class Graph:
    """Nodes and weights, by name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self._names: set[str] = set()

    def name(self, wish: str) -> str:
        """A name that nothing else has."""
        name, count = wish, 1
        while name in self._names:
            count += 1
            name = f"{wish}_{count}"
        self._names.add(name)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; gives the name of its output, or a list of several."""
        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    @contextmanager
    def apart(self) -> Iterator[list[Any]]:
        """Nodes that are added inside the block go into a list of their own: the body of a loop."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def weight(self, name: str, values: Any) -> str:
        """A weight under the name of the state dict; the same one twice is written once."""
        array = np.ascontiguousarray(values.numpy() if isinstance(values, Tensor) else values)
        shape = values.shape
        array = array.reshape(shape)
        if name in self.weights and np.array_equal(self.weights[name], array):
            return name
        name = self.name(name)
        self.weights[name] = array
        return name

    def numbers(self, values: Sequence[int]) -> str:
        """A constant of int64, for shapes and axes."""
        return self.weight(self.name("constant"), np.asarray(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        """A constant of float32."""
        return self.weight(self.name("constant"), np.asarray(value, dtype=np.float32))


class Value:
    """What stands for a tensor while a model is written: a name, and an example to learn shapes."""

    def __init__(self, graph: Graph, name: str, example: Tensor) -> None:
        self.graph, self.name, self.example = graph, name, example

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the example: do not build these numbers into a model."""
        return tuple(self.example.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.example.ndim

    @property
    def dtype(self) -> Any:
        """Element type."""
        return self.example.dtype

    def _of(self, name: str, example: Tensor) -> Value:
        return Value(self.graph, name, example)

    def _binary(self, kind: str, other: Any, example: Tensor, swapped: bool = False) -> Value:
        if isinstance(other, Value):
            name = other.name
        elif isinstance(other, Tensor):
            name = self.graph.weight("tensor", other)
        else:
            name = self.graph.scalar(float(other))
        pair = (name, self.name) if swapped else (self.name, name)
        return self._of(self.graph.op(kind, *pair), example)

    def __add__(self, other: Any) -> Value:
        return self._binary("Add", other, self.example + example_of(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return self._binary("Sub", other, self.example - example_of(other))

    def __rsub__(self, other: Any) -> Value:
        return self._binary("Sub", other, example_of(other) - self.example, swapped=True)

    def __mul__(self, other: Any) -> Value:
        return self._binary("Mul", other, self.example * example_of(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._binary("Div", other, self.example / example_of(other))

    def __rtruediv__(self, other: Any) -> Value:
        return self._binary("Div", other, example_of(other) / self.example, swapped=True)

    def __matmul__(self, other: Any) -> Value:
        return self._binary("MatMul", other, self.example @ example_of(other))

    def __neg__(self) -> Value:
        return self._of(self.graph.op("Neg", self.name), -self.example)

    def relu(self) -> Value:
        """``max(x, 0)``."""
        return self._of(self.graph.op("Relu", self.name), self.example.relu())

    def tanh(self) -> Value:
        """``tanh(x)``."""
        return self._of(self.graph.op("Tanh", self.name), self.example.tanh())

    def sigmoid(self) -> Value:
        """``1 / (1 + exp(-x))``."""
        return self._of(self.graph.op("Sigmoid", self.name), self.example.sigmoid())

    def exp(self) -> Value:
        """``exp(x)``."""
        return self._of(self.graph.op("Exp", self.name), self.example.exp())

    def reshape(self, *shape: Any) -> Value:
        """Another shape; sizes of dimensions that are symbolic must be given as -1."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        target = self.graph.numbers([int(size) for size in sizes])
        return self._of(self.graph.op("Reshape", self.name, target), self.example.reshape(sizes))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Value:
        """Join neighbouring dimensions."""
        last = end_dim % self.ndim
        kept = [0] * (start_dim % self.ndim)
        rest = list(self.shape[last + 1 :])
        target = self.graph.numbers([*kept, -1, *rest])
        name = self.graph.op("Reshape", self.name, target)
        return self._of(name, self.example.flatten(start_dim, end_dim))

    def permute(self, *dims: Any) -> Value:
        """Dimensions in another order."""
        order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
        name = self.graph.op("Transpose", self.name, perm=[int(d) % self.ndim for d in order])
        return self._of(name, self.example.permute(*order))

    def transpose(self, dim0: int, dim1: int) -> Value:
        """Two dimensions exchanged."""
        order = list(range(self.ndim))
        order[dim0], order[dim1] = order[dim1], order[dim0]
        return self.permute(*order)

    def unsqueeze(self, dim: int) -> Value:
        """One more dimension of size 1."""
        name = self.graph.op("Unsqueeze", self.name, self.graph.numbers([dim]))
        return self._of(name, self.example.unsqueeze(dim))

    def squeeze(self, dim: int) -> Value:
        """Without a dimension of size 1."""
        name = self.graph.op("Squeeze", self.name, self.graph.numbers([dim]))
        return self._of(name, self.example.squeeze(dim))

    def mean(self, dim: Any, keepdim: bool = False) -> Value:
        """Mean over dimensions."""
        axes = [dim] if isinstance(dim, int) else list(dim)
        name = self.graph.op(
            "ReduceMean", self.name, self.graph.numbers(axes), keepdims=int(keepdim)
        )
        return self._of(name, self.example.mean(dim, keepdim))

    def __getitem__(self, key: Any) -> Value:
        keys = key if isinstance(key, tuple) else (key,)
        dropped: list[int] = []
        starts, ends, axes = [], [], []
        for axis, item in enumerate(keys):
            if isinstance(item, int):
                dropped.append(axis)
                item = slice(item, item + 1 if item != -1 else None)
            if not isinstance(item, slice) or item.step not in (None, 1):
                raise TypeError(f"[export] an index must be integers and slices, got {key!r}")
            starts.append(0 if item.start is None else item.start)
            ends.append(2**62 if item.stop is None else item.stop)
            axes.append(axis)
        numbers = self.graph.numbers
        name = self.graph.op("Slice", self.name, numbers(starts), numbers(ends), numbers(axes))
        if dropped:
            name = self.graph.op("Squeeze", name, numbers(dropped))
        return self._of(name, self.example[key])


def example_of(value: Any) -> Any:
    """The example of a value, or of those in a tuple; anything else as it is."""
    if type(value) is tuple:
        return tuple(map(example_of, value))
    return value.example if isinstance(value, Value) else value
