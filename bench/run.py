# SPDX-License-Identifier: BSD-3-Clause
"""``nervure bench``: check, time and report the rows asked for."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import nervure as nv
from nervure.progress import ProgressBar

from . import (  # noqa: F401  (the rows register themselves)
    attention,
    char_rnn,
    conv,
    decoding,
    embedding,
    kernels,
    loops,
    models,
    networks,
    norm,
    pool,
    registry,
    rnn,
    transformers,
)
from .machine import describe
from .registry import OURS, PEERS, Peers, Row
from .report import Result, Run, Table, header, peak_line, result_of
from .roofline import Roofline, measure
from .threads import Threads
from .timing import FULL, QUICK, Budget, time_rounds

PAUSE = 0.05  # seconds; OpenBLAS and OpenMP workers spin for up to 40 ms after a call


@dataclass(frozen=True)
class Options:
    suite: str = "all"
    against: tuple[str, ...] = ()  # empty: NumPy, and torch where it is installed
    threads: tuple[int, ...] = ()  # empty: 1 and what Nervure would take
    filter: str | None = None
    quick: bool = False
    json: Path | None = None
    plot: Path | None = None


class BenchError(Exception):
    """What was asked for cannot be run; the message says why."""


def run(options: Options) -> int:
    """Run, print and write; the number of rows that failed."""
    options = _complete(options)
    try:
        rows = registry.select(options.suite, options.filter, options.quick)
    except re.error as error:
        raise BenchError(f"--filter is no regular expression: {error}") from error
    if not rows:
        raise BenchError("no row has a name that matches --filter")
    if options.plot:
        _require("matplotlib", "--plot", "plot")
    if _needs_processes(options):
        found = _run_processes(options)
    else:
        found = _run_here(options, rows)
    if options.json:
        options.json.write_text(json.dumps(found.as_dict(), indent=1) + "\n")
    if options.plot:
        from .chart import draw

        draw(found, options.plot)
    return len(found.failed)


def list_rows(options: Options) -> None:
    """Print the rows that ``run`` would time, and what they compute."""
    for row in registry.select(options.suite, options.filter, options.quick):
        print(f"{row.suite:<8} {row.name:<42} {row.what}")


# ---- what to run ---------------------------------------------------------------------------------


def _complete(options: Options) -> Options:
    """The options with defaults filled in, and checked."""
    against = options.against
    if not against:
        against = ("numpy", "torch") if importlib.util.find_spec("torch") else ("numpy",)
    for peer in against:
        if peer not in registry.PEERS:
            raise BenchError(f"--against knows {', '.join(registry.PEERS)}, not {peer!r}")
        _require(peer, f"--against {peer}")
    threads = options.threads or tuple(sorted({1, nv.get_num_threads()}))
    if min(threads) < 1:
        raise BenchError(f"--threads must be positive, got {min(threads)}")
    return replace(options, against=against, threads=threads)


def _require(module: str, asked: str, extra: str = "") -> None:
    if importlib.util.find_spec(module) is None:
        name = f"nervure[{extra}]" if extra else module
        raise BenchError(f"{asked} needs {module}: pip install '{name}'")


def _needs_processes(options: Options) -> bool:
    """JAX fixes its number of threads when it starts."""
    environment = os.environ.get("NPROC")
    return "jax" in options.against and [environment] != [str(n) for n in options.threads]


def _run_processes(options: Options) -> Run:
    """One process for each number of threads."""
    merged: Run | None = None
    for threads in options.threads:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            arguments = ["--suite", options.suite, "--against", ",".join(options.against)]
            arguments += ["--threads", str(threads), "--json", str(path)]
            arguments += ["--filter", options.filter] if options.filter else []
            arguments += ["--quick"] if options.quick else []
            subprocess.run(
                [sys.executable, "-m", "nervure.bench", *arguments],
                env=os.environ | {"NPROC": str(threads), "JAX_PLATFORMS": "cpu"},
                check=False,
            )
            if not path.exists():
                raise BenchError(f"the run with {threads} threads ended without results")
            merged = merged or Run(json.loads(path.read_text())["machine"])
            merged.add_file(path)
    assert merged is not None
    return merged


# ---- running -------------------------------------------------------------------------------------


def _run_here(options: Options, rows: list[Row]) -> Run:
    peers = Peers(*(_import(name, options) for name in PEERS[1:]))
    found = Run(describe(peers))
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    with Threads(peers) as threads, ProgressBar(len(rows) * len(options.threads)) as bar:
        unlimited: tuple[str, ...] = ()
        if "numpy" in options.against and not threads.blas:
            unlimited = ("numpy",)
            found.notes.append(
                "* NumPy's BLAS takes as many threads as it likes: threadpoolctl is not installed"
            )
        table = Table(list(options.against), colours, unlimited)
        for line in header(found):
            bar.print(line)
        for count in options.threads:
            threads.set(count)
            bar.update(description="measuring the machine")
            found.peaks[count] = measure(count)
            bar.print()
            bar.print(peak_line(count, found.peaks[count]))
            runner = _Runner(options, peers, count, found, table, bar)
            for row in rows:
                runner.run(row)
        bar.print()
        for line in table.summary(found):
            bar.print(line)
    return found


def _import(name: str, options: Options) -> object:
    return importlib.import_module(name) if name in options.against else None


@dataclass
class _Runner:
    """Runs rows with one number of threads."""

    options: Options
    peers: Peers
    threads: int
    found: Run
    table: Table
    bar: ProgressBar
    group: str = ""

    def run(self, row: Row) -> None:
        self.bar.update(description=row.name)
        try:
            result = time_row(
                row,
                self.peers,
                (OURS, *self.options.against),
                self.threads,
                self.found.peaks[self.threads],
                QUICK if self.options.quick else FULL,
            )
        except RowFailed as failure:
            line = self.table.failure(row.name, str(failure))
            self.found.failed.append(
                {"name": row.name, "threads": self.threads, "reason": str(failure)}
            )
        else:
            line = self.table.line(result)
            self.found.results.append(result)
        if row.group != self.group:
            self.group = row.group
            self.bar.print()
            self.bar.print(self.table.heading(row.group, self.threads))
        self.bar.print(line)
        self.bar.update(1)


class RowFailed(Exception):
    """A row whose contestants do not give the same, or that raised."""


def time_row(
    row: Row,
    peers: Peers,
    contestants: tuple[str, ...],
    threads: int,
    peak: Roofline,
    budget: Budget,
) -> Result:
    """Check that all contestants give the same, then time them side by side."""
    try:
        contest = row.build(peers)
        contest.keep(contestants)
        problem = registry.check(contest)
        if problem:
            raise RowFailed(problem)
        pause = PAUSE if threads > 1 and len(contest.calls) > 1 else 0.0
        timings = time_rounds(contest.calls, budget, pause=pause)
    except RowFailed:
        raise
    except Exception as error:  # one broken row must not end the run, but it must be seen
        raise RowFailed(f"{type(error).__name__}: {error}") from error
    return result_of(row, threads, contest, timings, peak)
