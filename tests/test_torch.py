# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch, where installed, confirms the reference (in float64) and our kernels (in float32)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import Expected, as_tuple, complaints, difference, expected_of, run, widened

from nervure import reference
from nervure.reference.cases import STEPS, Case, StepCase, cases_of, ops

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

# A constant of PyTorch's binary_cross_entropy is a float32 even in float64.
TOLERANCE = 1e-8
IN_TORCH = [op for op in ops() if any(case.torch for case in cases_of(op))]


def _by_torch(case: Case, expected: Expected) -> Expected:
    """The same row computed by PyTorch in float64."""
    wide = widened(expected.arrays)
    tensors = [None if a is None else torch.tensor(a) for a in wide]
    for i in case.grads:
        tensors[i].requires_grad_()
    assert case.torch is not None
    outputs = as_tuple(case.torch(torch, *case.arrange(*tensors), *case.args, **case.kwargs))
    if case.grads:
        pairs = [(y, d) for y, d in zip(outputs, expected.dy, strict=True) if d is not None]
        torch.autograd.backward([y for y, _ in pairs], [torch.tensor(d).double() for _, d in pairs])
    gradients = [tensors[i].grad.numpy() for i in case.grads]
    arrays = [y.detach().numpy() for y in outputs]
    wide_outputs = [y.astype(np.float64) if y.dtype == np.float32 else y for y in arrays]
    return Expected(expected.arrays, wide_outputs, expected.dy, gradients)


def _deviation(actual: Any, expected: Any) -> float:
    with np.errstate(invalid="ignore"):
        error = np.where(actual == expected, 0.0, np.abs(actual - expected))
    error = np.where(np.isnan(actual) & np.isnan(expected), 0.0, error)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-300)
    return float(error.max(initial=0.0) / scale)


# Warnings of PyTorch about an empty variance and about "mean" of a divergence.
@pytest.mark.filterwarnings("ignore:(var|std).*degrees of freedom:UserWarning")
@pytest.mark.filterwarnings("ignore:reduction.*'mean' divides:UserWarning")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("op", IN_TORCH)
def test_torch_agrees(op: str) -> None:
    found = []
    for case in cases_of(op):
        if case.torch is None or case.slow:
            continue
        expected = expected_of(case)
        peer = _by_torch(case, expected)
        ours = (*expected.outputs, *expected.gradients)
        for y, e in zip(ours, (*peer.outputs, *peer.gradients), strict=True):
            if y.shape != e.shape:
                found.append(f"{case.name}: reference {y.shape}, PyTorch {e.shape}")
            elif not _deviation(y.astype(float), e.astype(float)) < TOLERANCE:
                found.append(f"{case.name}: reference {y}, PyTorch {e}")
        if not found:
            found += complaints(case, peer, *run(case, expected.arrays, expected.dy))
    assert not found, f"{len(found)} deviations:\n" + "\n".join(found[:10])


@pytest.mark.parametrize("row", [r for r in STEPS if r.torch], ids=lambda row: row.name)
def test_optimiser_in_torch(row: StepCase) -> None:
    rng = np.random.default_rng(5)
    value = rng.standard_normal((4, 5))
    states = [np.zeros((4, 5)) for _ in range(row.states)]
    parameter = torch.nn.Parameter(torch.tensor(value))
    assert row.torch is not None
    optimizer = row.torch(torch, [parameter])
    for step in range(1, 7):
        gradient = rng.standard_normal((4, 5))
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        value, *states = getattr(reference, row.op)(
            value, gradient, *states, **row.options, **row.changing(step)
        )
        # PyTorch keeps the product of NAdam's mu in float32.
        np.testing.assert_allclose(value, parameter.detach().numpy(), rtol=1e-7)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_clipping_in_torch(norm_type: float) -> None:
    rng = np.random.default_rng(6)
    gradients = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
    parameters = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = torch.tensor(g)
    expected, norm = reference.clip_grad_norm_(gradients, 0.7, norm_type)
    actual = torch.nn.utils.clip_grad_norm_(parameters, 0.7, norm_type)
    assert float(actual) == pytest.approx(norm)
    for p, e in zip(parameters, expected, strict=True):
        assert p.grad is not None
        assert not difference(p.grad.numpy().astype(np.float32), e, 1e-6)
