# SPDX-License-Identifier: BSD-3-Clause
"""Rows of training loops, with their data and their book-keeping. Read ``registry.py`` first."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nervure as nv
from nervure.nn import functional as F

from .data import Floats, classes, floats
from .models import Layers, initial_layers, nervure_net, torch_net
from .registry import Contest, Peers, rows

Labels = NDArray[np.int64]
Epoch = Callable[[], Any]

SIZES, BATCH = (784, 256, 128, 10), 64


@rows(
    "models",
    "training loop",
    {
        "fit 60000x784, MLP 784-256-128-10": (60_000, True),
        "the same 60000 by hand": (60_000, False),
        "fit 6400x784, MLP 784-256-128-10": (6_400, True),
    },
    quick=["fit 6400x784, MLP 784-256-128-10"],
)
def fit(peers: Peers, n: int, loop: bool) -> Contest:
    """an epoch in batches of 64 with Adam, per step: ``Trainer.fit`` (torch: a DataLoader over a
    TensorDataset); by hand: rows taken by index, zero_grad, loss, backward, step, nothing else"""
    x, y = floats(n, SIZES[0]), classes(SIZES[-1], n)
    layers = initial_layers(SIZES)
    contest = Contest(tolerance=1e-4, per=-(-n // BATCH))
    ours = _nervure_fit if loop else _nervure_by_hand
    contest.add("nervure", ours(layers, x, y, True), ours(layers, x, y, False))
    if peers.torch:
        theirs = _torch_fit if loop else _torch_by_hand
        call, result = (theirs(peers.torch, layers, x, y, shuffle) for shuffle in (True, False))
        contest.add("torch", call, result)
    return contest


def _nervure_fit(layers: Layers, x: Floats, y: Labels, shuffle: bool) -> Epoch:
    net, adam = nervure_net(layers)
    trainer = nv.Trainer(net, "cross_entropy", adam)

    def epoch() -> float:
        history = trainer.fit(x, y, batch_size=BATCH, epochs=1, shuffle=shuffle, verbose=0)
        return float(history.history["loss"][-1])

    return epoch


def _torch_fit(torch: Any, layers: Layers, x: Floats, y: Labels, shuffle: bool) -> Epoch:
    data = torch.utils.data
    dataset = data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = data.DataLoader(dataset, batch_size=BATCH, shuffle=shuffle)
    step = _step(*torch_net(torch, layers), torch.nn.functional.cross_entropy)
    return lambda: sum(step(*batch) for batch in loader) / len(x)


def _nervure_by_hand(layers: Layers, x: Floats, y: Labels, shuffle: bool) -> Epoch:
    step = _step(*nervure_net(layers), F.cross_entropy)
    return _by_hand(step, nv.tensor(x), nv.tensor(y), nv.tensor, shuffle)


def _torch_by_hand(torch: Any, layers: Layers, x: Floats, y: Labels, shuffle: bool) -> Epoch:
    step = _step(*torch_net(torch, layers), torch.nn.functional.cross_entropy)
    return _by_hand(step, torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy, shuffle)


def _step(net: Any, optimizer: Any, loss_function: Any) -> Callable[[Any, Any], float]:
    """A step that gives the sum of the losses of its batch."""

    def step(x: Any, y: Any) -> float:
        optimizer.zero_grad()
        loss = loss_function(net(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item()) * len(y)

    return step


def _by_hand(
    step: Callable[[Any, Any], float], x: Any, y: Any, tensor: Callable[[Any], Any], shuffle: bool
) -> Epoch:
    rng = np.random.default_rng(0)

    def epoch() -> float:
        order = tensor(rng.permutation(len(x)) if shuffle else np.arange(len(x)))
        batches = (order[i : i + BATCH] for i in range(0, len(x), BATCH))
        return sum(step(x[rows], y[rows]) for rows in batches) / len(x)

    return epoch


@rows(
    "models",
    "training loop",
    {"MLPClassifier (64, 64), 5000x20, 20 epochs": (5_000, 20)},
)
def classifier(peers: Peers, n: int, epochs: int) -> Contest:
    """``MLPClassifier.fit`` with Adam on a curved boundary; what is compared is the accuracy"""
    from nervure.sklearn import MLPClassifier

    x = floats(n + 1000, 20)
    y = (x[:, 0] + np.sin(2 * x[:, 1]) + x[:, 2] * x[:, 3] > 0).astype(np.int64)
    options = {
        "hidden_layer_sizes": (64, 64),
        "max_iter": epochs,
        "n_iter_no_change": epochs,
        "random_state": 0,
    }
    contest = Contest(tolerance=0.03)
    contest.add("nervure", *_classifier(MLPClassifier(**options), x, y, n))
    if peers.sklearn:
        theirs = importlib.import_module("sklearn.neural_network").MLPClassifier(**options)
        contest.add("sklearn", *_classifier(theirs, x, y, n))
    return contest


def _classifier(
    estimator: Any, x: Floats, y: Labels, n: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    def train() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: the number of epochs is given
            estimator.fit(x[:n], y[:n])

    def accuracy() -> float:
        train()
        return float(estimator.score(x[n:], y[n:]))

    return train, accuracy
