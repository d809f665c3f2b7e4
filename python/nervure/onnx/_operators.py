# SPDX-License-Identifier: BSD-3-Clause
"""The operators of ONNX in terms of ours: each takes attributes and inputs, gives its outputs.

Values are tensors, or NumPy arrays for what is computed about shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nervure import _core
from nervure._core import Tensor
from nervure.onnx._layers import ExportError

Attributes: TypeAlias = dict[str, Any]
Operator: TypeAlias = Callable[..., Any]


def tensor(value: Any) -> Tensor:
    """A value as a tensor."""
    return value if isinstance(value, Tensor) else _core.tensor(value)


def _integers(value: Any) -> NDArray[Any]:
    """A value about shapes as an array."""
    return np.asarray(value.numpy() if isinstance(value, Tensor) else value)


def ints(value: Any) -> list[int]:
    """A value about shapes as a list."""
    return [int(i) for i in _integers(value).reshape(-1)]


def _is_integer(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype == _core.dtype.int64
    return np.asarray(value).dtype.kind in "iu"


def _arithmetic(ours: Any, theirs: Any) -> Operator:
    def run(a: Attributes, x: Any, y: Any) -> Any:
        if _is_integer(x) and _is_integer(y):
            return theirs(_integers(x), _integers(y))
        return ours(tensor(x), tensor(y))

    return run


def _unary(ours: Any) -> Operator:
    return lambda a, x: ours(tensor(x))


def _divide(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.trunc(x / y), dtype=np.int64)


def _gemm(a: Attributes, x: Any, y: Any, c: Any = None) -> Tensor:
    x, y = tensor(x), tensor(y)
    x = x.transpose(0, 1) if a.get("transA") else x
    plain = a.get("alpha", 1.0) == 1.0 and a.get("beta", 1.0) == 1.0
    if plain and a.get("transB") and (c is None or tensor(c).ndim == 1):
        return _core.linear(x, y, None if c is None else tensor(c))
    product: Tensor = x @ (y.transpose(0, 1) if a.get("transB") else y)
    product = product * float(a.get("alpha", 1.0))
    return product if c is None else product + tensor(c) * float(a.get("beta", 1.0))


def _clip(a: Attributes, x: Any, low: Any = None, high: Any = None) -> Tensor:
    bounds = [None if b is None else float(tensor(b).item()) for b in (low, high)]
    return _core.clip(tensor(x), *bounds)


# ---- shapes --------------------------------------------------------------------------------------


def _reshape(a: Attributes, x: Any, shape: Any) -> Any:
    sizes = ints(shape)
    own = x.shape
    if not a.get("allowzero"):
        sizes = [own[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(tuple(sizes))


def _transpose(a: Attributes, x: Any) -> Any:
    order = a.get("perm", list(range(x.ndim))[::-1])
    return x.permute(*order) if isinstance(x, Tensor) else np.transpose(x, order)


def _flatten(a: Attributes, x: Any) -> Any:
    axis = a.get("axis", 1) % (x.ndim + 1)
    rows = int(np.prod(x.shape[:axis]))
    return x.reshape((rows, int(np.prod(x.shape[axis:]))))


def _squeeze(a: Attributes, x: Any, axes: Any = None) -> Any:
    dims = ints(axes) if axes is not None else [i for i, d in enumerate(x.shape) if d == 1]
    dropped = {d % x.ndim for d in dims}
    return x.reshape(tuple(d for i, d in enumerate(x.shape) if i not in dropped))


def _unsqueeze(a: Attributes, x: Any, axes: Any) -> Any:
    rank = x.ndim + len(ints(axes))
    added = {d % rank for d in ints(axes)}
    rest = iter(x.shape)
    return x.reshape(tuple(1 if i in added else next(rest) for i in range(rank)))


def _concat(a: Attributes, *parts: Any) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts, axis=a["axis"])
    return _core.cat([tensor(part) for part in parts], a["axis"])


def _split(a: Attributes, x: Any, sizes: Any = None) -> Any:
    axis = a.get("axis", 0)
    total = x.shape[axis]
    if sizes is None:
        count = a["num_outputs"]
        step = -(-total // count)
        parts = [min(step, total - step * i) for i in range(count)]
    else:
        parts = ints(sizes)
    if isinstance(x, Tensor):
        return tuple(_core.split(x, parts, axis))
    return tuple(np.split(x, np.cumsum(parts)[:-1], axis=axis))


def _slice(
    a: Attributes, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None
) -> Any:
    first, last = ints(starts), ints(ends)
    dims = ints(axes) if axes is not None else list(range(len(first)))
    strides = ints(steps) if steps is not None else [1] * len(first)
    key = [slice(None)] * x.ndim
    for start, end, dim, step in zip(first, last, dims, strides, strict=True):
        if step < 0:
            raise ExportError("[onnx] Slice with a negative step is not known")
        key[dim] = slice(start, min(end, x.shape[dim]), step)
    return x[tuple(key)]


def _gather(a: Attributes, x: Any, indices: Any) -> Any:
    axis = a.get("axis", 0)
    if isinstance(x, np.ndarray):
        return np.take(x, _integers(indices), axis=axis)
    rows = _integers(indices)
    rows = np.where(rows < 0, rows + x.shape[axis], rows)
    if axis == 0:
        return _core.take_rows(x, _core.tensor(rows))
    flat = _core.index_select(x, axis, _core.tensor(rows.reshape(-1)))
    shape = (*x.shape[:axis], *rows.shape, *x.shape[axis % x.ndim + 1 :])
    return flat.reshape(shape)


def _shape(a: Attributes, x: Any) -> NDArray[Any]:
    sizes = list(x.shape)[a.get("start", 0) : a.get("end", x.ndim)]
    return np.asarray(sizes, dtype=np.int64)


def _constant_of_shape(a: Attributes, shape: Any) -> Any:
    value = a.get("value", np.zeros(1, np.float32))
    return np.full(ints(shape), value.reshape(-1)[0], value.dtype)


def _constant(a: Attributes) -> Any:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in a:
            floats = np.float32 if "float" in name else None
            return np.asarray(a[name], dtype=floats)
    raise ExportError("[onnx] this Constant is not known")


def _cast(a: Attributes, x: Any) -> Any:
    to = a["to"]
    if to in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
        return tensor(x).float() if isinstance(x, Tensor) else np.asarray(x, np.float32)
    if to == TensorProto.BOOL:
        return tensor(x).bool() if isinstance(x, Tensor) else np.asarray(x, bool)
    if to in (TensorProto.INT64, TensorProto.INT32):
        return tensor(x).long() if isinstance(x, Tensor) else np.asarray(x).astype(np.int64)
    raise ExportError("[onnx] Cast to this type is not known")


def _expand(a: Attributes, x: Any, shape: Any) -> Any:
    sizes = np.broadcast_shapes(tuple(x.shape), tuple(ints(shape)))
    if isinstance(x, np.ndarray):
        return np.broadcast_to(x, sizes)
    return _core.expand(x, sizes)


def _range(a: Attributes, start: Any, end: Any, step: Any) -> NDArray[Any]:
    return np.arange(*(_integers(v).reshape(-1)[0] for v in (start, end, step)))


def _where(a: Attributes, condition: Any, x: Any, y: Any) -> Any:
    if _is_integer(x) and _is_integer(y):
        return np.where(_integers(condition), _integers(x), _integers(y))
    return _core.where(tensor(condition), tensor(x), tensor(y))


def _reduce(ours: Any) -> Operator:
    def run(a: Attributes, x: Any, axes: Any = None) -> Any:
        dims = a.get("axes") if axes is None else ints(axes)
        if dims is None or not len(dims):
            if a.get("noop_with_empty_axes"):
                return x
            dims = list(range(x.ndim))
        return ours(tensor(x), tuple(dims), bool(a.get("keepdims", 1)))

    return run


def _all_inputs(ours: Any) -> Operator:
    def run(a: Attributes, first: Any, *rest: Any) -> Tensor:
        value = tensor(first)
        for other in rest:
            value = ours(value, tensor(other))
        return value

    return run


def _same(a: Attributes, x: Any, *rest: Any) -> Any:
    return x


OPERATORS: dict[str, Operator] = {
    "Identity": _same,
    "Dropout": _same,
    "Add": _arithmetic(lambda x, y: x + y, np.add),
    "Sub": _arithmetic(lambda x, y: x - y, np.subtract),
    "Mul": _arithmetic(lambda x, y: x * y, np.multiply),
    "Div": _arithmetic(lambda x, y: x / y, _divide),
    "Pow": lambda a, x, y: _core.pow(tensor(x), tensor(y)),
    "Max": _all_inputs(_core.maximum),
    "Min": _all_inputs(_core.minimum),
    "Sum": _all_inputs(lambda x, y: x + y),
    "MatMul": lambda a, x, y: tensor(x) @ tensor(y),
    "Gemm": _gemm,
    "Relu": _unary(_core.relu),
    "LeakyRelu": lambda a, x: _core.leaky_relu(tensor(x), a.get("alpha", 0.01)),
    "Elu": lambda a, x: _core.elu(tensor(x), a.get("alpha", 1.0)),
    "Gelu": lambda a, x: _core.gelu(tensor(x), a.get("approximate", "none")),
    "Sigmoid": _unary(_core.sigmoid),
    "Tanh": _unary(_core.tanh),
    "Softplus": lambda a, x: _core.softplus(tensor(x)),
    "Clip": _clip,
    "Softmax": lambda a, x: _core.softmax(tensor(x), a.get("axis", -1)),
    "LogSoftmax": lambda a, x: _core.log_softmax(tensor(x), a.get("axis", -1)),
    "Exp": _unary(_core.exp),
    "Log": _unary(_core.log),
    "Sqrt": _unary(_core.sqrt),
    "Abs": _unary(_core.abs),
    "Neg": _unary(_core.neg),
    "Equal": lambda a, x, y: _core.eq(tensor(x), tensor(y)),
    "Less": lambda a, x, y: _core.lt(tensor(x), tensor(y)),
    "LessOrEqual": lambda a, x, y: _core.le(tensor(x), tensor(y)),
    "Greater": lambda a, x, y: _core.gt(tensor(x), tensor(y)),
    "GreaterOrEqual": lambda a, x, y: _core.ge(tensor(x), tensor(y)),
    "Not": lambda a, x: _core.logical_not(tensor(x)),
    "And": lambda a, x, y: _core.logical_and(tensor(x), tensor(y)),
    "Or": lambda a, x, y: _core.logical_or(tensor(x), tensor(y)),
    "Where": _where,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Shape": _shape,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Cast": _cast,
    "Expand": _expand,
    "ReduceMean": _reduce(_core.mean),
    "ReduceSum": _reduce(_core.sum),
    "ReduceMax": _reduce(_core.amax),
    "ReduceMin": _reduce(_core.amin),
}
