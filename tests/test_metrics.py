# SPDX-License-Identifier: BSD-3-Clause
"""Metrics: by hand, batch by batch, and against scikit-learn."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

import nervure as nv
from nervure import metrics

AVERAGES = ["micro", "macro", "weighted", None]


def data_of(classes, n=200, seed=0, skip=()):
    """Random labels with about half right; classes in `skip` never occur."""
    rng = np.random.default_rng(seed)
    allowed = np.setdiff1d(np.arange(classes), skip)
    truth = rng.choice(allowed, n)
    prediction = np.where(rng.random(n) < 0.5, truth, rng.choice(allowed, n))
    return truth, prediction


def test_confusion_matrix_rows_are_the_truth():
    matrix = metrics.confusion_matrix([0, 0, 1, 2], [0, 2, 1, 1])
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 1, 0], [0, 1, 0]])


def test_precision_recall_f1_by_hand():
    truth, prediction = [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]
    assert metrics.precision(truth, prediction) == 2 / 3
    assert metrics.recall(truth, prediction) == 2 / 3
    assert metrics.f1(truth, prediction) == 2 / 3
    assert metrics.recall([0, 0, 1], [1, 0, 1], pos_label=0) == 0.5
    assert metrics.fbeta([1, 1, 0, 0], [1, 0, 0, 0], beta=2) == pytest.approx(5 / 9)


@pytest.mark.parametrize("cuts", [[1], [3, 4, 9], [50, 100, 150]])
def test_batches_give_the_same_as_all_at_once(cuts):
    truth, prediction = data_of(7)
    scores = np.random.default_rng(1).random((200, 7))
    whole = {
        metrics.ConfusionMatrix(): prediction,
        metrics.Accuracy(): prediction,
        metrics.TopK(3): scores,
        metrics.Precision("macro"): prediction,
        metrics.Recall("weighted"): prediction,
        metrics.F1(None): prediction,
        metrics.FBeta(0.5, "micro"): prediction,
    }
    for metric, predicted in whole.items():
        metric.update(truth, predicted)
        expected = metric.compute()
        metric.reset()
        # sorted by label: later batches bring labels that earlier ones do not have
        order = np.argsort(truth, kind="stable")
        for part in np.split(order, cuts):
            metric.update(truth[part], predicted[part])
        np.testing.assert_array_equal(metric.compute(), expected)


def test_scores_mean_the_class_of_the_highest():
    truth, prediction = data_of(5)
    scores = np.random.default_rng(2).random((200, 5)).astype(np.float32)
    scores[np.arange(200), prediction] += 1
    assert metrics.accuracy(truth, scores) == metrics.accuracy(truth, prediction)
    shaped = metrics.f1(truth.reshape(20, 10), scores.reshape(20, 10, 5), average="macro")
    assert shaped == metrics.f1(truth, prediction, average="macro")


def test_tensors_are_taken():
    truth, scores = nv.tensor([0, 1, 1]), nv.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert metrics.accuracy(truth, scores) == 2 / 3


def test_num_classes_counts_classes_never_seen():
    assert metrics.confusion_matrix([0, 1], [0, 1], num_classes=3).shape == (3, 3)
    assert metrics.recall([0, 1], [0, 1], average="macro") == 1
    assert metrics.recall([0, 1], [0, 1], average="macro", num_classes=4) == 0.5


def test_topk_of_nan_and_ties():
    assert metrics.topk([1], [[0.1, np.nan, 0.2]], k=2) == 0
    assert metrics.topk([0, 2], [[1.0, 1.0, 1.0]] * 2, k=1) == 0.5


def test_nothing_counted():
    assert np.isnan(metrics.Accuracy().compute())
    assert np.isnan(metrics.TopK().compute())
    assert metrics.ConfusionMatrix().compute().shape == (0, 0)
    for average in ["binary", "micro", "macro", "weighted"]:
        assert metrics.F1(average, zero_division=1).compute() == 1
    metric = metrics.Precision("macro")
    metric.update(np.empty(0, int), np.empty(0, int))
    assert metric.compute() == 0


def test_result_is_a_copy():
    metric = metrics.ConfusionMatrix(2)
    metric.compute()[:] = 9
    assert metric.compute().sum() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(metrics.accuracy, [0, 1], [0, 1, 1]), ValueError, r"labels \(2,\) or scores"),
        (partial(metrics.accuracy, [0, 1], [[[1]]]), ValueError, r"scores \(2, C\)"),
        (partial(metrics.precision, [0, 1], [0.2, 0.9]), ValueError, "fractions"),
        (partial(metrics.precision, [0, 1], ["a", "b"]), TypeError, "y_true is int64"),
        (partial(metrics.precision, [0, 1], [1j, 0]), TypeError, "complex"),
        (partial(metrics.precision, [0, 1, 2], [0, 1, 1]), ValueError, "at most 2 classes, got 3"),
        (partial(metrics.precision, [2, 3], [2, 3]), ValueError, "pos_label=1"),
        (partial(metrics.recall, [0], [0], average="mean"), ValueError, "average must be"),
        (partial(metrics.recall, [0], [0], zero_division=2), ValueError, "zero_division must be"),
        (partial(metrics.f1, [0], [0], zero_division="warn"), ValueError, "got 'warn'"),
        (partial(metrics.accuracy, [0, 1], [[0.2], [0.9]]), ValueError, "scores > 0.5"),
        (partial(metrics.accuracy, [np.inf, 1], [0, 1]), ValueError, "NaN or infinity"),
        (partial(metrics.confusion_matrix, [0], [0], num_classes=2.5), ValueError, "got 2.5"),
        (partial(metrics.topk, [0], [[1, 2]], k=1.5), ValueError, "got 1.5"),
        (partial(metrics.fbeta, [0], [0], beta=-1), ValueError, "beta"),
        (partial(metrics.f1, [0], [0], num_classes=3), ValueError, "cannot have 3 classes"),
        (partial(metrics.confusion_matrix, [0, 3], [0, 0], num_classes=3), IndexError, "got 3"),
        (partial(metrics.confusion_matrix, [0], [-1], num_classes=3), IndexError, "got -1"),
        (partial(metrics.confusion_matrix, [0], [[1, 2]], num_classes=3), ValueError, "3 classes"),
        (partial(metrics.ConfusionMatrix, 0), ValueError, "num_classes must be a positive"),
        (partial(metrics.topk, [0], [0]), ValueError, r"scores \(1, C\)"),
        (partial(metrics.topk, [2], [[1, 2]]), IndexError, r"0 \.\. 1, got 2"),
        (partial(metrics.TopK, 0), ValueError, "k must be a positive"),
        (
            partial(metrics.classification_report, [0, 1], [0, 1], target_names=["a"]),
            ValueError,
            "must name 2 classes",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_column_of_labels_is_no_scores_of_one_class():
    truth, column = np.array([0, 1, 1, 0]), np.array([[0], [1], [0], [0]])
    assert metrics.accuracy(truth, column) == 0.75
    np.testing.assert_array_equal(metrics.confusion_matrix(truth, column), [[2, 0], [1, 1]])
    assert metrics.accuracy([0, 0], [[0.2], [0.9]] > np.float64(0.5)) == 0.5


# ---- against scikit-learn ----------------------------------------------------------------------

CASES = {
    "binary": data_of(2),
    "ten": data_of(10),
    "never true": (np.array([0, 0, 1, 1]), np.array([0, 2, 1, 2])),
    "never predicted": (np.array([0, 2, 1, 2]), np.array([0, 0, 1, 1])),
    "gaps": data_of(9, skip=(0, 4)),
    "negative": (np.array([-3, 5, 5, 100]), np.array([-3, 5, 100, -3])),
    "one class": (np.array([1, 1]), np.array([1, 1])),
    "strings": (np.array(["cat", "dog", "eel"]), np.array(["dog", "dog", "eel"])),
}


@pytest.fixture
def sklearn_metrics():
    module = pytest.importorskip("sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "y_pred contains classes not in y_true"
        yield module


@pytest.mark.parametrize("case", CASES)
def test_matrix_and_accuracy_equal_scikit_learn(sklearn_metrics, case):
    truth, prediction = CASES[case]
    expected = sklearn_metrics.confusion_matrix(truth, prediction)
    np.testing.assert_array_equal(metrics.confusion_matrix(truth, prediction), expected)
    assert metrics.accuracy(truth, prediction) == sklearn_metrics.accuracy_score(truth, prediction)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("zero_division", [0, 1, np.nan])
def test_scores_equal_scikit_learn(sklearn_metrics, case, average, zero_division):
    truth, prediction = CASES[case]
    options = {"average": average, "zero_division": zero_division}
    pairs = [
        (metrics.precision, sklearn_metrics.precision_score, {}),
        (metrics.recall, sklearn_metrics.recall_score, {}),
        (metrics.f1, sklearn_metrics.f1_score, {}),
        (metrics.fbeta, sklearn_metrics.fbeta_score, {"beta": 2.0}),
        (metrics.fbeta, sklearn_metrics.fbeta_score, {"beta": 0.0}),
        (metrics.fbeta, sklearn_metrics.fbeta_score, {"beta": np.inf}),
    ]
    for ours, theirs, extra in pairs:
        expected = theirs(truth, prediction, **options, **extra)
        value = ours(truth, prediction, **options, **extra)
        np.testing.assert_allclose(value, expected, rtol=1e-15)


@pytest.mark.parametrize("pos_label", [0, 1])
@pytest.mark.parametrize("zero_division", [0, 1])
def test_binary_scores_equal_scikit_learn(sklearn_metrics, pos_label, zero_division):
    options = {"pos_label": pos_label, "zero_division": zero_division}
    for truth, prediction in [data_of(2), ([0, 0], [0, 0]), ([1, 1], [0, 0]), ([0, 0], [1, 1])]:
        for ours, theirs in [
            (metrics.precision, sklearn_metrics.precision_score),
            (metrics.recall, sklearn_metrics.recall_score),
            (metrics.f1, sklearn_metrics.f1_score),
        ]:
            assert ours(truth, prediction, **options) == theirs(truth, prediction, **options)


def test_given_classes_equal_scikit_learn_labels(sklearn_metrics):
    truth, prediction = data_of(6, skip=(2,))
    for average in AVERAGES:
        expected = sklearn_metrics.f1_score(
            truth, prediction, labels=range(8), average=average, zero_division=0
        )
        value = metrics.f1(truth, prediction, num_classes=8, average=average)
        np.testing.assert_allclose(value, expected, rtol=1e-15)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_topk_equals_scikit_learn(sklearn_metrics, k):
    rng = np.random.default_rng(3)
    truth = rng.permutation(np.arange(120) % 6)
    scores = rng.integers(0, 4, (120, 6)).astype(float)  # many ties
    expected = sklearn_metrics.top_k_accuracy_score(truth, scores, k=k)
    assert metrics.topk(truth, scores, k=k) == expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("digits", [2, 4])
def test_report_equals_scikit_learn(sklearn_metrics, case, digits):
    truth, prediction = CASES[case]
    expected = sklearn_metrics.classification_report(
        truth, prediction, digits=digits, zero_division=0
    )
    assert metrics.classification_report(truth, prediction, digits=digits) == expected


def test_report_with_names_equals_scikit_learn(sklearn_metrics):
    truth, prediction = data_of(3)
    names = ["a", "a class with a long name", "c"]
    expected = sklearn_metrics.classification_report(truth, prediction, target_names=names)
    assert metrics.classification_report(truth, prediction, target_names=names) == expected
