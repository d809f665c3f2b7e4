# SPDX-License-Identifier: BSD-3-Clause
"""What a row of the case table is, and the inputs that rows draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..arrays import Array

Rng: TypeAlias = np.random.Generator
Draw: TypeAlias = Callable[[Rng], Array]
Inputs: TypeAlias = Callable[[Rng], list[Array | None]]
Shape: TypeAlias = tuple[int, ...]

SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 32, 33)
"""Around the widths of the vectors: 4, 8 and 16 floats, unrolled up to twice."""

LARGE = 300_007
"""Elements of an array beyond a typical level-2 cache; a prime, so nothing divides it."""


def as_they_come(*tensors: Any) -> tuple[Any, ...]:
    """The tensors first, in their order."""
    return tensors


@dataclass(frozen=True)
class Case:
    """One row: an operation, its inputs and parameters, and what is expected of the result.

    Parameters
    ----------
    name
        Unique, for messages and ``pytest -k``.
    op
        Name in ``nervure._core`` and ``nervure.reference``.
    inputs
        Draws the input arrays (float32, int64 or boolean; None for an absent optional one).
    args, kwargs
        Parameters after the tensors, the same for ``_core``, the reference and PyTorch.
    grads
        Which inputs get a gradient.
    c, K
        The relative error allowed is ``c eps sqrt(K)``, K the length of the longest reduction.
    relative
        Hold every element to that error, not only the array as a whole.
    orders
        Memory order of an input, by its position; row-major otherwise.
    arrange
        Places the tensors among the positional arguments, where they do not simply come first.
    torch
        The PyTorch equivalent, called with the module, then as the operation; None: there is none.
    smooth
        Whether finite differences can prove the gradient around these inputs.
    slow
        Large inputs.
    flops, bytes
        Work and memory traffic of a forward pass, from the input arrays; for the benchmarks.
    """

    name: str
    op: str
    inputs: Inputs
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    grads: tuple[int, ...] = ()
    c: float = 4.0
    K: int = 1
    relative: bool = False
    orders: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    arrange: Callable[..., tuple[Any, ...]] = as_they_come
    torch: Callable[..., Any] | None = None
    smooth: bool = True
    slow: bool = False
    flops: Callable[[Sequence[Array]], float] | None = None
    bytes: Callable[[Sequence[Array]], float] | None = None

    def call(self, function: Callable[..., Any], tensors: Iterable[Any]) -> Any:
        """``function`` on the tensors (arrays, for the reference) with this row's parameters."""
        return function(*self.arrange(*tensors), *self.args, **self.kwargs)

    def call_backward(
        self, function: Callable[..., Any], dy: Any, arrays: Iterable[Any]
    ) -> tuple[Any, ...]:
        """``function``, a backward of the reference, on ``dy`` and the arrays."""
        return tuple(function(dy, *self.arrange(*arrays), *self.args, **self.kwargs))

    def rng(self) -> Rng:
        """A generator that depends on the name only."""
        return np.random.default_rng(list(self.name.encode()))


def normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Draw:
    """Normal numbers."""
    return lambda rng: np.asarray(mean + scale * rng.standard_normal(shape), np.float32)


def uniform(low: float, high: float, *shape: int) -> Draw:
    """Uniform numbers in ``[low, high)``."""
    return lambda rng: np.asarray(rng.uniform(low, high, shape), np.float32)


def ties(*shape: int) -> Draw:
    """Whole numbers -2 to 2 as floats: equal elements, zeros, and bounds met exactly."""
    return lambda rng: np.asarray(rng.integers(-2, 3, shape), np.float32)


def integers(low: int, high: int, *shape: int) -> Draw:
    """int64 numbers in ``[low, high)``."""
    return lambda rng: np.asarray(rng.integers(low, high, shape), np.int64)


def booleans(*shape: int) -> Draw:
    """Booleans, even odds."""
    return lambda rng: np.asarray(rng.random(shape) < 0.5)


def distribution(*shape: int) -> Draw:
    """Positive numbers that add up to 1 along the dimension of classes."""

    def draw(rng: Rng) -> Array:
        x = rng.uniform(0.1, 1.0, shape)
        axis = 1 if len(shape) > 1 else 0
        return np.asarray(x / x.sum(axis=axis, keepdims=True), np.float32)

    return draw


def log_distribution(*shape: int) -> Draw:
    """Logarithms of such numbers."""
    p = distribution(*shape)
    return lambda rng: np.asarray(np.log(p(rng)), np.float32)


def constant(values: Any, dtype: Any = np.float32) -> Draw:
    """These very values."""
    return lambda rng: np.asarray(values, dtype)


def each(*draws: Draw | None) -> Inputs:
    """One input per draw."""
    return lambda rng: [None if draw is None else draw(rng) for draw in draws]


def torch_op(path: str) -> Callable[..., Any]:
    """The function at this path of the module it is called with."""

    def call(torch: Any, *args: Any, **kwargs: Any) -> Any:
        function = torch
        for part in path.split("."):
            function = getattr(function, part)
        return function(*args, **kwargs)

    return call


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) if value else "0d"
    return str(value)


def name_of(op: str, *parts: Any, **kwargs: Any) -> str:
    """The name of a row: the operation and what sets the row apart."""
    shown = [_shown(p) for p in parts] + [f"{k}={_shown(v)}" for k, v in kwargs.items()]
    return "-".join([op, *shown])


def positive(*shape: int) -> Draw:
    """Uniform numbers, well above zero."""
    return uniform(0.3, 3.0, *shape)


def shape_case(op: str, *args: Any, shape: Shape, label: str = "", **more: Any) -> Case:
    """A row of an operation on the shape of one tensor."""
    name = name_of(op, shape, *args, *([label] if label else []))
    extra = {"grads": (0,), "torch": torch_op(op), **more}
    return Case(name, op, each(normal(*shape)), args, **extra)
