# SPDX-License-Identifier: BSD-3-Clause
"""Numbers to compute with: the same for every contestant and every run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def floats(*shape: int, seed: int = 0) -> Floats:
    """Standard normal."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def classes(count: int, n: int, seed: int = 0) -> NDArray[np.int64]:
    """``n`` class indices below ``count``."""
    return np.random.default_rng([seed, count, n]).integers(count, size=n)
