# SPDX-License-Identifier: BSD-3-Clause
"""When to look at a training, and what to say about it."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nervure.nn import container
from nervure.train._batch import Batch, call, prediction_of
from nervure.train._feed import Feed
from nervure.train.advice import gradients, labels, layers
from nervure.train.advice.sight import Layer, Named, Sight, watched

if TYPE_CHECKING:
    from nervure.train.trainer import Trainer


class TrainingWarning(UserWarning):
    """What a trainer noticed about a training, and the cure; each fault is told once."""


Fault = Callable[[Sight, dict[str, Any]], "str | None"]

FAULTS: dict[str, Fault] = {
    "softmax_twice": layers.softmax_twice,
    "bias_before_norm": layers.bias_before_norm,
    "symmetric": gradients.symmetric,
    "saturated": layers.saturated,
    "dead_relus": layers.dead_relus,
    "diverging": gradients.diverging,
    "exploding": gradients.exploding,
    "vanishing": gradients.vanishing,
}
#: What follows from a fault, and is not told after it.
CONSEQUENCES: dict[str, tuple[str, ...]] = {
    "symmetric": ("dead_relus", "vanishing"),
    "saturated": ("vanishing",),
    "dead_relus": ("vanishing",),
    "diverging": ("dead_relus", "exploding", "vanishing"),
    "exploding": ("diverging", "dead_relus", "vanishing"),
}

# Share of the time of a training that looking may take.
SHARE = 0.01
# The first looks come as soon as they may; later ones have nothing new to see at once.
FIRST_LOOKS, LATER_GAP = 4, 16
PACKAGE = str(Path(container.__file__).parent.parent)


class Advisor:
    """Looks at updates of a trainer, the first one and then as time allows."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._open = dict(FAULTS)
        self._memory: dict[str, dict[str, Any]] = {name: {} for name in FAULTS}
        if container.warned_of_bias():  # the container saw it first
            del self._open["bias_before_norm"]
        self._labels_are_open = True
        #: The update to look at is the one after so many.
        self.next_step = 0
        self._looks = 0
        self._seen: tuple[Batch, Any, list[Layer]] | None = None

    # ---- when ------------------------------------------------------------------------------------

    def begin(self, feed: Feed, y: Any, weighted: bool) -> None:
        """Training begins: look at the labels."""
        self._began, self._spent, self._steps = time.perf_counter(), 0.0, 0
        self._first, self.next_step = self._trainer.step, self._trainer.step
        self._seen = None
        self._parameters = _trained(self._trainer)
        # Exactly our own classes, whose calls are known.
        modules = self._trainer.model.named_modules()
        self._watched = [item for item in modules if type(item[1]) in layers.WATCHED]
        self._relus = [item for item in self._watched if layers.activation(item[1]) == "relu"]
        if self._labels_are_open:
            trainer = self._trainer
            text = labels.imbalance(feed, y, trainer.metrics, trainer._objective, weighted)
            if text:
                self._labels_are_open = False
                self._tell(text)

    def _plan(self, step: int, spent: float) -> None:
        """Say when to look next, so that looking takes no more than its share of the time."""
        self._spent += spent
        self._looks += 1
        if not self._open:  # or never
            self.next_step = sys.maxsize
            return
        elapsed = time.perf_counter() - self._began
        per_step = elapsed / (step + 1 - self._first)
        wait = (self._spent / SHARE - elapsed) / per_step
        least = 1 if self._looks < FIRST_LOOKS else LATER_GAP
        self.next_step = step + max(least, math.ceil(wait))

    # ---- looking ---------------------------------------------------------------------------------

    def call(self, batch: Batch, **more: Any) -> Any:
        """Call the model and watch its layers."""
        start = time.perf_counter()
        seen: list[Layer] = []
        with watched(self._modules(), seen):
            self._spent += time.perf_counter() - start
            result = call(self._trainer.model, batch.x, **more)
            start = time.perf_counter()
        self._spent += time.perf_counter() - start
        if self._seen is None:  # of an update of several batches, the first one
            self._seen = batch, prediction_of(result), seen
        return result

    def look(self, loss: float) -> None:
        """Look at an update whose gradients are there, and warn of what is wrong with it."""
        if not self._open:
            return
        start = time.perf_counter()
        trainer, step = self._trainer, self._trainer.step
        sight = Sight(step, loss, trainer._objective, self._parameters)
        if self._seen is not None:
            sight.batch, sight.output, sight.layers = self._seen
            self._seen = None
        lost = not math.isfinite(loss)
        for name in ["diverging"] if lost else list(self._open):
            fault = self._open.get(name)
            text = None if fault is None else fault(sight, self._memory[name])
            if text is not None:
                self._close(name, text)
        if lost:  # nothing that is seen from now on means anything
            self._open.clear()
        self._plan(step, time.perf_counter() - start)

    def _close(self, name: str, text: str) -> None:
        del self._open[name]
        if text:
            for other in CONSEQUENCES.get(name, ()):
                self._open.pop(other, None)
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._trainer.warnings.append(text)  # for the report
        _warn(text)

    def _modules(self) -> list[Named]:
        """What has to be watched for the faults that may still be there."""
        if self._open.keys() & {"softmax_twice", "bias_before_norm", "saturated"}:
            return self._watched
        return self._relus if "dead_relus" in self._open else []


def _trained(trainer: Trainer) -> list[Named]:
    """The parameters that the optimiser changes, by name."""
    chosen = {hash(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    named = trainer.model.named_parameters()
    return [(name, p) for name, p in named if hash(p) in chosen and p.requires_grad]


def _warn(text: str) -> None:
    """Warn at the line outside of this package that trains."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
        level += 1
    warnings.warn(f"[Trainer] {text}. (Trainer(advice=False) is silent.)", TrainingWarning, level)
