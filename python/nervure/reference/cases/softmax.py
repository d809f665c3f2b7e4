# SPDX-License-Identifier: BSD-3-Clause
"""Rows of softmax and log-softmax."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .table import SIZES, Case, Shape, constant, each, name_of, normal, torch_op


def rows() -> list[Case]:
    """Every row of this file."""
    rows = []
    places: list[tuple[Shape, int]] = [((3, n), -1) for n in SIZES]
    places += [((n, 5), 0) for n in SIZES]
    places += [
        ((5,), 0),
        ((), 0),
        ((), -1),
        ((2, 3, 4), 1),
        ((2, 3, 4), 0),
        ((2, 3, 4), -1),
        ((0, 5), 1),
        ((0, 5), 0),
        ((512, 601), 1),
        ((601, 512), 0),
        ((3, 100_003), 1),
        ((50, 10, 601), 1),
    ]
    for op in ("softmax", "log_softmax"):
        common: dict[str, Any] = {"grads": (0,), "torch": torch_op(op)}
        for shape, dim in places:
            rows.append(
                Case(
                    name_of(op, shape, dim=dim),
                    op,
                    each(normal(*shape)),
                    kwargs={"dim": dim},
                    K=max(1, shape[dim] if shape else 1),
                    slow=math.prod(shape) > 10_000,
                    **common,
                )
            )
        for order, dim in itertools.product(((2, 0, 1), (1, 2, 0), (0, 2, 1)), (0, 1, 2)):
            rows.append(
                Case(
                    name_of(op, "order", order, dim=dim),
                    op,
                    each(normal(3, 4, 5)),
                    kwargs={"dim": dim},
                    K=5,
                    orders={0: order},
                    **common,
                )
            )
        rows += [
            Case(name_of(op, "spread"), op, each(normal(5, 33, scale=50.0)), (1,), K=33, **common),
            Case(
                name_of(op, "offset"),
                op,
                each(normal(5, 33, mean=1e4)),
                (1,),
                K=33,
                smooth=False,
                **common,
            ),
            Case(
                name_of(op, "masked"),
                op,
                each(constant([[0.0, -np.inf, 1.0], [-np.inf, 2.0, -np.inf]])),
                (1,),
                torch=torch_op(op),
            ),
        ]
    return rows
