# SPDX-License-Identifier: BSD-3-Clause
"""Every row of the case table on every instruction set and thread count, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from comparison import EPS, Expected, complaints, difference, expected_of, run
from conftest import ISAS, THREADS

from nervure import _core, reference
from nervure.reference.cases import STEPS, Case, StepCase, cases_of, ops

HIGHEST = ISAS[-1]


def _bits(arrays: tuple[list[np.ndarray], list[np.ndarray]]) -> list[bytes]:
    return [a.tobytes() for part in arrays for a in part]


def _on_every_isa(case: Case, expected: Expected) -> list[str]:
    """Right on each instruction set, and the same bits for each thread count."""
    found = []
    for isa in ISAS:
        _core.select_isa(isa)
        one = None
        for threads in THREADS:
            _core.set_num_threads(threads)
            result = run(case, expected.arrays, expected.dy)
            if one is None:
                one = _bits(result)
                found += [f"[{isa}] {text}" for text in complaints(case, expected, *result)]
            elif _bits(result) != one:
                found.append(f"[{isa}] {case.name}: {threads} threads give other bits than 1")
    return found


def _other_ways(case: Case, expected: Expected) -> list[str]:
    """Unrecorded; with a gradient for one input only; with dy in another memory order."""
    _core.select_isa(HIGHEST)
    outputs, _ = run(case, expected.arrays, expected.dy, grads=())
    found = complaints(case, expected, outputs, (), ())
    for i in case.grads if len(case.grads) > 1 else ():
        result = run(case, expected.arrays, expected.dy, grads=(i,))
        found += complaints(case, expected, *result, (i,))
    ranks = {y.ndim for y in expected.outputs if y.dtype.kind == "f"}
    if case.grads and len(ranks) == 1 and (rank := ranks.pop()) > 1:
        order = tuple(reversed(range(rank)))
        result = run(case, expected.arrays, expected.dy, dy_order=order)
        found += [f"dy in order {order}: {text}" for text in complaints(case, expected, *result)]
    return found


@pytest.mark.parametrize("op", ops())
def test_against_reference(op: str) -> None:
    found = []
    for case in cases_of(op):
        expected = expected_of(case)
        found += _on_every_isa(case, expected)
        if not case.slow:
            found += _other_ways(case, expected)
    assert not found, f"{len(found)} deviations:\n" + "\n".join(found[:20])


@pytest.mark.isa_smoke
@pytest.mark.parametrize("op", ops())
def test_smoke(op: str) -> None:
    """The largest small row and one in another memory order, on the instruction set at hand."""
    rows = [case for case in cases_of(op) if not case.slow]
    chosen = [max(rows, key=lambda c: c.K), *[case for case in rows if case.orders][:1]]
    found = []
    for case in chosen:
        expected = expected_of(case)
        found += complaints(case, expected, *run(case, expected.arrays, expected.dy))
    assert not found, "\n".join(found)


# ---- dropout -------------------------------------------------------------------------------------


def _mask_of(shape: tuple[int, ...], p: float, seed: int) -> np.ndarray:
    _core.manual_seed(seed)
    return np.asarray(_core.dropout(_core.tensor(np.ones(shape, np.float32)), p).numpy() != 0)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (17,), (33,), (0, 3), (5, 9), (70_003,)])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout(rng: np.random.Generator, isa: str, shape: tuple[int, ...], p: float) -> None:
    x_array, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    mask = _mask_of(shape, p, 5)
    first: list[bytes] = []
    for threads in THREADS:
        _core.set_num_threads(threads)
        _core.manual_seed(5)
        x = _core.tensor(x_array, requires_grad=True)
        y = _core.dropout(x, p)
        y.backward(_core.tensor(dy))
        expected = reference.dropout(x_array.astype(np.float64), mask, p)
        assert not difference(y.numpy(), expected, 2 * EPS, relative=True)
        dx, _ = reference.dropout_backward(dy.astype(np.float64), x_array, mask, p)
        assert not difference(x.grad.numpy(), dx, 2 * EPS, relative=True)
        first = first or [y.numpy().tobytes(), x.grad.numpy().tobytes()]
        assert [y.numpy().tobytes(), x.grad.numpy().tobytes()] == first


def test_dropout_masks_are_fresh_fair_and_the_same_everywhere() -> None:
    masks = []
    for name in ISAS:
        _core.select_isa(name)
        masks.append(_mask_of((100_000,), 0.3, 11))
        np.testing.assert_array_equal(masks[-1], masks[0])
    assert abs(masks[0].mean() - 0.7) < 5 * np.sqrt(0.21 / 100_000)
    again = _core.dropout(_core.tensor(np.ones(100_000, np.float32)), 0.3).numpy() != 0
    assert 0.5 < (again == masks[0]).mean() < 0.66  # 0.58 for independent masks
    assert (_mask_of((100_000,), 0.3, 12) != masks[0]).any()


# ---- optimisers ----------------------------------------------------------------------------------

SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (16,), (33,), (0, 3), (5, 9), (100_003,))


def _states(row: StepCase, zeros: list[np.ndarray]) -> list[list[_core.Tensor]]:
    """A list of tensors for each state, empty where the options need none."""
    return [[_core.tensor(z) for z in zeros] if needed else [] for needed in row.used()]


def _train(row: StepCase, steps: int, rng: np.random.Generator, wide: bool) -> list[np.ndarray]:
    """Parameters and states after some steps of random gradients: our kernel, or the reference."""
    dtype = np.float64 if wide else np.float32
    values = [rng.standard_normal(s).astype(np.float32).astype(dtype) for s in SHAPES]
    states = [[np.zeros(s, dtype) for s in SHAPES] for _ in range(row.states)]
    gradients = [
        [rng.standard_normal(s).astype(np.float32).astype(dtype) for s in SHAPES]
        for _ in range(steps)
    ]
    if wide:
        for step, g in enumerate(gradients, 1):
            for i in range(len(SHAPES)):
                values[i], *new = getattr(reference, row.op)(
                    values[i],
                    g[i],
                    *(s[i] for s in states),
                    **row.options,
                    **row.changing(step),
                )
                for state, array in zip(states, new, strict=True):
                    state[i] = array
        used = [state for state, needed in zip(states, row.used(), strict=True) if needed]
        return [a for part in (values, *used) for a in part]
    tensors = [_core.tensor(v, requires_grad=True) for v in values]
    kept = _states(row, [np.zeros(s, np.float32) for s in SHAPES])
    for step, g in enumerate(gradients, 1):
        for t, array in zip(tensors, g, strict=True):
            t.grad = _core.tensor(array)
        getattr(_core, row.op)(tensors, *kept, **row.options, **row.changing(step))
    return [t.numpy().copy() for part in (tensors, *kept) for t in part]


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_optimiser_step(row: StepCase) -> None:
    expected = _train(row, 4, np.random.default_rng(1), wide=True)
    for isa in ISAS:
        _core.select_isa(isa)
        bits = []
        for threads in THREADS:
            _core.set_num_threads(threads)
            actual = _train(row, 4, np.random.default_rng(1), wide=False)
            bits.append([a.tobytes() for a in actual])
        assert bits[0] == bits[1] == bits[2], f"{isa}: bits depend on the number of threads"
        for a, e in zip(actual, expected, strict=True):
            # Where a soft threshold cuts, the last bit decides between zero and nearly zero.
            text = difference(a, e, 32 * EPS, floor=8 * EPS)
            assert not text, f"{isa}: {text}"


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_parameters_without_gradient_are_left_alone(row: StepCase) -> None:
    values = [np.float32([1.0, 2.0]), np.float32([3.0, 4.0])]
    tensors = [_core.tensor(v, requires_grad=True) for v in values]
    tensors[1].grad = _core.tensor(np.float32([0.5, -0.5]))
    states = _states(row, [np.zeros(2, np.float32) for _ in values])
    getattr(_core, row.op)(tensors, *states, **row.options, **row.changing(1))
    np.testing.assert_array_equal(tensors[0].numpy(), values[0])
    assert (tensors[1].numpy() != values[1]).all()
    assert all((s[0].numpy() == 0).all() for s in states if s)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("row", [r for r in STEPS if r.options["lr"]][::4], ids=lambda r: r.name)
def test_optimiser_step_in_another_order(row: StepCase, order: tuple[int, int]) -> None:
    """Parameter, gradient and state lie alike; the result does not depend on how."""
    rng = np.random.default_rng(2)
    p, g = (rng.standard_normal((5, 9)).astype(np.float32) for _ in range(2))
    parameter = _core.to_order(_core.tensor(p), order)
    parameter.requires_grad_()
    parameter.grad = _core.to_order(_core.tensor(g), order)
    zeros = np.zeros((5, 9), np.float32)
    states = [[_core.to_order(s, order) for s in part] for part in _states(row, [zeros])]
    getattr(_core, row.op)([parameter], *states, **row.options, **row.changing(1))
    wide = [zeros.astype(np.float64)] * row.states
    expected, *_ = getattr(reference, row.op)(
        p.astype(np.float64), g.astype(np.float64), *wide, **row.options, **row.changing(1)
    )
    assert not difference(parameter.numpy(), expected, 16 * EPS, floor=EPS)


def _parameters(gradients: list[np.ndarray]) -> list[_core.Tensor]:
    tensors = [_core.tensor(np.zeros_like(g), requires_grad=True) for g in gradients]
    for t, g in zip(tensors, gradients, strict=True):
        t.grad = _core.tensor(g)
    return tensors


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm(isa: str, norm_type: float, max_norm: float) -> None:
    rng = np.random.default_rng(3)
    gradients = [rng.standard_normal(s).astype(np.float32) for s in SHAPES]
    wide = [g.astype(np.float64) for g in gradients]
    expected, norm = reference.clip_grad_norm_(wide, max_norm, norm_type)
    bits = []
    for threads in THREADS:
        _core.set_num_threads(threads)
        tensors = _parameters(gradients)
        tensors.append(_core.tensor(np.ones(3, np.float32), requires_grad=True))  # no gradient
        assert _core.clip_grad_norm_(tensors, max_norm, norm_type) == pytest.approx(norm, rel=1e-5)
        for t, e in zip(tensors, expected, strict=False):
            assert not difference(t.grad.numpy(), e, 64 * EPS)
        bits.append([t.grad.numpy().tobytes() for t in tensors[:-1]])
    assert bits[0] == bits[1] == bits[2]


def test_clip_grad_norm_of_nothing() -> None:
    assert _core.clip_grad_norm_([], 1.0) == 0.0
    assert _core.clip_grad_norm_([_core.tensor([1.0], requires_grad=True)], 1.0) == 0.0


def test_arrays_are_refused_where_the_argument_is_written() -> None:
    """A tensor made of one is a copy: the array itself would stay as it is."""
    array = np.ones(3, np.float32)
    for call in (
        lambda: _core.clip_grad_norm_([array], 1.0),
        lambda: _core.clip_grad_value_([array], 1.0),
        lambda: _core.fill_(array, 2.0),
        lambda: _core.copy_(array, _core.tensor([1.0])),
        lambda: _core.uniform_(array),
    ):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            call()
    keys, packed = np.zeros((1, 2, 4), np.float32), _core.tensor(np.ones((1, 1, 12), np.float32))
    with pytest.raises(TypeError, match="keys"):
        _core.attend_cached(packed, keys, keys, 0, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clip_grad_norm_nonfinite(bad: float) -> None:
    tensors = _parameters([np.float32([1.0, bad]), np.float32([1.0])])
    with pytest.raises(ValueError, match=r"^\[clip_grad_norm_\]"):
        _core.clip_grad_norm_(tensors, 1.0, 2.0, True)
    assert not np.isfinite(_core.clip_grad_norm_(tensors, 1.0, 2.0, False))


def test_clip_grad_value(isa: str) -> None:
    rng = np.random.default_rng(4)
    gradients = [rng.standard_normal(s).astype(np.float32) for s in SHAPES]
    tensors = _parameters(gradients)
    _core.clip_grad_value_(tensors, 0.25)
    for t, e in zip(tensors, reference.clip_grad_value_(gradients, 0.25), strict=True):
        np.testing.assert_array_equal(t.grad.numpy(), e)
