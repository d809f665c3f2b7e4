# SPDX-License-Identifier: BSD-3-Clause
"""What the machine can do at best: multiply-adds, and moving arrays larger than its caches."""

from __future__ import annotations

from dataclasses import dataclass

import nervure as nv
from nervure import _core

from .timing import Call, time_calls

VECTOR = 1 << 24  # floats; three vectors of 64 MiB
BEYOND_CACHES = 64e6  # bytes per call from which a row's GB/s are compared with the memory's


@dataclass(frozen=True)
class Roofline:
    """Peaks with one number of threads. Bytes are those of the arrays, read and written once."""

    gflops: float
    copy: float  # GB/s
    triad: float

    @property
    def bandwidth(self) -> float:
        return max(self.copy, self.triad)


def measure(threads: int, repeats: int = 7) -> Roofline:
    """The best of several measurements with the instruction set in use."""
    chunks = 64 * threads
    flops = _core.fma_peak(1000, chunks)
    peak = flops / _best(lambda: _core.fma_peak(1000, chunks), repeats)
    x, y, z = (nv.full((VECTOR,), value) for value in (1.0, 2.0, 3.0))
    copy = 8 * VECTOR / _best(lambda: _core.copy_bandwidth(x, y), repeats)
    triad = 12 * VECTOR / _best(lambda: _core.triad_bandwidth(x, y, 0.5, z), repeats)
    return Roofline(peak / 1e9, copy / 1e9, triad / 1e9)


def _best(call: Call, repeats: int) -> float:
    call()
    return min(time_calls(call, 1) for _ in range(repeats))
