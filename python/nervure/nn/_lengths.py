# SPDX-License-Identifier: BSD-3-Clause
"""How many steps of each row of a batch count: what callers may give as ``lengths=``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from nervure import _core
from nervure._core import Tensor

Lengths: TypeAlias = Tensor | Sequence[int] | Any | None  # Any: a NumPy array


def lengths_tensor(name: str, lengths: Lengths) -> Tensor | None:
    """Give lengths as a tensor; whether they fit is for the operation to check."""
    if lengths is None or isinstance(lengths, Tensor):
        return lengths
    if hasattr(lengths, "tolist"):  # an array: tensor() would make float32 of uint8
        lengths = lengths.tolist()
    try:
        found = _core.tensor(lengths)
    except (TypeError, ValueError):
        raise TypeError(
            f"[{name}] lengths must be integers, one per row of the batch, got {lengths!r}"
        ) from None
    empty = found.shape == (0,)
    return _core.cast(found, _core.dtype.int64) if empty else found


def checked_lengths(name: str, lengths: Lengths, batch: int, steps: int) -> Tensor | None:
    """Give lengths as a tensor (batch,), each in [0, steps]: for what no operation checks."""
    found = lengths_tensor(name, lengths)
    if found is None:
        return None
    if found.dtype != _core.dtype.int64:
        raise TypeError(f"[{name}] lengths must be int64, got {found.dtype.name}")
    if found.shape != (batch,):
        raise ValueError(f"[{name}] lengths must be ({batch},), got {found.shape}")
    for row, length in enumerate(found.tolist()):
        if not 0 <= length <= steps:
            raise ValueError(
                f"[{name}] lengths must lie in [0, {steps}], got {length} for row {row}"
            )
    return found
