# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the benchmark.

To add one, write a short function in ``kernels.py`` or ``models.py``::

    @rows("kernels", "reductions", {"sum 1e6": 1_000_000}, quick=["sum 1e6"])
    def total(peers, n):
        "sum(x) over n floats"
        x = floats(n)
        contest = Contest(bytes=4 * n)
        contest.add("nervure", nv.tensor(x).sum)
        contest.add("numpy", x.sum)
        if peers.torch:
            contest.add("torch", peers.torch.from_numpy(x).sum)
        return contest

The function is called once for each case, right before it is timed. Every contestant computes the
same from the same numbers; what the calls return is compared before the clock starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .timing import Call

OURS = "nervure"
PEERS = ("numpy", "torch", "jax", "sklearn")


@dataclass(frozen=True)
class Peers:
    """The modules of the peers asked for, else None; NumPy contestants are always built."""

    torch: ModuleType | Any = None
    jax: ModuleType | Any = None
    sklearn: ModuleType | Any = None


@dataclass
class Contest:
    """One row ready to run: what it moves or multiplies, and the contestants.

    ``flops`` and ``bytes`` are those that the task needs, per call; give the one that limits it.
    """

    flops: float = 0.0
    bytes: float = 0.0
    tolerance: float = 1e-5  # largest relative L2 distance between a peer's result and ours
    per: int = 1  # units (graph nodes ...) in one call; times are per unit
    calls: dict[str, Call] = field(default_factory=dict)
    results: dict[str, Call] = field(default_factory=dict)

    def add(self, contestant: str, call: Call, result: Call | None = None) -> None:
        """``result`` gives what to compare where the call itself does not return it."""
        self.calls[contestant] = call
        self.results[contestant] = result or call

    def keep(self, names: Iterable[str]) -> None:
        """Drop all contestants but these."""
        for name in set(self.calls) - set(names):
            del self.calls[name], self.results[name]


Builder = Callable[..., Contest]


@dataclass(frozen=True)
class Row:
    suite: str
    group: str
    name: str
    what: str  # what is computed
    quick: bool  # part of --quick
    builder: Builder
    arguments: tuple[Any, ...]

    def build(self, peers: Peers) -> Contest:
        return self.builder(peers, *self.arguments)


REGISTRY: list[Row] = []


def rows(
    suite: str, group: str, cases: Mapping[str, Any], *, quick: Iterable[str] = ()
) -> Callable[[Builder], Builder]:
    """Register ``builder(peers, *arguments)`` once per case of ``{name of the row: arguments}``.

    The builder's docstring, with ``{name}`` standing for the row's name, says what is computed.
    """
    quick = set(quick)
    if unknown := quick - set(cases):
        raise ValueError(f"[rows] quick names no case: {sorted(unknown)}")

    def register(builder: Builder) -> Builder:
        for name, case in cases.items():
            if any(row.name == name and row.suite == suite for row in REGISTRY):
                raise ValueError(f"[rows] {suite} has two rows called {name!r}")
            what = " ".join((builder.__doc__ or "").split()).replace("{name}", name)
            arguments = case if isinstance(case, tuple) else (case,)
            REGISTRY.append(Row(suite, group, name, what, name in quick, builder, arguments))
        return builder

    return register


def select(suite: str, pattern: str | None, quick: bool) -> list[Row]:
    """Rows of a suite (or "all") whose "suite group name" matches; with a pattern, quick or not."""
    found = [row for row in REGISTRY if suite in ("all", row.suite)]
    if pattern:
        expression = re.compile(pattern, re.IGNORECASE)
        return [r for r in found if expression.search(f"{r.suite} {r.group} {r.name}")]
    return [row for row in found if row.quick] if quick else found


def as_arrays(result: Any) -> list[NDArray[Any]]:
    """The numbers of a result: an array or tensor of any library, a number, or a tuple of these."""
    if isinstance(result, tuple | list):
        return [array for item in result for array in as_arrays(item)]
    if hasattr(result, "detach"):
        result = result.detach().numpy()
    return [np.array(result, dtype=np.float64)]


def difference(results: Any, expected: Any) -> float:
    """Largest relative L2 distance over the arrays of two results; infinite if shapes differ."""
    pairs = list(zip(as_arrays(results), as_arrays(expected), strict=False))
    if len(as_arrays(results)) != len(as_arrays(expected)):
        return float("inf")
    worst = 0.0
    for a, b in pairs:
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        distance = float(np.linalg.norm(a - b))
        worst = max(worst, distance / max(float(np.linalg.norm(b)), 1e-30) if distance else 0.0)
    return worst


def check(contest: Contest) -> str:
    """Empty when all contestants give the same, else what differs."""
    expected = contest.results[OURS]()
    expected = as_arrays(expected)  # copies: a later call may overwrite what this one returned
    for name, result in contest.results.items():
        if name == OURS:
            continue
        distance = difference(result(), expected)
        if not distance <= contest.tolerance:
            return f"{name} differs from {OURS} by {distance:.1e} (allowed {contest.tolerance:.0e})"
    return ""
