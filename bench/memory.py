# SPDX-License-Identifier: BSD-3-Clause
"""Peak memory of attention, forward and backward, as its length grows::

    python -m nervure.bench.memory [--lengths 1024,2048,4096] [--against torch,jax]

Each measurement is a process of its own; what counts is how far its resident memory rises above
what it was once inputs are made and a short sequence has been through. (Linux only.)
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH, HEADS, SIZE = 1, 8, 64
SHORT = 64  # goes through first: threads, code and tables are there then


def _inputs(length: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((BATCH, HEADS, length, SIZE), np.float32) for _ in range(4)]


def _nervure(length: int) -> Callable[[], object]:
    import nervure as nv

    *arrays, dy = map(nv.tensor, _inputs(length))
    for x in arrays:
        x.requires_grad = True

    def run() -> object:
        y = nv.nn.functional.scaled_dot_product_attention(*arrays)
        return y.backward(dy)

    return run


def _torch(length: int) -> Callable[[], object]:
    import torch

    *arrays, dy = map(torch.from_numpy, _inputs(length))
    for x in arrays:
        x.requires_grad_()
    return lambda: torch.nn.functional.scaled_dot_product_attention(*arrays).backward(dy)


def _jax(length: int) -> Callable[[], object]:
    import jax

    from .jax_peers import attention_pass

    return attention_pass(jax, _inputs(length), False)


def _numpy(length: int) -> Callable[[], object]:
    from .attention import _numpy_pass

    q, k, v, dy = _inputs(length)
    return lambda: _numpy_pass(q, k, v, dy, False)


CONTESTANTS = {"nervure": _nervure, "torch": _torch, "jax": _jax, "numpy": _numpy}


# ---- the process that measures -------------------------------------------------------------------


def _status(field: str) -> int:
    """Bytes of a field of this process's status."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found
    return 1024 * int(found[1])


def measure(contestant: str, length: int) -> int:
    """Bytes by which the resident memory of this process rises at most."""
    CONTESTANTS[contestant](SHORT)()
    run = CONTESTANTS[contestant](length)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


# ---- the command ---------------------------------------------------------------------------------


def _measure_apart(contestant: str, length: int) -> int:
    command = [sys.executable, "-m", "nervure.bench.memory", "--measure", contestant]
    command += ["--lengths", str(length)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr}")
    return int(done.stdout)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--lengths", default="1024,2048,4096", metavar="T,T")
    add("--against", default="", metavar="PEERS", help="of numpy, torch, jax (default: torch where "
        "it is installed)")  # fmt: skip
    add("--measure", choices=tuple(CONTESTANTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    lengths = [int(length) for length in options.lengths.split(",")]
    if options.measure:
        print(measure(options.measure, lengths[0]))
        return 0
    if not Path("/proc/self/clear_refs").exists():
        raise SystemExit("peak memory is measured on Linux only")
    peers = [peer for peer in options.against.split(",") if peer]
    if not peers and importlib.util.find_spec("torch"):
        peers = ["torch"]
    if unknown := set(peers) - set(CONTESTANTS):
        raise SystemExit(f"--against knows {', '.join(CONTESTANTS)}, not {', '.join(unknown)}")
    names = ["nervure", *peers]
    print(f"peak of attention, forward and backward, {BATCH}x{HEADS} heads of {SIZE}, MiB")
    print(f"{'T':>6}" + "".join(f"{name:>10}" for name in names) + f"{'one T x T matrix':>18}")
    for length in lengths:
        found = [_measure_apart(name, length) / 2**20 for name in names]
        matrix = 4 * BATCH * HEADS * length**2 / 2**20
        print(f"{length:>6}" + "".join(f"{mib:>10.1f}" for mib in found) + f"{matrix:>18.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
