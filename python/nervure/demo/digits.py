# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo``: a dense network learns handwritten digits; its speed against NumPy's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nervure as nv
from nervure import metrics, nn, optim
from nervure.progress import ProgressBar

Labels = npt.NDArray[np.int64]
Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """Images as rows of 64 standardised pixels, their digits, and the value of white paper."""

    x: Images
    y: Labels
    blank: float

    def tensors(self) -> tuple[nv.Tensor, nv.Tensor]:
        """Give both as tensors."""
        return nv.tensor(self.x), nv.tensor(self.y)


def load_digits(seed: int) -> tuple[Split, Split, Split]:
    """Give training, validation and test data: 68, 12 and 20 % of each digit.

    The mean and the deviation that pixels are standardised with come from the training data alone:
    the network must not know anything of the others.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    rest, test = _pairs(train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed))
    train, validation = _pairs(
        train_test_split(*rest, test_size=0.15, stratify=rest[1], random_state=seed)
    )
    mean, deviation = train[0].mean(), train[0].std()

    def standardised(images: Any, digits: Any) -> Split:
        pixels = ((images - mean) / deviation).astype(np.float32)
        return Split(pixels, digits.astype(np.int64), float(-mean / deviation))

    return standardised(*train), standardised(*validation), standardised(*test)


def _pairs(split: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    x_train, x_test, y_train, y_test = split
    return (x_train, y_train), (x_test, y_test)


SIZES = (64, 256, 128, 10)
BATCH = 32
EPOCHS = 60
LEARNING_RATE = 2e-3
NOISE = 0.3  # standard deviations of all pixels


def vary(data: Split, rng: np.random.Generator) -> Split:
    """Shuffle; move half of the images a pixel up or down, half left or right; add noise."""
    order = rng.permutation(len(data.y))
    images = data.x[order].reshape(-1, 8, 8)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=data.blank)
    first = rng.choice([0, 1, 1, 2], (2, len(order), 1, 1))  # of the 8 rows and columns to keep
    rows, columns = first[0] + np.arange(8)[:, None], first[1] + np.arange(8)
    moved = padded[np.arange(len(order))[:, None, None], rows, columns].reshape(-1, 64)
    moved += np.float32(NOISE) * rng.standard_normal(moved.shape, np.float32)
    return Split(moved, data.y[order], data.blank)


def build_network() -> nn.Sequential:
    """Build 64 -> 256 -> 128 -> 10 with ReLU between."""
    return nn.Sequential(
        nn.Linear(SIZES[0], SIZES[1], activation="relu"),
        nn.Linear(SIZES[1], SIZES[2], activation="relu"),
        nn.Linear(SIZES[2], SIZES[3]),
    )


def evaluate(network: nn.Module, data: Split) -> tuple[float, float, Labels]:
    """Mean loss, accuracy and predicted digits."""
    x, y = data.tensors()
    with nv.no_grad():
        scores = network(x)
        loss = nn.functional.cross_entropy(scores, y).item()
    predicted = scores.numpy().argmax(axis=1)
    return float(loss), metrics.accuracy(data.y, predicted), predicted


@dataclass(frozen=True)
class Recipe:
    """How to train: the optimiser, its schedule (a step per epoch), the smoothing of targets."""

    optimizer: optim.Optimizer
    schedule: optim.lr_scheduler.LRScheduler
    label_smoothing: float = 0.0


def train_network(
    network: nn.Module,
    train: Split,
    validation: Split,
    epochs: int,
    seed: int,
    recipe: Recipe | None = None,
) -> dict[str, list[float]]:
    """Train on images varied anew in each epoch; give the history.

    Without a recipe: Adam and a cosine schedule.
    """
    rng = np.random.default_rng(seed)
    if recipe is None:
        adam = optim.Adam(network.parameters(), lr=LEARNING_RATE)
        recipe = Recipe(adam, optim.lr_scheduler.CosineAnnealingLR(adam, T_max=epochs))
    optimizer = recipe.optimizer
    history: dict[str, list[float]] = {
        name: [] for name in ("loss", "val_loss", "accuracy", "val_accuracy")
    }
    seconds = 0.0
    with ProgressBar(epochs, "training") as bar:
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            network.train()
            x, y = vary(train, rng).tensors()
            for i in range(0, len(train.y), BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(
                    network(x[i : i + BATCH]),
                    y[i : i + BATCH],
                    label_smoothing=recipe.label_smoothing,
                )
                loss.backward()
                optimizer.step()
            recipe.schedule.step()
            network.eval()
            seconds += time.perf_counter() - start
            for prefix, data in (("", train), ("val_", validation)):
                value, accuracy, _ = evaluate(network, data)
                history[f"{prefix}loss"].append(value)
                history[f"{prefix}accuracy"].append(accuracy)
            speed = epoch * len(train.y) / seconds
            bar.update(
                1,
                description=f"epoch {epoch}/{epochs}",
                text=f"loss {history['loss'][-1]:.4f}, validation "
                f"{100 * history['val_accuracy'][-1]:.2f} %, {speed:,.0f} samples/s",
            )
    print(f"{epochs} epochs in {seconds:.1f} s: {speed:,.0f} samples/s")
    return history


def run(epochs: int | None, seed: int, output: Path) -> float:
    """Train, report, compare with NumPy, save; accuracy on the test images."""
    train, validation, test = load_digits(seed)
    nv.manual_seed(seed)
    network = build_network()
    introduce(
        network, (train, validation, test), f"network {' -> '.join(map(str, SIZES))} with ReLU"
    )
    speed = compare_with_numpy(network, train)
    history = train_network(network, train, validation, epochs or EPOCHS, seed)
    return report(network, build_network, history, test, output, speed)


def introduce(
    network: nn.Module, data: tuple[Split, Split, Split], what: str, optimizer: str = "Adam"
) -> None:
    """Print what learns and from what."""
    train, validation, test = (len(part.y) for part in data)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"scikit-learn's handwritten digits, 8x8 pixels: {train} to train, {validation} to "
        f"validate, {test} to test\n"
        f"{what}, {count:,} parameters; {optimizer}, batches of {BATCH}"
    )


def report(
    network: nn.Module,
    build: Callable[[], nn.Module],
    history: dict[str, list[float]],
    test: Split,
    output: Path,
    speed: str,
) -> float:
    """Print what the network can do, and leave pictures and weights; give the test accuracy."""
    from nervure import plot

    network.eval()
    _, accuracy, predicted = evaluate(network, test)
    matrix = metrics.confusion_matrix(test.y, predicted, num_classes=10)

    print(
        f"\ntest accuracy {100 * accuracy:.2f} % of {len(test.y)} images never seen in training\n"
    )
    print("confusion matrix (row: the digit, column: the answer)\n")
    print(_matrix_text(matrix))
    print(metrics.classification_report(test.y, predicted, digits=3, num_classes=10))
    print(speed)

    plot.learning_curves(history, output / "learning_curves.png")
    plot.confusion_matrix(matrix, path=output / "confusion_matrix.png")
    nv.save(network.state_dict(), output / "model.safetensors")
    restored = build().eval()
    restored.load_state_dict(nv.load(output / "model.safetensors"))
    _, again, _ = evaluate(restored, test)
    if again != accuracy:
        raise RuntimeError(f"the saved network is right in {again:.4f}, not {accuracy:.4f}")
    print(
        f"in {output}: learning_curves.png, confusion_matrix.png, model.safetensors "
        f"(loaded again: {100 * again:.2f} %)"
    )
    return accuracy


def _matrix_text(matrix: npt.NDArray[np.int64]) -> str:
    lines = ["     " + "".join(f"{j:>5}" for j in range(len(matrix)))]
    lines += [
        f"{i:>5}" + "".join(f"{count or '.':>5}" for count in row) for i, row in enumerate(matrix)
    ]
    return "\n".join(lines) + "\n"


def compare_with_numpy(network: nn.Module, train: Split) -> str:
    """Time a training step against the same network in plain NumPy; the network is not changed."""
    from nervure.bench.numpy_peers import NumpyMLP
    from nervure.bench.timing import Budget, time_rounds

    state = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    layers = [(state[f"{i}.weight"], state[f"{i}.bias"]) for i in range(len(SIZES) - 1)]
    numpy_network = NumpyMLP(layers, BATCH, LEARNING_RATE)
    copy = build_network()
    copy.load_state_dict(state)
    optimizer = optim.Adam(copy.parameters(), lr=LEARNING_RATE)
    images, digits = train.x[:BATCH], train.y[:BATCH]
    x, y = nv.tensor(images), nv.tensor(digits)

    def ours() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(copy(x), y)
        loss.backward()
        optimizer.step()
        return float(loss)

    def theirs() -> float:
        return float(numpy_network.step(images, digits))

    losses = np.array([(ours(), theirs()) for _ in range(5)])
    distance = float(np.max(np.abs(losses[:, 0] / losses[:, 1] - 1)))
    if not distance < 1e-3:
        raise RuntimeError(f"Nervure's and NumPy's losses differ by {distance:.1e}: {losses}")
    # NumPy's threads spin for up to 40 ms after a product and must not disturb ours
    budget = Budget(seconds=1.0, min_rounds=10, max_rounds=50)
    timings = time_rounds({"nervure": ours, "numpy": theirs}, budget, pause=0.05)
    nervure_us, numpy_us = (1e6 * timings[name].median for name in ("nervure", "numpy"))
    return (
        f"one training step (batch of {BATCH}: forward, loss, backward, Adam), same network and "
        "numbers:\n"
        f"    Nervure, C++ {nervure_us:8.0f} µs\n"
        f"    plain NumPy  {numpy_us:8.0f} µs, {numpy_us / nervure_us:.1f} times as long "
        f"(losses of 5 steps agree within {distance:.0e})\n"
    )


def inference_speed(network: nn.Module, data: Split) -> str:
    """Time the network on one image, and on all of them at once."""
    from nervure.bench.timing import Budget, time_rounds

    x, _ = data.tensors()
    network.eval()
    with nv.no_grad():
        one = x[:1]
        timings = time_rounds(
            {"one": lambda: network(one), "all": lambda: network(x)},
            Budget(seconds=1.0, min_rounds=10, max_rounds=50),
        )
    single, batch = (1e6 * timings[name].median for name in ("one", "all"))
    return (
        f"recognising one image takes {single:.0f} µs, one of {len(x)} in a batch "
        f"{batch / len(x):.1f} µs\n"
    )
