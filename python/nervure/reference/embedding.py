# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a table by index."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float


def embedding(
    weight: ArrayLike, indices: Array, padding_idx: int = -1, sparse: bool = False
) -> Array:
    """``y = weight[indices]``, (..., features)."""
    return np.asarray(as_float(weight)[np.asarray(indices)])


def embedding_backward(
    dy: Array, weight: Array, indices: Array, padding_idx: int = -1, sparse: bool = False
) -> tuple[Array, None]:
    """``dweight_r`` is the sum of ``dy`` over all places that hold ``r``; 0 for ``padding_idx``."""
    gradient = np.zeros_like(weight)
    np.add.at(gradient, np.asarray(indices), dy)
    if padding_idx >= 0:
        gradient[padding_idx] = 0.0
    return gradient, None
