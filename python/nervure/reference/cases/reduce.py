# SPDX-License-Identifier: BSD-3-Clause
"""Rows of reductions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .table import (
    SIZES,
    Case,
    Draw,
    Shape,
    booleans,
    constant,
    each,
    integers,
    name_of,
    normal,
    ties,
    torch_op,
)

REDUCTIONS: tuple[tuple[Shape, Any], ...] = (
    ((), None),
    ((5, 7), None),
    ((5, 7), 0),
    ((5, 7), 1),
    ((5, 7), -1),
    ((3, 4, 5), 0),
    ((3, 4, 5), 1),
    ((3, 4, 5), 2),
    ((3, 4, 5), (0, 1)),
    ((3, 4, 5), (0, 2)),
    ((3, 4, 5), (1, 2)),
    ((3, 4, 5), (2, 0)),
    ((3, 4, 5), (0, 1, 2)),
    ((2, 3, 4, 5), (0, 2, 3)),
    ((2, 3, 4, 5), (1, -1)),
    ((17, 33), 0),
    ((17, 33), 1),
    ((33, 17), 0),
    ((33, 16), 1),
    ((3, 0), 0),
    ((2, 1, 3), 1),
)

LARGE_REDUCTIONS: tuple[tuple[Shape, Any], ...] = (
    ((1009, 301), None),
    ((1009, 301), 0),
    ((2, 150_001), 1),
    ((67, 71, 73), 1),
    ((67, 71, 73), (0, 2)),
)


def _torch_reduce(path: str) -> Callable[..., Any]:
    inner = torch_op(path)

    def call(torch: Any, x: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
        dim = tuple(range(x.ndim)) if dim is None else dim
        return inner(torch, x, dim=dim, keepdim=keepdim, **kwargs)

    return call


def _reduced(shape: Shape, dim: Any) -> int:
    if dim is None:
        return max(1, math.prod(shape))
    dims = (dim,) if isinstance(dim, int) else dim
    return max(1, math.prod(shape[d] for d in dims))


def _reduce(
    op: str,
    draw: Callable[..., Draw],
    options: Sequence[Mapping[str, Any]] = ({},),
    smooth: bool = True,
    empty: bool = False,
    torch: Callable[..., Any] | None = None,
    **extra: Any,
) -> list[Case]:
    torch = torch or _torch_reduce(op)
    common: dict[str, Any] = {"grads": (0,), "torch": torch, "smooth": smooth, **extra}

    def row(name: str, shape: Shape, dim: Any, **more: Any) -> Case:
        kwargs = {"dim": dim, **more.pop("kwargs", {})}
        return Case(
            name,
            op,
            each(draw(*shape)),
            kwargs=kwargs,
            **{**common, "K": _reduced(shape, dim), **more},
        )

    rows = [row(name_of(op, n), (n,), None) for n in SIZES]
    rows += [row(name_of(op, "last", n), (3, n), -1) for n in SIZES]
    rows += [row(name_of(op, "first", n), (5, n), 0) for n in SIZES]
    for keepdim in (False, True):
        for shape, dim in REDUCTIONS:
            name = name_of(op, shape, dim=dim, keepdim=keepdim)
            rows.append(row(name, shape, dim, kwargs={"keepdim": keepdim}))
    rows += [row(name_of(op, "large", s, dim=d), s, d, slow=True) for s, d in LARGE_REDUCTIONS]
    for order, dim in itertools.product(((2, 0, 1), (1, 2, 0), (0, 2, 1)), (None, 0, 1, 2, (0, 2))):
        name = name_of(op, "order", order, dim=dim)
        rows.append(row(name, (3, 4, 5), dim, orders={0: order}))
    name = name_of(op, "channels-last")
    rows.append(row(name, (2, 3, 5, 7), (0, 2, 3), orders={0: (0, 2, 3, 1)}))
    for option in options[1:]:
        for dim in (None, 1, (0, 2)):
            name = name_of(op, dim=dim, **option)
            rows.append(row(name, (3, 4, 5), dim, kwargs=option))
    if empty:
        rows += [
            row(name_of(op, "empty", s, dim=d), s, d, smooth=False)
            for s, d in (((0,), None), ((0, 3), 0), ((3, 0), 1), ((0, 3), None))
        ]
    return rows


def _shifted(*shape: int) -> Draw:
    """Of one sign mostly, so that a sum is not small by accident."""
    return normal(*shape, mean=0.7)


def _indexed(
    op: str, dims: Sequence[Any], draw: Callable[..., Draw], kind: str, **extra: Any
) -> list[Case]:
    places: list[tuple[Shape, Any]] = [
        (shape, dim)
        for shape in (*((n,) for n in SIZES), (5, 7), (3, 4, 5), (17, 33))
        for dim in dims
        if dim is None or -len(shape) <= dim < len(shape)
    ]
    rows = [
        Case(
            name_of(op, kind, shape, dim, keepdim),
            op,
            each(draw(*shape)),
            kwargs={"dim": dim, "keepdim": keepdim},
            torch=torch_op(op),
            **extra,
        )
        for shape, dim in places
        for keepdim in (False, True)
    ]
    large: tuple[tuple[Shape, int], ...] = (((1009, 301), 0), ((2, 150_001), 1))
    rows += [
        Case(
            name_of(op, kind, shape, dim),
            op,
            each(draw(*shape)),
            kwargs={"dim": dim},
            torch=torch_op(op),
            slow=True,
            **extra,
        )
        for shape, dim in large
    ]
    rows.append(
        Case(
            name_of(op, kind, "order"),
            op,
            each(draw(3, 4, 5)),
            kwargs={"dim": 1},
            orders={0: (2, 0, 1)},
            torch=torch_op(op),
            **extra,
        )
    )
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    rows = [
        *_reduce("sum", _shifted, empty=True),
        *_reduce("mean", _shifted, empty=True),
        *[
            case
            for case in _reduce(
                "var", normal, options=({}, {"correction": 0}, {"correction": 2}), c=8.0
            )
            if case.K > 1
        ],
        *[
            case
            for case in _reduce(
                "standard_deviation",
                normal,
                options=({}, {"correction": 0}, {"correction": 2}),
                c=8.0,
                torch=_torch_reduce("std"),
            )
            if case.K > 1
        ],
        *_reduce("amax", normal),
        *_reduce("amin", normal),
        *_reduce("logsumexp", normal, empty=False, c=8.0),
    ]
    for op in ("amax", "amin"):
        for dim in (None, 0, 1, (0, 1)):
            rows.append(
                Case(
                    name_of(op, "ties", dim=dim),
                    op,
                    each(ties(5, 17)),
                    kwargs={"dim": dim},
                    grads=(0,),
                    smooth=False,
                    torch=_torch_reduce(op),
                )
            )
    for op in ("max", "min"):
        rows += _indexed(op, (0, 1, -1), normal, kind="any", grads=(0,))
        rows += _indexed(op, (0, 1), ties, kind="ties", smooth=False)
    for op in ("argmax", "argmin"):
        rows += _indexed(op, (None, 0, 1, -1), normal, kind="any")
        rows += _indexed(op, (None, 0, 1), ties, kind="ties")
    for op, torch_name in (("var", "var"), ("standard_deviation", "std")):
        rows += [
            Case(
                name_of(op, "no-freedom", dim=dim, correction=correction),
                op,
                each(normal(3, 5)),
                kwargs={"dim": dim, "correction": correction},
                grads=(0,),
                smooth=False,
                torch=torch_op(torch_name),
            )
            for dim, correction in ((None, 15), (None, 20), (1, 5), (1, 6), (0, 9))
        ]
    nan = constant([[1.0, np.nan, 3.0, np.nan], [4.0, 2.0, np.inf, -np.inf]])
    for op in ("amax", "amin"):
        rows.append(
            Case(name_of(op, "nan"), op, each(nan), kwargs={"dim": 1}, torch=_torch_reduce(op))
        )
    for op in ("argmax", "argmin", "max", "min"):
        rows.append(Case(name_of(op, "nan"), op, each(nan), kwargs={"dim": 1}, torch=torch_op(op)))
    hard = constant([[1e4, 1e4], [-1e4, -1e4], [-np.inf, -np.inf], [-np.inf, 3.0], [np.inf, 0.0]])
    rows.append(
        Case(
            "logsumexp-special",
            "logsumexp",
            each(hard),
            kwargs={"dim": 1},
            torch=_torch_reduce("logsumexp"),
        )
    )
    for op in ("sum", "mean", "amax"):
        for kind, draw in (("int64", integers(-5, 5, 4, 5)), ("bool", booleans(4, 5))):
            rows.append(
                Case(
                    name_of(op, kind),
                    op,
                    each(draw),
                    kwargs={"dim": 1},
                    torch=lambda torch, x, dim, op=op: getattr(torch, op)(x.double(), dim=dim),
                )
            )
    return rows
