# SPDX-License-Identifier: BSD-3-Clause
"""Loss and metrics of an epoch, over all its samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure import metrics as metrics_module
from nervure._core import Tensor
from nervure.metrics import ExactMatch, Metric
from nervure.train._metric_state import restore, state_of
from nervure.train._objective import Objective, described

Array = NDArray[Any]

_ALIASES = {
    "acc": "Accuracy",
    "auc": "ROCAUC",
    "mae": "MeanAbsoluteError",
    "mse": "MeanSquaredError",
    "rmse": "RootMeanSquaredError",
}
_AVERAGES = ("micro", "macro", "weighted")
# These look at labels only: they need no probabilities.
_OF_LABELS = ("Accuracy", "ConfusionMatrix", "ExactMatch", "F1", "FBeta", "Precision", "Recall")

_ROWS = 2048  # metrics are updated with so many samples at a time: per batch would cost more


class _Collected(Metric):
    """A function of all targets and predictions of an epoch."""

    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self._function = function
        self.reset()

    def update(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._true.append(np.asarray(y_true))
        self._pred.append(np.asarray(y_pred))

    def compute(self) -> Any:
        if not self._true:
            return float("nan")
        return self._function(np.concatenate(self._true), np.concatenate(self._pred))

    def reset(self) -> None:
        self._true: list[Array] = []
        self._pred: list[Array] = []


def resolve_metrics(metrics: Any) -> dict[str, Metric]:
    """Metrics by the names they have in the history.

    Raises
    ------
    ValueError
        For names that no metric has, or one name twice.
    TypeError
        For what is neither a metric, a name nor callable.
    """
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        return {str(name): _metric(metric)[1] for name, metric in metrics.items()}
    if isinstance(metrics, (str, Metric)) or not isinstance(metrics, Sequence):
        metrics = [metrics]
    found: dict[str, Metric] = {}
    for item in metrics:
        name, metric = _metric(item)
        if name in found or name == "loss":
            raise ValueError(
                f"[Trainer] two metrics are called {name!r}: give a dict of names and metrics"
            )
        found[name] = metric
    return found


def _classes() -> dict[str, Any]:
    everything = {name: getattr(metrics_module, name) for name in metrics_module.__all__}
    return {
        name: value
        for name, value in everything.items()
        if isinstance(value, type) and issubclass(value, Metric) and value is not Metric
    }


def _metric(item: Any) -> tuple[str, Metric]:
    if isinstance(item, Metric):
        return _name_of(type(item).__name__), item
    if isinstance(item, str):
        return item, _named(item)
    if callable(item) and not isinstance(item, type):
        return getattr(item, "__name__", type(item).__name__), _Collected(item)
    raise TypeError(f"[Trainer] a metric must be a Metric or a name, got {described(item)}")


def _named(name: str) -> Metric:
    classes = _classes()
    by_name = {_name_of(key): value for key, value in classes.items()}
    by_name |= {alias: classes[key] for alias, key in _ALIASES.items() if key in classes}
    base, _, average = name.lower().rpartition("_")
    if name.lower() in by_name:
        metric: Metric = by_name[name.lower()]()
    elif base in by_name and average in _AVERAGES:
        metric = by_name[base](average=average)
    else:
        known = ", ".join(sorted(by_name))
        raise ValueError(f"[Trainer] metric must be one of {known}, got {name!r}")
    return metric


def _name_of(class_name: str) -> str:
    """MeanSquaredError -> mean_squared_error, ROCAUC -> roc_auc, TopK -> topk."""
    special = {"ROCAUC": "roc_auc", "PRAUC": "pr_auc", "TopK": "topk", "FBeta": "fbeta"}
    if class_name in special:
        return special[class_name]
    if class_name.isupper():
        return class_name.lower()
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


class Meter:
    """Mean loss and metrics of one epoch.

    The loss is the mean over samples of the batches' losses; every metric is that of all samples.
    """

    def __init__(self, metrics: dict[str, Metric], objective: Objective) -> None:
        self._metrics = metrics
        self._objective = objective
        self._needs_scores = any(type(m).__name__ not in _OF_LABELS for m in metrics.values())
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.loss_sum = 0.0
        self.count = 0
        self._held: list[tuple[Tensor, Tensor]] = []
        self._held_rows = 0
        self._flushed = False
        for metric in self._metrics.values():
            metric.reset()

    def add(self, loss: float, size: int, output: Any, y: Any) -> None:
        """Count a batch."""
        self.loss_sum += loss * size
        self.count += size
        if self._metrics:
            if not isinstance(output, Tensor) or not isinstance(y, Tensor):
                raise ValueError("[Trainer] metrics need a model with one output and one target")
            # No copy: nothing writes into the outputs of a batch that is done.
            self._held.append((y, output.detach()))
            self._held_rows += size
            if self._held_rows >= _ROWS:
                self._flush()

    def add_share(self, loss: float, size: int, share: float, output: Any, y: Any) -> None:
        """Count part of a batch; :meth:`end_shares` counts its samples."""
        self.loss_sum += loss * size * share
        before = self.count
        self.add(0.0, size, output, y)
        self.count = before

    def end_shares(self, size: int) -> None:
        """All parts of a batch of ``size`` samples have been counted."""
        self.count += size

    def logs(self) -> dict[str, Any]:
        """Loss and metrics by name."""
        self._flush()
        return {"loss": self.loss(), **{n: _number(m.compute()) for n, m in self._metrics.items()}}

    def peek(self) -> dict[str, Any]:
        """Loss so far, and metrics as of the last update."""
        if not self._flushed:
            return {"loss": self.loss()}
        return {"loss": self.loss(), **{n: _number(m.compute()) for n, m in self._metrics.items()}}

    def loss(self) -> float:
        """Mean loss so far."""
        return self.loss_sum / self.count if self.count else float("nan")

    def _flush(self) -> None:
        held, self._held, self._held_rows = self._held, [], 0
        self._flushed = self._flushed or bool(held)
        for targets, outputs in _joined(held):
            fitted, y = self._objective.fitted(outputs, targets)
            truth, scores, labels = self._prepared(y.numpy(), fitted.numpy())
            for metric in self._metrics.values():
                if isinstance(metric, ExactMatch) and self._are_sequences(targets):
                    metric.update(*self._whole(targets.numpy(), outputs.numpy()))
                    continue
                of_labels = type(metric).__name__ in _OF_LABELS
                metric.update(truth, labels if of_labels else scores)

    def _are_sequences(self, targets: Tensor) -> bool:
        """Whether a sample has several classes, which other metrics count one by one."""
        if not self._objective.takes_classes:
            return False
        return targets.ndim > (1 if targets.dtype == _core.dtype.int64 else 2)  # or probabilities

    def _whole(self, y: Array, output: Array) -> tuple[Array, Array]:
        """Class numbers (N, ...), true and predicted; where the loss does not look, they agree."""
        dim = self._objective.class_dim
        labels = output.argmax(axis=dim)
        if y.dtype.kind == "f":
            return y.argmax(axis=dim), labels
        return y, np.where(y == self._objective.ignore_index, y, labels)

    def _prepared(self, y: Array, output: Array) -> tuple[Array, Array, Array]:
        """Truth, scores and predicted labels (or what serves as such) for metrics."""
        kind = self._objective.kind
        if kind in ("logits", "log_probabilities"):
            return self._classes(y, output, kind)
        if kind in ("binary_logits", "binary_probabilities"):
            scores = _sigmoid(output) if kind == "binary_logits" else output
            if scores.ndim > 1 and scores.shape[-1] == 1:
                scores, y = scores[..., 0], y.reshape(scores.shape[:-1])
            return y.astype(np.int64), scores, (scores > 0.5).astype(np.int64)
        if y.ndim and output.shape == (*y.shape[:-1], 1) and y.shape == output.shape:
            output, y = output[..., 0], y[..., 0]
        return y, output, output

    def _classes(self, y: Array, output: Array, kind: str) -> tuple[Array, Array, Array]:
        scores = np.moveaxis(output, 1, -1) if output.ndim > 2 else output
        if y.dtype.kind == "f":  # probabilities as targets
            y = (np.moveaxis(y, 1, -1) if y.ndim > 2 else y).argmax(axis=-1)
        if y.ndim > 1 or (y == self._objective.ignore_index).any():
            kept = (y != self._objective.ignore_index).reshape(-1)
            scores = scores.reshape(-1, scores.shape[-1])[kept]
            y = y.reshape(-1)[kept]
        if self._needs_scores:
            return y, _softmax(scores) if kind == "logits" else np.exp(scores), scores
        return y, scores, scores

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything counted so far."""
        return {
            "loss_sum": self.loss_sum,
            "count": self.count,
            "held": [[y, output] for y, output in self._held],
            "held_rows": self._held_rows,
            "flushed": self._flushed,
            "metrics": {name: state_of(metric) for name, metric in self._metrics.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.reset()
        self.loss_sum, self.count = state["loss_sum"], state["count"]
        self._held = [(_core.tensor(y), _core.tensor(output)) for y, output in state["held"]]
        self._held_rows = state["held_rows"]
        self._flushed = state["flushed"]
        for name, metric in self._metrics.items():
            if name not in state["metrics"]:
                raise ValueError(f"[load_checkpoint] the checkpoint has no metric {name!r}")
            restore(metric, state["metrics"][name])


def _joined(held: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Batches of equal shape as one."""
    kinds = {(y.shape[1:], output.shape[1:]) for y, output in held}
    if len(kinds) != 1 or len(held) == 1:
        return held
    return [(_core.cat([y for y, _ in held], 0), _core.cat([output for _, output in held], 0))]


def _number(value: Any) -> Any:
    if isinstance(value, (float, int, np.floating, np.integer)):
        return float(value)
    return value


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    result: Array = e / e.sum(axis=-1, keepdims=True)
    return result


def _sigmoid(x: Array) -> Array:
    result: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result
