# SPDX-License-Identifier: BSD-3-Clause
"""Rows of truths, norms, products, running sums and the largest values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .table import SIZES, Case, Shape, booleans, constant, each, integers, name_of, normal, ties

PLACES: tuple[tuple[Shape, int | None], ...] = (
    ((), None),
    ((), 0),
    *(((n,), None) for n in SIZES),
    *(((3, n), -1) for n in SIZES),
    *(((5, n), 0) for n in SIZES),
    ((3, 4, 5), 1),
    ((3, 130), 0),
    ((3, 0), 0),
    ((1009, 301), 0),
    ((1009, 301), 1),
)


def _method(name: str) -> Any:
    """A method of torch.Tensor, without ``dim`` where there is none."""

    def call(torch: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("dim", 0) is None:
            kwargs = {key: value for key, value in kwargs.items() if key not in ("dim", "keepdim")}
        return getattr(x, name)(*args, **kwargs)

    return call


def _length(shape: Shape, dim: int | None) -> int:
    return max(1, math.prod(shape) if dim is None or not shape else shape[dim])


def _reductions(op: str, draw: Any, **common: Any) -> list[Case]:
    rows = []
    for keepdim in (False, True):
        for shape, dim in PLACES:
            if (keepdim and (dim is None or len(shape) != 2)) or (dim == 0 and not shape):
                continue
            rows.append(
                Case(
                    name_of(op, shape, dim=dim, keepdim=keepdim, **common.get("kwargs", {})),
                    op,
                    each(draw(*shape)),
                    torch=_method(op),
                    K=_length(shape, dim),
                    slow=math.prod(shape) > 10_000,
                    **{
                        **common,
                        "kwargs": {"dim": dim, "keepdim": keepdim, **common.get("kwargs", {})},
                    },
                )
            )
    return rows


def _near_one(*shape: int) -> Any:
    return normal(*shape, mean=1.0, scale=0.1)


def _topk() -> list[Case]:
    rows = []
    for shape, dim in PLACES:
        if dim is None:
            continue
        n = _length(shape, dim)
        for k in sorted({1, (n + 1) // 2, n} if n < 100 else {7}):
            for largest in (True, False):
                rows.append(
                    Case(
                        name_of("topk", shape, k=k, dim=dim, largest=largest),
                        "topk",
                        each(normal(*shape)),
                        kwargs={"k": k, "dim": dim, "largest": largest},
                        grads=(0,),
                        torch=_method("topk"),
                        slow=math.prod(shape) > 10_000,
                    )
                )
    nan = constant([[1.0, np.nan, 3.0, -np.inf], [4.0, 2.0, np.inf, -np.inf]])
    for name, draw in (("ties", ties(3, 40)), ("nan", nan)):
        for largest in (True, False):
            rows.append(
                Case(
                    name_of("topk", name, largest=largest),
                    "topk",
                    each(draw),
                    kwargs={"k": 3, "largest": largest},
                    smooth=False,
                )
            )
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    rows = []
    for op in ("any", "all"):
        rows += _reductions(op, ties)
        for kind, draw in (("int64", integers(-1, 2, 4, 3)), ("bool", booleans(4, 3))):
            name = name_of(op, kind)
            rows.append(Case(name, op, each(draw), kwargs={"dim": (1,)}, torch=_method(op)))
    for p in (1.0, 2.0, math.inf):
        rows += [
            case
            for case in _reductions("norm", normal, grads=(0,), kwargs={"p": p})
            if "0-3" not in case.name
        ]
        rows.append(
            Case(
                name_of("norm", "zeros", p=p),
                "norm",
                each(constant([[0.0, 0.0], [0.0, 3.0]])),
                kwargs={"p": p, "dim": 1},
                grads=(0,),
                smooth=False,
                torch=_method("norm"),
            )
        )
    rows += _reductions("prod", _near_one, grads=(0,))
    for zeros in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [1e30, 1e30, 1e-30]):
        rows.append(
            Case(
                name_of("prod", "special", *zeros),
                "prod",
                each(constant(zeros)),
                kwargs={"dim": 0},
                grads=(0,),
                smooth=False,
                torch=_method("prod") if zeros[0] < 9 else None,
            )
        )
    for shape, dim in PLACES:
        if dim is not None:
            rows.append(
                Case(
                    name_of("cumsum", shape, dim=dim),
                    "cumsum",
                    each(normal(*shape, mean=0.7)),
                    kwargs={"dim": dim},
                    grads=(0,),
                    K=_length(shape, dim),
                    torch=_method("cumsum"),
                    slow=math.prod(shape) > 10_000,
                )
            )
    for op, kwargs in (("prod", {}), ("cumsum", {}), ("topk", {"k": 2}), ("norm", {})):
        for order in ((2, 0, 1), (1, 2, 0)):
            rows.append(
                Case(
                    name_of(op, "order", order),
                    op,
                    each(normal(3, 4, 5)),
                    kwargs={**kwargs, "dim": 1},
                    grads=(0,),
                    orders={0: order},
                    torch=_method(op),
                    K=4,
                )
            )
    return [*rows, *_topk()]
