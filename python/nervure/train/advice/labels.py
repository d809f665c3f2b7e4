# SPDX-License-Identifier: BSD-3-Clause
"""Faults that the labels show before training begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nervure._core import Tensor
from nervure.data.sampler import RandomSampler
from nervure.train._feed import Feed
from nervure.train._objective import Objective
from nervure.train._settings import labels_of

# Always answering the greatest class is then right in more than six of seven cases, which looks
# like success; sets that people call balanced stay far below.
MAJORITY = 0.85
# Of fewer labels, a share says little.
LEAST_LABELS = 50
# So many of them, evenly spaced, are looked at.
MOST_LABELS = 100_000


def imbalance(
    feed: Feed, y: Any, metrics: Mapping[str, Any], objective: Objective, weighted: bool
) -> str | None:
    """One class in most of the labels, nothing done about it, and accuracy the only metric."""
    only = {type(metric).__name__ for metric in metrics.values()} == {"Accuracy"}
    if not only or weighted or objective.kind == "values" or not _as_they_come(feed):
        return None
    labels = labels_of(feed.dataset) if y is None else y
    if labels is None or isinstance(labels, (tuple, dict)):
        return None
    share, label = _greatest(labels, objective)
    if share < MAJORITY:
        return None
    return (
        f"class imbalance: {share:.0%} of the labels are {label}, so a model that always says "
        f"{label} has an accuracy of {share:.0%}. Look at a metric that shows it "
        "(metrics=['accuracy', 'f1_macro'], 'recall', 'roc_auc'), and weigh the classes "
        "(fit(class_weight='balanced')) or draw rare ones more often "
        "(WeightedRandomSampler.balanced)"
    )


def _as_they_come(feed: Feed) -> bool:
    """Whether nothing draws some samples more often than others."""
    source = feed.source
    batches = getattr(source, "batch_sampler", None)
    return batches is None and isinstance(
        getattr(source, "sampler", None), (RandomSampler, type(None))
    )


def _greatest(labels: Any, objective: Objective) -> tuple[float, int]:
    """Share and number of the class that most labels have."""
    values = labels.numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if objective.takes_classes:
        if values.dtype.kind == "f" and values.ndim > 1:  # probabilities as targets
            values = values.argmax(axis=objective.class_dim)
        values = values[values != objective.ignore_index]
    values = values.reshape(-1)
    values = values[:: max(1, len(values) // MOST_LABELS)]
    if len(values) < LEAST_LABELS or values.dtype.kind not in "biuf" or values.min() < 0:
        return 0.0, 0
    numbers = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.array_equal(numbers, values):  # soft labels
        return 0.0, 0
    found, counts = np.unique(numbers, return_counts=True)
    return float(counts.max() / len(numbers)), int(found[counts.argmax()])
