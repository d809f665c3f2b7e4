# SPDX-License-Identifier: BSD-3-Clause
"""Train a small Vision Transformer on scikit-learn's handwritten digits, patches of 2x2 pixels.

Needs scikit-learn: pip install 'nervure[demo]'. Reaches about 99 % in a minute.

    python vit_digits.py [--epochs 90] [--seed 0]
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nervure as nv
from nervure import metrics, optim
from nervure.models import ViT
from nervure.nn import functional as F
from nervure.progress import ProgressBar


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every image moved by up to one pixel in each direction (augmentation)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    places = rng.integers(0, 3, (len(images), 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(2, 3))
    return windows[np.arange(len(images)), :, places[:, 0], places[:, 1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    images, digits = load_digits(return_X_y=True)
    images = ((images - images.mean()) / images.std()).astype(np.float32).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits, test_size=0.2, stratify=digits, random_state=0
    )

    nv.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    model = ViT(8, 2, in_channels=1, num_classes=10, dim=64, depth=4, heads=4, mlp_ratio=2.0,
                drop_path=0.05, pool="mean")  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    steps = (len(x_train) + options.batch - 1) // options.batch
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=options.epochs * steps)
    inputs = nv.tensor(x_test)

    with ProgressBar(options.epochs, "training") as bar:
        for epoch in range(1, options.epochs + 1):
            model.train()
            order = rng.permutation(len(x_train))
            for rows in np.array_split(order, steps):
                optimizer.zero_grad()
                x = nv.tensor(shifted(x_train[rows], rng))
                loss = F.cross_entropy(model(x), nv.tensor(y_train[rows]), label_smoothing=0.1)
                loss.backward()
                optimizer.step()
                schedule.step()
            model.eval()
            with nv.no_grad():
                accuracy = metrics.accuracy(y_test, model(inputs))
            bar.update(1, text=f"loss {loss.item():.3f}  test accuracy {accuracy:.4f}")
            if epoch % 10 == 0 or epoch == options.epochs:
                bar.print(f"epoch {epoch:>3}  loss {loss.item():.4f}  accuracy {accuracy:.4f}")

    nv.save(model.state_dict(), "vit_digits.safetensors")


if __name__ == "__main__":
    main()
