# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo --task vit``: a Vision Transformer learns handwritten digits."""

from __future__ import annotations

from pathlib import Path

import nervure as nv
from nervure import nn, optim
from nervure.demo.digits import (
    Recipe,
    inference_speed,
    introduce,
    load_digits,
    report,
    train_network,
)
from nervure.models import ViT

EPOCHS = 60
LEARNING_RATE = 3e-3


def build_network() -> nn.Sequential:
    """Sixteen patches of 2 x 2 pixels, four layers of 64 features, the mean of all patches."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        ViT(8, 2, 1, 10, dim=64, depth=4, heads=4, mlp_ratio=2.0, drop_path=0.05, pool="mean"),
    )


def run(epochs: int | None, seed: int, output: Path) -> float:
    """Train, report, save; accuracy on the test images."""
    train, validation, test = load_digits(seed)
    nv.manual_seed(seed)
    network = build_network()
    what = "a Vision Transformer: patches of 2x2 pixels, 4 layers of 64 features with 4 heads"
    introduce(network, (train, validation, test), what, "AdamW")
    epochs = epochs or EPOCHS
    optimizer = optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs)
    recipe = Recipe(optimizer, schedule, label_smoothing=0.1)
    history = train_network(network, train, validation, epochs, seed, recipe)
    return report(network, build_network, history, test, output, inference_speed(network, test))
