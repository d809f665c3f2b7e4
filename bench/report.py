# SPDX-License-Identifier: BSD-3-Clause
"""Results: of one row, of a run, as lines of a table and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .registry import OURS, Contest, Row
from .roofline import BEYOND_CACHES, Roofline
from .timing import Timing

FORMAT = 1  # of the JSON file
NAME_WIDTH = 48
NOISY = 0.25  # spread of the rounds from which a time is not to be trusted


@dataclass
class Result:
    """One row with one number of threads. Times are seconds per unit of work."""

    suite: str
    group: str
    name: str
    what: str
    threads: int
    contestants: dict[str, dict[str, Any]]
    rate: float | None = None
    unit: str = ""
    of_peak: float | None = None

    @property
    def ours(self) -> dict[str, Any]:
        return self.contestants[OURS]

    @property
    def ratios(self) -> dict[str, float]:
        """Peer's median / our median: above 1 we are faster."""
        return {
            name: timing["median"] / self.ours["median"]
            for name, timing in self.contestants.items()
            if name != OURS
        }


def result_of(
    row: Row, threads: int, contest: Contest, timings: dict[str, Timing], peak: Roofline
) -> Result:
    result = Result(
        row.suite,
        row.group,
        row.name,
        row.what,
        threads,
        {name: timing.as_dict(contest.per) for name, timing in timings.items()},
    )
    seconds = timings[OURS].median
    if contest.flops:
        result.rate, result.unit = contest.flops / seconds / 1e9, "GFLOP/s"
        result.of_peak = result.rate / peak.gflops
    elif contest.bytes:
        result.rate, result.unit = contest.bytes / seconds / 1e9, "GB/s"
        if contest.bytes >= BEYOND_CACHES:
            result.of_peak = result.rate / peak.bandwidth
    return result


@dataclass
class Run:
    """Everything that one run found out."""

    machine: dict[str, Any]
    peaks: dict[int, Roofline] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "machine": self.machine,
            "notes": self.notes,
            "peaks": {str(threads): asdict(peak) for threads, peak in self.peaks.items()},
            "rows": [asdict(result) | {"ratios": result.ratios} for result in self.results],
            "failed": self.failed,
        }

    def add_file(self, path: Path) -> None:
        """Take over what another process found out."""
        data = json.loads(path.read_text())
        self.notes += [note for note in data["notes"] if note not in self.notes]
        self.peaks |= {int(threads): Roofline(**peak) for threads, peak in data["peaks"].items()}
        for row in data["rows"]:
            del row["ratios"]
            self.results.append(Result(**row))
        self.failed += data["failed"]


# ---- the table -----------------------------------------------------------------------------------


def format_seconds(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds * 1e9)} ns"


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f}"


class Table:
    """Lines of text, one per row, with or without colours of the terminal."""

    def __init__(self, peers: list[str], colours: bool, unlimited: tuple[str, ...] = ()) -> None:
        """``unlimited`` names the peers whose number of threads could not be set."""
        self.peers = peers
        self.colours = colours
        self.unlimited = unlimited

    def heading(self, group: str, threads: int) -> str:
        title = f"{group}, {threads} thread{'s' if threads > 1 else ''}"
        cells = f"{'time':>8} {'±':>5} {'rate':>13} {'of peak':>8}"
        mark = {peer: "*" if peer in self.unlimited and threads > 0 else "" for peer in self.peers}
        cells += "".join(f"{'x ' + peer + mark[peer]:>10}" for peer in self.peers)
        return self._colour("1", f"{title:<{NAME_WIDTH}} {cells}")

    def line(self, result: Result) -> str:
        ours = result.ours
        relative = ours["iqr"] / ours["median"]
        spread = self._colour("33" if relative > NOISY else "0", f"{100 * relative:>3.0f} %")
        rate = "" if result.rate is None else f"{_three_digits(result.rate)} {result.unit:<7}"
        of_peak = "" if result.of_peak is None else f"{100 * result.of_peak:.0f} %"
        text = f"  {result.name:<{NAME_WIDTH - 2}} {format_seconds(ours['median']):>8} {spread}"
        text += f" {rate:>13} {of_peak:>8}"
        return text + "".join(self._ratio(result.ratios.get(peer)) for peer in self.peers)

    def failure(self, name: str, reason: str) -> str:
        return self._colour("1;31", f"  {name:<{NAME_WIDTH - 2}} FAILED: {reason}")

    def summary(self, run: Run) -> list[str]:
        """How each peer fares over all rows."""
        lines = []
        for threads in run.peaks:
            for peer in self.peers:
                ratios = [
                    (r.ratios[peer], r.name)
                    for r in run.results
                    if r.threads == threads and peer in r.ratios
                ]
                if not ratios:
                    continue
                mean = math.exp(sum(math.log(ratio) for ratio, _ in ratios) / len(ratios))
                ahead = sum(ratio >= 1 for ratio, _ in ratios)
                worst, name = min(ratios)
                lines.append(
                    f"against {peer:<6} {threads} thread{'s' if threads > 1 else ' '}: "
                    f"ahead in {ahead} of {len(ratios)} rows, geometric mean {mean:.2f} x, "
                    f"least {worst:.2f} x ({name})"
                )
        if run.failed:
            lines.append(self._colour("1;31", f"{len(run.failed)} rows FAILED: see above"))
        return lines

    def _ratio(self, ratio: float | None) -> str:
        if ratio is None:
            return " " * 10
        text = f"{ratio:>10.2f}"
        return self._colour("32" if ratio >= 1.02 else "31" if ratio < 0.98 else "0", text)

    def _colour(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours else text


def header(run: Run) -> list[str]:
    """What was run where."""
    machine = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commit = f", commit {machine['commit']}" if machine["commit"] else ""
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}",
        f"{versions}, Python {machine['python']}{commit}",
        "time: median of interleaved rounds, all called from Python; ±: middle half of the rounds;",
        "x peer: its time / ours, above 1 we are faster; of peak: of the FMA or memory peak below",
        *run.notes,
    ]


def peak_line(threads: int, peak: Roofline) -> str:
    return (
        f"peak with {threads} thread{'s' if threads > 1 else ''}: {peak.gflops:.1f} GFLOP/s FMA, "
        f"{peak.copy:.1f} GB/s copy, {peak.triad:.1f} GB/s triad"
    )
