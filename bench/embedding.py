# SPDX-License-Identifier: BSD-3-Clause
"""Rows of embeddings: large tables of which a step touches a few rows. See ``registry.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

import nervure as nv
from nervure import nn, optim

from .data import floats
from .registry import Contest, Peers, rows

# rows, features, indices
SHAPES = {
    "100000x64, 2048 indices": (100_000, 64, 2048),
    "10000x256, 1024 indices": (10_000, 256, 1024),
}


@rows(
    "kernels",
    "embedding",
    {
        f"embedding {kind}, {name}": (kind, *shape)
        for kind in ("SGD", "Adam")
        for name, shape in SHAPES.items()
    },
    quick=["embedding Adam, 100000x64, 2048 indices"],
)
def training(peers: Peers, kind: str, count: int, features: int, n: int) -> Contest:
    """lookup, row-sparse gradient and step (torch: sparse=True, SGD or SparseAdam), rate 0"""
    table, dy = floats(count, features), floats(n, features, seed=1)
    indices = np.random.default_rng(0).integers(0, count, n)
    # lookup 2, gradient 2; the step reads gradient, table and state, and writes the latter two
    moved = {"SGD": 7, "Adam": 11}[kind]
    contest = Contest(bytes=4.0 * moved * n * features, tolerance=1e-6)
    ours = nn.Embedding(count, features)
    ours.weight.detach().copy_(nv.tensor(table))
    optimizer = getattr(optim, kind)(ours.parameters(), lr=0.0)
    run = _step(ours, optimizer, nv.tensor(indices), nv.tensor(dy))
    contest.add("nervure", run, lambda: (run(), ours.weight.grad))
    if peers.torch:
        torch = peers.torch
        theirs = torch.nn.Embedding(count, features, sparse=True)
        theirs.weight.data = torch.from_numpy(table.copy())
        peer = torch.optim.SGD if kind == "SGD" else torch.optim.SparseAdam
        # SparseAdam wants a positive rate: one that changes no float of this size
        peer_optimizer = peer(theirs.parameters(), lr=1e-30)
        x, gradient = torch.from_numpy(indices), torch.from_numpy(dy)
        peer_run = _step(theirs, peer_optimizer, x, gradient)
        contest.add("torch", peer_run, lambda: (peer_run(), theirs.weight.grad.to_dense()))
    return contest


def _step(module: Any, optimizer: Any, x: Any, dy: Any) -> Any:
    def run() -> Any:
        optimizer.zero_grad()
        y = module(x)
        y.backward(dy)
        optimizer.step()
        return y

    return run
