# SPDX-License-Identifier: BSD-3-Clause
"""Comparison of a float32 result with a float64 expectation, and running rows of the case table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import nervure as nv
from nervure import _core, reference
from nervure.reference.cases import Case

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Expected:
    """What the reference says about one row; ``dy`` are the gradients fed to its outputs."""

    arrays: Sequence[np.ndarray | None]
    outputs: Sequence[np.ndarray]
    dy: Sequence[np.ndarray | None]
    gradients: Sequence[np.ndarray]


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
    if not (np.isfinite(expected).all() and np.abs(expected).max(initial=0.0) <= LARGEST):
        text, actual, expected = _finite_part(actual, expected)
        if text:
            return text
    if not expected.size:
        return ""
    error = np.abs(actual - expected)
    worst, slack = float(error.max()), floor + TINY
    if not worst < math.inf:
        return f"not finite: {_worst(actual, expected)}"
    # Not numpy.linalg.norm, whose threads would wait for ours.
    l2 = math.sqrt(float(np.square(error).sum()))
    norm = math.sqrt(float(np.square(expected).sum()))
    allowed = tolerance * norm + slack * math.sqrt(expected.size)
    if l2 > allowed:
        return f"L2 error {l2:.3g} > {allowed:.3g} of {norm:.3g}: {_worst(actual, expected)}"
    bound = np.abs(expected) if relative else 4.0 * np.abs(expected).max()
    if (error > tolerance * bound + 4.0 * slack).any():
        return f"largest error {worst:.3g}: {_worst(actual, expected)}"
    return ""


def _finite_part(actual: np.ndarray, expected: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """A complaint about what float32 cannot hold or is NaN, and the elements that are left."""
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    finite = np.isfinite(rounded)
    text = ""
    if not np.array_equal(actual[~finite], rounded[~finite], equal_nan=True):
        text = f"{actual[~finite]} where {rounded[~finite]} is expected"
    return text, actual[finite], expected[finite]


def _worst(actual: np.ndarray, expected: np.ndarray) -> str:
    error = np.abs(actual - expected)
    i = int(np.where(np.isnan(error), np.inf, error).argmax())
    return f"got {actual.flat[i]!r}, expected {expected.flat[i]!r}"


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


def expected_of(case: Case) -> Expected:
    """Inputs, and outputs and gradients of the reference in float64."""
    arrays = case.inputs(case.rng())
    wide = widened(arrays)
    result = case.call(getattr(reference, case.op), wide)
    outputs = as_tuple(result)
    dy = output_gradients(case, outputs)
    gradients: tuple[Any, ...] = ()
    if case.grads:
        several = isinstance(result, tuple | list)
        function = getattr(reference, f"{case.op}_backward")
        wide_dy = widened(dy)
        gradients = case.call_backward(function, tuple(wide_dy) if several else wide_dy[0], wide)
    return Expected(arrays, outputs, dy, [gradients[i] for i in case.grads])


def run(
    case: Case,
    arrays: Sequence[np.ndarray | None],
    dy: Sequence[np.ndarray | None],
    grads: Sequence[int] | None = None,
    dy_order: Sequence[int] | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs of ``nervure._core``, and the gradients of the inputs at ``grads``."""
    grads = case.grads if grads is None else grads
    tensors = [None if a is None else _core.tensor(a) for a in arrays]
    for i, order in case.orders.items():
        tensors[i] = _core.to_order(tensors[i], order)
    for i in grads:
        tensors[i].requires_grad_()
    outputs = as_tuple(case.call(getattr(_core, case.op), tensors))
    if grads:
        _backward(outputs, dy, dy_order)
    gradients = [tensors[i].grad for i in grads]
    missing = [i for i, g in zip(grads, gradients, strict=True) if g is None]
    assert not missing, f"{case.name}: no gradient for inputs {missing}"
    return [y.numpy().copy() for y in outputs], [g.numpy().copy() for g in gradients]


def _backward(
    outputs: Sequence[Any],
    dy: Sequence[np.ndarray | None],
    dy_order: Sequence[int] | None,
) -> None:
    weights = [None if d is None else _core.tensor(d) for d in dy]
    if dy_order is not None:
        weights = [None if w is None else _core.to_order(w, dy_order) for w in weights]
    if len(outputs) == 1:
        outputs[0].backward(weights[0])
        return
    total = _core.tensor(np.float32(0.0))
    for y, w in zip(outputs, weights, strict=True):
        if w is not None:
            total = _core.add(total, _core.sum(_core.mul(y, w)))
    total.backward()


def complaints(
    case: Case,
    expected: Expected,
    outputs: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    grads: Sequence[int] | None = None,
) -> list[str]:
    """Every output and gradient that is not what the reference says."""
    tolerance = case.c * EPS * math.sqrt(case.K)
    found = []
    if len(outputs) != len(expected.outputs):
        return [f"{case.name}: {len(outputs)} outputs, expected {len(expected.outputs)}"]
    for i, (y, e) in enumerate(zip(outputs, expected.outputs, strict=True)):
        text = difference(y, e, tolerance, relative=case.relative)
        if text:
            found.append(f"{case.name}: output {i}: {text}")
    floor = EPS * max(
        (float(np.abs(d).max(initial=0.0)) for d in expected.dy if d is not None), default=0.0
    )
    for i, g in zip(case.grads if grads is None else grads, gradients, strict=True):
        e = expected.gradients[case.grads.index(i)]
        text = difference(g, e, tolerance, floor, case.relative)
        if text:
            found.append(f"{case.name}: gradient of input {i}: {text}")
    return found


def leaf(values: Any) -> nv.Tensor:
    """A float32 tensor that gets a gradient."""
    return nv.tensor(np.asarray(values, np.float32), requires_grad=True)


def close(actual: nv.Tensor | None, expected: Any) -> None:
    """Check that there is a result, and that it is the expected one but for rounding."""
    assert actual is not None
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6)


def same_bits(a: Any, b: Any) -> bool:
    """Equal to the bit, types included."""
    if isinstance(a, nv.Tensor):
        a = a.numpy()
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_bits, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))
