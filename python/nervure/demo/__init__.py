# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo``: train a network on real data, report on it, compare its speed with NumPy's."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import nervure as nv

__all__ = ["TASKS", "DemoError", "run"]

TASKS = {
    "digits": "handwritten digits with a dense network",
    "cnn": "the same with a convolutional one",
    "vit": "the same with a Vision Transformer",
    "charlm": "Python's documentation, which an LSTM learns to write",
    "translate": "dates as people write them, which a GRU with attention brings to ISO form",
}
WITHOUT_SKLEARN = ("charlm", "translate")


class DemoError(Exception):
    """The demo cannot run; the message says what to do."""


def run(
    task: str = "digits",
    *,
    epochs: int | None = None,
    seed: int = 0,
    output: Path = Path("nervure-demo"),
) -> float:
    """Run one of the demonstrations.

    Parameters
    ----------
    task : {"digits", "cnn", "vit", "charlm", "translate"}, default "digits"
        What to learn: handwritten digits with a dense network, a convolutional one or a Vision
        Transformer; to write Python's documentation with a recurrent network; to translate dates
        with an encoder-decoder.
    epochs : int, optional
        Passes over the training data; the default depends on the task.
    seed : int, default 0
        Seed of the split of the data, the weights and the order of the samples.
    output : Path, default "nervure-demo"
        Folder for the pictures and the trained weights; made if it is not there.

    Returns
    -------
    float
        Accuracy on the test data: of the text, the share of characters foretold; of the dates, the
        share that comes out exactly right.

    Raises
    ------
    DemoError
        If a package is missing, an argument makes no sense, or the folder cannot be written.
    """
    if task not in TASKS:
        raise DemoError(f"there is no task {task!r}, only {', '.join(TASKS)}")
    if epochs is not None and epochs < 1:
        raise DemoError(f"--epochs must be positive, got {epochs}")
    if seed < 0:
        raise DemoError(f"--seed must not be negative, got {seed}")
    missing = [
        package
        for package, module in [("scikit-learn", "sklearn"), ("matplotlib", "matplotlib")]
        if importlib.util.find_spec(module) is None
        and not (task in WITHOUT_SKLEARN and module == "sklearn")
    ]
    if missing:
        raise DemoError(f"needs {' and '.join(missing)}: pip install 'nervure[demo]'")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot make the folder {output}: {error.strerror}") from error
    config = nv.show_config("dicts")
    assert config is not None
    print(
        f"Nervure {config['version']} on {config['cpu']}: {config['isa']}, "
        f"{config['threads']} thread{'s' if config['threads'] > 1 else ''}"
    )
    accuracy: float = importlib.import_module(f"nervure.demo.{task}").run(epochs, seed, output)
    return accuracy
