# SPDX-License-Identifier: BSD-3-Clause
"""Rows of operations on shapes."""

from __future__ import annotations

import math
from typing import Any

from .table import SIZES, Case, Shape, each, name_of, normal, shape_case, torch_op


def _torch_order(torch: Any, x: Any, order: Any = None) -> Any:
    return x.clone()


def _torch_split(torch: Any, x: Any, sizes: Any, dim: int = 0) -> Any:
    return torch.split(x, list(sizes), dim)


def _torch_expand(torch: Any, x: Any, shape: Any) -> Any:
    return x.expand(shape)


def rows() -> list[Case]:
    """Every row of this file."""
    s = shape_case
    rows = [
        s("reshape", (12,), shape=(3, 4)),
        s("reshape", (2, -1), shape=(3, 4)),
        s("reshape", (4, 3), shape=(3, 4), orders={0: (1, 0)}, label="order"),
        s("reshape", (3, 2, 2), shape=(3, 4), orders={0: (1, 0)}, label="order-split"),
        s("reshape", (-1, 5), shape=(3, 4, 5), orders={0: (1, 0, 2)}, label="order-merge"),
        s("reshape", (), shape=(1, 1)),
        s("reshape", (1,), shape=()),
        s("reshape", (0, 7), shape=(3, 0)),
        s("reshape", (-1,), shape=(0,)),
        s("permute", (1, 0), shape=(7, 9)),
        s("permute", (2, 0, 1), shape=(3, 4, 5)),
        s("permute", (0, -1, 1), shape=(3, 4, 5)),
        s("permute", (2, 0, 1), shape=(3, 4, 5), orders={0: (1, 2, 0)}, label="order"),
        s("permute", (), shape=()),
        s("transpose", 0, 1, shape=(7, 9)),
        s("transpose", -1, 0, shape=(3, 4, 5)),
        s("transpose", 1, 1, shape=(3, 4)),
        s("squeeze", shape=(1, 3, 1, 2), label="all"),
        s("squeeze", 0, shape=(1, 3, 1)),
        s("squeeze", -1, shape=(1, 3, 1)),
        s("squeeze", 1, shape=(1, 3, 1)),
        s("squeeze", shape=(1, 1), label="all-ones"),
        s("unsqueeze", 0, shape=(3, 4)),
        s("unsqueeze", 1, shape=(3, 4)),
        s("unsqueeze", -1, shape=(3, 4)),
        s("unsqueeze", 0, shape=()),
        s("unsqueeze", 1, shape=(3, 4), orders={0: (1, 0)}, label="order"),
        s("flatten", shape=(2, 3, 4), label="all"),
        s("flatten", 1, shape=(2, 3, 4)),
        s("flatten", 0, 1, shape=(2, 3, 4)),
        s("flatten", 1, -1, shape=(2, 3, 4, 5), orders={0: (0, 2, 3, 1)}, label="channels-last"),
        s("flatten", shape=(), label="scalar"),
        s("expand", (5, 3), shape=(3,), K=5, torch=_torch_expand),
        s("expand", (4, -1), shape=(1, 3), K=4, torch=_torch_expand),
        s("expand", (2, 4, 3), shape=(4, 1), K=6, torch=_torch_expand),
        s("expand", (2, 3), shape=(), K=6, torch=_torch_expand),
        s("expand", (0, 3), shape=(1, 3), torch=_torch_expand),
        s("flip", (0,), shape=(7, 9)),
        s("flip", (1,), shape=(7, 17)),
        s("flip", (0, -1), shape=(3, 4, 5)),
        s("flip", (0, 1), shape=(5, 9), orders={0: (1, 0)}, label="order"),
        s("flip", (0,), shape=(0, 3)),
        s("flip", (1,), shape=(1009, 301), slow=True, label="large"),
        s("clone", shape=(5, 9)),
        s("clone", shape=(5, 9), orders={0: (1, 0)}, label="order"),
        s("row_major", shape=(5, 9), orders={0: (1, 0)}, torch=_torch_order),
        s("row_major", shape=(2, 3, 5, 7), orders={0: (0, 2, 3, 1)}, torch=_torch_order),
        s("row_major", shape=(257, 1009), orders={0: (1, 0)}, torch=_torch_order, slow=True),
        s("to_order", (1, 0), shape=(5, 9), torch=_torch_order),
        s("to_order", (0, 2, 3, 1), shape=(2, 3, 5, 7), torch=_torch_order),
        s("to_order", (2, 0, 1), shape=(3, 4, 5), orders={0: (1, 2, 0)}, torch=_torch_order),
        s("to_order", (1, 0), shape=(257, 1009), torch=_torch_order, slow=True),
    ]
    rows += [s("to_order", (1, 0), shape=(n, 17), torch=_torch_order) for n in SIZES]
    joins: list[tuple[tuple[Shape, ...], int, dict[int, tuple[int, ...]]]] = [
        (((3,), (4,), (1,)), 0, {}),
        (((2, 3), (4, 3)), 0, {}),
        (((2, 3), (2, 5), (2, 1)), 1, {}),
        (((2, 3), (2, 5)), -1, {0: (1, 0)}),
        (((2, 3), (2, 5)), 1, {0: (1, 0), 1: (1, 0)}),
        (((2, 3, 4), (2, 1, 4)), 1, {}),
        (((2, 0), (2, 3)), 1, {}),
        (((5, 9),), 0, {}),
        (((257, 301), (257, 700)), 1, {}),
    ]
    for shapes, dim, orders in joins:
        rows.append(
            Case(
                name_of("cat", *shapes, dim, len(orders)),
                "cat",
                each(*(normal(*shape) for shape in shapes)),
                kwargs={"dim": dim},
                grads=tuple(range(len(shapes))),
                orders=orders,
                arrange=lambda *tensors: (list(tensors),),
                torch=torch_op("cat"),
                slow=math.prod(shapes[0]) > 10_000,
            )
        )
    stacks: list[tuple[Shape, int]] = [
        ((), 0),
        ((3,), 0),
        ((3,), 1),
        ((2, 3), -1),
        ((2, 3), 1),
        ((0, 3), 0),
    ]
    for shape, dim in stacks:
        rows.append(
            Case(
                name_of("stack", shape, dim),
                "stack",
                each(*(normal(*shape) for _ in range(3))),
                (dim,),
                grads=(0, 1, 2),
                arrange=lambda *tensors: (list(tensors),),
                torch=torch_op("stack"),
            )
        )
    for sizes, shape, dim in (
        ((2, 3), (5, 4), 0),
        ((1, 0, 3), (4, 4), 1),
        ((4,), (4, 3), 0),
        ((3, 2, 2), (2, 7, 3), -2),
        ((100, 201), (1009, 301), 1),
    ):
        slow = math.prod(shape) > 10_000
        rows.append(s("split", sizes, dim, shape=shape, torch=_torch_split, slow=slow))
    for chunks, shape, dim in ((2, (5, 4), 0), (3, (7, 2), 0), (4, (3, 6), 1), (5, (6,), 0)):
        rows.append(s("chunk", chunks, dim, shape=shape))
    for order in ((1, 0),):
        rows.append(s("chunk", 2, 1, shape=(5, 9), orders={0: order}, label="order"))
        rows.append(
            s(
                "split",
                (4, 5),
                1,
                shape=(5, 9),
                orders={0: order},
                torch=_torch_split,
                label="order",
            )
        )
    return rows
