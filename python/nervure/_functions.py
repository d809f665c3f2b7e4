# SPDX-License-Identifier: BSD-3-Clause
"""Functions of the top level: tensors from nothing, and operations on several tensors."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TypeAlias, overload

from nervure import _core
from nervure._core import Tensor, dtype
from nervure._numbers import plain

Size: TypeAlias = int | Sequence[int]
Scalar: TypeAlias = float | int | bool


def _shape(size: tuple[Size, ...]) -> tuple[int, ...]:
    """Accept zeros(2, 3) as well as zeros((2, 3))."""
    if len(size) == 1 and not isinstance(first := plain(size[0]), int):
        return tuple(first)
    return size  # type: ignore[return-value]  # the binding refuses what is not an int


def _asking(tensor: Tensor, requires_grad: builtins.bool) -> Tensor:
    return tensor.requires_grad_(True) if requires_grad else tensor


# ---- tensors from nothing ------------------------------------------------------------------------


def empty(*size: Size, dtype: dtype = dtype.float32, requires_grad: bool = False) -> Tensor:
    """A tensor whose values are not set."""
    return _asking(_core.empty(_shape(size), None, dtype), requires_grad)


def zeros(*size: Size, dtype: dtype = dtype.float32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Parameters
    ----------
    *size : int, or one sequence of int
        The shape.
    dtype : dtype, default float32
        ``nervure.float32``, ``nervure.int64`` or ``nervure.bool``.
    requires_grad : bool, default False
        Whether gradients are computed for it (float32 only).
    """
    return _asking(_core.full(_shape(size), 0.0, dtype), requires_grad)


