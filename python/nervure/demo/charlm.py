# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo --task charlm``: a recurrent network learns to write Python's documentation."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nervure as nv
from nervure import optim
from nervure.models import CharRNN
from nervure.nn import functional as F
from nervure.nn.utils import clip_grad_norm_
from nervure.progress import ProgressBar
from nervure.train._recurrent import detached

__all__ = ["run"]

Tokens = npt.NDArray[np.int64]

MODULES = (
    *("argparse", "collections", "configparser", "datetime", "decimal", "difflib", "fractions"),
    *("heapq", "itertools", "json", "logging", "pathlib", "random", "statistics", "string"),
    *("subprocess", "tarfile", "textwrap", "threading", "typing", "unittest", "zipfile"),
)
EPOCHS = 12
STREAMS = 24
STRETCH = 64
HIDDEN = 160


def text() -> str:
    """The documentation strings of modules that every Python installation has."""
    found: list[str] = []
    for name in MODULES:
        module = importlib.import_module(name)
        for owner in (module, *(m for _, m in inspect.getmembers(module, inspect.isclass))):
            for _, member in ((None, owner), *inspect.getmembers(owner)):
                if inspect.isroutine(member) or member is owner:
                    found.append(inspect.getdoc(member) or "")
    whole = "\n\n".join(dict.fromkeys(found))  # each once
    return "".join(c for c in whole if c == "\n" or " " <= c <= "~")


def stretches(streams: Tokens) -> Iterator[tuple[nv.Tensor, nv.Tensor]]:
    """Inputs (B, T) and what follows each of them, one stretch of the streams after the other."""
    for start in range(0, streams.shape[1] - 1, STRETCH):
        part = streams[:, start : start + STRETCH + 1]
        yield nv.tensor(part[:, :-1].copy()), nv.tensor(part[:, 1:].reshape(-1).copy())


def in_streams(tokens: Tokens) -> Tokens:
    """(STREAMS, n): parts of the text that are read side by side."""
    n = len(tokens) // STREAMS
    return tokens[: n * STREAMS].reshape(STREAMS, n)


def evaluate(model: CharRNN, streams: Tokens) -> tuple[float, float]:
    """Mean loss and share of characters foretold right."""
    model.eval()
    total = right = count = 0.0
    state: Any = None
    with nv.no_grad():
        for x, y in stretches(streams):
            scores, state = model(x, state)
            scores = scores.reshape(len(y), -1)
            total += F.cross_entropy(scores, y).item() * len(y)
            right += float((scores.numpy().argmax(axis=1) == y.numpy()).sum())
            count += len(y)
    model.train()
    return total / count, right / count


def _epoch(
    model: CharRNN, optimizer: optim.Optimizer, streams: Tokens, bar: ProgressBar
) -> tuple[float, float]:
    """Train on the whole text once; mean loss and characters per second."""
    state: Any = None
    total, seen, begun = 0.0, 0, time.perf_counter()
    for x, y in stretches(streams):
        optimizer.zero_grad()
        scores, state = model(x, state)
        loss = F.cross_entropy(scores.reshape(len(y), -1), y)
        loss.backward()
        clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        state = detached(state)
        total += loss.item() * len(y)
        seen += len(y)
        speed = seen / (time.perf_counter() - begun)
        bar.update(1, text=f"loss {loss.item():.3f}, {speed:,.0f} characters/s")
    return total / seen, speed


def run(epochs: int | None, seed: int, output: Path) -> float:
    """Train, report, let the network write; accuracy on text that it has not learnt from."""
    from nervure import plot

    epochs = epochs or EPOCHS
    whole = text()
    characters = sorted(set(whole))
    number = {c: i for i, c in enumerate(characters)}
    tokens = np.array([number[c] for c in whole])
    first, rest = np.split(tokens, [len(tokens) * 9 // 10])
    train, test = in_streams(first), in_streams(rest)
    nv.manual_seed(seed)
    model = CharRNN(len(characters), HIDDEN, cell="lstm", embedding_dim=32)
    optimizer = optim.Adam(model.parameters(), lr=4e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    print(
        f"the documentation strings of {len(MODULES)} modules of Python: {len(tokens):,} "
        f"characters, {len(characters)} different ones, a tenth held back\n"
        f"an LSTM of {HIDDEN} units, {sum(p.numel() for p in model.parameters()):,} parameters; "
        f"Adam, {STREAMS} streams, gradients through {STRETCH} steps"
    )
    history: dict[str, list[float]] = {name: [] for name in ("loss", "val_loss", "val_accuracy")}
    steps = len(range(0, train.shape[1] - 1, STRETCH))
    with ProgressBar(epochs * steps, "training") as bar:
        for epoch in range(1, epochs + 1):
            bar.update(0, description=f"epoch {epoch}/{epochs}")
            loss, speed = _epoch(model, optimizer, train, bar)
            schedule.step()
            held_back, accuracy = evaluate(model, test)
            for name, value in zip(history, (loss, held_back, accuracy), strict=True):
                history[name].append(value)
            bar.print(
                f"epoch {epoch:>3}: loss {loss:.3f}, {speed:,.0f} characters/s; held back: "
                f"{held_back / np.log(2):.3f} bits per character, {100 * accuracy:.1f} % foretold"
            )
    prompt = nv.tensor(np.array([[number[c] for c in "Return "]]))
    written = model.generate(prompt, 400, temperature=0.6)
    print("\n" + "".join(characters[i] for i in written.numpy()[0]) + "\n")
    plot.learning_curves(history, output / "learning_curves.png")
    nv.save(model.state_dict(), output / "model.safetensors")
    print(f"in {output}: learning_curves.png, model.safetensors")
    return accuracy
