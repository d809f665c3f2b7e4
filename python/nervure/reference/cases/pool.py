# SPDX-License-Identifier: BSD-3-Clause
"""Rows of pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import Array
from .table import Case, Draw, Rng, Shape, each, name_of, normal, ties

CHANNELS = (1, 3, 8, 15, 16, 17, 33)
CHANNELS_LAST = {2: (1, 0), 3: (0, 2, 1), 4: (0, 2, 3, 1)}


def _torch(op: str) -> Callable[..., Any]:
    def call(torch: Any, x: Any, size: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
        base, indices = op.removesuffix("_with_indices"), op.endswith("_with_indices")
        function = getattr(torch.nn.functional, f"{base}{len(size)}d")
        if indices:
            kwargs["return_indices"] = True
        if len(size) == 1:  # PyTorch's 1-D variants take numbers
            kwargs = {k: v[0] if isinstance(v, tuple) else v for k, v in kwargs.items()}
            size = size[0] if not base.startswith("adaptive") else size  # type: ignore[assignment]
        return function(x, size, *args, **kwargs)

    return call


def _case(
    op: str, shape: Shape, size: tuple[int, ...], draw: Draw | None = None, **more: Any
) -> Case:
    """A row; what is no field of `Case` is a parameter of the operation."""
    fields = {k: more.pop(k) for k in ("smooth", "slow", "orders", "torch") if k in more}
    label = more.pop("label", "")
    shown = [label] if label else []
    order = CHANNELS_LAST.get(len(shape)) if len(shape) == len(size) + 2 else None
    settings = {"orders": {0: order} if order else {}, "torch": _torch(op), **fields}
    window = 1 if "max" in op else max(1, int(np.prod(size)))
    return Case(
        name_of(op, shape, size, *shown, **more),
        op,
        each(draw or normal(*shape)),
        (size,),
        kwargs=more,
        grads=(0,),
        K=max(window, 4),
        **settings,
    )


def _with_nans(*shape: int) -> Draw:
    def draw(rng: Rng) -> Array:
        x = rng.standard_normal(shape)
        x[rng.random(shape) < 0.1] = np.nan
        x[rng.random(shape) < 0.1] = -np.inf
        return np.asarray(x, np.float32)

    return draw


WINDOWS: tuple[dict[str, Any], ...] = (
    {"stride": (1, 1)},
    {"stride": (2, 1), "padding": (1, 0)},
    {"stride": (3, 2), "padding": (1, 1), "ceil_mode": True},
    {"stride": (4, 5)},
    {"stride": 2, "padding": 1},
    {"padding": 1, "ceil_mode": True},
)


def _windows(op: str) -> list[Case]:
    """What maximum and average share."""
    rows = [_case(op, (2, c, 6, 8), (2, 2)) for c in CHANNELS]
    rows += [_case(op, (2, c, 7, 9), (3, 3), stride=(2, 2), padding=(1, 1)) for c in CHANNELS]
    rows += [_case(op, (2, 5, 9, 11), (3, 2), **w) for w in WINDOWS]
    rows += [
        _case(op, (2, 5, 7, 5), (2, 2), ceil_mode=True),
        _case(op, (2, 5, 7, 5), (2, 2)),
        _case(op, (2, 5, 5, 4), (2, 3), ceil_mode=True, stride=(3, 3)),
        _case(op, (2, 5, 6, 6), (1, 1)),
        _case(op, (2, 5, 6, 6), (1, 1), stride=(2, 3)),
        _case(op, (2, 70, 6, 6), (6, 6)),
        _case(op, (0, 5, 6, 6), (2, 2)),
        _case(op, (5, 6, 8), (2, 2)),
        _case(op, (1, 3, 20, 18), (17, 17), stride=(2, 1)),
        _case(op, (2, 5, 6, 8), (2, 2), label="row-major", orders={}),
        _case(op, (2, 5, 6, 8), (3, 3), label="other order", orders={0: (3, 1, 0, 2)}),
        _case(op, (3, 33, 12), (2,)),
        _case(op, (3, 17, 13), (3,), stride=(2,), padding=(1,), ceil_mode=True),
        _case(op, (17, 13), (4,)),
        _case(op, (8, 65, 30, 34), (2, 2), slow=True),
        _case(op, (8, 65, 30, 34), (3, 3), stride=(2, 2), padding=(1, 1), slow=True),
    ]
    return rows


def _adaptive(op: str) -> list[Case]:
    rows = [_case(op, (2, c, 7, 9), (3, 4)) for c in CHANNELS]
    rows += [
        _case(op, (2, 5, 8, 6), (4, 3)),
        _case(op, (2, 70, 7, 5), (1, 1)),
        _case(op, (2, 5, 3, 4), (5, 7)),
        _case(op, (2, 5, 8, 7), (2, 3)),
        _case(op, (0, 5, 7, 6), (3, 3)),
        _case(op, (5, 7, 6), (3, 5)),
        _case(op, (3, 9, 11), (4,)),
        _case(op, (9, 11), (1,)),
        _case(op, (2, 5, 7, 6), (3, 2), label="row-major", orders={}),
        _case(op, (4, 33, 60, 61), (1, 1), slow=True),
        _case(op, (2, 3, 40, 50), (2, 3), slow=True),
    ]
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    rows = _windows("max_pool") + _windows("avg_pool")
    for op in ("max_pool", "max_pool_with_indices"):
        rows += [
            _case(op, (2, 5, 9, 8), (3, 2), dilation=(2, 3)),
            _case(op, (2, 5, 9, 8), (3, 3), dilation=(2, 1), stride=(1, 2), padding=(1, 1)),
            _case(op, (2, 17, 9), (3,), dilation=(2,), padding=(1,), ceil_mode=True),
            _case(op, (3, 19, 6, 8), (2, 2), ties(3, 19, 6, 8), label="ties", smooth=False),
            _case(op, (3, 19, 6, 8), (3, 3), _with_nans(3, 19, 6, 8), label="nan", smooth=False),
            _case(op, (3, 19, 6, 8), (2, 2), _with_nans(3, 19, 6, 8), label="nan", smooth=False),
        ]
    rows += [
        _case("max_pool_with_indices", (2, c, 7, 9), (3, 3), stride=(2, 2), padding=(1, 1))
        for c in CHANNELS
    ]
    rows += [
        _case("max_pool_with_indices", (1, 3, 20, 18), (17, 17)),
        _case("max_pool_with_indices", (0, 3, 4, 4), (2, 2)),
        _case("max_pool_with_indices", (7, 9), (2,)),
    ]
    for padding in (0, 1):
        for ceil_mode in (False, True):
            for count in (False, True):
                rows.append(
                    _case(
                        "avg_pool",
                        (2, 5, 8, 9),
                        (3, 2),
                        stride=(2, 2),
                        padding=padding,
                        ceil_mode=ceil_mode,
                        count_include_pad=count,
                    )
                )
    rows += [
        _case("avg_pool", (2, 5, 8, 9), (3, 2), padding=1, divisor_override=5),
        _case("avg_pool", (2, 5, 8, 9), (2, 2), divisor_override=-3),
    ]
    for op in ("adaptive_avg_pool", "adaptive_max_pool", "adaptive_max_pool_with_indices"):
        rows += _adaptive(op)
    return rows
