# SPDX-License-Identifier: BSD-3-Clause
"""The text report of a classification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nervure.metrics.base import Average, label_pair, once, sample_weights
from nervure.metrics.confusion import ConfusionMatrix
from nervure.metrics.f_score import F1, ClassScore, Precision, Recall
from nervure.metrics.hits import accuracy


def classification_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    target_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    digits: int = 2,
    zero_division: float = 0,
    sample_weight: ArrayLike | None = None,
) -> str:
    """Precision, recall, F1 and support per class, accuracy and averages, as text.

    Parameters
    ----------
    y_true, y_pred
        Labels, or scores with one more dimension for ``y_pred``.
    target_names
        A name per class, in the order of the labels. Default: the labels.
    num_classes
        Report classes 0 .. num_classes-1, seen or not. Default: those seen.
    digits
        Decimals.
    zero_division
        The value where a denominator is zero.
    sample_weight
        How much each sample counts; ``support`` is then the sum of the weights.
    """
    weight = sample_weights("classification_report", np.shape(y_true), sample_weight)
    truth, prediction = label_pair("classification_report", y_true, y_pred, num_classes)

    def scores(average: Average) -> list[Any]:
        metrics: list[ClassScore] = [
            kind(average, num_classes=num_classes, zero_division=zero_division)
            for kind in (Precision, Recall, F1)
        ]
        return [once(metric, truth, prediction, weight) for metric in metrics]

    matrix = ConfusionMatrix(num_classes)
    support = once(matrix, truth, prediction, weight).sum(axis=1)
    names = _names([str(label) for label in matrix.labels], target_names)
    width = max(len(name) for name in [*names, "weighted avg"])
    lines = [f"{'':>{width}}  {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}", ""]

    def line(name: str, scores: Iterable[float], count: Any) -> str:
        cells = " ".join(f"{score:>9.{digits}f}" for score in scores)
        return f"{name:>{width}}  {cells} {count:>9}"

    for name, row, count in zip(names, np.transpose(scores(None)), support, strict=True):
        lines.append(line(name, row, count))
    total = support.sum()
    share = accuracy(truth, prediction, sample_weight=weight)
    hits = f"{share:>9.{digits}f}"
    lines += ["", f"{'accuracy':>{width}}  {'':>9} {'':>9} {hits} {total:>9}"]
    lines.append(line("macro avg", scores("macro"), total))
    lines.append(line("weighted avg", scores("weighted"), total))
    return "\n".join(lines) + "\n"


def _names(labels: list[str], given: Sequence[str] | None) -> list[str]:
    if given is None:
        return labels
    if len(given) != len(labels):
        raise ValueError(
            f"[classification_report] target_names must name {len(labels)} classes, "
            f"got {len(given)}"
        )
    return list(given)
