# SPDX-License-Identifier: BSD-3-Clause
"""Data sets: samples by number, and batches of them."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from nervure._core import Tensor, tensor
from nervure.data._arrays import (
    Array,
    Column,
    Indices,
    Structure,
    as_array,
    check_lengths,
    leaves,
    map_structure,
    sample_number,
    sample_numbers,
    to_structure,
)
from nervure.data.sequence import Padded


class Dataset(ABC):
    """Samples by number: ``len(dataset)`` and ``dataset[i]``.

    A sample is ``x``, ``(x, y)`` or ``(x, y, sample_weight)``. Any class with these two methods
    works, also one that does not derive from this one, PyTorch's among them; deriving adds
    :meth:`batch`, which may be overridden with something quicker than stacking single samples.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Give one sample."""

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """Give several samples, each array with a first dimension for the sample."""
        return collate([self[int(i)] for i in indices])


def collate(samples: Sequence[Any]) -> tuple[Any, ...]:
    """Stack samples to a batch: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)`` of tensors.

    Raises
    ------
    ValueError
        If samples have different shapes or numbers of parts, or there are none.
    """
    if not len(samples):
        raise ValueError("[data] a batch must have at least one sample")
    if not isinstance(samples[0], tuple):
        return (_stack(samples),)
    parts = {len(sample) if isinstance(sample, tuple) else 1 for sample in samples}
    if len(parts) > 1:
        raise ValueError(f"[data] samples of a batch must have as many parts, got {sorted(parts)}")
    return tuple(_stack(parts) for parts in zip(*samples, strict=True))


def _stack(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _stack([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stack(column) for column in zip(*parts, strict=True))
    arrays = [np.asarray(part) for part in parts]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            "[data] samples of a batch must have one shape, got "
            + ", ".join(str(shape) for shape in sorted(shapes))
            + "; nervure.data.SequenceDataset pads sequences"
        )
    return tensor(np.stack(arrays))


class ArrayDataset(Dataset):
    """Samples in arrays, one row each.

    Batches are gathered by compiled code. Float32, int64 and boolean arrays that are writable and
    row-major are not copied: what is written into them is seen. Others are converted once, but for
    bytes, which stay bytes until they are in a batch, and read-only memory maps.

    Parameters
    ----------
    x : array, or tuple or dict of arrays
        Inputs: NumPy arrays, tensors, pandas or polars frames, nested lists. A tuple holds several
        inputs, a dict inputs by name.
    y : array, or tuple or dict of arrays, optional
        Targets. Integers become int64 (uint8 too), floats float32.
    sample_weight : (N,) array, optional
        Weight of each sample.
    lengths : (N,) array of int, optional
        Lengths of padded sequences: ``x`` of a batch is then ``Padded(values, lengths)``.

    Raises
    ------
    ValueError
        If the numbers of samples differ, or a length exceeds the padded one.
    TypeError
        For what holds no numbers.
    """

    def __init__(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, lengths: Any = None
    ) -> None:
        named = {"x": x, "y": y, "sample_weight": sample_weight}
        while len(named) > 1 and named[list(named)[-1]] is None:
            named.pop(list(named)[-1])
        if "y" in named and y is None:
            raise ValueError("[ArrayDataset] sample_weight needs y")
        self._named = {name: to_structure(name, values) for name, values in named.items()}
        if sample_weight is not None:
            self._named["sample_weight"] = sample_weights(sample_weight)
        if lengths is not None:
            self._named["x"] = _with_lengths(self._named["x"], lengths)
        self._columns = [
            map_structure(functools.partial(Column, target=name == "y"), structure)
            for name, structure in self._named.items()
        ]
        self._flat = all(isinstance(column, Column) for column in self._columns)
        names, counts = [], []
        for name, structure in self._named.items():
            for leaf in leaves(structure):
                names.append(name)
                counts.append(len(leaf))
        if not counts:
            raise ValueError("[ArrayDataset] x holds no array")
        self._length = check_lengths(names, counts)

    @property
    def x(self) -> Structure:
        """The inputs as arrays."""
        return self._named["x"]

    @property
    def y(self) -> Structure:
        """The targets as arrays, or None."""
        return self._named.get("y")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        row = sample_number("ArrayDataset", index, self._length)
        parts = self.rows(row, row + 1)
        single = tuple(map_structure(lambda t: t[0], part) for part in parts)
        return single if len(single) > 1 else single[0]

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """Gather the rows with these numbers."""
        return self.take(tensor(np.asarray(indices, np.int64)))

    def take(self, indices: Tensor) -> tuple[Any, ...]:
        """Gather the rows with these numbers, an int64 tensor."""
        if self._flat:  # a quarter of the time of a small batch
            return tuple([column.take(indices) for column in self._columns])
        return tuple(map_structure(lambda c: c.take(indices), part) for part in self._columns)

    def rows(self, start: int, stop: int) -> tuple[Any, ...]:
        """Copy rows that follow each other."""
        return tuple(map_structure(lambda c: c.rows(start, stop), part) for part in self._columns)


def sample_weights(values: Any) -> Array:
    """Sample weights as float32, checked.

    Raises
    ------
    ValueError
        If they are not one number per sample, finite and not negative.
    """
    weights = as_array("sample_weight", values).astype(np.float32)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            "[data] sample_weight must be (N,), finite and not negative, got shape "
            f"{weights.shape}" + ("" if weights.ndim != 1 else " with other values")
        )
    return weights


def _with_lengths(x: Structure, lengths: Any) -> Padded:
    if isinstance(x, (tuple, dict)):
        raise ValueError(
            "[ArrayDataset] lengths go with a single x; put them into the dict instead"
        )
    counts = as_array("lengths", lengths)
    if counts.ndim != 1 or counts.dtype.kind not in "iu":
        raise ValueError(f"[ArrayDataset] lengths must be integers (N,), got {counts.dtype}")
    if x.ndim < 2:
        raise ValueError("[ArrayDataset] lengths need x to be (N, T, ...), got one dimension")
    check_lengths(["x", "lengths"], [len(x), len(counts)])
    longest = x.shape[1]
    if counts.size and not 0 <= counts.min() <= counts.max() <= longest:
        raise ValueError(
            f"[ArrayDataset] lengths must be in 0 .. {longest}, got {counts.min()} .. "
            f"{counts.max()}"
        )
    return Padded(x, counts.astype(np.int64))


class Subset(Dataset):
    """Part of a data set: the samples with the given numbers.

    Parameters
    ----------
    dataset : Dataset
        The whole.
    indices : sequence of int
        Which samples, in this order.

    Raises
    ------
    IndexError
        For a number that the data set does not have.
    TypeError
        For what is no list of integers, a mask for instance.
    """

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset = dataset
        self.indices: Indices = sample_numbers("Subset", indices)
        count = len(dataset)
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < count:
            raise IndexError(f"[Subset] indices must be in 0 .. {count - 1}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[sample_number("Subset", index, len(self))])]

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """Give the batch of the whole with the numbers that these have there."""
        return take_batch(self.dataset, self.indices[indices])


def take_batch(dataset: Any, indices: Indices) -> tuple[Any, ...]:
    """Give a batch of any data set: by its ``batch`` method, or sample by sample."""
    batch = getattr(dataset, "batch", None)
    if callable(batch):
        found = batch(indices)
        return found if isinstance(found, tuple) else (found,)
    return collate([dataset[int(i)] for i in indices])
