# SPDX-License-Identifier: BSD-3-Clause
"""The scikit-learn estimators: scikit-learn's own checks, and the networks that it learns."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import nervure as nv
from nervure import nn, optim

pytest.importorskip("sklearn", minversion="1.6")

from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nervure import sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [getattr(ours, name) for name in ours.__all__]
X, Y = make_classification(600, 12, n_informative=8, n_classes=3, random_state=0)
X = X.astype(np.float32)
XR, YR = make_regression(400, 8, n_targets=2, random_state=0)
XR, YR = XR.astype(np.float32), YR / 100


@pytest.mark.filterwarnings("ignore")  # warnings are among what is checked
@parametrize_with_checks([estimator() for estimator in ESTIMATORS])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


# ---- the same network as scikit-learn's ----------------------------------------------------------

SETTINGS = [
    {},
    {"batch_size": 64, "shuffle": False},
    {"solver": "sgd", "learning_rate_init": 0.05},
    {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.0},
    {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    {"solver": "sgd", "learning_rate_init": 0.05, "learning_rate": "invscaling"},
    {"solver": "sgd", "learning_rate_init": 0.05, "learning_rate": "adaptive", "tol": 0.1,
     "n_iter_no_change": 2},
    {"early_stopping": True},
    {"tol": 0.05, "n_iter_no_change": 2},
    {"activation": "logistic", "hidden_layer_sizes": (20, 10)},
    {"activation": "tanh", "alpha": 1.0, "hidden_layer_sizes": 30},
    {"activation": "identity", "hidden_layer_sizes": []},
    {"solver": "lbfgs"},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_classifier_learns_the_network_of_scikit_learn(settings):
    settings = {"random_state": 0, "max_iter": 15, **settings}
    expected = neural_network.MLPClassifier(**settings).fit(X, Y)
    model = ours.MLPClassifier(**settings).fit(X, Y)
    assert model.n_iter_ == expected.n_iter_
    assert model.n_layers_ == expected.n_layers_
    assert model.out_activation_ == expected.out_activation_
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-4)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=2e-3)
    for value, want in zip(model.coefs_, expected.coefs_, strict=True):
        assert value.shape == want.shape
        np.testing.assert_allclose(value, want, atol=2e-3)
    for value, want in zip(model.intercepts_, expected.intercepts_, strict=True):
        np.testing.assert_allclose(value, want, atol=2e-3)
    if settings.get("early_stopping"):
        scores = expected.validation_scores_
        np.testing.assert_allclose(model.validation_scores_, scores, rtol=1e-12)


@pytest.mark.parametrize("several", [False, True])
def test_two_classes_and_several_labels(several):
    y = np.stack([Y == 0, Y > 1], axis=1).astype(int) if several else (Y > 0).astype(int)
    expected = neural_network.MLPClassifier(random_state=0, max_iter=10).fit(X, y)
    model = ours.MLPClassifier(random_state=0, max_iter=10).fit(X, y)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-4)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=2e-3)
    assert np.mean(model.predict(X) == expected.predict(X)) > 0.999
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize(
    "settings", [{}, {"solver": "lbfgs"}, {"early_stopping": True}, {"loss": "poisson"}], ids=str
)
def test_regressor_learns_the_network_of_scikit_learn(settings):
    y = np.abs(YR) if "loss" in settings else YR
    settings = {"random_state": 0, "max_iter": 10, **settings}
    try:
        expected = neural_network.MLPRegressor(**settings).fit(XR, y)
    except TypeError:
        pytest.skip("this scikit-learn has no loss='poisson'")
    model = ours.MLPRegressor(**settings).fit(XR, y)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-2)
    np.testing.assert_allclose(model.predict(XR), expected.predict(XR), atol=1e-2)
    one = ours.MLPRegressor(**settings).fit(XR, y[:, 0]).predict(XR)
    assert one.shape == (400,)


def test_weights_of_samples_are_those_of_scikit_learn():
    weight = np.random.default_rng(0).random(600)
    settings = {"random_state": 0, "max_iter": 10}
    try:
        expected = neural_network.MLPClassifier(**settings).fit(X, Y, weight)
    except TypeError:
        pytest.skip("this scikit-learn has no weights of samples here")
    model = ours.MLPClassifier(**settings).fit(X, Y, weight)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=2e-3)
    weight = weight[:400]
    expected = neural_network.MLPRegressor(**settings).fit(XR, YR, weight)
    model = ours.MLPRegressor(**settings).fit(XR, YR, weight)
    np.testing.assert_allclose(model.predict(XR), expected.predict(XR), atol=2e-3)


def test_partial_fit_and_warm_start():
    settings = {"random_state": 0, "max_iter": 4}
    expected = neural_network.MLPClassifier(**settings)
    model = ours.MLPClassifier(**settings)
    for part in np.split(np.arange(600), 3):
        expected.partial_fit(X[part], Y[part], classes=[0, 1, 2])
        model.partial_fit(X[part], Y[part], classes=[0, 1, 2])
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=2e-3)
    assert model.t_ == expected.t_ == 600
    warm = ours.MLPClassifier(warm_start=True, **settings).fit(X, Y)
    losses = [warm.loss_, warm.fit(X, Y).loss_]
    assert losses[1] < losses[0]
    assert len(warm.loss_curve_) == 8
    with pytest.raises(ValueError, match="same classes"):
        warm.fit(X[:100], Y[:100] % 2)
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be passed"):
        ours.MLPClassifier().partial_fit(X, Y)
    assert not hasattr(ours.MLPClassifier(solver="lbfgs"), "partial_fit")
    regressor = ours.MLPRegressor(random_state=0)
    first = regressor.partial_fit(XR, YR).loss_
    assert regressor.partial_fit(XR, YR).loss_ < first
    with pytest.raises(ValueError, match="2 outputs as before, got 1"):
        regressor.partial_fit(XR, YR[:, 0])


# ---- at home in scikit-learn ---------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pickles_and_copies(estimator):
    y = Y if "Classifier" in estimator.__name__ else YR.repeat(2, axis=0)[:600, 0]
    model = estimator(random_state=0, max_iter=3, batch_size=100).fit(X, y)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
        assert twin.loss_curve_ == model.loss_curve_
    twin = pickle.loads(pickle.dumps(model))
    for one in (twin, model):  # the optimiser came along
        one.partial_fit(X, y)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    again = clone(model).fit(X, y)
    assert again.loss_curve_ == model.loss_curve_[:3]
    assert not hasattr(clone(model), "module_")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_grid_search_in_two_processes(estimator):
    y = Y if "Classifier" in estimator.__name__ else XR[:, 0].repeat(2)[:600]
    pipeline = make_pipeline(StandardScaler(), estimator(max_iter=3, random_state=0))
    name = estimator.__name__.lower()
    grid = {f"{name}__learning_rate_init": [1e-3, 1e-2]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_params_[f"{name}__learning_rate_init"] in (1e-3, 1e-2)
    assert search.predict(X).shape == y.shape


def test_cross_validation():
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), ours.MLPClassifier(max_iter=200, random_state=0))
    assert cross_val_score(model, x, y, cv=3).mean() > 0.9


def test_pandas_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, :3], columns=["a", "b", "c"])
    labels = pandas.Series(np.array(["x", "y", "z"])[Y])
    model = ours.MLPClassifier(max_iter=2).fit(frame, labels)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert set(model.predict(frame)) <= {"x", "y", "z"}
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c"]])


def test_a_prediction_does_not_depend_on_its_neighbours():
    model = ours.MLPClassifier((300, 40), max_iter=2).fit(X, Y)
    whole = model.predict_log_proba(X)
    for rows in (slice(0, 1), slice(7, 8), slice(3, 90), slice(100, 600)):
        np.testing.assert_array_equal(model.predict_log_proba(X[rows]), whole[rows])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_same_bits_for_any_number_of_threads(estimator):
    y = Y if "Classifier" in estimator.__name__ else X[:, 0]
    found = []
    for threads in (1, 2):
        nv.set_num_threads(threads)
        found.append(estimator(max_iter=2, random_state=3).fit(X, y).predict(X))
    np.testing.assert_array_equal(*found)


def test_a_full_batch_is_a_set():
    rng = np.random.default_rng(0)
    x, y = X[:60], Y[:60]
    model = ours.MLPClassifier(max_iter=5, random_state=0, batch_size=200)
    weight = rng.integers(0, 4, 60)
    with pytest.warns(UserWarning, match="clipped"):
        one = model.fit(x, y, weight).predict_proba(x)
    repeated = rng.permutation(np.repeat(np.arange(60), weight))
    with pytest.warns(UserWarning, match="clipped"):
        other = model.fit(x[repeated], y[repeated]).predict_proba(x)
    np.testing.assert_array_equal(one, other)


# ---- modules of one's own ------------------------------------------------------------------------


def network(inputs, outputs, hidden=16, p=0.0):
    return nn.Sequential(
        nn.Linear(inputs, hidden, activation="relu"), nn.Dropout(p), nn.Linear(hidden, outputs)
    )


def test_module_by_a_callable_with_parameters():
    model = ours.NeuralNetClassifier(network, max_iter=30, random_state=0)
    grid = {"module_params": [{"hidden": 2}, {"hidden": 32, "p": 0.1}]}
    search = GridSearchCV(model, grid, cv=2).fit(X, Y)
    assert search.best_params_["module_params"]["hidden"] == 32
    state = nv._core.rng_state()
    first = clone(model).set_params(module_params={"p": 0.5}).fit(X, Y)
    assert nv._core.rng_state() == state
    second = clone(first).fit(X, Y)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_module_that_is_copied():
    module = network(12, 3)
    before = module[0].weight.numpy().copy()
    model = ours.NeuralNetClassifier(module, max_iter=60, random_state=0).fit(X, Y)
    assert model.score(X, Y) > 0.6
    np.testing.assert_array_equal(module[0].weight.numpy(), before)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.module[0].weight.numpy(), before)
    assert cross_val_score(model, X, Y, cv=2, n_jobs=2).shape == (2,)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "nadam", "rmsprop", "adagrad", optim.Adam])
def test_optimisers(optimizer):
    model = ours.NeuralNetRegressor(optimizer=optimizer, max_iter=5, random_state=0).fit(XR, YR)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.predict(XR).shape == YR.shape


def test_losses():
    def absolute(output, target):
        return (output - target).abs().mean(dim=1)

    model = ours.NeuralNetRegressor(loss=absolute, max_iter=5, random_state=0)
    weight = np.arange(400) % 2
    model.set_params(batch_size=400)  # all at once: weights of 0 and 1 choose samples
    loss = model.fit(XR, YR, weight).loss_
    assert loss == model.set_params(batch_size="auto").fit(XR[1::2], YR[1::2]).loss_
    model.set_params(loss=nn.L1Loss())
    assert model.fit(XR, YR).loss_curve_[-1] < model.loss_curve_[0]
    with pytest.raises(ValueError, match="one value per sample"):
        model.fit(XR, YR, weight)


def test_class_weights():
    rare = np.flatnonzero((Y == 0) | (np.arange(600) % 20 == 0))
    x, y = X[rare], np.where(Y[rare] == 0, "common", "rare")
    recall = {}
    for weights in (None, "balanced", {"rare": 50.0}):
        model = ours.NeuralNetClassifier(class_weight=weights, max_iter=15, random_state=0)
        predicted = model.fit(x, y).predict(x)
        recall[str(weights)] = np.mean(predicted[y == "rare"] == "rare")
    assert recall["None"] < recall["balanced"] <= recall["{'rare': 50.0}"]


# ---- images and sequences ------------------------------------------------------------------------


def test_images():
    data = load_digits()
    images, y = data.images / 8 - 1, data.target
    model = ours.CNNClassifier(max_iter=10, random_state=0, batch_size=64, dropout=0.1)
    model.fit(images[:1000], y[:1000])
    assert model.score(images[1000:], y[1000:]) > 0.92
    table = images.reshape(len(images), -1)
    twin = clone(model).set_params(input_shape=(8, 8)).fit(table[:1000], y[:1000])
    np.testing.assert_array_equal(twin.predict(table), model.predict(images))
    again = clone(model).fit(images[:1000, None], y[:1000])
    np.testing.assert_array_equal(again.predict(images[:, None]), model.predict(images))
    assert pickle.loads(pickle.dumps(model)).score(images[:50], y[:50]) > 0.9


@pytest.mark.parametrize("count", [64, 65])
def test_small_images_and_batches_of_one(count):
    x, y = X[:count, :1], Y[:count]
    model = ours.CNNClassifier((4, 4, 4), kernel_size=1, max_iter=2, batch_size=32).fit(x, y)
    assert np.isfinite(model.predict_proba(x)).all()
    plain = ours.CNNClassifier((), batch_norm=False, hidden_layer_sizes=(), max_iter=2).fit(x, y)
    assert plain.predict(x).shape == (count,)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_sequences(cell):
    """Which of two features was seen first, in sequences of different lengths."""
    rng = np.random.default_rng(0)
    x, y = np.full((200, 9, 2), -7.0), rng.integers(0, 2, 200)
    for row, label in zip(x, y, strict=True):
        steps = rng.integers(3, 10)
        row[:steps] = 0.1 * rng.standard_normal((steps, 2))
        row[0, label] = 2
    model = ours.RNNClassifier(
        cell, hidden_size=16, padding_value=-7, max_iter=60, random_state=0, batch_size=50,
        bidirectional=cell == "gru", num_layers=2 if cell == "rnn" else 1, dropout=0.1,
    )  # fmt: skip
    model.fit(x, y)
    assert model.score(x, y) > 0.95
    longer = np.where(x == -7, np.float32(-7), x)
    np.testing.assert_array_equal(model.predict(longer), model.predict(x))
    table = x.reshape(200, 18)
    twin = clone(model).set_params(input_size=2).fit(table, y)
    np.testing.assert_array_equal(twin.predict(table), model.predict(x))


def test_padding_does_not_count():
    x = np.zeros((40, 6), np.float32)
    x[:, :3] = X[:40, :3]
    model = ours.RNNClassifier(padding_value=0.0, max_iter=3, random_state=0).fit(x, Y[:40])
    short = ours.RNNClassifier(max_iter=3, random_state=0).fit(x[:, :3], Y[:40])
    np.testing.assert_allclose(model.predict_proba(x), short.predict_proba(x[:, :3]), rtol=1e-5)
    assert np.isfinite(model.predict_proba(np.zeros((2, 6)))).all()  # nothing but padding


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (ours.CNNClassifier(input_shape=(3, 3)), X, "of 12 features"),
        (ours.CNNClassifier(input_shape=(12,)), X, "height, width"),
        (ours.CNNClassifier(), np.zeros((600, 1, 2, 2, 2)), "2, 3 or 4 dimensions"),
        (ours.CNNClassifier(pool_size=0), X, "pool_size"),
        (ours.RNNClassifier(input_size=5), X, "must divide the 12 features"),
        (ours.RNNClassifier(), np.zeros((600, 1, 2, 2)), "2 or 3 dimensions"),
        (ours.RNNClassifier("elman"), X, "cell"),
    ],
)
def test_shape_errors(model, x, message):
    with pytest.raises(ValueError, match=message):
        model.fit(x, Y)


def test_shapes_are_those_of_fit():
    model = ours.CNNClassifier(max_iter=1).fit(np.zeros((20, 4, 5)), np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"\(1, 4, 5\) as in fit, got \(1, 4, 6\)"):
        model.predict(np.zeros((2, 4, 6)))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (ours.NeuralNetClassifier(lambda i, o: nn.Linear(i, o + 1)), ValueError, "outputs"),
        (ours.NeuralNetClassifier(lambda i, o: None), TypeError, "must give an nn.Module"),
        (ours.NeuralNetClassifier(network(12, 3), module_params={"a": 1}), ValueError, "callable"),
        (ours.NeuralNetClassifier(optimizer="newton"), ValueError, "optimizer"),
        (ours.NeuralNetClassifier(class_weight="fair"), ValueError, "class_weight"),
        (ours.MLPClassifier(solver="newton"), ValueError, "solver"),
        (ours.MLPClassifier(hidden_layer_sizes=(3, 0)), ValueError, "must be > 0"),
        (ours.MLPClassifier(alpha=-1), ValueError, "alpha"),
        (ours.MLPRegressor("poisson"), ValueError, "not be negative"),
        (ours.MLPClassifier(early_stopping=True, validation_fraction=0.001), ValueError, "size"),
    ],
)
def test_errors(model, error, message):
    y = Y if hasattr(model, "predict_proba") else Y - 1.0
    with pytest.raises(error, match=message):
        model.fit(X, y)


def test_more_errors():
    with pytest.raises(NotFittedError):
        ours.MLPClassifier().predict(X)
    with pytest.raises(AttributeError, match="not fitted"):
        ours.MLPClassifier().coefs_  # noqa: B018
    with pytest.raises(ValueError, match="too large"):
        ours.MLPClassifier().fit(X.astype(float) * 1e300, Y)
    with pytest.raises(ValueError, match="early_stopping"):
        ours.MLPClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="zero"):
        ours.MLPClassifier(batch_size=600).fit(X, Y, np.zeros(600))
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        ours.MLPClassifier(max_iter=1).fit(X, Y)


def test_verbose(capsys):
    ours.MLPClassifier(max_iter=2, verbose=True, early_stopping=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Iteration 1, loss = ")
    assert lines[1].startswith("Validation score: ")


def test_without_scikit_learn_the_extra_is_named():
    code = (
        "import importlib.util as u; u.find_spec = lambda *a: None\n"
        "try:\n    import nervure.sklearn\n"
        "except ImportError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'nervure[sklearn]'" in done.stdout
