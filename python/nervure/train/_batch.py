# SPDX-License-Identifier: BSD-3-Clause
"""One batch: its parts as tensors, and how a model is called with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nervure import _core
from nervure._core import Tensor
from nervure.data._arrays import leaves, map_structure
from nervure.data.sequence import Padded


class Batch(NamedTuple):
    """Inputs, targets and weights, all tensors; the last two may be None."""

    x: Any
    y: Any
    weight: Tensor | None
    size: int


def as_batch(item: Any, needs_target: bool) -> Batch:
    """Read what a loader or generator gives: ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, weight)``.

    Raises
    ------
    ValueError
        For other tuples, a missing target, or arrays without or with unequal numbers of samples.
    """
    if type(item) is tuple and len(item) == 2 and type(item[0]) is type(item[1]) is Tensor:
        x, y = item  # what most loaders give, and nothing to convert
        try:
            if (size := len(x)) == len(y):
                return Batch(x, y, None, size)
        except TypeError:  # one without dimensions, of which there is more to say
            pass
    is_bare = not isinstance(item, (tuple, list)) or isinstance(item, Padded)
    parts: tuple[Any, ...] = (item,) if is_bare else tuple(item)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"[Trainer] a batch must be (x,), (x, y) or (x, y, sample_weight), got {len(parts)} "
            "parts; put several inputs into a tuple of their own: ((x1, x2), y)"
        )
    x = map_structure(to_tensor, parts[0])
    y = map_structure(_target, parts[1]) if len(parts) > 1 and parts[1] is not None else None
    if y is None and needs_target:
        raise ValueError("[Trainer] training and evaluation need targets: y, or batches (x, y)")
    weight = to_tensor(parts[2]) if len(parts) > 2 and parts[2] is not None else None
    return Batch(x, y, weight, _size(x, y, weight))


def to_tensor(value: Any) -> Tensor:
    """Make a tensor of anything that is an array."""
    return value if isinstance(value, Tensor) else _core.tensor(np.asarray(value))


def _target(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    return _core.tensor(array.astype(np.int64) if array.dtype == np.uint8 else array)


def _size(x: Any, y: Any, weight: Tensor | None) -> int:
    tensors = [*leaves(x), *leaves(y), weight]
    sizes = {int(t.shape[0]) if t.ndim else 0 for t in tensors if isinstance(t, Tensor)}
    if len(sizes) != 1:
        raise ValueError(
            f"[Trainer] all arrays of a batch must have the same number of samples, got "
            f"{sorted(sizes)}"
        )
    size: int = sizes.pop()
    return size


def call(model: Any, x: Any, **more: Any) -> Any:
    """Call a model: ``model(x)``, ``model(*tuple)``, ``model(**dict)``, or with lengths.

    Raises
    ------
    TypeError
        If there are lengths and the model takes none.
    """
    if isinstance(x, Tensor):
        return model(x, **more) if more else model(x)
    if isinstance(x, Padded):
        try:
            return model(x.values, lengths=x.lengths, **more)
        except TypeError as error:
            if "unexpected keyword argument 'lengths'" not in str(error):
                raise
            raise TypeError(
                "[Trainer] the data are sequences with lengths, but forward() of "
                f"{type(model).__name__} takes no lengths"
            ) from None
    if isinstance(x, dict):
        return model(**x, **more)
    return model(*x, **more)


def prediction_of(output: Any) -> Any:
    """Give the prediction: of recurrent modules, which give ``(output, state)``, the output."""
    return output[0] if isinstance(output, tuple) else output
