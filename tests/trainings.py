# SPDX-License-Identifier: BSD-3-Clause
"""A small network, its data and comparisons of weights, for the tests of the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import nervure as nv
from nervure import nn, optim

X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)  # three classes


def net(outputs: int = 3, inputs: int = 4) -> nn.Sequential:
    nv.manual_seed(1)
    return nn.Sequential(nn.Linear(inputs, 8, activation="tanh"), nn.Linear(8, outputs))


def weights(model: nn.Module) -> list[np.ndarray]:
    return [np.array(p.numpy()) for p in model.parameters()]


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for name, p in a.state_dict().items():
        np.testing.assert_array_equal(p.numpy(), b.state_dict()[name].numpy(), err_msg=name)


def assert_close(a: nn.Module, b: nn.Module, rtol: float = 1e-5) -> None:
    for name, p in a.state_dict().items():
        np.testing.assert_allclose(
            p.numpy(), b.state_dict()[name].numpy(), rtol=rtol, atol=1e-6, err_msg=name
        )


def sgd(model: nn.Module, lr: float = 0.1, **more: Any) -> optim.SGD:
    return optim.SGD(model.parameters(), lr=lr, **more)


def pairs(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(count):
        rows = slice(10 * (i % 5), 10 * (i % 5) + 10)
        yield X[rows], Y[rows]
