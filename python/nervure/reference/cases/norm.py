# SPDX-License-Identifier: BSD-3-Clause
"""Rows of normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .table import SIZES, Case, Draw, Shape, each, name_of, normal, positive

CHANNELS = (1, 3, 8, 15, 16, 17, 33, 65)
CHANNELS_LAST = {2: (0, 1), 3: (0, 2, 1), 4: (0, 2, 3, 1)}


def _relu_after(call: Callable[..., Any]) -> Callable[..., Any]:
    def function(torch: Any, *args: Any, activation: str = "", **kwargs: Any) -> Any:
        y = call(torch, *args, **kwargs)
        return torch.relu(y) if activation else y

    return function


def _torch_batch(torch: Any, *args: Any, **kwargs: Any) -> Any:
    return torch.nn.functional.batch_norm(*args, **kwargs)


def _torch_instance(torch: Any, *args: Any, **kwargs: Any) -> Any:
    return torch.nn.functional.instance_norm(*args, **kwargs)


def _channel_case(op: str, shape: Shape, *, n: int, affine: bool = True, **more: Any) -> Case:
    """A row of batch or instance normalisation; ``n`` values are averaged."""
    c = shape[1]
    fields = {k: more.pop(k) for k in ("smooth", "slow", "orders") if k in more}
    draw: Draw = more.pop("draw", None) or normal(*shape, scale=2.0, mean=1.0)
    label = [more.pop("label")] if "label" in more else []
    running = more.pop("running", False)
    shown = {**more, **({} if affine else {"affine": False}), **({"running": 1} if running else {})}
    return Case(
        name_of(op, shape, *label, **shown),
        op,
        each(
            draw,
            normal(c) if running else None,
            positive(c) if running else None,
            normal(c) if affine else None,
            normal(c) if affine else None,
        ),
        kwargs=more,
        grads=(0, 3, 4) if affine else (0,),
        c=8.0,
        K=max(n, 4),
        orders=fields.pop("orders", {0: CHANNELS_LAST[len(shape)]}),
        torch=_relu_after(_torch_batch if op == "batch_norm" else _torch_instance),
        **fields,
    )


def _batch() -> list[Case]:
    op = "batch_norm"

    def case(shape: Shape, **more: Any) -> Case:
        n = math.prod(shape) // max(1, shape[1])
        return _channel_case(op, shape, n=n, **{"training": True, **more})

    rows = [case((3, c, 4, 5)) for c in CHANNELS]
    rows += [case((3, c, 4, 5), activation="relu") for c in CHANNELS]
    rows += [case((5, c)) for c in CHANNELS]
    rows += [case((3, c, 4, 5), training=False, running=True) for c in CHANNELS]
    rows += [
        case((3, 17, 4, 5), training=False, running=True, activation="relu"),
        case((3, 17, 4, 5), training=False, running=True, affine=False),
        case((3, 17, 4, 5), affine=False),
        case((3, 17, 4, 5), affine=False, activation="relu"),
        case((3, 17, 9)),
        case((2, 3, 4, 5), eps=1e-3),
        case((2, 3), eps=1e-3),
        case((3, 17, 4, 5), label="row-major", orders={}),
        case((3, 17, 4, 5), label="other order", orders={0: (3, 1, 0, 2)}),
        case((3, 17, 4, 5), running=True, label="updating"),
        case((0, 3, 4, 5)),
        case((0, 3, 4, 5), training=False, running=True),
        case((300, 5, 7, 6), slow=True),
        case((300, 5, 7, 6), slow=True, activation="relu"),
        case((16, 130, 9, 8), slow=True),
        case((16, 130, 9, 8), slow=True, training=False, running=True),
        case((64, 1000), slow=True),
        case((50, 7, 6, 5), draw=normal(50, 7, 6, 5, mean=1e4), label="far mean", smooth=False),
        case((1, 1, 3, 50), draw=normal(1, 1, 3, 50, mean=-3e3), label="far mean", smooth=False),
    ]
    return rows


def _instance() -> list[Case]:
    op = "instance_norm"

    def case(shape: Shape, **more: Any) -> Case:
        return _channel_case(op, shape, n=math.prod(shape[2:]), **more)

    rows = [case((3, c, 4, 5)) for c in CHANNELS]
    rows += [
        case((3, 17, 4, 5), affine=False),
        case((3, 17, 9)),
        case((3, 17, 4, 5), running=True, label="updating"),
        case((3, 17, 4, 5), running=True, use_input_stats=False),
        case((3, 17, 4, 5), label="row-major", orders={}),
        case((2, 33, 90, 93), slow=True),
        case((4, 5, 8, 8), draw=normal(4, 5, 8, 8, mean=1e4), label="far mean", smooth=False),
    ]
    return rows


def _group() -> list[Case]:
    op = "group_norm"

    def case(shape: Shape, groups: int, *, affine: bool = True, **more: Any) -> Case:
        draw = more.pop("draw", normal(*shape, scale=2.0, mean=1.0))
        label = [more.pop("label")] if "label" in more else []
        c = shape[1]
        return Case(
            name_of(op, shape, groups, *label, affine=affine),
            op,
            each(draw, normal(c) if affine else None, normal(c) if affine else None),
            grads=(0, 1, 2) if affine else (0,),
            arrange=lambda x, w, b: (x, groups, w, b),
            c=8.0,
            K=max(4, math.prod(shape[1:]) // groups),
            orders=more.pop("orders", {0: CHANNELS_LAST[len(shape)]}),
            torch=lambda torch, *args: torch.nn.functional.group_norm(*args),
            **more,
        )

    rows = [case((3, c, 4, 5), 1) for c in CHANNELS]
    rows += [
        case((3, 6, 4, 5), 2),
        case((3, 6, 4, 5), 6),
        case((3, 33, 4, 5), 3),
        case((3, 64, 4, 5), 8),
        case((3, 64, 4, 5), 8, affine=False),
        case((3, 15), 5),
        case((3, 6, 9), 2),
        case((0, 6, 4, 5), 2),
        case((3, 6, 4, 5), 2, label="row-major", orders={}),
        case((2, 32, 90, 93), 4, slow=True),
        case((4, 6, 8, 8), 2, draw=normal(4, 6, 8, 8, mean=1e4), label="far mean", smooth=False),
    ]
    return rows


def _torch_rows(op: str) -> Callable[..., Any]:
    def call(torch: Any, *args: Any, **kwargs: Any) -> Any:
        if op == "rms_norm":  # PyTorch's default is the epsilon of the input's type
            kwargs = {"eps": torch.finfo(torch.float32).eps, **kwargs}
        return getattr(torch.nn.functional, op)(*args, **kwargs)

    return call


def _rows_case(op: str, shape: Shape, inner: int, parameters: int, **more: Any) -> Case:
    """A row of normalisation over the last ``inner`` dimensions."""
    normalized = shape[len(shape) - inner :]
    draw = more.pop("draw", normal(*shape, scale=2.0, mean=1.0))
    label = [more.pop("label")] if "label" in more else []
    options = {"eps": more.pop("eps")} if "eps" in more else {}
    most = 2 if op == "layer_norm" else 1
    given = [normal(*normalized) if i < parameters else None for i in range(most)]
    return Case(
        name_of(op, shape, normalized, *label, parameters=parameters, **options),
        op,
        each(draw, *given),
        kwargs=options,
        grads=(0, *range(1, 1 + parameters)),
        arrange=lambda x, *rest: (x, normalized, *rest),
        c=8.0,
        K=max(4, math.prod(shape)),
        **{"torch": _torch_rows(op), **more},
    )


def _last_dimensions(op: str) -> list[Case]:
    most = 2 if op == "layer_norm" else 1

    def case(shape: Shape, inner: int = 1, parameters: int = most, **more: Any) -> Case:
        return _rows_case(op, shape, inner, parameters, **more)

    rows = [case((5, n)) for n in SIZES if n > 1]
    rows += [
        case((4, 1), eps=0.5, torch=None),  # of which PyTorch gives 1e-17 instead of 0
        case((33,)),
        case((2, 3, 20)),
        case((2, 3, 20), 2),
        case((2, 3, 20), 3),
        case((2, 3, 20), parameters=0),
        case((7, 20), parameters=1),
        case((0, 20)),
        case((3, 0)),
        case((5, 20), eps=1e-2),
        case((2, 3, 4, 5), 3, orders={0: (0, 2, 3, 1)}, label="channels-last"),
        case((2, 3, 4, 5), 1, orders={0: (0, 2, 3, 1)}, label="channels-last"),
        case((2, 3, 4, 5), 2, orders={0: (1, 0, 3, 2)}, label="other order"),
        case((70, 33)),
        case((300, 260), slow=True),
        case((9, 9001), slow=True),
    ]
    if op == "layer_norm":
        far = normal(6, 300, mean=1e4)
        rows.append(case((6, 300), draw=far, label="far mean", smooth=False))
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    last = _last_dimensions("layer_norm") + _last_dimensions("rms_norm")
    return [*_batch(), *_instance(), *_group(), *last]
