# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of a whole data set, counted batch by batch.

Counts are added up and the metric is computed from the total, so the result is the one of all
samples at once, whatever the batches were: a metric averaged over batches is another number. Values
equal scikit-learn's.

Every metric has ``update(y_true, y_pred, sample_weight=None)``, ``compute()`` and ``reset()``; the
function of the same name in lower case does it at once. Classification takes ``y_true`` as labels
of any shape (integers or strings), ``y_pred`` as labels of the same shape or scores with one more
dimension, the classes, at the end: ``(N,)`` or ``(N, C)``. Tensors and arrays are both taken.
"""

from nervure.metrics.base import Metric
from nervure.metrics.confusion import ConfusionMatrix, confusion_matrix
from nervure.metrics.curves import precision_recall_curve, roc_curve
from nervure.metrics.f_score import F1, FBeta, Precision, Recall
from nervure.metrics.f_score_functions import f1, fbeta, precision, recall
from nervure.metrics.hits import Accuracy, ExactMatch, TopK, accuracy, exact_match, topk
from nervure.metrics.likelihood import LogLoss, Perplexity, log_loss, perplexity
from nervure.metrics.ranking import (
    PRAUC,
    ROCAUC,
    AveragePrecision,
    average_precision,
    pr_auc,
    roc_auc,
)
from nervure.metrics.regression import (
    R2,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    mean_absolute_error,
    mean_squared_error,
    r2,
    root_mean_squared_error,
)
from nervure.metrics.report import classification_report

__all__ = [
    "F1",
    "PRAUC",
    "R2",
    "ROCAUC",
    "Accuracy",
    "AveragePrecision",
    "ConfusionMatrix",
    "ExactMatch",
    "FBeta",
    "LogLoss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "TopK",
    "accuracy",
    "average_precision",
    "classification_report",
    "confusion_matrix",
    "exact_match",
    "f1",
    "fbeta",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "perplexity",
    "pr_auc",
    "precision",
    "precision_recall_curve",
    "r2",
    "recall",
    "roc_auc",
    "roc_curve",
    "root_mean_squared_error",
    "topk",
]
