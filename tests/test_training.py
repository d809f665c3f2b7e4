# SPDX-License-Identifier: BSD-3-Clause
"""Whole training runs: a task is learned, and the loss follows float64 and PyTorch step by step."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn, reference


def spirals(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three interleaved spirals in the plane: (n, 2) and labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    radius = rng.uniform(0.1, 1.0, n)
    angle = 4.0 * radius + 2.0 * np.pi / 3.0 * labels + 0.1 * rng.standard_normal(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32), labels


def test_a_small_network_learns_to_classify() -> None:
    nv.manual_seed(0)
    x, y = spirals()
    model = nn.Sequential(
        nn.Linear(2, 32, activation="relu"), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3)
    )
    optimizer = nv.optim.Adam(model.parameters(), lr=0.01)
    loss_fn = nn.CrossEntropyLoss()
    inputs, targets = nv.tensor(x), nv.tensor(y)
    first = loss_fn(model(inputs), targets).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
    assert 0.9 < first < 1.4
    assert loss.item() < 0.1
    test_x, test_y = spirals(seed=1)
    with nv.no_grad():
        predicted = model.eval()(nv.tensor(test_x)).argmax(1).numpy()
    assert (predicted == test_y).mean() > 0.95


def test_a_small_network_learns_to_regress() -> None:
    nv.manual_seed(1)
    x = np.linspace(-3.0, 3.0, 128, dtype=np.float32)[:, None]
    inputs, targets = nv.tensor(x), nv.tensor(np.sin(x))
    model = nn.Sequential(nn.Linear(1, 32), nn.GELU(), nn.Linear(32, 1))
    optimizer = nv.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    loss_fn = nn.MSELoss()
    for _ in range(500):
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.01


def test_dropout_regularises_and_is_off_in_evaluation() -> None:
    nv.manual_seed(2)
    x, y = spirals(60)
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
    inputs = nv.tensor(x)
    assert not np.array_equal(model(inputs).numpy(), model(inputs).numpy())
    model.eval()
    np.testing.assert_array_equal(model(inputs).numpy(), model(inputs).numpy())
    model.train()
    optimizer = nv.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), nv.tensor(y))
        loss.backward()
        optimizer.step()
    assert nn.functional.cross_entropy(model.eval()(inputs), nv.tensor(y)).item() < 0.5


# ---- the curve of ten steps ----------------------------------------------------------------------

SIZES = (2, 17, 9, 3)
ACTIVATIONS = ("relu", "tanh", "")
LR, MOMENTUM, DECAY = 0.3, 0.9, 0.01


def initial_state(seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(SIZES)):
        k = 1.0 / np.sqrt(inputs)
        state[f"{i}.weight"] = rng.uniform(-k, k, (outputs, inputs)).astype(np.float32)
        state[f"{i}.bias"] = rng.uniform(-k, k, outputs).astype(np.float32)
    return state


def reference_curve(x: np.ndarray, y: np.ndarray, steps: int) -> list[float]:
    """The same network, written with the float64 reference."""
    state = {name: value.astype(np.float64) for name, value in initial_state().items()}
    buffers = {name: np.zeros_like(value) for name, value in state.items()}
    losses = []
    for step in range(steps):
        inputs = [x.astype(np.float64)]
        for i, activation in enumerate(ACTIVATIONS):
            layer = (state[f"{i}.weight"], state[f"{i}.bias"], activation)
            inputs.append(reference.linear(inputs[-1], *layer))
        losses.append(float(reference.cross_entropy(inputs[-1], y)))
        dy = reference.cross_entropy_backward(1.0, inputs[-1], y)[0]
        gradients = {}
        for i in reversed(range(len(ACTIVATIONS))):
            layer = (state[f"{i}.weight"], state[f"{i}.bias"], ACTIVATIONS[i])
            dy, dw, db = reference.linear_backward(dy, inputs[i], *layer)
            gradients[f"{i}.weight"], gradients[f"{i}.bias"] = dw, db
        for name, gradient in gradients.items():
            state[name], buffers[name] = reference.sgd_step(
                state[name],
                gradient,
                buffers[name],
                lr=LR,
                momentum=MOMENTUM,
                weight_decay=DECAY,
                first_step=step == 0,
            )
    return losses


def curve(model: Any, optimizer: Any, loss_fn: Any, x: Any, y: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def our_curve(x: np.ndarray, y: np.ndarray, steps: int) -> list[float]:
    layers = zip(SIZES[:-1], SIZES[1:], ACTIVATIONS, strict=True)
    model = nn.Sequential(*(nn.Linear(i, o, activation=a or None) for i, o, a in layers))
    model.load_state_dict(initial_state())
    optimizer = nv.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    return curve(model, optimizer, nn.CrossEntropyLoss(), nv.tensor(x), nv.tensor(y), steps)


def test_ten_steps_follow_the_reference(isa: str) -> None:
    x, y = spirals(64)
    losses = our_curve(x, y, 10)
    np.testing.assert_allclose(losses, reference_curve(x, y, 10), rtol=2e-5)
    assert losses[-1] < losses[0]


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x, y = spirals(3000)
    curves = []
    for threads in (1, 2, 3):
        nv.set_num_threads(threads)
        curves.append(our_curve(x, y, 10))
    assert curves[0] == curves[1] == curves[2]


@pytest.mark.torch
def test_ten_steps_follow_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, y = spirals(64)
    modules = {"relu": torch.nn.ReLU(), "tanh": torch.nn.Tanh(), "": torch.nn.Identity()}
    layers = [torch.nn.Linear(i, o) for i, o in itertools.pairwise(SIZES)]
    state = {name: torch.from_numpy(value) for name, value in initial_state().items()}
    torch.nn.ModuleList(layers).load_state_dict(state)
    activated = [(layer, modules[a]) for layer, a in zip(layers, ACTIVATIONS, strict=True)]
    model = torch.nn.Sequential(*(m for pair in activated for m in pair))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    data = (torch.from_numpy(x), torch.from_numpy(y))
    theirs = curve(model, optimizer, torch.nn.CrossEntropyLoss(), *data, 10)
    np.testing.assert_allclose(our_curve(x, y, 10), theirs, rtol=2e-5)
