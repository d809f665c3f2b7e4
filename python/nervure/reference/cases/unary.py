# SPDX-License-Identifier: BSD-3-Clause
"""Rows of operations on one tensor, element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .table import (
    LARGE,
    SIZES,
    Case,
    Draw,
    constant,
    each,
    integers,
    name_of,
    normal,
    positive,
    ties,
    torch_op,
    uniform,
)


def _unary(
    op: str,
    path: str,
    draw: Callable[..., Draw] = normal,
    options: Sequence[Mapping[str, Any]] = ({},),
    wide: tuple[float, float] | None = None,
    kinks: bool = False,
    **extra: Any,
) -> list[Case]:
    common: dict[str, Any] = {"grads": (0,), "torch": torch_op(path), **extra}

    def row(name: str, x: Draw, **more: Any) -> Case:
        return Case(name, op, each(x), **{**common, **more})

    first, *others = options
    rows = [row(name_of(op, n), draw(n), kwargs=first) for n in SIZES]
    rows += [row(name_of(op, s), draw(*s), kwargs=first) for s in ((), (0,), (0, 3), (3, 0))]
    rows += [
        row(name_of(op, "order"), draw(5, 9), kwargs=first, orders={0: (1, 0)}),
        row(name_of(op, "order-3d"), draw(3, 5, 7), kwargs=first, orders={0: (1, 2, 0)}),
        row(name_of(op, "channels-last"), draw(2, 3, 5, 7), kwargs=first, orders={0: (0, 2, 3, 1)}),
        row(name_of(op, "large"), draw(LARGE), kwargs=first, slow=True),
    ]
    for option in options:
        if option in others:
            rows.append(row(name_of(op, **option), draw(5, 9), kwargs=option))
        if wide:
            name = name_of(op, "wide", **option)
            rows.append(row(name, uniform(*wide, 997), kwargs=option, smooth=False))
        if kinks:
            rows.append(row(name_of(op, "ties", **option), ties(33), kwargs=option, smooth=False))
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    f = "nn.functional."
    wide = (-90.0, 90.0)
    bounds = ({"low": -0.5, "high": 0.7}, {"low": 0.1}, {"high": -0.1}, {"low": 1.0, "high": -1.0})
    rows = [
        *_unary("neg", "neg"),
        *_unary("abs", "abs", kinks=True),
        *_unary("exp", "exp", wide=(-85.0, 88.0), relative=True),
        *_unary("log", "log", positive, wide=(1e-30, 1e30)),
        *_unary("sqrt", "sqrt", positive, wide=(1e-30, 1e30), relative=True),
        *_unary("square", "square", relative=True),
        *_unary("reciprocal", "reciprocal", positive, wide=(1e-12, 1e12), relative=True),
        *_unary("sin", "sin", wide=(-1000.0, 1000.0)),
        *_unary("cos", "cos", wide=(-1000.0, 1000.0)),
        *_unary("relu", f + "relu", kinks=True),
        *_unary("silu", f + "silu", wide=wide),
        *_unary("tanh", "tanh", wide=wide, relative=False),
        *_unary("sigmoid", "sigmoid", wide=wide),
        *_unary(
            "leaky_relu",
            f + "leaky_relu",
            options=({}, {"negative_slope": 0.3}, {"negative_slope": 0.0}),
            kinks=True,
        ),
        *_unary("elu", f + "elu", options=({}, {"alpha": 0.7}), wide=wide, kinks=True),
        *_unary(
            "gelu",
            f + "gelu",
            options=({}, {"approximate": "tanh"}, {"approximate": "none"}),
            wide=(-12.0, 12.0),
            c=16.0,  # 1 + erf loses bits below 0: 1.6e-7 of x, 3e-6 of a single value near -1.6
        ),
        *_unary(
            "softplus",
            f + "softplus",
            options=({}, {"beta": 2.0, "threshold": 3.0}, {"beta": 0.5}),
            wide=wide,
        ),
        *_unary(
            "hardtanh",
            f + "hardtanh",
            options=({}, {"min_val": -2.0, "max_val": 0.5}),
            kinks=True,
        ),
    ]
    clip = [
        replaced
        for case in _unary("clip", "clip", options=({}, *bounds), kinks=True)
        for replaced in [_with_torch(case, _torch_clip)]
        if case.kwargs
    ]
    clip += [
        _with_torch(case, _torch_clip)
        for case in _unary("clip", "clip", options=({"low": -1.0, "high": 1.0},), kinks=True)
    ]
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 100.0, -100.0, 1e30, -1e30]
    for op, path in (
        ("neg", "neg"),
        ("abs", "abs"),
        ("exp", "exp"),
        ("log", "log"),
        ("sqrt", "sqrt"),
        ("square", "square"),
        ("reciprocal", "reciprocal"),
        ("relu", f + "relu"),
        ("tanh", "tanh"),
        ("sigmoid", "sigmoid"),
        ("softplus", f + "softplus"),
        ("elu", f + "elu"),
        ("hardtanh", f + "hardtanh"),
        ("leaky_relu", f + "leaky_relu"),
        ("isnan", "isnan"),
        ("isfinite", "isfinite"),
    ):
        name = name_of(op, "special")
        rows.append(Case(name, op, each(constant(special)), torch=torch_op(path), relative=True))
    for op in ("isnan", "isfinite"):
        rows += [Case(name_of(op, n), op, each(normal(n)), torch=torch_op(op)) for n in SIZES]
        rows.append(Case(name_of(op, "int64"), op, each(integers(-3, 3, 5)), torch=torch_op(op)))
    for op in ("exp", "relu", "square"):
        inputs = each(integers(-3, 3, 4, 5))
        rows.append(Case(name_of(op, "int64"), op, inputs, torch=_torch_of_float(op)))
    return rows + clip


def _torch_clip(torch: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    return torch.clamp(x, low, high)


def _torch_of_float(path: str) -> Callable[..., Any]:
    inner = torch_op(path)
    return lambda torch, x: inner(torch, x.double())


def _with_torch(case: Case, torch: Callable[..., Any]) -> Case:
    return replace(case, torch=torch)