def ones(*size: Size, dtype: dtype = dtype.float32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones; arguments as for :func:`zeros`."""
    return _asking(_core.full(_shape(size), 1.0, dtype), requires_grad)


def full(
    size: Size, fill_value: Scalar, *, dtype: dtype | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of one value.

    Parameters
    ----------
    size : int or sequence of int
        The shape.
    fill_value : float, int or bool
        The value.
    dtype : dtype, optional
        By default that of the value: float32, int64 or bool.
    requires_grad : bool, default False
        Whether gradients are computed for it (float32 only).
    """
    fill_value = plain(fill_value)
    return _asking(
        _core.full(_shape((size,)), fill_value, dtype or _dtype_of(fill_value)), requires_grad
    )


def _dtype_of(*values: Scalar) -> dtype:
    if any(isinstance(v, float) for v in values):
        return dtype.float32
    return dtype.bool if all(isinstance(v, bool) for v in values) else dtype.int64


@overload
def arange(end: float, /, *, dtype: dtype | None = ..., requires_grad: bool = ...) -> Tensor: ...
@overload
def arange(
    start: float,
    end: float,
    step: float = ...,
    /,
    *,
    dtype: dtype | None = ...,
    requires_grad: bool = ...,
) -> Tensor: ...
def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    /,
    *,
    dtype: dtype | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Evenly spaced values of the half-open interval [start, end).

    Parameters
    ----------
    start : float, default 0
        First value.
    end : float
        Limit, not included. A single argument is the limit.
    step : float, default 1
        Difference of neighbours; not 0.
    dtype : dtype, optional
        By default int64 when all arguments are integers, float32 otherwise.
    requires_grad : bool, default False
        Whether gradients are computed for it (float32 only).

    Raises
    ------
    ValueError
        If ``step`` is 0 or leads away from ``end``.
    """
    start, end, step = plain(start), plain(end), plain(step)
    if end is None:
        start, end = 0, start
    if (end - start) * step < 0:
        raise ValueError(f"[arange] step leads away from end, got {start}, {end}, {step}")
    wanted = dtype or _dtype_of(int(start) if isinstance(start, bool) else start, end, step)
    return _asking(_core.arange(start, end, step, wanted), requires_grad)


def rand(*size: Size, requires_grad: bool = False) -> Tensor:
    """Uniform random values in [0, 1); arguments as for :func:`zeros`."""
    return _asking(_core.rand(_shape(size)), requires_grad)


def randn(*size: Size, requires_grad: bool = False) -> Tensor:
    """Normal random values with mean 0 and deviation 1; arguments as for :func:`zeros`."""
    return _asking(_core.randn(_shape(size)), requires_grad)


@overload
def randint(high: int, size: Size, /) -> Tensor: ...
@overload
def randint(low: int, high: int, size: Size, /) -> Tensor: ...
def randint(*args: Size) -> Tensor:
    """Uniform random integers (int64) in [low, high).

    Called as ``randint(high, size)`` or ``randint(low, high, size)``.

    Raises
    ------
    ValueError
        If ``low`` is not below ``high``.
    """
    if len(args) not in (2, 3):
        raise TypeError(
            f"[randint] expected (high, size) or (low, high, size), got {len(args)} arguments"
        )
    *limits, size = args
    low, high = limits if len(limits) == 2 else (0, limits[0])
    return _core.randint(low, high, _shape((size,)))  # type: ignore[arg-type]


def randperm(n: int) -> Tensor:
    """Give a random permutation of 0, 1, ..., n - 1 (int64)."""
    return _core.randperm(n)


def _like(op: str, x: Tensor, dtype: dtype | None) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"[{op}] expected a Tensor, got {type(x).__name__}")
    return _core.empty(x.shape, x.order, dtype or x.dtype)


def empty_like(x: Tensor, *, dtype: dtype | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with the shape and memory order of ``x`` whose values are not set."""
    return _asking(_like("empty_like", x, dtype), requires_grad)


def zeros_like(x: Tensor, *, dtype: dtype | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape, memory order and (unless given) dtype of ``x``."""
    return _asking(_like("zeros_like", x, dtype).fill_(0.0), requires_grad)


def ones_like(x: Tensor, *, dtype: dtype | None = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape, memory order and (unless given) dtype of ``x``."""
    return _asking(_like("ones_like", x, dtype).fill_(1.0), requires_grad)


def full_like(
    x: Tensor, fill_value: Scalar, *, dtype: dtype | None = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere, with the shape, memory order and (unless given) dtype of ``x``."""
    return _asking(_like("full_like", x, dtype).fill_(fill_value), requires_grad)


def rand_like(x: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Uniform random values in [0, 1) with the shape and memory order of ``x``."""
    return _asking(_like("rand_like", x, dtype.float32).uniform_(0.0, 1.0), requires_grad)


def randn_like(x: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Normal random values with the shape and memory order of ``x``."""
    return _asking(_like("randn_like", x, dtype.float32).normal_(0.0, 1.0), requires_grad)


# ---- operations on several tensors ---------------------------------------------------------------


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an existing dimension; all other sizes must be equal.

    Raises
    ------
    ValueError
        For an empty list or shapes that do not fit.
    """
    return _core.cat(tensors, dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of equal shape along a new dimension.

    Raises
    ------
    ValueError
        For an empty list or different shapes.
    """
    return _core.stack(tensors, dim)


def where(condition: Tensor, a: Tensor | Scalar, b: Tensor | Scalar) -> Tensor:
    """Take ``a`` where the boolean condition holds and ``b`` elsewhere; all three are broadcast.

    The result has the dtype of both if they have one, numbers that of :func:`full`; of integers
    and floating point it is float32.

    Raises
    ------
    TypeError
        If the condition is not boolean.
    ValueError
        If the shapes cannot be broadcast.
    """
    return _core.where(condition, _operand(a), _operand(b))


def _operand(x: Tensor | Scalar) -> Tensor:
    return x if isinstance(x, Tensor) else _core.tensor(x)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product ``a @ b`` with NumPy's rules for vectors and broadcast batches.

    Raises
    ------
    ValueError
        If the inner sizes differ or the batches cannot be broadcast.
    """
    return _core.matmul(a, b)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """Elementwise maximum; NaN wins, and equal elements share the gradient."""
    return _core.maximum(a, b)


def minimum(a: Tensor, b: Tensor) -> Tensor:
    """Elementwise minimum; NaN wins, and equal elements share the gradient."""
    return _core.minimum(a, b)
