# SPDX-License-Identifier: BSD-3-Clause
"""What is trained on: features, targets and weights as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from nervure import _core
from nervure._core import Tensor


@dataclass
class Samples:
    """Features (N, ...), targets (N,) or (N, outputs), and what each sample weighs."""

    x: NDArray[Any]
    y: NDArray[Any]
    weight: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.x)

    def split(self, part: float, rng: Any, stratify: bool) -> tuple[Samples, Samples]:
        """Training and validation samples."""
        kept, held = train_test_split(
            np.arange(len(self)),
            random_state=rng,
            test_size=part,
            stratify=self.y if stratify else None,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return self._take(kept), self._take(held)

    def _take(self, rows: NDArray[Any]) -> Samples:
        return Samples(
            self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows]
        )

    def as_a_set(self) -> Samples:
        """The same samples in an order of their own, equal ones as one of their common weight.

        For training on all samples at once, where neither order nor repetition means anything:
        what means the same gives the same bits.
        """
        weight = np.ones(len(self)) if self.weight is None else self.weight
        there = weight > 0
        x, y, weight = self.x[there], self.y[there], weight[there]
        if not len(x):
            raise ValueError("sample_weight must not be zero for every sample")
        rows = [np.ascontiguousarray(a).reshape(len(x), -1).view(np.uint8) for a in (x, y)]
        joined = np.ascontiguousarray(np.concatenate(rows, axis=1))
        keys = joined.view(np.dtype((np.void, joined.shape[1]))).reshape(-1)
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        total = np.bincount(group.reshape(-1), weight)
        plain = bool((total == 1).all())
        return Samples(x[first], y[first], None if plain else total.astype(np.float32))


class Batches:
    """Batches of samples as tensors."""

    def __init__(self, samples: Samples, size: int) -> None:
        self.size = size
        self._x = _core.tensor(np.ascontiguousarray(samples.x))
        self._y = _core.tensor(np.ascontiguousarray(samples.y))
        self._weight = None if samples.weight is None else _core.tensor(samples.weight)

    def __len__(self) -> int:
        return len(self._x)

    def whole(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """All samples."""
        return self._x, self._y, self._weight

    def rows(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The samples with these numbers."""
        weight = None if self._weight is None else _core.take_rows(self._weight, rows)
        return _core.take_rows(self._x, rows), _core.take_rows(self._y, rows), weight


def float32(x: NDArray[Any], name: str = "X") -> NDArray[np.float32]:
    """Numbers as float32; what is beyond its range is refused."""
    with np.errstate(over="ignore"):
        values = x.astype(np.float32, copy=False)
    if values is not x and not np.isfinite(values).all():
        raise ValueError(f"{name} holds a value too large for dtype('float32')")
    return values
