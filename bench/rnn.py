# SPDX-License-Identifier: BSD-3-Clause
"""Rows of the recurrent layers. Read ``registry.py`` first.

Nervure and torch both get sequences in the layout that is their own default's fastest: PyTorch
(steps, batch, features), Nervure (batch, steps, features) lying step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import nervure as nv
from nervure import nn

from . import jax_peers
from .data import Floats, floats
from .numpy_recurrent import NumpyRecurrent
from .registry import Contest, Peers, rows

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}

# steps, batch, input, hidden
SHAPES = [
    (32, 32, 64, 128),
    (100, 1, 64, 256),
    (50, 32, 32, 32),
    (64, 32, 64, 256),
    (64, 64, 256, 256),
    (35, 20, 650, 650),
]
QUICK = [(32, 32, 64, 128), (50, 32, 32, 32)]


def _named(kinds: tuple[str, ...], prefix: str = "") -> dict[str, tuple[Any, ...]]:
    return {
        f"{prefix}{kind} {'x'.join(map(str, shape))}": (kind, shape)
        for kind in kinds
        for shape in SHAPES
    }


def _quick(prefix: str) -> list[str]:
    return [f"{prefix}LSTM {'x'.join(map(str, shape))}" for shape in QUICK]


def layer_flops(kind: str, shape: tuple[int, ...], directions: int = 1) -> float:
    steps, batch, inputs, hidden = shape
    return 2.0 * directions * steps * batch * GATES[kind] * hidden * (inputs + hidden)


def _pair(peers: Peers, kind: str, inputs: int, hidden: int, **options: Any) -> tuple[Any, Any]:
    """Our module, and PyTorch's with the same weights (None without PyTorch)."""
    nv.manual_seed(0)
    ours = getattr(nn, kind)(inputs, hidden, batch_first=False, **options)
    if not peers.torch:
        return ours, None
    theirs = getattr(peers.torch.nn, kind)(inputs, hidden, **options)
    theirs.load_state_dict(
        {name: peers.torch.from_numpy(p.numpy().copy()) for name, p in ours.state_dict().items()}
    )
    return ours, theirs


def _numpy_layer(kind: str, module: Any, x: Floats) -> NumpyRecurrent:
    return NumpyRecurrent(kind, [p.numpy() for p in module.parameters()], *x.shape[:2])


@rows(
    "kernels",
    "recurrent layers",
    _named(("LSTM", "GRU", "RNN"), "forward "),
    quick=_quick("forward "),
)
def forward(peers: Peers, kind: str, shape: tuple[int, ...]) -> Contest:
    """output of one layer over steps x batch x input x hidden, no gradient (numpy: a loop)"""
    steps, batch, inputs, hidden = shape
    ours, theirs = _pair(peers, kind, inputs, hidden)
    x = floats(steps, batch, inputs)
    contest = Contest(flops=layer_flops(kind, shape), tolerance=1e-4)
    a = nv.tensor(x)

    def call() -> Any:
        with nv.no_grad():
            return ours(a)[0]

    contest.add("nervure", call)
    layer = _numpy_layer(kind, ours, x)
    contest.add("numpy", lambda: layer.forward(x))
    if theirs:
        b = peers.torch.from_numpy(x)

        def peer() -> Any:
            with peers.torch.no_grad():
                return theirs(b)[0]

        contest.add("torch", peer)
    if peers.jax:
        weights = [p.numpy() for p in ours.parameters()]
        contest.add("jax", jax_peers.recurrent_forward(peers.jax, kind, weights, x))
    return contest


def _training(module: Any, x: Any, dy: Any, **call: Any) -> Callable[[], Any]:
    """Forward and backward; the gradients of the input and of all weights."""

    def run() -> Any:
        module.zero_grad()
        x.grad = None
        module(x, **call)[0].backward(dy)
        return x.grad, *(p.grad for p in module.parameters())

    return run


@rows(
    "kernels",
    "recurrent layers",
    _named(("LSTM", "GRU", "RNN"), "training "),
    quick=_quick("training "),
)
def training(peers: Peers, kind: str, shape: tuple[int, ...], **options: Any) -> Contest:
    """forward and backward of one layer over steps x batch x input x hidden, all gradients"""
    steps, batch, inputs, hidden = shape
    directions = 2 if options.get("bidirectional") else 1
    ours, theirs = _pair(peers, kind, inputs, hidden, **options)
    x, dy = floats(steps, batch, inputs), floats(steps, batch, directions * hidden, seed=1)
    contest = Contest(flops=3 * layer_flops(kind, shape, directions), tolerance=1e-3)
    contest.add("nervure", _training(ours, nv.tensor(x, requires_grad=True), nv.tensor(dy)))
    if theirs:
        b = peers.torch.from_numpy(x).requires_grad_()
        contest.add("torch", _training(theirs, b, peers.torch.from_numpy(dy)))
    if not options:
        layer = _numpy_layer(kind, ours, x)
        contest.add("numpy", lambda: layer.training(x, dy))
    if peers.jax and not options:
        weights = [p.numpy() for p in ours.parameters()]
        scan = jax_peers.recurrent_training(peers.jax, kind, weights, x, dy)
        contest.add("jax", scan, lambda: jax_peers.as_torch(scan()))
    return contest


