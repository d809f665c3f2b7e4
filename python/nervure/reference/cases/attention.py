# SPDX-License-Identifier: BSD-3-Clause
"""Rows of scaled dot-product attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from .table import Case, Draw, Shape, booleans, constant, each, name_of, normal


def _flops(arrays: Sequence[Array]) -> float:
    q, k, v = arrays[:3]
    return float(
        2.0 * q.size * k.shape[-2] + 2.0 * q.size // q.shape[-1] * k.shape[-2] * v.shape[-1]
    )


def _torch_attention(
    torch: Any, q: Any, k: Any, v: Any, mask: Any, lengths: Any, **kwargs: Any
) -> Any:
    if lengths is not None:
        keys = torch.arange(k.shape[-2]) < lengths.reshape(-1, *[1] * (q.ndim - 1))
        mask = keys if mask is None else mask & keys
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, **kwargs)


def _row(
    q: Shape,
    k: Shape,
    v: Shape | None = None,
    *,
    label: str = "",
    mask: Draw | None = None,
    lengths: Draw | None = None,
    torch: bool = True,
    orders: Mapping[int, tuple[int, ...]] | None = None,
    **kwargs: Any,
) -> Case:
    v = k if v is None else v
    keys = k[-2]
    return Case(
        name_of("scaled_dot_product_attention", q, k, v, label, **kwargs),
        "scaled_dot_product_attention",
        each(normal(*q), normal(*k), normal(*v), mask, lengths),
        kwargs=kwargs,
        grads=(0, 1, 2),
        c=8.0,
        K=max(1, keys, q[-1]),
        orders=orders or {},
        torch=_torch_attention if torch else None,
        slow=int(np.prod(q)) * keys > 300_000,
        flops=_flops,
    )


def _packed(shape: Shape, heads: int, label: str = "", **kwargs: Any) -> Case:
    lengths = kwargs.pop("lengths", None)
    return Case(
        name_of("self_attention", shape, label, heads=heads, **kwargs),
        "self_attention",
        each(normal(*shape), None, lengths),
        kwargs={"heads": heads, **kwargs},
        grads=(0,),
        c=8.0,
        K=max(1, shape[1], shape[2] // 3 // heads),
    )


def rows() -> list[Case]:
    """Every row of this file."""
    some = booleans
    heads = {0: (0, 2, 1, 3), 1: (0, 2, 1, 3), 2: (0, 2, 1, 3)}
    rows = [
        *[_row((2, n, d), (2, n, d)) for n, d in ((7, 8), (16, 16), (17, 9), (33, 31))],
        *[_row((2, 3, n, 8), (2, 3, n, 8), is_causal=True, torch=n > 1) for n in (1, 15, 64, 65)],
        _row((5, 4), (7, 4)),
        _row((1, 2, 3, 9, 5), (1, 2, 3, 9, 5)),
        _row((2, 3, 9, 5), (2, 3, 12, 5), (2, 3, 12, 33)),
        _row((2, 3, 12, 5), (2, 3, 9, 5), is_causal=True),
        _row((2, 3, 9, 5), (2, 3, 12, 5), is_causal=True, scale=0.3),
        _row((2, 3, 1, 16), (2, 3, 40, 16), scale=-1.0),
        _row((3, 2, 20, 8), (3, 2, 20, 8), label="lengths", lengths=constant([20, 1, 9], np.int64)),
        _row((2, 2, 70, 8), (2, 2, 300, 8), label="blocks"),
        _row((1, 1, 130, 8), (1, 1, 1100, 8), label="ranges"),
        _row((1, 2, 600, 8), (1, 2, 600, 8), label="ranges", is_causal=True),
        _row((2, 3, 9, 5), (2, 3, 12, 5), label="bias", mask=normal(9, 12)),
        _row((2, 3, 70, 5), (2, 3, 150, 5), label="bias of all", mask=normal(2, 3, 70, 150)),
        _row((2, 3, 9, 5), (2, 3, 12, 5), label="bias of heads", mask=normal(3, 1, 12)),
        _row((2, 3, 9, 5), (2, 3, 12, 5), label="bias of queries", mask=normal(9, 1)),
        _row((2, 9, 5), (2, 12, 5), label="bias of batch", mask=normal(2, 9, 12)),
        _row((2, 3, 9, 5), (2, 3, 12, 5), label="mask", mask=some(2, 1, 9, 12), torch=False),
        _row(
            (2, 3, 9, 5), (2, 3, 12, 5), label="mask of keys", mask=some(2, 1, 1, 12), torch=False
        ),
        _row(
            (2, 3, 9, 5),
            (2, 3, 12, 5),
            label="nothing to see",
            lengths=constant([0, 12], np.int64),
            torch=False,
        ),
        _row(
            (2, 1, 9, 5),
            (2, 1, 12, 5),
            label="no key allowed",
            mask=constant(np.zeros((2, 1, 9, 12), bool), bool),
            torch=False,
        ),
        _row((2, 3, 9, 5), (2, 3, 12, 5), label="order", orders=heads),
        _row((2, 3, 9, 5), (2, 3, 12, 5), label="columns", orders={0: (3, 2, 1, 0)}),
        _row((0, 3, 9, 5), (0, 3, 12, 5)),
        _row((2, 3, 0, 5), (2, 3, 12, 5)),
        _row((2, 3, 9, 5), (2, 3, 0, 5), torch=False),
        _row((2, 3, 9, 5), (2, 3, 12, 5), (2, 3, 12, 0)),
        _row((8, 4, 64, 32), (8, 4, 64, 32), label="bench"),
        _packed((2, 9, 24), 2),
        _packed((1, 70, 15), 1, is_causal=True),
        _packed((3, 17, 96), 4, "lengths", lengths=constant([17, 0, 5], np.int64)),
        _packed((0, 5, 6), 2),
        _packed((2, 0, 6), 2),
    ]
    return rows
