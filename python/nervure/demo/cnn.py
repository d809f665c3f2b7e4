# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo --task cnn``: a convolutional network learns handwritten digits."""

from __future__ import annotations

from pathlib import Path

import nervure as nv
from nervure import nn
from nervure.demo.digits import inference_speed, introduce, load_digits, report, train_network

EPOCHS = 40


def build_network() -> nn.Sequential:
    """Three convolutions of 3 x 3 with batch normalisation, two maxima over 2 x 2, one layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32, activation="relu"),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64, activation="relu"),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64, activation="relu"),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 2 * 2, 10),
    )


def run(epochs: int | None, seed: int, output: Path) -> float:
    """Train, report, save; accuracy on the test images."""
    train, validation, test = load_digits(seed)
    nv.manual_seed(seed)
    network = build_network()
    what = "three convolutions with batch normalisation and ReLU, two poolings, one dense layer"
    introduce(network, (train, validation, test), what)
    history = train_network(network, train, validation, epochs or EPOCHS, seed)
    return report(network, build_network, history, test, output, inference_speed(network, test))