@rows(
    "kernels",
    "recurrent layers",
    {f"training 2x bidirectional {k} 32x32x64x128": k for k in ("LSTM", "GRU")},
)
def stacked(peers: Peers, kind: str) -> Contest:
    """forward and backward of two bidirectional layers, all gradients"""
    contest = training(peers, kind, (32, 32, 64, 128), num_layers=2, bidirectional=True)
    # The second layer's input is as wide as both directions' output.
    contest.flops += 3 * layer_flops(kind, (32, 32, 256, 128), 2)
    return contest


def _normalised_loop(torch: Any, parameters: dict[str, Any], x: Any) -> Any:
    """The layer in PyTorch's operations, as it has no such layer."""
    w_ih, w_hh, b_ih, b_hh, a_ih, a_hh, a_c, b_c = (parameters[f"{n}_l0"] for n in _NORMALISED)
    norm, hidden = torch.nn.functional.layer_norm, w_hh.shape[1]
    sums = norm(x @ w_ih.T, (4 * hidden,), a_ih, b_ih)
    h = c = torch.zeros(x.shape[1], hidden)
    outputs = []
    for t in range(x.shape[0]):
        z = sums[t] + norm(h @ w_hh.T, (4 * hidden,), a_hh, b_hh)
        i, f, g, o = z.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm(c, (hidden,), a_c, b_c).tanh()
        outputs.append(h)
    return torch.stack(outputs)


_NORMALISED = (
    *("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    *("gain_ih", "gain_hh", "gain_c", "bias_c"),
)


@rows(
    "kernels",
    "recurrent layers",
    {
        f"training normalised LSTM {'x'.join(map(str, shape))}": shape
        for shape in (SHAPES[0], SHAPES[3])
    },
)
def normalised(peers: Peers, *shape: int) -> Contest:
    """forward and backward of a layer-normalised LSTM (torch: its operations, step by step)"""
    steps, batch, inputs, hidden = shape
    nv.manual_seed(0)
    ours = nn.LSTM(inputs, hidden, batch_first=False, layer_norm=True)
    x, dy = floats(steps, batch, inputs), floats(steps, batch, hidden, seed=1)
    contest = Contest(flops=3 * layer_flops("LSTM", shape), tolerance=1e-3)
    contest.add("nervure", _training(ours, nv.tensor(x, requires_grad=True), nv.tensor(dy)))
    if peers.torch:
        torch = peers.torch
        theirs = {
            name: torch.from_numpy(p.numpy().copy()).requires_grad_()
            for name, p in ours.named_parameters()
        }
        b, db = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)

        def loop() -> Any:
            for p in (b, *theirs.values()):
                p.grad = None
            _normalised_loop(torch, theirs, b).backward(db)
            return b.grad, *(p.grad for p in theirs.values())

        contest.add("torch", loop)
    return contest


RAGGED = {
    "4 rows up to 1000": (4, 1000, 16, 32),
    "32 rows up to 60": (32, 60, 64, 128),
}


@rows(
    "kernels",
    "recurrent layers",
    {f"ragged {kind}, {name}": (kind, *sizes) for kind in GATES for name, sizes in RAGGED.items()},
)
def ragged(peers: Peers, kind: str, batch: int, steps: int, inputs: int, hidden: int) -> Contest:
    """training step of rows of random lengths (torch: packed sequences)"""
    ours, theirs = _pair(peers, kind, inputs, hidden)
    x, dy = floats(steps, batch, inputs), floats(steps, batch, hidden, seed=1)
    lengths = np.random.default_rng(0).integers(1, steps + 1, batch)
    lengths[0] = steps
    for i, n in enumerate(lengths):
        dy[n:, i] = 0.0
    flops = 3 * layer_flops(kind, (int(lengths.sum()), 1, inputs, hidden))
    contest = Contest(flops=flops, tolerance=1e-3)
    a = nv.tensor(x, requires_grad=True)
    contest.add("nervure", _training(ours, a, nv.tensor(dy), lengths=nv.tensor(lengths)))
    if theirs:
        torch = peers.torch
        b, db = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)
        pack = torch.nn.utils.rnn

        def packed() -> Any:
            theirs.zero_grad()
            b.grad = None
            y, _ = theirs(pack.pack_padded_sequence(b, lengths, enforce_sorted=False))
            pack.pad_packed_sequence(y, total_length=steps)[0].backward(db)
            return b.grad, *(p.grad for p in theirs.parameters())

        contest.add("torch", packed)
    return contest


@rows(
    "kernels",
    "recurrent layers",
    {f"one step {kind} 16->32, batch 1": kind for kind in GATES},
    quick=["one step LSTM 16->32, batch 1"],
)
def step(peers: Peers, kind: str) -> Contest:
    """one step of streaming, no gradient (torch: the layer on one step, its fastest way)"""
    ours, theirs = _pair(peers, kind, 16, 32)
    x = floats(1, 1, 16)
    contest = Contest(flops=layer_flops(kind, (1, 1, 16, 32)), tolerance=1e-4)
    a = nv.tensor(x[0])
    with nv.no_grad():
        _, state = ours.step(a)

    def call() -> Any:
        with nv.no_grad():
            return ours.step(a, state)[0]

    contest.add("nervure", call)
    if theirs:
        b = peers.torch.from_numpy(x)
        with peers.torch.no_grad():
            _, final = theirs(b)

        def peer() -> Any:
            with peers.torch.no_grad():
                return theirs(b, final)[0][0]

        contest.add("torch", peer)
    return contest
