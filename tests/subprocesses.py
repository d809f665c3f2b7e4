# SPDX-License-Identifier: BSD-3-Clause
"""Python in a process of its own, for what may crash, hang or must be set before the import."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

SETTINGS = ("NERVURE_", "OMP_", "GOMP_", "MKL_NUM", "OPENBLAS_NUM")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what sets threads or instruction sets, plus ``extra``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    return {**kept, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **(extra or {})}


def run_python(
    code: str,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    prefix: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the code; whether it ended well is for the caller to check."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", textwrap.dedent(code)],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def output_of(code: str, environment: Mapping[str, str] | None = None, **more: float) -> str:
    """What the code prints; it must end well."""
    done = run_python(code, environment, **more)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def run_program(*arguments: str | Path, folder: Path) -> str:
    """What Python prints, run with these arguments in a folder; it must end well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
