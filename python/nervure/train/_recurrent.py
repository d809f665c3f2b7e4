# SPDX-License-Identifier: BSD-3-Clause
"""Truncated backpropagation through time: a sequence in stretches, the state carried over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from nervure import _core
from nervure._core import Tensor
from nervure.data._arrays import leaves, map_structure
from nervure.data.sequence import Padded
from nervure.train._batch import Batch


class Stretch(NamedTuple):
    """Some time steps of a batch, and the share of the batch's targets that are in it.

    Where the share is 0 there is nothing to learn, only a state to carry on.
    """

    batch: Batch
    share: float


def stretches(batch: Batch, length: int, ignore_index: int | None) -> Iterator[Stretch]:
    """Cut a batch of sequences ``(B, T, ...)`` with targets ``(B, T, ...)`` along the time.

    Raises
    ------
    ValueError
        For inputs or targets without the dimension of time.
    """
    steps = _steps(batch)
    lengths = batch.x.lengths if isinstance(batch.x, Padded) else None
    if lengths is not None and batch.size:
        steps = min(steps, max(int(lengths.numpy().max()), 1))
    parts = [_stretch(batch, start, length) for start in range(0, steps, length)]
    counts = [_targets(part.y, ignore_index) for part in parts]
    total = sum(counts)
    for part, count in zip(parts, counts, strict=True):
        yield Stretch(part, count / total if total else 1.0)


def _stretch(batch: Batch, start: int, length: int) -> Batch:
    def cut(t: Tensor) -> Tensor:
        return _core.slice(t, 1, start, min(start + length, int(t.shape[1])))

    if isinstance(batch.x, Padded):
        left = (batch.x.lengths.numpy() - start).clip(0, length)
        x: Any = Padded(cut(batch.x.values), _core.tensor(left))
    else:
        x = map_structure(cut, batch.x)
    weight = batch.weight
    if weight is not None and weight.ndim > 1:
        weight = cut(weight)
    return Batch(x, map_structure(cut, batch.y), weight, batch.size)


def detached(state: Any) -> Any:
    """The state without its past."""
    if state is None:
        return None
    return map_structure(lambda t: t.detach() if isinstance(t, Tensor) else t, state)


def _steps(batch: Batch) -> int:
    x = batch.x.values if isinstance(batch.x, Padded) else batch.x
    sizes = {int(t.shape[1]) if t.ndim > 1 else -1 for t in (*leaves(x), *leaves(batch.y))}
    if len(sizes) != 1 or -1 in sizes:
        raise ValueError(
            "[Trainer] tbptt needs inputs (B, T, ...) and targets (B, T, ...) with the same T"
        )
    return sizes.pop()


def _targets(y: Any, ignore_index: int | None) -> int:
    """How many targets count."""
    first: Tensor = leaves(y)[0]
    if ignore_index is None or first.dtype != _core.dtype.int64:
        return first.numel()
    return int((first.numpy() != ignore_index).sum())
