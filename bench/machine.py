# SPDX-License-Identifier: BSD-3-Clause
"""Where and with what a benchmark was run."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import nervure as nv
from nervure import _core

from .registry import Peers


def describe(peers: Peers) -> dict[str, Any]:
    """Machine, processor, instruction set, versions, date, and the commit if that is known."""
    config = _core.config()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": config["cpu"],
        "cores": len(os.sched_getaffinity(0)),
        "isa": config["isa"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": config["compiler"],
        "versions": versions(peers),
    }


def versions(peers: Peers) -> dict[str, str]:
    found = {"nervure": nv.__version__, "numpy": np.__version__}
    for name, module in (
        ("torch", peers.torch),
        ("jax", peers.jax),
        ("sklearn", peers.sklearn),
    ):
        if module:
            found[name] = module.__version__
    return found


def commit() -> str | None:
    """Commit of the source tree that this package lies in; "+" marks uncommitted changes."""
    folder = Path(nv.__file__).resolve().parent
    try:
        # A file that git does not track lies in a virtual environment inside somebody's repository.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return _git(folder, "rev-parse", "--short=12", "HEAD") + (
            "+" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *command: str) -> str:
    result = subprocess.run(["git", "-C", folder, *command], check=True, capture_output=True)
    return result.stdout.decode().strip()
