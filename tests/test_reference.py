# SPDX-License-Identifier: BSD-3-Clause
"""Central finite differences in float64 prove every backward of the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from comparison import as_tuple, widened

from nervure import reference
from nervure.reference.cases import CASES, STEPS, Case, cases_of, ops

STEP = 1e-6
ENTRIES = 12

DIFFERENTIABLE = [op for op in ops() if hasattr(reference, f"{op}_backward")]


def _weighted_sum(case: Case, arrays: list[np.ndarray | None]) -> Callable[[], float]:
    """The scalar whose gradient backward computes: outputs times fixed random numbers."""
    function = getattr(reference, case.op)
    weights = [
        np.random.default_rng(7).standard_normal(y.shape) if y.dtype.kind == "f" else None
        for y in as_tuple(case.call(function, arrays))
    ]

    def value() -> float:
        outputs = as_tuple(case.call(function, arrays))
        return sum(
            float((y * w).sum()) for y, w in zip(outputs, weights, strict=True) if w is not None
        )

    value.weights = weights  # type: ignore[attr-defined]
    return value


def _check_gradient(
    name: str, value: Callable[[], float], x: np.ndarray, gradient: np.ndarray
) -> None:
    """Some entries one by one, then all together along one random direction."""
    rng = np.random.default_rng(3)
    assert gradient.shape == x.shape, name
    assert gradient.dtype == np.float64, name
    scale = max(1.0, float(np.abs(gradient).max(initial=0.0)), abs(value()))
    entries = rng.permutation(x.size)[:ENTRIES]
    directions = [np.eye(1, x.size, i).reshape(x.shape) for i in entries]
    if x.size > 1:
        directions.append(rng.standard_normal(x.shape) / np.sqrt(x.size))
    start = x.copy()
    for direction in directions:
        x[...] = start + STEP * direction
        above = value()
        x[...] = start - STEP * direction
        below = value()
        x[...] = start
        numeric, analytic = (above - below) / (2.0 * STEP), float((gradient * direction).sum())
        assert abs(numeric - analytic) <= 2e-7 * scale, (
            f"{name}: finite difference {numeric}, backward {analytic}"
        )


def _prove(case: Case) -> int:
    """Check all gradients of one row; returns how many."""
    arrays = widened(case.inputs(case.rng()))
    value = _weighted_sum(case, arrays)
    weights = value.weights  # type: ignore[attr-defined]
    several = isinstance(case.call(getattr(reference, case.op), arrays), tuple | list)
    backward = getattr(reference, f"{case.op}_backward")
    gradients = case.call_backward(backward, tuple(weights) if several else weights[0], arrays)
    assert len(gradients) == len(arrays), case.name
    proved = 0
    for position, (x, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        if x is None or x.dtype.kind != "f":
            assert position not in case.grads, case.name
        elif gradient is None:
            assert position not in case.grads, case.name
        elif position in case.grads or np.isfinite(gradient).all():
            _check_gradient(f"{case.name}[{position}]", value, x, gradient)
            proved += 1
    return proved


@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_backward_is_the_derivative(op: str) -> None:
    rows = [case for case in cases_of(op) if case.smooth and not case.slow]
    assert sum(_prove(case) for case in rows if case.grads) > 0


def test_every_backward_is_in_the_table() -> None:
    defined = {name.removesuffix("_backward") for name in dir(reference) if "_backward" in name}
    # Dropout takes the mask that its kernel draws by itself: it has tests of its own.
    assert defined - {"dropout", "dropout2d"} == set(DIFFERENTIABLE)


def test_names_of_rows_are_unique() -> None:
    names = [case.name for case in CASES] + [step.name for step in STEPS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("op", ops())
def test_float_types_are_kept(op: str) -> None:
    """float64 in, float64 out: nothing is rounded on the way; and backward returns the same."""
    case = next(c for c in cases_of(op) if not c.slow)
    for arrays in (case.inputs(case.rng()), widened(case.inputs(case.rng()))):
        kinds = [a.dtype for a in arrays if a is not None and a.dtype.kind == "f"]
        outputs = as_tuple(case.call(getattr(reference, op), arrays))
        if not kinds:
            assert all(y.dtype.kind in "bi" for y in outputs)
            continue
        for y in outputs:
            assert y.dtype.kind in "bi" or y.dtype == kinds[0], case.name


def test_dropout_backward(rng: np.random.Generator) -> None:
    x, mask = rng.standard_normal((5, 7)), rng.random((5, 7)) < 0.6
    weights = rng.standard_normal((5, 7))
    dx, none = reference.dropout_backward(weights, x, mask, 0.4)
    assert none is None
    _check_gradient(
        "dropout", lambda: float((weights * reference.dropout(x, mask, 0.4)).sum()), x, dx
    )
    assert (reference.dropout(x, np.zeros((5, 7), bool), 1.0) == 0).all()


# ---- identities ----------------------------------------------------------------------------------


def test_softmax_identities(rng: np.random.Generator) -> None:
    x = 30.0 * rng.standard_normal((4, 5, 6))
    for dim in (0, 1, 2, -1):
        y = reference.softmax(x, dim)
        np.testing.assert_allclose(y.sum(axis=dim), 1.0, rtol=1e-13)
        np.testing.assert_allclose(reference.softmax(x + 1000.0, dim), y, rtol=1e-9)
        np.testing.assert_allclose(np.exp(reference.log_softmax(x, dim)), y, rtol=1e-12)
        lse = reference.logsumexp(x, dim, True)
        np.testing.assert_allclose(reference.log_softmax(x, dim), x - lse, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_identities(rng: np.random.Generator, reduction: str) -> None:
    x, t = rng.standard_normal((6, 4, 3)), rng.integers(0, 4, (6, 3))
    w = rng.uniform(0.5, 2.0, 4)
    options = {"reduction": reduction}
    direct = reference.cross_entropy(x, t, w, **options)
    via = reference.nll_loss(reference.log_softmax(x, 1), t, w, **options)
    np.testing.assert_allclose(direct, via, rtol=1e-13)
    hot = np.moveaxis(np.eye(4)[t], -1, 1)
    plain = reference.cross_entropy(x, t, **options)
    np.testing.assert_allclose(reference.cross_entropy(x, hot, **options), plain, rtol=1e-13)
    smooth = reference.cross_entropy(x, t, label_smoothing=0.3, **options)
    spread = 0.7 * hot + 0.3 / 4
    np.testing.assert_allclose(reference.cross_entropy(x, spread, **options), smooth, rtol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_two_class_identities(rng: np.random.Generator, reduction: str) -> None:
    x, t, w = rng.standard_normal((5, 3)), rng.uniform(size=(5, 3)), rng.uniform(0.5, 2.0, (5, 3))
    direct = reference.binary_cross_entropy_with_logits(x, t, w, reduction=reduction)
    via = reference.binary_cross_entropy(reference.sigmoid(x), t, w, reduction)
    np.testing.assert_allclose(direct, via, rtol=1e-12)
    ones = np.ones(3)
    weighted = reference.binary_cross_entropy_with_logits(x, t, w, ones, reduction)
    np.testing.assert_allclose(weighted, direct, rtol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_difference_identities(rng: np.random.Generator, reduction: str) -> None:
    x, t = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    half_square = 0.5 * reference.mse_loss(x, t, reduction)
    np.testing.assert_allclose(reference.huber_loss(x, t, 1e3, reduction), half_square, rtol=1e-13)
    near_l1 = reference.smooth_l1_loss(x, t, 1e-9, reduction)
    np.testing.assert_allclose(near_l1, reference.l1_loss(x, t, reduction), atol=1e-8)
    logs, p = reference.log_softmax(x, 1), reference.softmax(t, 1)
    kl = reference.kl_div(logs, p, False, reduction)
    log_kl = reference.kl_div(logs, np.log(p), True, reduction)
    np.testing.assert_allclose(kl, log_kl, rtol=1e-12)


def test_reductions_against_numpy(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4, 5))
    for dim in (None, 0, 1, -1, (0, 2)):
        np.testing.assert_allclose(reference.var(x, dim, correction=1), x.var(axis=dim, ddof=1))
        np.testing.assert_allclose(reference.mean(x, dim, True), x.mean(axis=dim, keepdims=True))
    values, indices = reference.max(x, 1)
    np.testing.assert_array_equal(values, x.max(axis=1))
    np.testing.assert_array_equal(indices, x.argmax(axis=1))


def test_gelu_forms_agree_roughly(rng: np.random.Generator) -> None:
    x = rng.uniform(-6.0, 6.0, 500)
    np.testing.assert_allclose(reference.gelu(x), reference.gelu(x, "tanh"), atol=1e-3)


def test_soft_threshold_makes_zeros(rng: np.random.Generator) -> None:
    p, g = rng.standard_normal(200), np.zeros(200)
    new, _ = reference.sgd_step(p, g, np.zeros(200), lr=0.5, l1=1.0)
    np.testing.assert_array_equal(new == 0, np.abs(p) <= 0.5)
    np.testing.assert_allclose(new[new != 0], (p - 0.5 * np.sign(p))[new != 0])


def test_clipping(rng: np.random.Generator) -> None:
    gradients = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
    flat = np.concatenate([g.ravel() for g in gradients])
    for kind in (1.0, 2.0, 3.0, np.inf):
        clipped, norm = reference.clip_grad_norm_(gradients, 0.5, kind)
        assert norm == pytest.approx(np.linalg.norm(flat, kind))
        after = np.linalg.norm(np.concatenate([g.ravel() for g in clipped]), kind)
        assert after == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_array_equal(reference.clip_grad_norm_(gradients, 1e9)[0][0], gradients[0])
    assert max(np.abs(g).max() for g in reference.clip_grad_value_(gradients, 0.3)) == 0.3
