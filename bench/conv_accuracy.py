# SPDX-License-Identifier: BSD-3-Clause
"""Does the less exact convolution harm training? Train the same network with each, and compare.

    python -m nervure.bench.conv_accuracy [--kernel 3] [--epochs 30] [--seeds 5]

A network of three 3 x 3 (or 5 x 5) convolutions learns scikit-learn's digits (needs scikit-learn)
from the same weights and in the same order of images, once for each algorithm. Printed are, for
each, the largest error of one layer's results, the loss and the test accuracy after every tenth
epoch, and after the last one their mean and spread over the seeds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import nervure as nv
from nervure import nn, optim
from nervure.demo import digits
from nervure.nn import functional as F

from .data import floats

# What the user chooses, for each kernel: (algorithm, accuracy).
CHOICES = {
    3: {
        "direct": ("direct", "fast"),
        "F(2,3), accurate": ("winograd", "accurate"),
        "F(4,3), fast": ("winograd", "fast"),
    },
    5: {"direct, accurate": ("auto", "accurate"), "F(4,5), fast": ("winograd", "fast")},
}


def network(kernel: int) -> nn.Sequential:
    """A network all of whose convolutions but the first can go either way."""
    half = kernel // 2
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, kernel, padding=half, activation="relu"),
        nn.Conv2d(32, 64, kernel, padding=half, bias=False),
        nn.BatchNorm2d(64, activation="relu"),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, kernel, padding=half, bias=False),
        nn.BatchNorm2d(64, activation="relu"),
        nn.Flatten(),
        nn.Linear(64 * 16, 10),
    )


def layer_error(kernel: int, channels: int = 128) -> float:
    """Largest error of a layer of so many channels, as a share of its largest result."""
    x, w = floats(4, channels, 16, 16), floats(channels, channels, kernel, kernel)
    half = kernel // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (half, half), (half, half)))
    want = np.zeros(x.shape)
    for r in range(kernel):
        for s in range(kernel):
            window = padded[:, :, r : r + 16, s : s + 16]
            want += np.einsum("nchw,kc->nkhw", window, w[:, :, r, s], optimize=True)
    with nv.no_grad():
        got = F.conv2d(nv.tensor(x), nv.tensor(w), padding=half).numpy()
    return float(np.abs(got - want).max() / np.abs(want).max())


def train(data: Any, kernel: int, seed: int, epochs: int) -> list[tuple[float, float, float]]:
    """Loss of the last epoch's batches, test loss and test accuracy, after every epoch."""
    training, _, test = data
    nv.manual_seed(seed)
    net = network(kernel)
    adam = optim.Adam(net.parameters(), lr=1e-3)
    rng = np.random.default_rng(seed)
    history = []
    for _ in range(epochs):
        net.train()
        x, y = digits.vary(training, rng).tensors()
        losses = []
        for start in range(0, len(y), digits.BATCH):
            adam.zero_grad()
            batch = slice(start, start + digits.BATCH)
            loss = F.cross_entropy(net(x[batch]), y[batch])
            loss.backward()
            adam.step()
            losses.append(loss.item())
        net.eval()
        test_loss, accuracy, _ = digits.evaluate(net, test)
        history.append((float(np.mean(losses)), test_loss, accuracy))
    return history


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kernel", type=int, choices=sorted(CHOICES), default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    before = nv.get_conv_algorithm(), nv.get_conv_accuracy()
    try:
        for name, (algorithm, accuracy) in CHOICES[options.kernel].items():
            nv.set_conv_algorithm(algorithm)
            nv.set_conv_accuracy(accuracy)
            error = layer_error(options.kernel)
            print(f"{name}: error of a layer of 128 channels {error:.1e}")
            runs = [
                train(digits.load_digits(seed), options.kernel, seed, options.epochs)
                for seed in range(options.seeds)
            ]
            for epoch in [*range(10, options.epochs, 10), options.epochs]:
                means = np.mean([run[epoch - 1] for run in runs], axis=0)
                spread = np.std([run[epoch - 1] for run in runs], axis=0)
                print(
                    f"  epoch {epoch:>3}: loss {means[0]:.4f} ± {spread[0]:.4f}, test loss "
                    f"{means[1]:.4f} ± {spread[1]:.4f}, test accuracy {100 * means[2]:.2f} "
                    f"± {100 * spread[2]:.2f} %"
                )
    finally:
        nv.set_conv_algorithm(before[0])
        nv.set_conv_accuracy(before[1])


if __name__ == "__main__":
    main()
