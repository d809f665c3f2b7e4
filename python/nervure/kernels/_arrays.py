# SPDX-License-Identifier: BSD-3-Clause
"""The array types of the bare kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int = NDArray[np.int64]


def empty(shape: tuple[int, ...], out: Float | None) -> Float:
    """`out`, or a new array where there is none."""
    return np.empty(shape, np.float32) if out is None else out
