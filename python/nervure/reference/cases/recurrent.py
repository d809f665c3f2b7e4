# SPDX-License-Identifier: BSD-3-Clause
"""Rows of the recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..arrays import Array
from .table import Case, Draw, Inputs, Rng, name_of, normal

GATES = {"rnn": 1, "gru": 3, "lstm": 4}

BATCH_STEPS_SIZES = [
    (1, 1, 1, 1),
    (1, 5, 3, 7),
    (2, 3, 5, 8),
    (3, 3, 4, 9),
    (4, 3, 16, 15),
    (5, 4, 7, 16),
    (7, 3, 9, 17),
    (8, 3, 3, 31),
    (9, 3, 1, 32),
    (17, 4, 8, 33),
    (0, 3, 4, 5),
    (3, 0, 4, 5),
    (3, 3, 0, 5),
]
LENGTHS = {
    "ragged": (3, 5, 1, 4),
    "sorted": (5, 4, 4, 1),
    "zero length": (0, 4, 5, 0, 2),
    "all zero": (0, 0, 0),
    "short": (2, 1, 2),
}


@dataclass(frozen=True)
class Layer:
    """Sizes of one layer; ``kind`` is the operation."""

    kind: str
    batch: int
    steps: int
    inputs: int
    hidden: int
    directions: int = 1
    bias: bool = True
    state: bool = True
    lengths: tuple[int, ...] | None = None
    output: int = 0  # projected to, if not 0
    peephole: bool = False
    norm: bool = False

    def draws(self) -> list[Draw | None]:
        """x, the states, the weights of each direction, and the lengths."""
        gates, size = GATES[self.kind] * self.hidden, self.output or self.hidden
        first = (self.directions, self.batch)
        states = [(*first, size)] + [(*first, self.hidden)] * (self.kind == "lstm")
        weights: list[tuple[int, ...] | None] = [(gates, self.inputs), (gates, size)]
        weights += [(gates,), (gates,)] if self.bias else [None, None]
        if self.kind == "lstm":
            weights.append((size, self.hidden) if self.output else None)
            weights.append((3, self.hidden) if self.peephole else None)
        if self.norm:
            cell = (self.hidden,)
            weights += [(gates,), (gates,), cell, cell if self.bias else None]
        x = (self.batch, self.steps, self.inputs)
        shapes = [x, *(s if self.state else None for s in states), *weights * self.directions]
        draws = [None if s is None else _scaled(s) for s in shapes]
        if self.norm:
            begin = 1 + len(states)
            for d in range(self.directions):
                for gain, size in zip((6, 7, 8), (gates, gates, self.hidden), strict=True):
                    draws[begin + d * len(weights) + gain] = normal(size, scale=0.3, mean=1.0)
        return [*draws, None if self.lengths is None else _lengths(self.lengths)]

    def grads(self) -> tuple[int, ...]:
        """Everything that is there but the lengths."""
        return tuple(i for i, d in enumerate(self.draws()[:-1]) if d is not None)


def _scaled(shape: tuple[int, ...]) -> Draw:
    scale = 1.0 if len(shape) == 3 else max(1, shape[-1]) ** -0.5
    return lambda rng: np.asarray(scale * rng.standard_normal(shape), np.float32)


def _lengths(values: tuple[int, ...]) -> Draw:
    return lambda _: np.asarray(values, np.int64)


def _inputs(layer: Layer, extras: list[Draw | None]) -> Inputs:
    def draw(rng: Rng) -> list[Array | None]:
        return [None if d is None else d(rng) for d in (*layer.draws(), *extras)]

    return draw


def _arrange(states: int, extras: int) -> Callable[..., tuple[Any, ...]]:
    """The weights, which lie between the states and the lengths, become a list."""

    def arranged(*tensors: Any) -> tuple[Any, ...]:
        end = len(tensors) - 1 - extras
        return *tensors[: 1 + states], list(tensors[1 + states : end]), *tensors[end:]

    return arranged


def _case(layer: Layer, label: str = "", extras: tuple[Draw | None, ...] = (), **more: Any) -> Case:
    """``extras``: mask and zoneouts of an LSTM."""
    lstm = layer.kind == "lstm"
    rest = (*extras, *[None] * (3 - len(extras))) if lstm else ()
    sizes = (layer.batch, layer.steps, layer.inputs, layer.hidden)
    known = extras or layer.peephole or layer.norm or (layer.lengths and min(layer.lengths) == 0)
    torch = None if known or 0 in sizes or "reset_after" in more.get("kwargs", {}) else _by_torch
    return Case(
        name_of(layer.kind, sizes, *([label] if label else [])),
        layer.kind,
        _inputs(layer, list(rest)),
        arrange=_arrange(2 if lstm else 1, len(rest)),
        grads=layer.grads(),
        # sums of both signs in every gate; what normalisation leaves of them, of one unit little
        c=(64.0 if layer.hidden > 1 else 256.0) if layer.norm else 16.0,
        K=max(1, layer.steps * (layer.batch + layer.inputs + layer.hidden)),
        torch=torch,
        **more,
    )


def _by_torch(torch: Any, x: Any, *rest: Any, nonlinearity: str | None = None) -> Any:
    """The module of PyTorch, on packed sequences where there are lengths."""
    lists = [i for i, value in enumerate(rest) if isinstance(value, list)]
    states, weights, lengths = rest[: lists[0]], rest[lists[0]], rest[lists[0] + 1]
    count = 6 if len(states) == 2 else 4
    directions = len(weights) // count
    projection = weights[4] if count == 6 else None
    gates = {2: 4, 1: 0}[len(states)] or weights[0].shape[0] // weights[1].shape[1]
    hidden = weights[0].shape[0] // gates
    kwargs: dict[str, Any] = {"bias": weights[2] is not None, "bidirectional": directions == 2}
    if projection is not None:
        kwargs["proj_size"] = projection.shape[0]
    if nonlinearity:
        kwargs["nonlinearity"] = nonlinearity
    kind = {1: "RNN", 3: "GRU", 4: "LSTM"}[gates]
    module = getattr(torch.nn, kind)(x.shape[2], hidden, batch_first=True, **kwargs).double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    parameters = {
        f"{name}_l0{'_reverse' * d}": weights[d * count + i]
        for d in range(directions)
        for i, name in enumerate(names[: min(5, count)])
        if weights[d * count + i] is not None
    }
    given = None if states[0] is None else states[0] if len(states) == 1 else states
    source = x
    if lengths is not None:
        source = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
    y, final = torch.func.functional_call(module, parameters, (source, given))
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return (y, *final) if isinstance(final, tuple) else (y, final)


def _ones(*shape: int) -> Draw:
    return lambda rng: np.asarray(rng.random(shape) < 0.5, np.float32)


def _common(kind: str, **more: Any) -> list[Case]:
    """Rows that every kind of layer has."""
    rows = [_case(Layer(kind, *sizes), **more) for sizes in BATCH_STEPS_SIZES]
    small = (4, 5, 3, 5)
    for label, lengths in LENGTHS.items():
        batch = len(lengths)
        for directions in (1, 2):
            layer = Layer(kind, batch, 5, 3, 5, directions, lengths=lengths)
            rows.append(_case(layer, f"{label} {directions}", **more))
    rows += [
        _case(Layer(kind, *small, 2), "both", **more),
        _case(Layer(kind, *small, bias=False), "no bias", **more),
        _case(Layer(kind, *small, 2, state=False), "no state", **more),
        _case(Layer(kind, *small, 2), "step by step", orders={0: (1, 0, 2)}, **more),
        _case(Layer(kind, *small), "other order", orders={0: (2, 1, 0)}, **more),
        _case(
            Layer(kind, *small, lengths=LENGTHS["ragged"]),
            "ragged step by step",
            orders={0: (1, 0, 2)},
            **more,
        ),
        _case(Layer(kind, 1, 3, 40, 130), "one row", slow=True, **more),
        _case(Layer(kind, 3, 3, 65, 257), "units", slow=True, **more),
        _case(Layer(kind, 40, 6, 33, 50), "rows", slow=True, **more),
        _case(
            Layer(kind, 37, 9, 20, 49, 2, lengths=tuple(int(i * 7 % 10) for i in range(37))),
            "ragged rows",
            slow=True,
            **more,
        ),
    ]
    return rows


def _normalised() -> list[Case]:
    """Rows of a normalised LSTM; `rows` has those with options."""
    layer = partial(Layer, "lstm", norm=True)
    sizes = [(3, 2, 1, 1), (1, 5, 3, 7), (7, 3, 9, 17), (9, 3, 1, 32), (0, 3, 4, 5), (3, 0, 4, 5)]
    rows = [_case(layer(*size)) for size in sizes]
    for label in ("ragged", "zero length"):
        lengths = LENGTHS[label]
        rows.append(_case(layer(len(lengths), 5, 3, 5, 2, lengths=lengths), label))
    return [
        *rows,
        _case(layer(4, 5, 3, 5, 2, bias=False, state=False), "no bias, no state"),
        _case(layer(4, 3, 3, 9, 2), "step by step", orders={0: (1, 0, 2)}),
        _case(layer(1, 3, 40, 130), "one row", slow=True),
        _case(layer(3, 3, 65, 257), "units", slow=True),
        _case(layer(40, 6, 33, 50), "rows", slow=True),
        _case(
            layer(37, 9, 20, 49, 2, lengths=tuple(int(i * 7 % 10) for i in range(37))),
            "both",
            slow=True,
        ),
    ]


def _labelled(cases: list[Case], label: str) -> list[Case]:
    return [replace(case, name=f"{case.name}-{label}") for case in cases]


def rows() -> list[Case]:
    """Every row of this file."""
    rows = _common("rnn") + _common("gru") + _common("lstm")
    relu: Mapping[str, Any] = {"nonlinearity": "relu"}
    rows += _labelled(_common("rnn", kwargs=relu, smooth=False), "relu")
    rows += _labelled(_common("gru", kwargs={"reset_after": False}), "reset before")
    rows += _labelled(_normalised(), "normalised")
    small = (4, 5, 3, 5)
    ragged = {"lengths": LENGTHS["ragged"]}
    zero = {"lengths": LENGTHS["zero length"]}
    for sizes, more in ((small, {}), (small, ragged), ((5, 5, 3, 18), zero)):
        for directions in (1, 2):
            of = (directions, *sizes[:1])
            cells, states = (*of, sizes[1], sizes[3]), (*of, sizes[3])
            label = f"{directions} {'-'.join(map(str, more.get('lengths', ())))}"
            layer = Layer("lstm", *sizes, directions, **more)  # type: ignore[arg-type]
            projected = replace(layer, output=3)
            peephole = replace(layer, peephole=True)
            number: Draw = lambda _: np.asarray([0.25], np.float32)  # noqa: E731
            every = (_ones(*states), _ones(*cells), _ones(*cells))
            rows += [
                _case(projected, f"projected {label}"),
                _case(projected, f"projected masked {label}", (_ones(*of, 3),)),
                _case(peephole, f"peephole {label}"),
                _case(layer, f"masked {label}", (_ones(*states),)),
                _case(layer, f"zoneout {label}", (None, _ones(*cells), _ones(*cells))),
                _case(layer, f"mean zoneout {label}", (None, number, number)),
                _case(peephole, f"all {label}", every),
            ]
        projected, peephole = replace(projected, norm=True), replace(peephole, norm=True)
        rows += [
            _case(projected, f"normalised projected {label}"),
            _case(peephole, f"normalised all {label}", every),
            _case(peephole, f"normalised mean zoneout {label}", (None, number, number)),
        ]
    return rows
