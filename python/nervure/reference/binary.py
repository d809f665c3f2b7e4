# SPDX-License-Identifier: BSD-3-Clause
"""Arithmetic, comparison and choice between two arrays, with NumPy's broadcasting."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float, sum_to


def add(a: ArrayLike, b: ArrayLike) -> Array:
    """``y = a + b``."""
    return np.asarray(as_float(a) + as_float(b))


def add_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``da = dy``, ``db = dy``, each summed over what was broadcast."""
    return sum_to(dy, a.shape), sum_to(dy, b.shape)


def sub(a: ArrayLike, b: ArrayLike) -> Array:
    """``y = a - b``."""
    return np.asarray(as_float(a) - as_float(b))


def sub_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``da = dy``, ``db = -dy``."""
    return sum_to(dy, a.shape), sum_to(-dy, b.shape)


def mul(a: ArrayLike, b: ArrayLike) -> Array:
    """``y = a b``."""
    return np.asarray(as_float(a) * as_float(b))


def mul_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``da = dy b``, ``db = dy a``."""
    return sum_to(dy * b, a.shape), sum_to(dy * a, b.shape)


def div(a: ArrayLike, b: ArrayLike) -> Array:
    """``y = a / b``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(as_float(a) / as_float(b))


def div_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``da = dy / b``, ``db = -dy a / b^2``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sum_to(dy / b, a.shape), sum_to(-dy * (a / b) / b, b.shape)


def pow(base: ArrayLike, exponent: ArrayLike) -> Array:
    """``y = base^exponent``."""
    with np.errstate(all="ignore"):
        return np.asarray(np.power(as_float(base), as_float(exponent)))


def pow_backward(dy: Array, base: Array, exponent: Array) -> tuple[Array, Array]:
    """``dbase = dy exponent base^(exponent - 1)``, ``dexponent = dy base^exponent log(base)``.

    As in PyTorch ``dbase`` is 0 where the exponent is 0, and ``dexponent`` is 0 where the base
    is 0 and the exponent is not negative.
    """
    base, exponent = as_float(base), as_float(exponent)
    with np.errstate(all="ignore"):
        dbase = np.where(exponent == 0, 0.0, dy * exponent * np.power(base, exponent - 1.0))
        dexponent = np.where(
            (base == 0) & (exponent >= 0), 0.0, dy * np.power(base, exponent) * np.log(base)
        )
    return sum_to(dbase, base.shape), sum_to(dexponent, exponent.shape)


def maximum(a: ArrayLike, b: ArrayLike) -> Array:
    """The larger of the two; NaN where either is NaN."""
    return np.asarray(np.maximum(as_float(a), as_float(b)))


def maximum_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``dy`` goes to the larger one; equal ones get half each."""
    shared = np.where(a == b, 0.5 * dy, dy)
    return sum_to(np.where(a < b, 0.0, shared), a.shape), sum_to(
        np.where(b < a, 0.0, shared), b.shape
    )


def minimum(a: ArrayLike, b: ArrayLike) -> Array:
    """The smaller of the two; NaN where either is NaN."""
    return np.asarray(np.minimum(as_float(a), as_float(b)))


def minimum_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``dy`` goes to the smaller one; equal ones get half each."""
    shared = np.where(a == b, 0.5 * dy, dy)
    return sum_to(np.where(a > b, 0.0, shared), a.shape), sum_to(
        np.where(b > a, 0.0, shared), b.shape
    )


def eq(a: ArrayLike, b: ArrayLike) -> Array:
    """``a == b``, boolean."""
    return np.asarray(np.equal(a, b))


def ne(a: ArrayLike, b: ArrayLike) -> Array:
    """``a != b``, boolean."""
    return np.asarray(np.not_equal(a, b))


def lt(a: ArrayLike, b: ArrayLike) -> Array:
    """``a < b``, boolean."""
    return np.asarray(np.less(a, b))


def le(a: ArrayLike, b: ArrayLike) -> Array:
    """``a <= b``, boolean."""
    return np.asarray(np.less_equal(a, b))


def gt(a: ArrayLike, b: ArrayLike) -> Array:
    """``a > b``, boolean."""
    return np.asarray(np.greater(a, b))


def ge(a: ArrayLike, b: ArrayLike) -> Array:
    """``a >= b``, boolean."""
    return np.asarray(np.greater_equal(a, b))


def logical_and(a: ArrayLike, b: ArrayLike) -> Array:
    """Both, on booleans."""
    return np.asarray(np.logical_and(a, b))


def logical_or(a: ArrayLike, b: ArrayLike) -> Array:
    """Either, on booleans."""
    return np.asarray(np.logical_or(a, b))


def logical_not(a: ArrayLike) -> Array:
    """Not, on booleans."""
    return np.asarray(np.logical_not(a))


def where(condition: ArrayLike, a: ArrayLike, b: ArrayLike) -> Array:
    """``a`` where the condition holds, else ``b``."""
    return np.asarray(np.where(condition, as_float(a), as_float(b)))


def where_backward(dy: Array, condition: Array, a: Array, b: Array) -> tuple[None, Array, Array]:
    """``dy`` goes to the array that was chosen."""
    return (
        None,
        sum_to(np.where(condition, dy, 0.0), a.shape),
        sum_to(np.where(condition, 0.0, dy), b.shape),
    )


def masked_fill(x: ArrayLike, mask: ArrayLike, value: float) -> Array:
    """``value`` where the mask holds, else ``x``."""
    return np.asarray(np.where(mask, value, as_float(x)))


def masked_fill_backward(dy: Array, x: Array, mask: Array, value: float) -> tuple[Array, None]:
    """``dx = dy`` where the mask does not hold, else 0."""
    return sum_to(np.where(mask, 0.0, dy), x.shape), None
