# SPDX-License-Identifier: BSD-3-Clause
"""Numbers to compute with: the same for every contestant and every run."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LINE = 64  # bytes of a cache line, where tensors of every library begin


def empty(*shape: int) -> Floats:
    """Uninitialised, at the beginning of a cache line: NumPy promises 16 bytes only."""
    memory = np.empty(math.prod(shape) + LINE // 4, np.float32)
    first = -memory.ctypes.data % LINE // 4
    return memory[first : first + math.prod(shape)].reshape(shape)


def floats(*shape: int, seed: int = 0) -> Floats:
    """Standard normal."""
    values = empty(*shape)
    np.random.default_rng([seed, *shape]).standard_normal(dtype=np.float32, out=values)
    return values


def classes(count: int, n: int, seed: int = 0) -> NDArray[np.int64]:
    """``n`` class indices below ``count``."""
    return np.random.default_rng([seed, count, n]).integers(count, size=n)
