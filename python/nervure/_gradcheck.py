# SPDX-License-Identifier: BSD-3-Clause
"""gradcheck: compare the gradients of a function with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure._core import Tensor

# An entry next to a kink (relu at 0) disagrees as long as the step reaches across it: try again
# with smaller steps before calling it wrong.
_STEP_FRACTIONS = (1.0, 1.0 / 4.0, 1.0 / 16.0)


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-2,
    atol: float = 1e-3,
    rtol: float = 1e-2,
) -> bool:
    """Check the gradients of ``fn`` at ``inputs`` against finite differences.

    For a random ``v``, the gradient of ``sum(v * fn(inputs))`` from ``backward()`` is compared,
    entry by entry, with

    ``(8 (L(x + h/2) - L(x - h/2)) - (L(x + h) - L(x - h))) / (6 h)``

    (Richardson's extrapolation of central differences, whose error falls with ``h^4``). Values are
    float32, so ``L`` carries a rounding error near 1e-7 of its size; the differences of outputs are
    taken and added up in float64, and a step as large as 0.01 keeps the quotient's error near 1e-5
    of the outputs' size. Tolerances below that would reject correct functions. An entry passes if
    it agrees for a step of ``eps``, ``eps / 4`` or ``eps / 16``: the smaller ones step past a kink
    nearby, where they may; a wrong formula fails all three.

    Parameters
    ----------
    fn
        Called with ``*inputs``; gives a Tensor or a sequence of them. It must give the same result
        each time, so fix dropout first.
    inputs
        A Tensor or a sequence of arguments. Those that are leaf tensors and require a gradient are
        checked; their values are changed in place for the differences, and restored. Their ``grad``
        is left as it was.
    eps
        Largest step, in the units of the inputs.
    atol, rtol
        An entry passes if the two differ by at most ``atol + rtol * max(|one|, |other|)``.

    Returns
    -------
    bool
        True, always: a gradient that is wrong raises.

    Raises
    ------
    RuntimeError
        If a gradient is wrong (the message names the entry that is furthest off), or ``fn`` gives
        different results for the same inputs.
    ValueError
        If no input requires a gradient, or one that does is not a leaf.
    TypeError
        If ``fn`` gives anything but tensors.

    Examples
    --------
    >>> import nervure as nv
    >>> x = nv.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    >>> nv.gradcheck(lambda x: (x * x).sum(), x)
    True
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [(i, x) for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("[gradcheck] at least one input must be a tensor that requires a gradient")
    for i, x in checked:
        if not x.is_leaf:
            raise ValueError(f"[gradcheck] input {i} must be a leaf: use detach() first")
    weights, gradients = _by_backward(fn, arguments, [x for _, x in checked])
    worst = (1.0, "")
    for (i, x), gradient in zip(checked, gradients, strict=True):
        found = _worst_entry(fn, arguments, x, gradient, weights, (eps, atol, rtol))
        if not found[0] <= worst[0]:
            worst = (found[0], f"[gradcheck] the gradient of input {i} is wrong at {found[1]}")
    if worst[1]:
        raise RuntimeError(worst[1])
    return True


@contextmanager
def _recording(enabled: bool) -> Iterator[None]:
    before = _core.grad_enabled()
    _core.set_grad_enabled(enabled)
    try:
        yield
    finally:
        _core.set_grad_enabled(before)


def _outputs(fn: Callable[..., Any], arguments: Sequence[Any]) -> list[Tensor]:
    result = fn(*arguments)
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"[gradcheck] fn must give tensors, got {type(y).__name__}")
    return [y for y in outputs if y.dtype == _core.dtype.float32]


def _values(fn: Callable[..., Any], arguments: Sequence[Any]) -> list[NDArray[np.float64]]:
    with _recording(False):
        return [y.numpy().astype(np.float64) for y in _outputs(fn, arguments)]


def _by_backward(
    fn: Callable[..., Any], arguments: Sequence[Any], leaves: Sequence[Tensor]
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Random weights of the outputs, and the gradients of the leaves that backward() gives."""
    rng = np.random.default_rng(0)
    before = [x.grad for x in leaves]
    for x in leaves:
        x.grad = None
    try:
        with _recording(True):
            outputs = _outputs(fn, arguments)
        first, second = [y.numpy().astype(np.float64) for y in outputs], _values(fn, arguments)
        if not all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True)
        ):
            raise RuntimeError("[gradcheck] fn gives different results for the same inputs")
        weights = [
            np.float32(rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape))
            for y in outputs
        ]
        recorded = [(y, v) for y, v in zip(outputs, weights, strict=True) if y.requires_grad]
        for n, (y, v) in enumerate(recorded, 1):
            y.backward(_core.tensor(v), retain_graph=n < len(recorded))
        gradients = [
            np.zeros(x.shape) if x.grad is None else x.grad.numpy().astype(np.float64)
            for x in leaves
        ]
    finally:
        for x, gradient in zip(leaves, before, strict=True):
            x.grad = gradient
    return [v.astype(np.float64) for v in weights], gradients


def _worst_entry(
    fn: Callable[..., Any],
    arguments: Sequence[Any],
    x: Tensor,
    gradient: NDArray[np.float64],
    weights: Sequence[NDArray[np.float64]],
    limits: tuple[float, float, float],
) -> tuple[float, str]:
    """The largest difference in units of what is allowed, and a description."""
    eps, atol, rtol = limits
    values = x.numpy()

    def rise(index: tuple[int, ...], h: float) -> float:
        """Central difference quotient, over the step that float32 really makes."""
        kept = values[index]
        values[index] = kept + np.float32(h)
        high, above = float(values[index]), _values(fn, arguments)
        values[index] = kept - np.float32(h)
        low, below = float(values[index]), _values(fn, arguments)
        values[index] = kept
        change = sum(
            float((v * (a - b)).sum()) for v, a, b in zip(weights, above, below, strict=True)
        )
        return change / (high - low)

    worst = (0.0, "")
    for index in np.ndindex(x.shape):
        analytic, best = float(gradient[index]), (np.inf, np.nan)
        for fraction in _STEP_FRACTIONS:
            h = fraction * eps
            numeric = (4.0 * rise(index, 0.5 * h) - rise(index, h)) / 3.0
            excess = abs(numeric - analytic) / (atol + rtol * max(abs(numeric), abs(analytic)))
            if excess < best[0]:
                best = (excess, numeric)
            if best[0] <= 1.0:
                break
        if best[0] > worst[0]:
            worst = (
                best[0],
                f"{index}: backward gives {analytic:.6g}, finite differences {best[1]:.6g}",
            )
    return worst
