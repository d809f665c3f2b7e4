# SPDX-License-Identifier: BSD-3-Clause
"""Rows of embedding tables."""

from __future__ import annotations

import itertools
from typing import Any

from .table import SIZES, Case, Shape, each, integers, name_of, normal


def _torch_embedding(
    torch: Any, weight: Any, indices: Any, padding_idx: int = -1, sparse: bool = False
) -> Any:
    padding = None if padding_idx < 0 else padding_idx
    return torch.nn.functional.embedding(indices, weight, padding)


def _row(table: Shape, indices: Shape, **kwargs: Any) -> Case:
    return Case(
        name_of("embedding", table, indices, **kwargs),
        "embedding",
        each(normal(*table), integers(0, max(table[0], 1), *indices)),
        kwargs=kwargs,
        grads=(0,),
        K=max(1, indices[0] if indices else 1),
        torch=_torch_embedding,
        smooth=kwargs.get("padding_idx", -1) < 0,  # the padding row gets no gradient by decree
    )


def rows() -> list[Case]:
    """Every row of this file."""
    rows = [_row((5, n), (7,)) for n in SIZES]
    rows += [
        _row(table, indices, padding_idx=padding, sparse=sparse)
        for table, indices in (((6, 9), (4, 5)), ((3, 4), (50,)), ((40, 33), (2, 3, 4)))
        for padding, sparse in itertools.product((-1, 2), (False, True))
    ]
    rows += [_row((4, 3), ()), _row((4, 3), (0,)), _row((4, 0), (3,)), _row((300, 16), (2000,))]
    return rows
