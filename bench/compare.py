#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two result files of ``nervure bench --json`` side by side.

``python bench/compare.py A.json B.json``, or ``python -m nervure.bench.compare A.json B.json``. The
ratio is A's time / B's, so that above 1 means that B is faster. A row is marked "~" (noise) when
the difference is no larger than the spread of the rounds of both runs together.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Key = tuple[str, str, int, str]


def load(path: Path) -> dict[str, Any]:
    """A result file; ValueError when it is none."""
    try:
        data = json.loads(path.read_text())
        if data["format"] != 1:
            raise ValueError(f"{path} has format {data['format']}, expected 1")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no result file of nervure bench") from error
    return dict(data)


def timings(data: dict[str, Any], contestant: str) -> dict[Key, dict[str, float]]:
    """Row -> its timing of one contestant."""
    return {
        (row["suite"], row["group"], row["threads"], row["name"]): row["contestants"][contestant]
        for row in data["rows"]
        if contestant in row["contestants"]
    }


def is_noise(a: dict[str, float], b: dict[str, float]) -> bool:
    """Whether the medians are closer than half of both interquartile ranges together."""
    return abs(a["median"] - b["median"]) <= (a["iqr"] + b["iqr"]) / 2


def compare(a: dict[str, Any], b: dict[str, Any], contestant: str = "nervure") -> list[str]:
    """The table's lines."""
    rows_a, rows_b = timings(a, contestant), timings(b, contestant)
    common = [key for key in rows_a if key in rows_b]
    lines = [f"{'row':<44} {'threads':>7} {'A':>11} {'B':>11} {'A / B':>7}"]
    heading = None
    for key in common:
        suite, group, threads, name = key
        if heading != (suite, group):
            heading = (suite, group)
            lines.append(f"{suite}, {group}")
        first, second = rows_a[key], rows_b[key]
        ratio = first["median"] / second["median"]
        mark = " ~" if is_noise(first, second) else " +" if ratio > 1 else " -"
        times = " ".join(f"{1e6 * timing['median']:>8.2f} µs" for timing in (first, second))
        lines.append(f"  {name:<42} {threads:>7} {times} {ratio:>7.3f}{mark}")
    if common:
        logs = [math.log(rows_a[key]["median"] / rows_b[key]["median"]) for key in common]
        mean = math.exp(sum(logs) / len(logs))
        lines.append(
            f"{len(common)} rows, geometric mean A / B {mean:.3f} (+ B faster, - B slower, ~ noise)"
        )
    for label, mine, other in (("A", rows_a, rows_b), ("B", rows_b, rows_a)):
        if alone := [key[3] for key in mine if key not in other]:
            lines.append(f"only in {label}: {', '.join(dict.fromkeys(alone))}")
    return lines


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """In what the two machines differ, for a comparison across machines is none of the code."""
    lines = []
    for key in ("cpu", "cores", "isa", "compiler", "commit", "versions", "date"):
        first, second = a["machine"].get(key), b["machine"].get(key)
        if first != second:
            lines.append(f"{key}: A {first}, B {second}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("a", type=Path, metavar="A.json")
    parser.add_argument("b", type=Path, metavar="B.json")
    parser.add_argument(
        "--contestant", default="nervure", help="compare this one's times (default: nervure)"
    )
    options = parser.parse_args(arguments)
    try:
        a, b = load(options.a), load(options.b)
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print("\n".join([*differences(a, b), "", *compare(a, b, options.contestant)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
