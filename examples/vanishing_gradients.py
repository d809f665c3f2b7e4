# SPDX-License-Identifier: BSD-3-Clause
"""Gradients that vanish or explode on their way back through time, seen and cured.

First the norm of dL/dh_t for a loss that depends on the last step only: RNN, LSTM and GRU. Then an
RNN whose gradients explode, trained as it is, clipped by value and clipped by norm. Takes some
seconds; writes gradient_flow.png where matplotlib is installed.
"""

import importlib.util

import numpy as np

import nervure as nv
from nervure import nn, optim
from nervure.diagnostics import gradient_flow
from nervure.nn import functional as F
from nervure.nn.utils import clip_grad_norm_, clip_grad_value_

STEPS = 100


def compare_cells():
    """Fresh layers of each kind: how much of the gradient reaches the first step?"""
    x = nv.randn(16, STEPS, 8)
    layers = {"RNN": nn.RNN(8, 32), "GRU": nn.GRU(8, 32), "LSTM": nn.LSTM(8, 32)}
    # the usual remedy: gates that forget little at first (the bias of f, the second of i, f, g, o)
    layers["LSTM, forget bias 3"] = nn.LSTM(8, 32)
    layers["LSTM, forget bias 3"].bias_ih_l0.numpy()[32:64] = 3.0

    shown = [99, 90, 75, 50, 25, 0]
    print("norm of dL/dh_t, L = the sum of squares of the last output")
    print(f"{'t':>20}" + "".join(f"{t:>10}" for t in shown))
    flows = {}
    for name, layer in layers.items():
        flow = gradient_flow(layer, lambda layer=layer: (layer(x)[0][:, -1] ** 2).sum())
        (flows[name],) = flow.hidden.values()
        print(f"{name:>20}" + "".join(f"{flows[name][0, 0, t]:>10.1e}" for t in shown))
    if importlib.util.find_spec("matplotlib"):
        from nervure import plot

        plot.gradient_flow(flows, "gradient_flow.png")
        print("the whole curves: gradient_flow.png")


def adding_problem(rng, batch=64, steps=20):
    """Sequences of numbers, two of them marked: the target is the sum of these two."""
    numbers, marks = rng.random((batch, steps)), np.zeros((batch, steps))
    rows = np.arange(batch)
    first, second = rng.integers(0, steps // 2, batch), rng.integers(steps // 2, steps, batch)
    marks[rows, first] = marks[rows, second] = 1
    x = np.stack([numbers, marks], axis=-1).astype(np.float32)
    y = numbers[rows, first] + numbers[rows, second]
    return nv.tensor(x), nv.tensor(y.astype(np.float32)[:, None])


def train(clip, updates=300):
    """An RNN whose state grows by 30 % at every step, trained by plain gradient descent."""
    nv.manual_seed(0)
    rng = np.random.default_rng(0)
    rnn, head = nn.RNN(2, 16, nonlinearity="relu"), nn.Linear(16, 1)
    rnn.weight_hh_l0.detach().copy_(nv.tensor(1.3 * np.eye(16, dtype=np.float32)))
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = optim.SGD(parameters, lr=0.01)
    losses, largest = [], 0.0
    for _ in range(updates):
        x, y = adding_problem(rng)
        optimizer.zero_grad()
        loss = F.mse_loss(head(rnn(x)[1][0]), y)
        loss.backward()
        losses.append(loss.item())
        largest = max(largest, clip_grad_norm_(parameters, np.inf))  # only measured
        clip(parameters)
        optimizer.step()
    return losses, largest


def main():
    nv.manual_seed(0)
    compare_cells()
    print("\nan RNN with exploding gradients: mean squared error in the first and last updates")
    final = {}
    for name, clip in {
        "as they are": lambda parameters: None,
        "clipped by value, 5": lambda parameters: clip_grad_value_(parameters, 5.0),
        "clipped by norm, 5": lambda parameters: clip_grad_norm_(parameters, 5.0),
    }.items():
        losses, largest = train(clip)
        final[name] = np.mean(losses[-20:])
        print(f"{name:>20}: {losses[0]:10.3g} -> {final[name]:10.3g}   "
              f"greatest norm {largest:.2g}")  # fmt: skip
    exploded, by_value, by_norm = final.values()
    assert not exploded < 1e3
    assert by_value < 1
    assert by_norm < 1


if __name__ == "__main__":
    main()
