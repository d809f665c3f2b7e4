# SPDX-License-Identifier: BSD-3-Clause
"""Sequences of different lengths in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from nervure.data._arrays import Array


class Padded(NamedTuple):
    """Padded sequences ``(B, T, ...)`` and their true lengths ``(B,)``."""

    values: Any
    lengths: Any


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
    *,
    sample_shape: tuple[int, ...] | None = None,
) -> Array:
    """Bring sequences to one length, as Keras's function of this name.

    Parameters
    ----------
    sequences : sequence of sequences
        Each a list or array ``(T_i, ...)``, equal but for ``T_i``.
    maxlen : int, optional
        Length of the result; by default that of the longest sequence.
    dtype : dtype, default "int32"
        Of the result. ``"float32"`` for features; ``object`` for text.
    padding : {"pre", "post"}, default "pre"
        Where to fill sequences that are shorter. Recurrent modules with ``lengths`` need "post".
    truncating : {"pre", "post"}, default "pre"
        Where to cut sequences that are longer.
    value : float or str, default 0
        What to fill with.
    sample_shape : tuple of int, optional
        Shape of one step; by default that of the first sequence that is not empty.

    Returns
    -------
    numpy.ndarray
        ``(N, maxlen, ...)``.

    Raises
    ------
    ValueError
        For an unknown option, an item that is no sequence, or steps of different shapes.

    Examples
    --------
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]])
    array([[0, 0, 1],
           [0, 2, 3],
           [4, 5, 6]], dtype=int32)
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2, padding="post")
    array([[1, 0],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    for name, choice in (("padding", padding), ("truncating", truncating)):
        if choice not in ("pre", "post"):
            raise ValueError(f"[pad_sequences] {name} must be 'pre' or 'post', got {choice!r}")
    if maxlen is not None and maxlen < 0:
        raise ValueError(f"[pad_sequences] maxlen must not be negative, got {maxlen}")
    arrays = [_sequence(i, sequence) for i, sequence in enumerate(sequences)]
    if sample_shape is None:
        sample_shape = next((array.shape[1:] for array in arrays if len(array)), ())
    if maxlen is None:
        maxlen = max((len(array) for array in arrays), default=0)
    result: Array = _filled((len(arrays), maxlen, *sample_shape), np.dtype(dtype), value)
    for row, array in zip(result, arrays, strict=True):
        if not len(array) or not maxlen:
            continue
        if array.shape[1:] != sample_shape:
            raise ValueError(
                f"[pad_sequences] steps must have the shape {sample_shape}, got {array.shape[1:]}"
            )
        kept = array[-maxlen:] if truncating == "pre" else array[:maxlen]
        if padding == "post":
            row[: len(kept)] = kept
        else:
            row[maxlen - len(kept) :] = kept
    return result


def _sequence(index: int, sequence: Any) -> Array:
    array = np.asarray(sequence)
    if array.ndim == 0:
        raise ValueError(f"[pad_sequences] item {index} is no sequence: {sequence!r}")
    return array


def _filled(shape: tuple[int, ...], dtype: np.dtype[Any], value: float | str) -> Array:
    if isinstance(value, str) and dtype.kind not in "OUS":
        raise ValueError(f"[pad_sequences] dtype {dtype} cannot hold the value {value!r}")
    return np.full(shape, value, dtype)
