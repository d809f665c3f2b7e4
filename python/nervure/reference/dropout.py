# SPDX-License-Identifier: BSD-3-Clause
"""Dropout, given the mask that a random generator drew."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, as_float


def dropout(x: ArrayLike, mask: Array, p: float = 0.5) -> Array:
    """``y = x / (1 - p)`` where the mask (of what is kept) holds, else 0 (inverted dropout).

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.
    """
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    return np.where(mask, as_float(x) * scale, 0.0)


def dropout_backward(dy: Array, x: Array, mask: Array, p: float = 0.5) -> tuple[Array, None]:
    """``dx = dy / (1 - p)`` where the mask holds, else 0."""
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    return np.where(mask, dy * scale, 0.0), None


def dropout2d(x: ArrayLike, mask: Array, p: float = 0.5) -> Array:
    """Dropout of whole channels: ``x`` is (N, C, ...), the mask (N, C).

    Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.
    """
    x = as_float(x)
    return dropout(x, mask.reshape(mask.shape + (1,) * (x.ndim - 2)), p)


def dropout2d_backward(dy: Array, x: Array, mask: Array, p: float = 0.5) -> tuple[Array, None]:
    """``dx = dy / (1 - p)`` in the channels that were kept, else 0."""
    return dropout2d(dy, mask, p), None
