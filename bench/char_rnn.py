# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a language model of characters. Read ``registry.py`` first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nervure as nv
from nervure import optim
from nervure.models import CharRNN
from nervure.nn import functional as F

from . import jax_peers
from .data import Floats, classes
from .models import CHECKED_STEPS, training_step
from .registry import Contest, Peers, rows
from .rnn import layer_flops

VOCABULARY, EMBEDDING, HIDDEN = 96, 64, 256


def _torch_net(torch: Any, kind: str, weights: dict[str, Floats]) -> Any:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, EMBEDDING)
            self.rnn = getattr(torch.nn, kind)(EMBEDDING, HIDDEN, batch_first=True)
            self.output = torch.nn.Linear(HIDDEN, VOCABULARY)

        def forward(self, tokens: Any) -> Any:
            return self.output(self.rnn(self.embedding(tokens))[0])

    net = Net()
    net.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return net


@rows(
    "models",
    "training step",
    {f"char-{kind} 256, 32x64, Adam": kind for kind in ("LSTM", "GRU")},
)
def char_model(peers: Peers, kind: str) -> Contest:
    """embedding, recurrent layer and dense layer over 32 rows of 64 characters: forward,
    cross-entropy, backward and Adam (torch: eager, fused Adam; jax: one jitted function)"""
    batch, steps = 32, 64
    nv.manual_seed(0)
    ours = CharRNN(VOCABULARY, HIDDEN, cell=kind.lower(), embedding_dim=EMBEDDING)
    tokens = classes(VOCABULARY, batch * (steps + 1)).reshape(batch, steps + 1)
    flops = (
        layer_flops(kind, (steps, batch, EMBEDDING, HIDDEN))
        + 2.0 * steps * batch * HIDDEN * VOCABULARY
    )
    contest = Contest(flops=3 * flops, tolerance=1e-4)

    def add(name: str, step: Callable[[], Any]) -> None:
        contest.add(name, step, lambda: [step() for _ in range(CHECKED_STEPS)])

    weights = {name: p.numpy().copy() for name, p in ours.state_dict().items()}
    adam = optim.Adam(ours.parameters(), lr=1e-3)
    x, y = tokens[:, :-1].copy(), tokens[:, 1:].reshape(-1)  # each character predicts the next

    def loss(output: Any, target: Any) -> Any:
        return F.cross_entropy(output[0].reshape(-1, VOCABULARY), target)

    add("nervure", training_step(ours, adam, loss, nv.tensor(x), nv.tensor(y)))
    if peers.torch:
        torch = peers.torch
        theirs = _torch_net(torch, kind, weights)
        torch_adam = torch.optim.Adam(theirs.parameters(), lr=1e-3, fused=True)

        def their_loss(output: Any, target: Any) -> Any:
            return torch.nn.functional.cross_entropy(output.reshape(-1, VOCABULARY), target)

        tensors = torch.from_numpy(x), torch.from_numpy(y)
        add("torch", training_step(theirs, torch_adam, their_loss, *tensors))
    if peers.jax:
        add("jax", jax_peers.char_training(peers.jax, kind, weights, tokens))
    return contest
