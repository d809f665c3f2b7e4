# SPDX-License-Identifier: BSD-3-Clause
"""SequenceDataset: sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nervure._core import Tensor, tensor
from nervure.data._arrays import Array, Indices, as_array, check_lengths, sample_number
from nervure.data.dataset import Dataset, sample_weights
from nervure.data.sequence import Padded, pad_sequences


class SequenceDataset(Dataset):
    """Sequences of different lengths, padded batch by batch to the longest of the batch.

    ``x`` of a batch is ``Padded(values, lengths)``: values ``(B, T, ...)`` and int64 lengths
    ``(B,)``; :class:`nervure.Trainer` calls ``model(values, lengths=lengths)``.

    Parameters
    ----------
    x : sequence of arrays
        Each ``(T_i, ...)``, equal but for ``T_i``.
    y : array or sequence of arrays, optional
        One target per sequence; or, when ``y[i]`` is itself an array ``(T_i, ...)``, one per step.
    sample_weight : (N,) array, optional
        Weight of each sequence.
    padding_value : float, default 0
        What follows the end of a sequence.
    target_padding : float, default -100
        What follows the end of targets; cross-entropy leaves -100 out.

    Raises
    ------
    ValueError
        If the numbers of samples differ, or sequences do not fit together.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Any = None,
        sample_weight: Any = None,
        *,
        padding_value: float = 0.0,
        target_padding: float = -100,
    ) -> None:
        self._x = [as_array(f"x[{i}]", values) for i, values in enumerate(x)]
        if not self._x:
            raise ValueError("[SequenceDataset] x holds no sequence")
        _check_alike("x", self._x)
        self.lengths: Indices = np.array([len(values) for values in self._x], np.int64)
        self._padding = (padding_value, target_padding)
        names, counts = ["x"], [len(self._x)]
        self._y: list[Array] | Array | None = None
        if y is not None:
            self._y = _targets(y)
            names.append("y")
            counts.append(len(self._y))
        self._weights = None if sample_weight is None else sample_weights(sample_weight)
        if self._weights is not None:
            if y is None:
                raise ValueError("[SequenceDataset] sample_weight needs y")
            names.append("sample_weight")
            counts.append(len(self._weights))
        check_lengths(names, counts)

    @property
    def y(self) -> list[Array] | Array | None:
        """The targets, or None."""
        return self._y

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: int) -> Any:
        number = sample_number("SequenceDataset", index, len(self))
        parts = self.batch(np.array([number]))
        x = tensor(self._x[number])
        rest = tuple(part[0] for part in parts[1:])
        return (x, *rest) if rest else x

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """Pad these sequences to the longest of them."""
        lengths = self.lengths[indices]
        values = _padded([self._x[i] for i in indices], self._padding[0])
        batch: list[Any] = [Padded(tensor(values), tensor(lengths))]
        if self._y is not None:
            if isinstance(self._y, list):
                batch.append(
                    _target_tensor(_padded([self._y[i] for i in indices], self._padding[1]))
                )
            else:
                batch.append(_target_tensor(self._y[indices]))
        if self._weights is not None:
            batch.append(tensor(self._weights[indices]))
        return tuple(batch)


def _targets(y: Any) -> list[Array] | Array:
    is_array = isinstance(y, (np.ndarray, Tensor)) or hasattr(y, "to_numpy")
    if is_array or not len(y) or np.ndim(y[0]) == 0:
        return as_array("y", y)
    steps = [as_array(f"y[{i}]", values) for i, values in enumerate(y)]
    _check_alike("y", steps)
    return steps


def _check_alike(name: str, sequences: list[Array]) -> None:
    for i, values in enumerate(sequences):
        if values.shape[1:] != sequences[0].shape[1:]:
            raise ValueError(
                f"[SequenceDataset] {name} must be alike but for their lengths: {name}[0] has "
                f"shape {sequences[0].shape}, {name}[{i}] {values.shape}"
            )


def _padded(sequences: list[Array], value: float) -> Array:
    # An empty list is an array of float64, but holds no floats.
    dtype = np.result_type(*([s for s in sequences if s.size] or sequences))
    return pad_sequences(
        sequences, dtype=dtype, padding="post", value=value, sample_shape=sequences[0].shape[1:]
    )


def _target_tensor(values: Array) -> Tensor:
    return tensor(values.astype(np.int64) if values.dtype.kind in "iu" else values)
