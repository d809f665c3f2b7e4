# SPDX-License-Identifier: BSD-3-Clause
"""How probable the model thought the truth: log loss and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nervure.metrics.base import (
    Indices,
    Labels,
    Metric,
    Values,
    WeightedMean,
    check_range,
    flat_labels,
    is_text,
    once,
    sample_weights,
    with_classes,
)


def class_numbers(metric: str, truth: Labels, count: int, labels: Labels | None) -> Indices:
    """Numbers 0 .. count-1 of flat labels: their places in `labels`, or the labels themselves."""
    if labels is None:
        check_range(metric, "y_true", truth, count)
        return truth
    if labels.size != count:
        raise ValueError(f"[{metric}] labels must name {count} classes, got {labels.size}")
    if truth.size and is_text(truth) != is_text(labels):
        raise TypeError(f"[{metric}] y_true is {truth.dtype}, labels are {labels.dtype}")
    order = np.argsort(labels, kind="stable")
    place = np.minimum(np.searchsorted(labels, truth, sorter=order), count - 1)
    found: Indices = order[place]
    unknown = labels[found] != truth
    if unknown.any():
        raise IndexError(f"[{metric}] y_true holds {truth[unknown][0]}, which labels do not name")
    return found


def known_labels(metric: str, labels: Sequence[Any] | None) -> Labels | None:
    """The labels that the user gave, checked."""
    if labels is None:
        return None
    flat = flat_labels(metric, "labels", np.asarray(labels))
    if np.unique(flat).size != flat.size:
        raise ValueError(f"[{metric}] labels must differ, got {list(labels)}")
    return flat


def check_probabilities(metric: str, values: NDArray[Any]) -> None:
    """Refuse rows (last dimension) that are not distributions; NaN passes."""
    if not values.size:
        return
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"[{metric}] y_pred must be probabilities in [0, 1], got {values.min()} .. "
            f"{values.max()}; use from_logits=True for scores before the softmax"
        )
    off = abs(values.sum(axis=-1, dtype=np.float64) - 1).max()
    if off > np.sqrt(np.finfo(values.dtype).eps):
        raise ValueError(
            f"[{metric}] y_pred must sum to 1 in every row, one is off by {off:.3g}; "
            "use from_logits=True for scores before the softmax"
        )


def log_softmax(scores: NDArray[Any]) -> Values:
    """Along the last dimension, in float64."""
    wide = scores.astype(np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True, initial=-np.inf)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True)))


def _floats(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.dtype.kind == "f" else values.astype(np.float64)


class LogLoss(Metric):
    """Mean of ``-log p(true class)``, in nats; NaN before the first sample.

    ``y_true`` are labels ``(...)``, ``y_pred`` probabilities ``(..., C)``, or for two classes those
    of the second one ``(...)``. Probabilities are kept ``eps`` away from 0 and 1 (scikit-learn),
    ``eps`` that of their dtype.

    Parameters
    ----------
    labels
        The classes in the order of the columns. Default: 0 .. C-1.
    from_logits
        Whether ``y_pred`` are scores before the softmax (the sigmoid when there is one per sample);
        they are not clipped.
    """

    def __init__(self, *, labels: Sequence[Any] | None = None, from_logits: bool = False) -> None:
        self._labels = known_labels("log_loss", labels)
        self.from_logits = from_logits
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._mean = WeightedMean()

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        truth, scores = np.asarray(y_true), _floats(np.asarray(y_pred))
        if scores.ndim == truth.ndim + 1 and scores.shape[-1] == 1:
            scores = scores[..., 0]
        with_columns = scores.ndim == truth.ndim + 1 and scores.shape[:-1] == truth.shape
        if scores.shape != truth.shape and not with_columns:
            raise ValueError(
                f"[log_loss] y_pred must be {truth.shape} or {with_classes(truth.shape)}, "
                f"got {scores.shape}"
            )
        if not with_columns:
            zero = np.zeros_like(scores) if self.from_logits else 1 - scores
            scores = np.stack([zero, scores], axis=-1)
        weight = sample_weights("log_loss", truth.shape, sample_weight)
        count = scores.shape[-1]
        flat = flat_labels("log_loss", "y_true", truth)
        own = class_numbers("log_loss", flat, count, self._labels)
        logs = self._logs(scores.reshape(flat.size, count))
        self._mean.add(-logs[np.arange(flat.size), own], weight)

    def _logs(self, scores: NDArray[Any]) -> Values:
        if self.from_logits:
            return log_softmax(scores)
        check_probabilities("log_loss", scores)
        eps = np.finfo(scores.dtype).eps
        return np.asarray(np.log(np.clip(scores, eps, 1 - eps).astype(np.float64)))

    def compute(self) -> float:
        """Give the mean so far."""
        return self._mean.value


class Perplexity(Metric):
    """``exp`` of the mean of ``-log p(true token)``; NaN before the first token.

    ``y_true`` are token numbers ``(...)``, ``y_pred`` scores ``(..., C)``. 1 is perfect, C is what
    guessing gives. The mean is taken over all tokens of the data set, so long and short batches
    count as they should.

    Parameters
    ----------
    ignore_index
        True token of places that do not count, such as padding.
    from_logits
        Whether ``y_pred`` are scores before the softmax (default); False: probabilities.
    """

    def __init__(self, *, ignore_index: int | None = None, from_logits: bool = True) -> None:
        self.ignore_index = ignore_index
        self.from_logits = from_logits
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._mean = WeightedMean()

    def update(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        truth, scores = np.asarray(y_true), _floats(np.asarray(y_pred))
        if scores.ndim != truth.ndim + 1 or scores.shape[:-1] != truth.shape:
            expected = with_classes(truth.shape)
            raise ValueError(f"[perplexity] y_pred must be scores {expected}, got {scores.shape}")
        weight = sample_weights("perplexity", truth.shape, sample_weight)
        own = flat_labels("perplexity", "y_true", truth)
        scores = scores.reshape(own.size, scores.shape[-1])
        if self.ignore_index is not None:
            counted = own != self.ignore_index
            own, scores = own[counted], scores[counted]
            weight = None if weight is None else weight[counted]
        check_range("perplexity", "y_true", own, scores.shape[1])
        if self.from_logits:
            logs = log_softmax(scores)[np.arange(own.size), own]
        else:
            check_probabilities("perplexity", scores)
            with np.errstate(divide="ignore"):  # an impossible token: infinitely perplexed
                logs = np.log(scores[np.arange(own.size), own].astype(np.float64))
        self._mean.add(-logs, weight)

    def compute(self) -> float:
        """Give the perplexity so far."""
        with np.errstate(over="ignore"):
            return float(np.exp(self._mean.value))


def log_loss(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    from_logits: bool = False,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean of ``-log p(true class)``: see :class:`LogLoss`."""
    metric = LogLoss(labels=labels, from_logits=from_logits)
    return float(once(metric, y_true, y_pred, sample_weight))


def perplexity(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    ignore_index: int | None = None,
    from_logits: bool = True,
    sample_weight: ArrayLike | None = None,
) -> float:
    """``exp`` of the mean of ``-log p(true token)``: see :class:`Perplexity`."""
    metric = Perplexity(ignore_index=ignore_index, from_logits=from_logits)
    return float(once(metric, y_true, y_pred, sample_weight))
