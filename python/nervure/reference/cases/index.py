# SPDX-License-Identifier: BSD-3-Clause
"""Rows of indexing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .table import Case, Shape, booleans, each, integers, name_of, normal, shape_case, torch_op


def _torch_slice(torch: Any, x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, stop, step)
    return x[tuple(index)]


def _second(parameter: Any) -> Callable[..., tuple[Any, ...]]:
    """Tensors around a parameter: op(x, parameter, indices)."""
    return lambda x, indices: (x, parameter, indices)


def rows() -> list[Case]:
    """Every row of this file."""
    s = shape_case
    rows = [
        s("slice", 0, 1, 4, 1, shape=(7,), torch=_torch_slice),
        s("slice", 0, 1, 7, 2, shape=(7, 3), torch=_torch_slice),
        s("slice", 1, 2, 9, 3, shape=(5, 9), torch=_torch_slice),
        s("slice", -1, 0, 4, 1, shape=(3, 4, 5), torch=_torch_slice),
        s("slice", 1, 1, 3, 1, shape=(3, 4, 5), torch=_torch_slice),
        s("slice", 0, 3, 3, 1, shape=(7, 3), torch=_torch_slice),
        s("slice", 1, 2, 8, 2, shape=(5, 9), orders={0: (1, 0)}, torch=_torch_slice, label="order"),
        s("slice", 1, 100, 250, 1, shape=(1009, 301), torch=_torch_slice, slow=True),
        s("select", 0, 2, shape=(5, 9)),
        s("select", 1, 0, shape=(5, 9)),
        s("select", -1, -1, shape=(3, 4, 5)),
        s("select", 1, 3, shape=(3, 4, 5), orders={0: (2, 0, 1)}, label="order"),
        s("select", 0, 3, shape=(7,)),
    ]
    picks: list[tuple[Shape, int, int]] = [((9, 5), 0, 13), ((5, 9), 1, 4), ((3, 4, 5), -1, 7)]
    picks += [((3, 4, 5), 1, 2), ((9, 5), 0, 0), ((9,), 0, 33), ((301, 1009), 1, 777)]
    for shape, dim, n in picks:
        rows.append(
            Case(
                name_of("index_select", shape, dim, n),
                "index_select",
                each(normal(*shape), integers(0, shape[dim], n)),
                arrange=_second(dim),
                grads=(0,),
                K=n or 1,
                torch=torch_op("index_select"),
                slow=math.prod(shape) > 10_000,
            )
        )
    lookups: list[tuple[Shape, Shape]] = [
        ((9, 5), (13,)),
        ((9, 5), (3, 4)),
        ((9, 5), ()),
        ((9,), (2, 3)),
        ((4, 3, 2), (5,)),
        ((9, 5), (0,)),
        ((1, 17), (33,)),
        ((1009, 301), (2003,)),
    ]
    for shape, indices in lookups:
        rows.append(
            Case(
                name_of("take_rows", shape, indices),
                "take_rows",
                each(normal(*shape), integers(0, shape[0], *indices)),
                grads=(0,),
                K=max(1, math.prod(indices)),
                torch=lambda torch, x, indices: x[indices],
                slow=math.prod(shape) > 10_000,
            )
        )
    masks: list[tuple[Shape, Shape]] = [
        ((9,), (9,)),
        ((5, 9), (5,)),
        ((5, 9), (5, 9)),
        ((3, 4, 5), (3, 4)),
        ((0, 3), (0,)),
        ((1009, 301), (1009,)),
    ]
    for shape, mask in masks:
        rows.append(
            Case(
                name_of("masked_select", shape, mask),
                "masked_select",
                each(normal(*shape), booleans(*mask)),
                grads=(0,),
                torch=lambda torch, x, mask: x[mask],
                slow=math.prod(shape) > 10_000,
            )
        )
    tables: list[tuple[Shape, int, Shape]] = [
        ((9,), 0, (5,)),
        ((5, 9), 0, (3, 9)),
        ((5, 9), 1, (5, 4)),
        ((5, 9), 1, (2, 20)),
        ((3, 4, 5), -1, (3, 4, 2)),
        ((3, 4, 5), 1, (2, 7, 5)),
        ((5, 9), 1, (5, 0)),
        ((1009, 301), 1, (1009, 3)),
    ]
    for shape, dim, indices in tables:
        rows.append(
            Case(
                name_of("gather", shape, dim, indices),
                "gather",
                each(normal(*shape), integers(0, shape[dim], *indices)),
                arrange=_second(dim),
                grads=(0,),
                K=max(1, math.prod(indices)),
                torch=torch_op("gather"),
                slow=math.prod(shape) > 10_000,
            )
        )
    rows.append(
        Case(
            "gather-order",
            "gather",
            each(normal(5, 9), integers(0, 9, 5, 3)),
            arrange=_second(1),
            grads=(0,),
            orders={0: (1, 0), 1: (1, 0)},
            torch=torch_op("gather"),
        )
    )
    return rows
