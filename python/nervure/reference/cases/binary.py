# SPDX-License-Identifier: BSD-3-Clause
"""Rows of operations on two tensors with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .table import (
    LARGE,
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
    positive,
    ties,
    torch_op,
)

BROADCASTS: tuple[tuple[Shape, Shape], ...] = (
    ((), ()),
    ((), (5,)),
    ((5,), ()),
    ((1,), (3, 1)),
    ((3, 1), (1, 4)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 3, 4)),
    ((2, 3, 4), (3, 1)),
    ((5, 4, 3), (5, 1, 3)),
    ((2, 1, 3, 1), (4, 1, 5)),
    ((17, 33), (33,)),
    ((17, 33), (17, 1)),
    ((1, 17), (33, 1)),
    ((2, 3, 5, 7), (3, 1, 1)),
    ((0, 3), (1, 3)),
    ((0,), (1,)),
    ((2, 0, 3), (3,)),
)


def _binary(op: str, a: Callable[..., Draw], b: Callable[..., Draw], **extra: Any) -> list[Case]:
    common: dict[str, Any] = {"grads": (0, 1), "torch": torch_op(op), **extra}

    def row(name: str, x: Draw, y: Draw, **more: Any) -> Case:
        return Case(name, op, each(x, y), **{**common, **more})

    rows = [row(name_of(op, n), a(n), b(n)) for n in SIZES]
    rows += [row(name_of(op, s, t), a(*s), b(*t), K=_stretch(s, t)) for s, t in BROADCASTS]
    rows += [
        row(name_of(op, "order-left"), a(5, 9), b(5, 9), orders={0: (1, 0)}),
        row(name_of(op, "order-right"), a(5, 9), b(5, 9), orders={1: (1, 0)}),
        row(name_of(op, "order-both"), a(5, 9), b(5, 9), orders={0: (1, 0), 1: (1, 0)}),
        row(name_of(op, "order-row"), a(5, 9), b(9), orders={0: (1, 0)}, K=5),
        row(name_of(op, "order-column"), a(5, 9), b(5, 1), orders={0: (1, 0)}, K=9),
        row(name_of(op, "order-3d"), a(4, 5, 6), b(4, 1, 6), orders={0: (2, 0, 1)}, K=5),
        row(
            name_of(op, "channels-last"),
            a(2, 3, 5, 7),
            b(1, 3, 1, 1),
            orders={0: (0, 2, 3, 1)},
            K=70,
        ),
        row(
            name_of(op, "channels-last-both"),
            a(2, 3, 5, 7),
            b(2, 3, 5, 7),
            orders={0: (0, 2, 3, 1), 1: (0, 2, 3, 1)},
        ),
        row(name_of(op, "large"), a(LARGE), b(LARGE), slow=True),
        row(name_of(op, "large-row"), a(1009, 301), b(301), K=1009, slow=True),
        row(name_of(op, "large-column"), a(1009, 301), b(1009, 1), K=301, slow=True),
    ]
    return rows


def _stretch(s: Shape, t: Shape) -> int:
    """How many elements a gradient adds up at most."""
    n = math.prod(np.broadcast_shapes(s, t))
    return max(1, n // max(1, min(math.prod(s), math.prod(t))))


def _arithmetic_rows() -> list[Case]:
    rows = []
    for op in ("add", "sub", "mul", "maximum", "minimum"):
        rows += _binary(op, normal, normal)
        rows.append(
            Case(
                name_of(op, "ties"),
                op,
                each(ties(33), ties(33)),
                grads=(0, 1),
                torch=torch_op(op),
                smooth=op not in ("maximum", "minimum"),
            )
        )
    rows += _binary("div", normal, positive)
    rows += _binary("pow", positive, normal, c=8.0)
    for op in ("add", "sub", "mul", "div"):
        for kind, draw in (("int64", integers(1, 9, 4, 5)), ("bool", constant([[True]], bool))):
            inputs = each(normal(4, 5), draw)
            torch = None if (op, kind) == ("sub", "bool") else torch_op(op)
            rows.append(Case(name_of(op, kind), op, inputs, grads=(0,), torch=torch))
    for exponent in (2.0, 3.0, -1.0, -2.0, 1.0, 0.0):
        inputs = each(normal(33, mean=1.0), constant(exponent))
        name = name_of("pow", "exponent", exponent)
        rows.append(Case(name, "pow", inputs, grads=(0,), c=8.0, torch=torch_op("pow")))
    for exponent in (0.5, -0.5, 1.5):
        inputs = each(positive(33), constant(exponent))
        name = name_of("pow", "exponent", exponent)
        rows.append(Case(name, "pow", inputs, grads=(0, 1), c=8.0, K=33, torch=torch_op("pow")))
    rows.append(
        Case(
            "pow-zero-base",
            "pow",
            each(constant([0.0, 0.0, 0.0, 2.0]), constant([2.0, 1.0, 0.0, 0.0])),
            grads=(0, 1),
            torch=torch_op("pow"),
            smooth=False,
        )
    )
    return rows


def _comparison_rows() -> list[Case]:
    rows = []
    exact = constant([2**53, 2**53 + 1, -(2**62) - 1, 5], np.int64)
    shifted = constant([2**53 + 1, 2**53 + 1, -(2**62), 4], np.int64)
    odd = constant([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, np.nan])
    even = constant([-0.0, 1.0, np.nan, np.inf, np.inf, 1.0, 0.0])
    for op in ("eq", "ne", "lt", "le", "gt", "ge"):
        t = torch_op(op)
        rows += [Case(name_of(op, n), op, each(ties(n), ties(n)), torch=t) for n in SIZES]
        rows += [
            Case(name_of(op, a, b), op, each(ties(*a), ties(*b)), torch=t) for a, b in BROADCASTS
        ]
        rows += [
            Case(name_of(op, "int64"), op, each(exact, shifted), torch=t),
            Case(name_of(op, "mixed"), op, each(integers(-2, 3, 33), ties(33)), torch=t),
            Case(name_of(op, "special"), op, each(odd, even), torch=t),
            Case(name_of(op, "order"), op, each(ties(5, 9), ties(9)), orders={0: (1, 0)}, torch=t),
            Case(name_of(op, "large"), op, each(ties(LARGE), ties(LARGE)), slow=True, torch=t),
        ]
    for op in ("logical_and", "logical_or"):
        t = torch_op(op)
        rows += [Case(name_of(op, n), op, each(booleans(n), booleans(n)), torch=t) for n in SIZES]
        rows += [
            Case(name_of(op, "rows"), op, each(booleans(5, 9), booleans(5, 1)), torch=t),
            Case(
                name_of(op, "order"),
                op,
                each(booleans(5, 9), booleans(5, 9)),
                orders={0: (1, 0)},
                torch=t,
            ),
        ]
    t = torch_op("logical_not")
    rows += [
        Case(name_of("logical_not", n), "logical_not", each(booleans(n)), torch=t) for n in SIZES
    ]
    rows.append(
        Case("logical_not-order", "logical_not", each(booleans(5, 9)), orders={0: (1, 0)}, torch=t)
    )
    return rows


def _choice_rows() -> list[Case]:
    rows = []
    shapes: list[tuple[Shape, Shape, Shape]] = [((n,), (n,), (n,)) for n in SIZES]
    shapes += [
        ((5, 1), (1, 9), (5, 9)),
        ((9,), (5, 9), ()),
        ((5, 9), (), ()),
        ((), (5, 9), (9,)),
        ((2, 3, 4), (3, 1), (4,)),
        ((0, 3), (3,), (0, 3)),
        ((1009, 301), (1009, 301), (301,)),
    ]
    for mask, a, b in shapes:
        inputs = each(booleans(*mask), normal(*a), normal(*b))
        n = math.prod(np.broadcast_shapes(mask, a, b))
        rows.append(
            Case(
                name_of("where", mask, a, b),
                "where",
                inputs,
                grads=(1, 2),
                K=max(1, n // max(1, min(math.prod(a), math.prod(b)))),
                torch=torch_op("where"),
                slow=n > 10_000,
            )
        )
    for order in ({0: (1, 0)}, {1: (1, 0)}, {1: (1, 0), 2: (1, 0)}, {0: (1, 0), 1: (1, 0)}):
        rows.append(
            Case(
                name_of("where", "order", list(order)),
                "where",
                each(booleans(5, 9), normal(5, 9), normal(5, 9)),
                grads=(1, 2),
                orders=order,
                torch=torch_op("where"),
            )
        )
    for x, mask in [((n,), (n,)) for n in SIZES] + [
        ((5, 9), (9,)),
        ((5, 9), (5, 1)),
        ((2, 3, 4), (2, 1, 4)),
        ((0, 4), (4,)),
    ]:
        for value in (-1e9,) if len(x) == 1 else (0.5, -math.inf):
            rows.append(
                Case(
                    name_of("masked_fill", x, mask, value),
                    "masked_fill",
                    each(normal(*x), booleans(*mask)),
                    (value,),
                    grads=(0,),
                    smooth=math.isfinite(value) and abs(value) < 1e6,
                    torch=torch_op("masked_fill"),
                )
            )
    rows.append(
        Case(
            "masked_fill-order",
            "masked_fill",
            each(normal(5, 9), booleans(5, 9)),
            kwargs={"value": 2.0},
            grads=(0,),
            orders={0: (1, 0)},
            torch=torch_op("masked_fill"),
        )
    )
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    return [*_arithmetic_rows(), *_comparison_rows(), *_choice_rows()]
