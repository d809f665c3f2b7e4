# SPDX-License-Identifier: BSD-3-Clause
"""Rows of matrix products and fully connected layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from ..matmul import ACTIVATIONS
from .table import SIZES, Case, Shape, each, name_of, normal, torch_op


def _matmul_flops(arrays: Sequence[Array]) -> float:
    a, b = arrays[0], arrays[1]
    columns = b.shape[-1] if b.ndim > 1 else 1
    batches = math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    rows = a.shape[-2] if a.ndim > 1 else 1
    return float(2 * batches * rows * columns * a.shape[-1])


def _linear_flops(arrays: Sequence[Array]) -> float:
    return float(2 * arrays[0].size * arrays[1].shape[0])


def _matmul_rows() -> list[Case]:
    shapes: list[tuple[Shape, Shape]] = [((n, n), (n, n)) for n in SIZES]
    shapes += [((m, 5), (5, n)) for m, n in itertools.product((1, 3, 16, 17), (1, 7, 16, 33))]
    shapes += [
        ((1, 17), (17, 33)),
        ((33, 17), (17, 1)),
        ((33, 1), (1, 17)),
        ((13, 50), (50, 65)),
        ((5,), (5,)),
        ((33,), (33, 17)),
        ((17, 33), (33,)),
        ((5,), (2, 5, 3)),
        ((2, 3, 5), (5,)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((1, 3, 4), (6, 4, 2)),
        ((0, 3), (3, 4)),
        ((3, 0), (0, 4)),
        ((3, 4), (4, 0)),
        ((0, 3, 4), (0, 4, 2)),
        ((0,), (0,)),
        ((64, 784), (784, 128)),
        ((8, 20_011), (20_011, 9)),
        ((257, 300), (300, 259)),
        ((700, 513), (513, 600)),
        ((2000, 7), (7, 301)),
    ]
    common: dict[str, Any] = {"grads": (0, 1), "torch": torch_op("matmul"), "flops": _matmul_flops}
    rows = []
    for a, b in shapes:
        k = max(1, *a, *b) if a and b else 1
        slow = math.prod(a) > 20_000 or math.prod(b) > 20_000
        inputs = each(normal(*a), normal(*b))
        rows.append(Case(name_of("matmul", a, b), "matmul", inputs, K=k, slow=slow, **common))
    both: list[dict[int, tuple[int, ...]]] = [{0: (1, 0)}, {1: (1, 0)}, {0: (1, 0), 1: (1, 0)}]
    for (a, b), orders in itertools.product(
        [((7, 9), (9, 5)), ((17, 33), (33, 31)), ((1, 33), (33, 17)), ((130, 70), (70, 90))], both
    ):
        name = name_of("matmul", "order", a, b, list(orders))
        inputs = each(normal(*a), normal(*b))
        rows.append(Case(name, "matmul", inputs, K=max(*a, *b), orders=orders, **common))
    for order in ((0, 2, 1), (1, 0, 2), (2, 1, 0)):
        for position in (0, 1):
            rows.append(
                Case(
                    name_of("matmul", "order", order, position),
                    "matmul",
                    each(normal(3, 4, 5), normal(3, 5, 6)),
                    K=6,
                    orders={position: order},
                    **common,
                )
            )
    return rows


def _torch_linear(torch: Any, x: Any, w: Any, b: Any = None, activation: str = "") -> Any:
    y = torch.nn.functional.linear(x, w, b)
    if activation == "gelu_tanh":
        return torch.nn.functional.gelu(y, approximate="tanh")
    if activation in ("tanh", "sigmoid"):
        return getattr(torch, activation)(y)
    return getattr(torch.nn.functional, activation)(y) if activation else y


def _linear_rows() -> list[Case]:
    common: dict[str, Any] = {"torch": _torch_linear, "flops": _linear_flops}
    rows = []

    def row(
        x: Shape, out: int, bias: bool, activation: str, laid: bool, slow: bool = False
    ) -> None:
        inputs = each(
            normal(*x),
            normal(out, x[-1], scale=1.0 / math.sqrt(max(1, x[-1]))),
            normal(out) if bias else None,
        )
        name = name_of("linear", x, out, "bias" if bias else "plain", activation or "none")
        rows.append(
            Case(
                name + ("-laid" if laid else ""),
                "linear",
                inputs,
                kwargs={"activation": activation},
                grads=(0, 1, 2) if bias else (0, 1),
                K=max(1, *x, out),
                orders={1: (1, 0)} if laid else {},
                slow=slow,
                **common,
            )
        )

    for n in SIZES:
        row((3, n), n, True, "", True)
    for n in (1, 8, 17):
        row((n, 5), 33, True, "relu", True)
    for activation in ("", *ACTIVATIONS):
        for bias in (False, True):
            row((5, 7), 9, bias, activation, True)
        row((2, 3, 17), 33, True, activation, False)
        row((130, 65), 70, True, activation, True, slow=True)
    for x in ((7,), (2, 3, 7), (0, 7), (2, 2, 3, 5)):
        for bias in (False, True):
            row(x, 4, bias, "", True)
    row((64, 784), 256, True, "relu", True, slow=True)
    row((1, 784), 256, True, "tanh", True, slow=True)
    row((512, 33), 10, True, "", True, slow=True)
    rows.append(
        Case(
            "linear-order-x",
            "linear",
            each(normal(9, 7), normal(5, 7), normal(5)),
            grads=(0, 1, 2),
            K=9,
            orders={0: (1, 0), 1: (1, 0)},
            **common,
        )
    )
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    return [*_matmul_rows(), *_linear_rows()]
