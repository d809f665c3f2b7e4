# SPDX-License-Identifier: BSD-3-Clause
"""One pass over validation data: loss, metrics, predictions, and a few samples for pictures."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nervure._core import Tensor
from nervure.data._arrays import map_structure
from nervure.metrics import Metric
from nervure.train._batch import Batch, as_batch, call, prediction_of
from nervure.train._feed import Feed
from nervure.train._meter import Meter

if TYPE_CHECKING:
    from nervure.train import Trainer

FEW = 16  # samples of which gradients and attention are computed
MOST_CLASSES = 100  # of which a confusion matrix can still be read

_KEPT = "predictions of the report"


@dataclass
class Evaluation:
    """What validation gave."""

    logs: dict[str, Any]  # loss and metrics
    samples: int
    few: Batch
    truth: NDArray[Any] | None  # (n,) classes, of classifiers
    scores: NDArray[Any] | None  # (n, C) probabilities, or (n,) those of class 1
    note: str = ""  # what is left out, and why


class _Kept(Metric):
    """All truths and probabilities."""

    def __init__(self) -> None:
        self.reset()

    def update(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._truth.append(np.asarray(y_true))
        self._scores.append(np.asarray(y_pred))

    def compute(self) -> Any:
        return np.concatenate(self._truth), np.concatenate(self._scores)

    def reset(self) -> None:
        self._truth: list[NDArray[Any]] = []
        self._scores: list[NDArray[Any]] = []


def evaluate(trainer: Trainer, feed: Feed) -> Evaluation:
    """Go through the data once; the model is in evaluation mode."""
    objective = trainer._objective
    metrics: dict[str, Metric] = copy.deepcopy(trainer.metrics)
    penalty = float(trainer._penalty()) if trainer._penalty else 0.0
    note = ""
    meter: Meter | None = None
    few: Batch | None = None
    for item in feed.epoch():
        batch = as_batch(item, needs_target=True)
        output = prediction_of(call(trainer.model, batch.x))
        if meter is None or few is None:
            few = _first(batch, FEW)
            if _is_classifier(objective.kind, output, batch.y):
                metrics[_KEPT] = _Kept()
            elif objective.takes_classes and isinstance(output, Tensor) and output.ndim == 2:
                note = f"{output.shape[1]:,} classes are too many for a confusion matrix."
            meter = Meter(metrics, objective)
        meter.add(
            float(objective(output, batch.y, batch.weight)) + penalty, batch.size, output, batch.y
        )
    if meter is None or few is None:
        raise ValueError("[Trainer.report] there are no batches to evaluate")
    logs = meter.logs()
    truth, scores = logs.pop(_KEPT, (None, None))
    return Evaluation(logs, meter.count, few, truth, scores, note)


def _is_classifier(kind: str, output: Any, y: Any) -> bool:
    """Whether every target is one class, and there are few enough of them."""
    if not isinstance(output, Tensor) or not isinstance(y, Tensor):
        return False
    if kind in ("logits", "log_probabilities"):
        return output.ndim == 2 and 1 < output.shape[1] <= MOST_CLASSES
    single = output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)
    return kind in ("binary_logits", "binary_probabilities") and single


def _first(batch: Batch, count: int) -> Batch:
    """A batch of its first samples."""

    def cut(values: Any) -> Any:
        return values[:count]

    x, y = map_structure(cut, batch.x), None if batch.y is None else map_structure(cut, batch.y)
    weight = None if batch.weight is None else batch.weight[:count]
    return Batch(x, y, weight, min(batch.size, count))
