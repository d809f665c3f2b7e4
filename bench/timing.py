# SPDX-License-Identifier: BSD-3-Clause
"""Timing of several contestants side by side, in interleaved rounds: A B C, A B C, ...

A slow moment of the machine then hits all of them, and the median of many short rounds leaves it
out. Within a round a contestant is called once untimed, because the one before it emptied the
caches and, after a pause, its threads sleep.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

Call = Callable[[], object]


@dataclass(frozen=True)
class Budget:
    """How long to measure one row."""

    seconds: float = 2.0  # for all contestants together
    round_seconds: float = 2e-3  # shortest time of one contestant in one round
    min_rounds: int = 20
    max_rounds: int = 300
    precision: float = 0.005  # enough rounds once every median is known this well
    least_rounds: int = 3  # measured whatever they cost

    def with_pauses(self, pause: float, contestants: int) -> Budget:
        """Longer rounds, and the time that the pauses of the fewest rounds take."""
        pauses = self.min_rounds * contestants * pause
        longer = 4 if pause else 1
        return replace(
            self, seconds=self.seconds + pauses, round_seconds=longer * self.round_seconds
        )


FULL = Budget()
QUICK = Budget(seconds=0.15, round_seconds=1e-3, min_rounds=5, precision=0.03)


@dataclass
class Timing:
    """Seconds per call, one entry per round."""

    inner: int  # calls per round
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def iqr(self) -> float:
        """Distance between the first and the third quartile."""
        if len(self.samples) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return third - first

    @property
    def uncertainty(self) -> float:
        """Standard error of the median relative to it, taking the middle half as that of a normal.

        The median's standard error is 1.25 sigma / sqrt(n), and the quartiles lie 1.35 sigma apart.
        """
        return 0.93 * self.iqr / math.sqrt(len(self.samples)) / max(self.median, 1e-12)

    def as_dict(self, per: int = 1) -> dict[str, Any]:
        """What goes into the JSON file: seconds of one unit, ``per`` of which are one call."""
        return {
            "median": self.median / per,
            "iqr": self.iqr / per,
            "best": self.best / per,
            "rounds": len(self.samples),
            "calls_per_round": self.inner,
        }


def time_calls(call: Call, count: int) -> float:
    """Seconds per call of ``count`` calls in a row; the loop itself costs about 20 ns per call."""
    start = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return (time.perf_counter() - start) / count


def calls_per_round(call: Call, round_seconds: float) -> int:
    """How many calls take ``round_seconds``."""
    call()
    count = 1
    while True:
        seconds = time_calls(call, count)
        if count * seconds >= round_seconds / 4:
            return max(1, math.ceil(round_seconds / seconds))
        count *= 4


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def time_rounds(
    calls: Mapping[str, Call],
    budget: Budget = FULL,
    *,
    pause: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Timing]:
    """Time all ``calls`` in interleaved rounds until the medians are known well or time is up.

    ``pause`` seconds lie before every contestant's turn, so that the worker threads of the one
    before it (OpenBLAS, OpenMP), which spin for a while after a call, do not take its cores.
    """
    budget = budget.with_pauses(pause, len(calls))
    with no_garbage_collection():
        timings = {
            name: Timing(calls_per_round(call, budget.round_seconds))
            for name, call in calls.items()
        }
        start = clock()
        while not _enough(timings, budget, clock() - start):
            for name, timing in timings.items():
                if pause:
                    time.sleep(pause)
                calls[name]()
                timing.samples.append(time_calls(calls[name], timing.inner))
    return timings


def _enough(timings: Mapping[str, Timing], budget: Budget, elapsed: float) -> bool:
    rounds = min((len(timing.samples) for timing in timings.values()), default=budget.max_rounds)
    if rounds < budget.least_rounds:
        return False
    if rounds >= budget.max_rounds or elapsed >= budget.seconds:
        return True
    if rounds < budget.min_rounds:
        return False
    return all(timing.uncertainty <= budget.precision for timing in timings.values())
