# SPDX-License-Identifier: BSD-3-Clause
"""What users have (arrays, tensors, data frames, lists) as arrays of numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure._core import Tensor

Array: TypeAlias = NDArray[Any]
Indices: TypeAlias = NDArray[np.int64]
#: An array, a tuple or list of them (several inputs), or a dict of them (inputs by name).
Structure: TypeAlias = Any


def as_array(name: str, values: Any) -> Array:
    """Numbers of a tensor, array, pandas or polars frame or series, or nested lists; not copied.

    Raises
    ------
    TypeError
        For text, objects and other things that are no numbers; columns of frames are named.
    ValueError
        For lists of unequal lengths, or no dimension at all.
    """
    if isinstance(values, Tensor):
        return values.numpy()
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):
        _check_columns(name, values)
    array = _to_numpy(name, values)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"[data] {name} must hold numbers, got {_kind(array)}; turn categories into numbers "
            "first, labels for instance by np.unique(labels, return_inverse=True)"
        )
    if array.ndim == 0:
        raise ValueError(f"[data] {name} must have a dimension of samples, got a single number")
    return array


def _to_numpy(name: str, values: Any) -> Array:
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy())
    if hasattr(values, "toarray"):
        raise TypeError(
            f"[data] {name} is a sparse matrix, which would be stored in full: pass "
            f"{name}.toarray() if that fits into memory"
        )
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"[data] {name} has rows of unequal lengths: use nervure.data.SequenceDataset, "
            "which pads batch by batch, or pad_sequences"
        ) from None


def _kind(array: Array) -> str:
    if array.dtype.kind == "O":
        types = sorted({type(value).__name__ for value in array.reshape(-1)[:1000]})
        return f"objects ({', '.join(types)})"
    return "text" if array.dtype.kind in "US" else str(array.dtype)


def _check_columns(name: str, frame: Any) -> None:
    """Name the columns of a data frame that hold no numbers."""
    wrong = []
    for column in frame.columns:
        values = np.asarray(frame[column].to_numpy())
        if values.dtype.kind not in "biuf":
            wrong.append(f"{column!r} holds {_kind(values)}")
    if wrong:
        raise TypeError(f"[data] {name}: columns must hold numbers, but {', '.join(wrong)}")


def map_structure(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """Apply ``function`` to every leaf of tuples, lists and dicts; lists become tuples."""
    if isinstance(structure, dict):
        return {key: map_structure(function, value) for key, value in structure.items()}
    if isinstance(structure, (tuple, list)):
        parts = [map_structure(function, value) for value in structure]
        fields = getattr(structure, "_fields", None)
        return type(structure)(*parts) if fields else tuple(parts)
    return function(structure)


def leaves(structure: Structure) -> list[Any]:
    """Give all leaves of tuples, lists and dicts, in order."""
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in leaves(value)]
    if isinstance(structure, (tuple, list)):
        return [leaf for value in structure for leaf in leaves(value)]
    return [structure]


def to_structure(name: str, values: Any) -> Structure:
    """Arrays of a tuple (several inputs), a dict (inputs by name), or of one thing."""
    if isinstance(values, dict):
        return {key: to_structure(f"{name}[{key!r}]", value) for key, value in values.items()}
    if isinstance(values, tuple):
        parts = [to_structure(f"{name}[{i}]", value) for i, value in enumerate(values)]
        return type(values)(*parts) if hasattr(values, "_fields") else tuple(parts)
    return values if isinstance(values, Tensor) else as_array(name, values)


def sample_numbers(what: str, values: Any) -> Indices:
    """Numbers of samples, flat and int64.

    Raises
    ------
    TypeError
        For a single number, fractions, or a mask.
    """
    numbers = np.asarray(values)
    if not numbers.ndim or (numbers.size and numbers.dtype.kind not in "iu"):
        raise TypeError(
            f"[{what}] needs a list of the numbers of samples, got {numbers.dtype} of shape "
            f"{numbers.shape}; of a mask give np.flatnonzero(mask)"
        )
    return numbers.reshape(-1).astype(np.int64, copy=False)


def sample_number(what: str, index: Any, count: int) -> int:
    """The number from 0 on that an index stands for.

    Raises
    ------
    TypeError
        For what is no integer.
    IndexError
        For an integer beyond the samples.
    """
    try:
        number = operator.index(index)
    except TypeError:
        raise TypeError(
            f"[{what}] a sample has an integer for its number, got {type(index).__name__}; "
            "batch(numbers) gives several"
        ) from None
    if not -count <= number < count:
        raise IndexError(f"[{what}] index {number} is out of range for {count} samples")
    return number % count


class Column:
    """One array of a data set, and the quickest way to a batch of its rows.

    Float, int64 and boolean arrays are gathered by the compiled ``take_rows`` from the memory they
    are in. What would grow when converted as a whole (bytes), or is not in memory yet (read-only
    memory maps), is gathered by NumPy and converted batch by batch.
    """

    def __init__(self, values: Array | Tensor, target: bool = False) -> None:
        self.values = values
        self._tensor: Tensor | None = values.detach() if isinstance(values, Tensor) else None
        self._target = target
        if isinstance(values, np.ndarray) and not _is_kept_as_it_is(values, target):
            self._tensor = _core.from_numpy(_shareable(values))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Tensor) -> Tensor:
        """Rows as a tensor; ``indices`` are int64."""
        if self._tensor is not None:
            return _core.take_rows(self._tensor, indices)
        return self._convert(np.asarray(self.values)[indices.numpy()])

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows that follow each other."""
        if self._tensor is not None:
            return _core.slice(self._tensor, 0, start, stop)
        return self._convert(np.asarray(self.values)[start:stop])

    def _convert(self, rows: Array) -> Tensor:
        return _core.tensor(rows, _core.dtype.int64) if self._target else _core.tensor(rows)


def _is_kept_as_it_is(array: Array, target: bool) -> bool:
    if isinstance(array, np.memmap):
        return not array.flags.writeable or array.dtype not in (np.float32, np.int64, np.bool_)
    return array.dtype == np.uint8 and not target


def _shareable(array: Array) -> Array:
    """The array itself if a tensor can share its memory; otherwise a converted copy."""
    kind = array.dtype.kind
    dtype: Any = np.float32 if kind == "f" else np.bool_ if kind == "b" else np.int64
    return np.require(array, dtype, ["C", "W"])


def check_lengths(names: Sequence[str], counts: Sequence[int]) -> int:
    """The common number of samples.

    Raises
    ------
    ValueError
        If the numbers differ.
    """
    if len(set(counts)) > 1:
        found = ", ".join(f"{name} has {count}" for name, count in zip(names, counts, strict=True))
        raise ValueError(f"[data] all arrays must have the same number of samples, but {found}")
    return counts[0]
