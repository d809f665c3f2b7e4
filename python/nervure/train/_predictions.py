# SPDX-License-Identifier: BSD-3-Clause
"""What ``predict`` makes of the outputs of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure._core import Tensor
from nervure.data._arrays import leaves
from nervure.train._objective import Objective


def probabilities(output: Any, objective: Objective) -> Tensor:
    """Probabilities of outputs as the loss understands them."""
    if not isinstance(output, Tensor):
        raise TypeError("[Trainer] predict_proba needs a model with one output")
    if objective.kind == "logits":
        dim = objective.class_dim if output.ndim > 2 else -1
        return _core.softmax(output, dim)
    if objective.kind == "log_probabilities":
        return output.exp()
    return output.sigmoid() if objective.kind == "binary_logits" else output


def check_rows(output: Any, size: int) -> None:
    """Refuse outputs of a batch that have not one row per sample.

    Raises
    ------
    ValueError
        For outputs with another first dimension, or none.
    """
    for leaf in leaves(output):
        shape = np.shape(leaf)
        if shape[:1] != (size,):
            raise ValueError(
                f"[Trainer] predict needs outputs with one row per sample, got {shape} for a batch "
                f"of {size}"
            )


def joined(outputs: list[Any]) -> Any:
    """Outputs of all batches in one array, or in a tuple or dict of arrays."""
    first = outputs[0]
    if isinstance(first, dict):
        return {key: joined([output[key] for output in outputs]) for key in first}
    arrays = [np.asarray(output) for output in outputs]
    rest = {array.shape[1:] for array in arrays}
    if len(rest) > 1:
        arrays = _filled_up(arrays)
    return np.concatenate(arrays)


def _filled_up(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Sequences ``(B, T, ...)`` of several T, filled up with zeros to the longest."""
    if len({array.shape[2:] for array in arrays}) > 1 or any(array.ndim < 2 for array in arrays):
        raise ValueError("[Trainer] predict cannot join outputs of different shapes")
    longest = max(array.shape[1] for array in arrays)
    filled = []
    for array in arrays:
        whole = np.zeros((len(array), longest, *array.shape[2:]), array.dtype)
        whole[:, : array.shape[1]] = array
        filled.append(whole)
    return filled
