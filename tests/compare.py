# SPDX-License-Identifier: BSD-3-Clause
"""Comparison of a float32 result with a float64 expectation, and running rows of the case table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nervure.reference.cases import Case

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)


def difference(
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
    floor: float = 0.0,
    relative: bool = False,
) -> str:
    """What is wrong with ``actual``, or an empty string.

    The relative L2 error must not exceed ``tolerance``, nor the largest error four times that part
    of the largest element; with ``relative`` that holds for every element by itself. ``floor`` is
    an error that no element is blamed for, and neither is a denormal.
    """
    if actual.shape != expected.shape:
        return f"shape {actual.shape}, expected {expected.shape}"
    if expected.dtype.kind != "f":
        same = np.array_equal(actual, expected) and actual.dtype == expected.dtype
        return "" if same else f"{actual.dtype} {actual}, expected {expected.dtype} {expected}"
    if actual.dtype != np.float32:
        return f"dtype {actual.dtype}, expected float32"
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    finite = np.isfinite(rounded)
    if not np.array_equal(actual[~finite], rounded[~finite], equal_nan=True):
        return f"{actual[~finite]} where {rounded[~finite]} is expected"
    a, e = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
    if not e.size:
        return ""
    if not np.isfinite(a).all():
        return f"not finite where {e[~np.isfinite(a)]} is expected"
    error, slack = np.abs(a - e), floor + TINY
    l2, allowed = np.linalg.norm(a - e), tolerance * np.linalg.norm(e) + slack * math.sqrt(e.size)
    if l2 > allowed:
        return f"L2 error {l2:.3g} > {allowed:.3g} of {np.linalg.norm(e):.3g}: {_worst(a, e)}"
    bound = np.abs(e) if relative else 4.0 * np.abs(e).max()
    if (error > tolerance * bound + 4.0 * slack).any():
        return f"largest error {error.max():.3g} > {tolerance:.3g} of {bound}: {_worst(a, e)}"
    return ""


def _worst(actual: np.ndarray, expected: np.ndarray) -> str:
    i = int(np.abs(actual - expected).argmax())
    return f"got {actual[i]!r}, expected {expected[i]!r}"


def as_tuple(result: Any) -> tuple[Any, ...]:
    """The outputs of an operation that has one or several."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def widened(arrays: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """The same inputs with float64 for float32."""
    return [a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in arrays]


def output_gradients(case: Case, outputs: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """A random float32 gradient for every floating-point output."""
    rng = np.random.default_rng(len(case.name))
    return [
        rng.standard_normal(y.shape).astype(np.float32) if y.dtype.kind == "f" else None
        for y in outputs
    ]
