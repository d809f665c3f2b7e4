# SPDX-License-Identifier: BSD-3-Clause
"""Rows of whole training steps: forward, loss, backward, update. Read ``registry.py`` first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nervure as nv
from nervure import nn, optim
from nervure.nn import functional as F

from . import jax_peers
from .data import Floats, classes, floats
from .numpy_peers import NumpyMLP
from .registry import Contest, Peers, rows

Layers = list[tuple[Floats, Floats]]

# What is compared: the losses of so many steps from the same weights. Adam turns a gradient of
# rounding noise into a full step, so that weights may differ where losses do not.
CHECKED_STEPS = 5


def _losses(step: Callable[[], Any]) -> list[Any]:
    return [step() for _ in range(CHECKED_STEPS)]


def initial_layers(sizes: Sequence[int]) -> Layers:
    """Weights (out, in) and biases as PyTorch's Linear is initialised: uniform in 1 / sqrt(in)."""
    rng = np.random.default_rng(0)
    layers: Layers = []
    for inputs, outputs in pairwise(sizes):
        bound = inputs**-0.5
        weight = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        layers.append((weight, rng.uniform(-bound, bound, outputs).astype(np.float32)))
    return layers


def training_step(
    net: Any, optimizer: Any, loss_function: Any, x: Any, y: Any
) -> Callable[[], Any]:
    """The training step of Nervure and torch, call for call the same."""

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_function(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


@rows(
    "models",
    "training step",
    {
        "MLP 784-256-128-10, batch 64, Adam": ((784, 256, 128, 10), 64),
        "MLP 10-32-2, batch 32, Adam": ((10, 32, 2), 32),
    },
    quick=["MLP 784-256-128-10, batch 64, Adam", "MLP 10-32-2, batch 32, Adam"],
)
def mlp(peers: Peers, sizes: tuple[int, ...], batch: int) -> Contest:
    """forward, cross-entropy, backward and Adam of a dense ReLU network (torch: eager, fused Adam;
    jax: one jitted function)"""
    x, y = floats(batch, sizes[0]), classes(sizes[-1], batch)
    layers = initial_layers(sizes)
    products = [n * m for n, m in pairwise(sizes)]
    # forward, dW, and dX of all layers but the first
    flops = 2.0 * batch * (3 * sum(products) - products[0])
    contest = Contest(flops=flops, tolerance=1e-4)

    step = training_step(*nervure_net(layers), F.cross_entropy, nv.tensor(x), nv.tensor(y))
    contest.add("nervure", step, lambda: _losses(step))
    numpy_net = NumpyMLP(layers, batch)
    contest.add(
        "numpy", lambda: numpy_net.step(x, y), lambda: _losses(lambda: numpy_net.step(x, y))
    )
    if peers.torch:
        torch = peers.torch
        torch_step = training_step(
            *torch_net(torch, layers),
            torch.nn.functional.cross_entropy,
            torch.from_numpy(x),
            torch.from_numpy(y),
        )
        contest.add("torch", torch_step, lambda: _losses(torch_step))
    if peers.jax:
        jax_step = _jax_mlp(peers.jax, layers, x, y)
        contest.add("jax", jax_step, lambda: _losses(jax_step))
    return contest


def nervure_net(layers: Layers) -> tuple[nn.Sequential, optim.Adam]:
    """A dense ReLU network with these weights, and its optimiser."""
    net = nn.Sequential()
    for i, (weight, bias) in enumerate(layers):
        activation = "relu" if i + 1 < len(layers) else None
        layer = nn.Linear(weight.shape[1], weight.shape[0], activation=activation)
        layer.load_state_dict({"weight": nv.tensor(weight), "bias": nv.tensor(bias)})
        net.append(layer)
    return net, optim.Adam(net.parameters(), lr=1e-3)


def torch_net(torch: Any, layers: Layers) -> tuple[Any, Any]:
    """The same in PyTorch."""
    modules = []
    for weight, bias in layers:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        modules += [layer, torch.nn.ReLU()]
    net = torch.nn.Sequential(*modules[:-1])
    return net, torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)


def _jax_mlp(jax: Any, layers: Layers, x: Floats, y: NDArray[np.int64]) -> Callable[[], Any]:
    import jax.numpy as jnp

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        for weight, bias in params[:-1]:
            x = jnp.maximum(x @ weight + bias, 0)
        return jax_peers.cross_entropy(jax, x @ params[-1][0] + params[-1][1], y)

    params = [(weight.T, bias) for weight, bias in layers]
    return jax_peers.adam_steps(jax, loss_of, params, (x, y))
