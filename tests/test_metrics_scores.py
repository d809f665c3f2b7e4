# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of scores and of numbers, and weights of samples: against scikit-learn and by hand."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

import nervure as nv
from nervure import metrics

SEEDS = range(6)


@pytest.fixture
def theirs():
    module = pytest.importorskip("sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined metrics are among the cases
        yield module


def same(value, expected, rtol=1e-14):
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=1e-15)


def binary(seed, n=150):
    """Labels, scores with many ties, and weights of which some are zero."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    scores = np.round(rng.normal(truth * 0.7, 1), 1)
    return truth, scores, rng.integers(0, 4, n) * rng.random(n)


def multiclass(seed, n=160, classes=4):
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    scores = rng.random((n, classes)) + np.eye(classes)[truth] * 0.4
    scores = np.round(scores, 1) + 0.05
    return truth, scores / scores.sum(axis=1, keepdims=True), rng.random(n)


def in_batches(metric, truth, prediction, weight=None, cuts=(1, 20, 20, 90)):
    order = np.argsort(truth, kind="stable") if np.ndim(truth) == 1 else np.arange(len(truth))
    for part in np.split(order, cuts):
        metric.update(truth[part], prediction[part], None if weight is None else weight[part])
    return metric.compute()


# ---- areas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_areas_of_two_classes(theirs, seed, weighted):
    truth, scores, weight = binary(seed)
    weight = weight if weighted else None
    options = {"sample_weight": weight}
    expected = theirs.roc_auc_score(truth, scores, **options)
    same(metrics.roc_auc(truth, scores, **options), expected)
    same(in_batches(metrics.ROCAUC(), truth, scores, weight), expected)
    expected = theirs.average_precision_score(truth, scores, **options)
    same(metrics.average_precision(truth, scores, **options), expected)
    same(in_batches(metrics.AveragePrecision(), truth, scores, weight), expected)
    p, r, _ = theirs.precision_recall_curve(truth, scores, **options)
    same(metrics.pr_auc(truth, scores, **options), theirs.auc(r, p))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", ["micro", "macro", "weighted", None])
def test_areas_of_many_classes(theirs, seed, weighted, average):
    truth, scores, weight = multiclass(seed)
    options = {"average": average, "sample_weight": weight if weighted else None}
    expected = theirs.roc_auc_score(truth, scores, multi_class="ovr", **options)
    same(metrics.roc_auc(truth, scores, **options), expected)
    expected = theirs.average_precision_score(truth, scores, **options)
    same(metrics.average_precision(truth, scores, **options), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_one_against_one(theirs, seed, average):
    truth, scores, _ = multiclass(seed)
    expected = theirs.roc_auc_score(truth, scores, multi_class="ovo", average=average)
    same(metrics.roc_auc(truth, scores, multi_class="ovo", average=average), expected)
    same(in_batches(metrics.ROCAUC(average, multi_class="ovo"), truth, scores), expected)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", None])
@pytest.mark.parametrize("weighted", [False, True])
def test_areas_of_several_labels_at_once(theirs, average, weighted):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (70, 3))
    scores = np.round(rng.random((70, 3)), 1)
    weight = rng.random(70) if weighted else None
    options = {"average": average, "sample_weight": weight}
    same(metrics.roc_auc(truth, scores, **options), theirs.roc_auc_score(truth, scores, **options))
    same(
        metrics.average_precision(truth, scores, **options),
        theirs.average_precision_score(truth, scores, **options),
    )


def test_two_columns_mean_the_second_class():
    truth, scores, _ = binary(3)
    probability = 1 / (1 + np.exp(-scores))
    columns = np.stack([1 - probability, probability], axis=1)
    expected = metrics.roc_auc(truth, probability)
    assert metrics.roc_auc(truth, columns) == expected
    assert metrics.roc_auc(truth[:, None], probability[:, None]) == expected
    assert metrics.roc_auc(truth, probability[:, None]) == expected
    same(metrics.roc_auc(truth, np.stack([0 * scores, scores], 1), from_logits=True), expected)


def test_areas_of_named_classes(theirs):
    truth, scores, _ = multiclass(2)
    names = np.array(["dog", "ant", "cow", "cat"])
    order = np.argsort(names)
    expected = theirs.roc_auc_score(names[truth], scores[:, order], multi_class="ovr")
    same(metrics.roc_auc(names[truth], scores, labels=list(names)), expected)
    metric = metrics.ROCAUC(labels=list(names))
    metric.update(names[truth], scores)
    assert list(metric.curves()) == list(names)
    two, scores, _ = binary(0)
    expected = theirs.roc_auc_score(names[two], scores)  # the greater label is the positive one
    same(metrics.roc_auc(names[two], scores, pos_label="dog"), expected)


def test_areas_that_are_not_defined():
    assert np.isnan(metrics.ROCAUC().compute())
    assert np.isnan(metrics.AveragePrecision().compute())
    assert np.isnan(metrics.roc_auc([1, 1], [0.1, 0.2]))
    assert np.isnan(metrics.roc_auc([], []))
    assert metrics.average_precision([0, 0], [0.1, 0.2]) == 0
    assert metrics.pr_auc([0, 0], [0.1, 0.2]) == 0
    assert metrics.average_precision([1, 1], [0.1, 0.2]) == 1
    scores = np.full((2, 3), 1 / 3)
    areas = metrics.roc_auc([0, 1], scores, average=None)
    np.testing.assert_array_equal(areas, [0.5, 0.5, np.nan])
    assert metrics.roc_auc([0, 1], scores, average="weighted") == 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_curves(theirs, seed, weighted):
    truth, scores, weight = binary(seed)
    weight = weight if weighted else None
    options = {"sample_weight": weight}
    for drop in (False, True):
        expected = theirs.roc_curve(truth, scores, drop_intermediate=drop, **options)
        value = metrics.roc_curve(truth, scores, drop_intermediate=drop, **options)
        for ours, want in zip(value, expected, strict=True):
            same(ours, want)
    expected = theirs.precision_recall_curve(truth, scores, **options)
    for ours, want in zip(
        metrics.precision_recall_curve(truth, scores, **options), expected, strict=True
    ):
        same(ours, want)


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_curves_of_one_class(theirs, truth):
    scores = [0.1, 0.5, 0.2]
    for ours, expected in zip(
        metrics.roc_curve(truth, scores), theirs.roc_curve(truth, scores), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    for ours, expected in zip(
        metrics.precision_recall_curve(truth, scores),
        theirs.precision_recall_curve(truth, scores),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, expected)


def test_curves_of_a_metric():
    truth, scores, _ = multiclass(0, classes=3)
    metric = metrics.ROCAUC()
    assert metric.curves() == {}
    metric.update(truth, scores)
    curves = metric.curves()
    assert list(curves) == ["0", "1", "2"]
    expected = metrics.roc_curve(truth == 1, scores[:, 1])
    for ours, want in zip(curves["1"], expected, strict=True):
        np.testing.assert_array_equal(ours, want)


# ---- likelihood ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_loss(theirs, seed, weighted, dtype):
    truth, scores, weight = multiclass(seed)
    scores = scores.astype(dtype)
    scores[:3] = np.eye(4)[[0, 0, 2]]  # certain: once right, twice wrong
    weight = weight if weighted else None
    expected = theirs.log_loss(truth, scores, sample_weight=weight)
    rtol = 1e-14 if dtype == np.float64 else 1e-6  # scikit-learn adds float32 in float32
    same(metrics.log_loss(truth, scores, sample_weight=weight), expected, rtol)
    same(in_batches(metrics.LogLoss(), truth, scores, weight), expected, rtol)


def test_log_loss_of_two_classes_and_of_names(theirs):
    truth, scores, _ = binary(0)
    probability = 1 / (1 + np.exp(-scores))
    expected = theirs.log_loss(truth, probability)
    same(metrics.log_loss(truth, probability), expected)
    same(metrics.log_loss(truth, probability[:, None]), expected)
    same(metrics.log_loss(truth, scores, from_logits=True), expected)
    names = np.array(["yes", "no"])[truth]
    same(metrics.log_loss(names, probability, labels=["yes", "no"]), expected)
    truth, scores, _ = multiclass(1)
    same(metrics.log_loss(truth, np.log(scores), from_logits=True), theirs.log_loss(truth, scores))


@pytest.mark.parametrize("weighted", [False, True])
def test_perplexity(weighted):
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 9, (12, 7)), rng.standard_normal((12, 7, 9))
    truth[3:, 4:] = -1
    weight = rng.random(12) if weighted else None
    probability = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    own = np.take_along_axis(probability, np.maximum(truth, 0)[..., None], -1)[..., 0]
    each = (truth >= 0) * (1 if weight is None else weight[:, None])
    expected = np.exp(-(np.log(own) * each).sum() / each.sum())
    options = {"ignore_index": -1}
    same(metrics.perplexity(truth, logits, sample_weight=weight, **options), expected)
    metric = metrics.Perplexity(from_logits=False, **options)
    same(in_batches(metric, truth, probability, weight, cuts=(1, 5)), expected)
    assert metrics.perplexity([0, 1], np.zeros((2, 10))) == pytest.approx(10)
    assert metrics.perplexity([0], [[0.0, 1.0]], from_logits=False) == np.inf


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(130,), (130, 3)])
def test_regression(theirs, seed, weighted, shape):
    rng = np.random.default_rng(seed)
    truth = 1e3 + rng.standard_normal(shape)
    prediction = truth + rng.standard_normal(shape)
    weight = rng.random(130) if weighted else None
    pairs = [
        (metrics.MeanSquaredError, metrics.mean_squared_error, theirs.mean_squared_error),
        (
            metrics.RootMeanSquaredError,
            metrics.root_mean_squared_error,
            theirs.root_mean_squared_error,
        ),
        (metrics.MeanAbsoluteError, metrics.mean_absolute_error, theirs.mean_absolute_error),
        (metrics.R2, metrics.r2, theirs.r2_score),
    ]
    for kind, function, reference in pairs:
        for outputs in ("uniform_average", "raw_values"):
            options = {"sample_weight": weight, "multioutput": outputs}
            expected = reference(truth, prediction, **options)
            if outputs == "raw_values" or kind is metrics.R2:
                same(function(truth, prediction, **options), expected, 1e-12)
            same(function(truth, prediction, **options), expected, 1e-12)
            same(in_batches(kind(outputs), truth, prediction, weight), expected, 1e-12)
    expected = theirs.r2_score(
        truth, prediction, sample_weight=weight, multioutput="variance_weighted"
    )
    value = metrics.r2(truth, prediction, sample_weight=weight, multioutput="variance_weighted")
    same(value, expected, 1e-12)


def test_r2_where_the_truth_does_not_vary(theirs):
    for truth, prediction in [([2, 2, 2], [2, 2, 2]), ([2, 2, 2], [2, 2, 3])]:
        assert metrics.r2(truth, prediction) == theirs.r2_score(truth, prediction)
    metric = metrics.R2()
    for _ in range(10):
        metric.update(np.full(7, 0.1), np.full(7, 0.2))
    assert metric.compute() == 0
    table = np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.4]])
    assert metrics.r2(table, table, multioutput="variance_weighted") == 1
    flat = np.ones((3, 2))
    expected = theirs.r2_score(flat, table, multioutput="variance_weighted")
    assert metrics.r2(flat, table, multioutput="variance_weighted") == expected


def test_r2_far_from_zero_batch_by_batch(theirs):
    rng = np.random.default_rng(0)
    truth = 1e8 + rng.standard_normal(200)
    prediction = truth + 0.5 * rng.standard_normal(200)
    value = in_batches(metrics.R2(), truth, prediction, cuts=range(2, 200, 2))
    same(value, theirs.r2_score(truth, prediction), 1e-8)


def test_sums_over_many_batches_do_not_drift():
    metric = metrics.MeanSquaredError()
    metric.update([1e8], [0.0])
    for _ in range(3000):
        metric.update([1.0], [0.3])
    assert metric.compute() == pytest.approx((1e16 + 3000 * 0.7**2) / 3001, rel=1e-16)


def test_a_column_of_predictions_is_no_table():
    truth = np.arange(5.0)
    assert metrics.mean_squared_error(truth, truth[:, None]) == 0
    assert metrics.mean_absolute_error(truth[:, None], truth + 1) == 1
    assert metrics.r2(nv.tensor(truth), nv.tensor(truth)) == 1


def test_numbers_of_nothing():
    for kind in (metrics.MeanSquaredError, metrics.MeanAbsoluteError, metrics.R2):
        assert np.isnan(kind().compute())
    assert np.isnan(metrics.r2([1.0], [1.0]))
    assert metrics.mean_squared_error([np.inf], [0.0]) == np.inf


# ---- weights, exact match ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_of_samples(theirs, seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, 5, (2, 130))
    weight = rng.random(130) * rng.integers(0, 2, 130)
    options = {"sample_weight": weight}
    for ours, reference in [
        (metrics.confusion_matrix, theirs.confusion_matrix),
        (metrics.accuracy, theirs.accuracy_score),
    ]:
        same(ours(truth, prediction, **options), reference(truth, prediction, **options))
    for average in ("micro", "macro", "weighted", None):
        for ours, reference in [
            (metrics.precision, theirs.precision_score),
            (metrics.recall, theirs.recall_score),
            (metrics.f1, theirs.f1_score),
            (partial(metrics.fbeta, beta=2.0), partial(theirs.fbeta_score, beta=2.0)),
        ]:
            expected = reference(truth, prediction, average=average, zero_division=0, **options)
            same(ours(truth, prediction, average=average, **options), expected)
    same(in_batches(metrics.F1("macro"), truth, prediction, weight), theirs.f1_score(
        truth, prediction, average="macro", **options))  # fmt: skip
    scores = rng.random((130, 5))
    same(
        metrics.topk(truth, scores, k=2, **options),
        theirs.top_k_accuracy_score(truth, scores, k=2, **options),
    )


def test_whole_weights_are_repetitions():
    truth, prediction, weight = [0, 1, 1], [0, 0, 1], [2, 1, 3]
    repeated = np.repeat([truth, prediction], weight, axis=1)
    ours = metrics.confusion_matrix(truth, prediction, sample_weight=weight)
    np.testing.assert_array_equal(ours, metrics.confusion_matrix(*repeated))
    report = metrics.classification_report(truth, prediction, sample_weight=weight)
    assert "6.0" in report


def test_weights_of_samples_hold_for_all_their_places():
    truth = np.array([[0, 1], [1, 1]])
    prediction = np.array([[0, 0], [1, 1]])
    assert metrics.accuracy(truth, prediction, sample_weight=[1, 3]) == 7 / 8
    same(metrics.accuracy(truth, prediction, sample_weight=[[1, 0], [0, 0]]), 1)


def test_exact_match(theirs):
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 2, (2, 60, 3))
    weight = rng.random(60)
    assert metrics.exact_match(truth, prediction) == theirs.accuracy_score(truth, prediction)
    same(
        metrics.exact_match(truth, prediction, sample_weight=weight),
        theirs.accuracy_score(truth, prediction, sample_weight=weight),
    )
    same(in_batches(metrics.ExactMatch(), truth, prediction, cuts=(3, 9)),
         theirs.accuracy_score(truth, prediction))  # fmt: skip
    scores = np.eye(3)[prediction]
    assert metrics.exact_match(truth, scores) == theirs.accuracy_score(truth, prediction)
    assert (
        metrics.exact_match([[1, 2, 0], [1, 0, 0]], [[1, 2, 7], [2, 0, 0]], ignore_index=0) == 0.5
    )
    assert np.isnan(metrics.exact_match(np.zeros((0, 3), int), np.zeros((0, 3), int)))


# ---- errors --------------------------------------------------------------------------------------

TABLE = np.full((2, 3), 1 / 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(metrics.roc_auc, [0, 1], [0.5]), ValueError, r"scores \(2,\) or \(2, C\)"),
        (partial(metrics.roc_auc, [0, 1], [0.5, np.nan]), ValueError, "NaN"),
        (partial(metrics.roc_auc, [0, 1, 2], [1, 2, 3]), ValueError, r"two classes.*got 3"),
        (partial(metrics.roc_auc, [2, 3], [1, 2]), ValueError, "pos_label=1"),
        (partial(metrics.roc_auc, [0, 1], 2 * TABLE), ValueError, "from_logits=True"),
        (partial(metrics.roc_auc, [0, 1], TABLE * 3 - 1), ValueError, "must sum to 1"),
        (partial(metrics.roc_auc, [0, 3], TABLE), IndexError, r"0 \.\. 2, got 3"),
        (partial(metrics.roc_auc, [0, 1], TABLE, average="mean"), ValueError, "average must be"),
        (partial(metrics.ROCAUC, multi_class="all"), ValueError, "'ovr' or 'ovo'"),
        (partial(metrics.ROCAUC, None, multi_class="ovo"), ValueError, "'macro' or 'weighted'"),
        (partial(metrics.roc_auc, [0, 1], TABLE, multi_class="ovo", sample_weight=[1, 1]),
         ValueError, "does not take sample_weight"),
        (partial(metrics.roc_auc, [0, 1], TABLE, labels=["a", "b", "c"]), TypeError, "labels are"),
        (partial(metrics.roc_auc, ["d", "a"], TABLE, labels=list("abc")), IndexError, "holds d"),
        (partial(metrics.roc_auc, [0, 1], TABLE, labels=[0, 1]), ValueError, "name 3 classes"),
        (partial(metrics.ROCAUC, labels=[0, 0]), ValueError, "must differ"),
        (partial(metrics.roc_auc, [[0, 2]], [[0.5, 1]]), ValueError, "0 and 1 only"),
        (partial(metrics.roc_curve, [0, 1], [1]), ValueError, r"shape \(2,\), got \(1,\)"),
        (partial(metrics.roc_curve, [], []), ValueError, "at least one sample"),
        (partial(metrics.precision_recall_curve, [0], [np.nan]), ValueError, "NaN"),
        (partial(metrics.log_loss, [0, 1], [[0.5], [0.5], [0.5]]), ValueError, "must be"),
        (partial(metrics.log_loss, [0, 1], [0.5, 1.5]), ValueError, "from_logits=True"),
        (partial(metrics.log_loss, [0, 2], [0.5, 0.5]), IndexError, "got 2"),
        (partial(metrics.log_loss, ["a"], [0.5]), TypeError, "class numbers"),
        (partial(metrics.perplexity, [0], [0.5]), ValueError, r"scores \(1, C\)"),
        (partial(metrics.perplexity, [5], TABLE[:1]), IndexError, "got 5"),
        (partial(metrics.perplexity, [1], [[1.0, 1.0]], from_logits=False), ValueError, "sum to 1"),
        (partial(metrics.exact_match, 1, 1), ValueError, "dimension of samples"),
        (partial(metrics.mean_squared_error, [1, 2], [1]), ValueError, r"got \(2,\) and \(1,\)"),
        (partial(metrics.mean_squared_error, 1, 2), ValueError, r"\(N, ...\)"),
        (partial(metrics.MeanSquaredError, "variance_weighted"), ValueError, "multioutput"),
        (partial(metrics.r2, [1], [1], sample_weight=[1, 2]), ValueError, "sample_weight must"),
        (partial(metrics.accuracy, [1], [1], sample_weight=[-1]), ValueError, "not negative"),
        (partial(metrics.accuracy, [1], [1], sample_weight=[np.nan]), ValueError, "finite"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_batches_must_agree():
    metric = metrics.ROCAUC()
    metric.update([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="batches must agree"):
        metric.update([0, 1], TABLE)
    error = metrics.MeanSquaredError()
    error.update([1.0], [2.0])
    with pytest.raises(ValueError, match="got 1 outputs, now 2"):
        error.update([[1.0, 2.0]], [[2.0, 2.0]])
