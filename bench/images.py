# SPDX-License-Identifier: BSD-3-Clause
"""Contests over one layer on images or rows: forward, or backward alone.

Ours lies channels-last. torch runs with its default memory format and with channels_last; the
faster one, found by a short trial before the row, is the contestant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import nervure as nv

from .data import Floats, floats
from .registry import Contest, Peers
from .timing import Call, calls_per_round, time_calls


@dataclass(frozen=True)
class Pass:
    """A layer as each contestant computes it; ``parameters`` follow the input."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]  # called with the module first
    x: Floats
    parameters: Sequence[Floats] = field(default_factory=tuple)
    numpy_forward: Callable[..., Any] | None = None
    numpy_backward: Callable[..., Any] | None = None  # called with x, dy, parameters
    passes: float = 2.0  # over the input, in reading and writing


def _last(x: Floats) -> Floats:
    """Channels-last, as NumPy and Nervure get images; rows as they are."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x


def _first(result: Any) -> Any:
    """Back, for the comparison."""
    if isinstance(result, tuple):
        return tuple(map(_first, result))
    return np.moveaxis(result, -1, 1) if np.ndim(result) == 4 else result


def _ours(x: Floats) -> nv.Tensor:
    if x.ndim != 4:
        return nv.tensor(x)
    return nv.tensor(_last(x)).permute(0, 3, 1, 2)


def _torch_formats(torch: Any, x: Floats) -> list[Any]:
    return [torch.contiguous_format] + ([torch.channels_last] if x.ndim == 4 else [])


def _faster(calls: list[Call]) -> Call:
    if len(calls) == 1:
        return calls[0]
    counts = [calls_per_round(call, 2e-3) for call in calls]
    seconds = [min(time_calls(c, n) for _ in range(3)) for c, n in zip(calls, counts, strict=True)]
    return calls[int(np.argmin(seconds))]


def forward_contest(peers: Peers, layer: Pass) -> Contest:
    """The forward pass, recorded."""
    contest = Contest(bytes=4.0 * layer.passes * layer.x.size, tolerance=2e-5)
    x = _ours(layer.x).detach().requires_grad_()
    parameters = [nv.tensor(p, requires_grad=True) for p in layer.parameters]
    contest.add("nervure", lambda: layer.ours(x, *parameters))
    if (numpy := layer.numpy_forward) is not None:
        array = _last(layer.x)
        call = lambda: numpy(array, *layer.parameters)  # noqa: E731
        contest.add("numpy", call, lambda: _first(call()))
    if torch := peers.torch:
        theirs = [torch.tensor(p, requires_grad=True) for p in layer.parameters]
        calls = []
        for memory in _torch_formats(torch, layer.x):
            leaf = torch.tensor(layer.x).to(memory_format=memory).requires_grad_()
            calls.append(lambda leaf=leaf: layer.theirs(torch, leaf, *theirs))
        contest.add("torch", _faster(calls))
    return contest


def _backward_call(y: Any, dy: Any, leaves: Sequence[Any]) -> Call:
    def call() -> tuple[Any, ...]:
        for leaf in leaves:
            leaf.grad = None
        y.backward(dy, retain_graph=True)
        return tuple(leaf.grad for leaf in leaves)

    return call


def backward_contest(peers: Peers, layer: Pass) -> Contest:
    """The backward pass alone, of input and parameters."""
    contest = Contest(bytes=4.0 * layer.passes * layer.x.size, tolerance=1e-4)
    x = _ours(layer.x).detach().requires_grad_()
    parameters = [nv.tensor(p, requires_grad=True) for p in layer.parameters]
    y = layer.ours(x, *parameters)
    gradient = floats(*y.shape, seed=1)
    contest.add("nervure", _backward_call(y, _ours(gradient), [x, *parameters]))
    if (numpy := layer.numpy_backward) is not None:
        array, dy = _last(layer.x), _last(gradient)
        call = lambda: numpy(array, dy, *layer.parameters)  # noqa: E731
        contest.add("numpy", call, lambda: _as_tuple(_first(call())))
    if torch := peers.torch:
        calls = []
        for memory in _torch_formats(torch, layer.x):
            leaf = torch.tensor(layer.x).to(memory_format=memory).requires_grad_()
            theirs = [torch.tensor(p, requires_grad=True) for p in layer.parameters]
            out = layer.theirs(torch, leaf, *theirs)
            calls.append(
                _backward_call(
                    out, torch.tensor(gradient).to(memory_format=memory), [leaf, *theirs]
                )
            )
        contest.add("torch", _faster(calls))
    return contest


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)
