# SPDX-License-Identifier: BSD-3-Clause
"""Pictures, and the progress bar."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import nervure as nv
from nervure import metrics, nn, plot
from nervure.progress import ProgressBar

HISTORY = {"loss": [1.0, 0.5, 0.01], "val_loss": [1.1, 0.6, 0.7], "accuracy": [0.3, 0.8, 0.9]}


@pytest.fixture
def _matplotlib():
    pytest.importorskip("matplotlib")


@pytest.mark.usefixtures("_matplotlib")
def test_learning_curves(tmp_path):
    figure = plot.learning_curves(HISTORY, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, accuracy = figure.axes
    curves = {line.get_label(): line.get_ydata().tolist() for line in loss.lines}
    assert curves["training"] == HISTORY["loss"]
    assert curves["validation"] == HISTORY["val_loss"]
    assert [text.get_text() for text in loss.texts] == ["0.6"]  # the best epoch of the validation
    assert [text.get_text() for text in accuracy.texts] == ["0.9"]
    assert accuracy.get_legend() is None


@pytest.mark.usefixtures("_matplotlib")
def test_learning_curves_of_odd_histories(tmp_path):
    assert len(plot.learning_curves(SimpleNamespace(history=HISTORY)).axes) == 2
    (axes,) = plot.learning_curves({"loss": [2.0]}).axes
    assert axes.lines[0].get_marker() == "o"
    assert axes.get_xlim() == (0.5, 1.5)
    plot.learning_curves({"loss": [np.nan, np.nan], "val_loss": []}, tmp_path / "nan.png")
    plot.learning_curves({"loss": [0.0]}, tmp_path / "one.svg")
    with pytest.raises(ValueError, match="at least one value"):
        plot.learning_curves({"loss": []})


@pytest.mark.usefixtures("_matplotlib")
def test_attention(tmp_path):
    weights = np.random.default_rng(0).random((3, 5))
    figure = plot.attention(weights, "wort", ["a", "word"], tmp_path / "attention.png")
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), weights[:2, :4])
    assert [label.get_text() for label in axes.get_xticklabels()] == list("wort")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "word"]


@pytest.mark.usefixtures("_matplotlib")
@pytest.mark.parametrize(
    ("shape", "source", "target", "message"),
    [
        ((2, 3), "abcd", "ab", r"at least \(2, 4\).* got \(2, 3\)"),
        ((2, 4), "abcd", "abc", r"at least \(3, 4\)"),
        ((4,), "abcd", "a", r"got \(4,\)"),
        ((2, 4), "", "a", "must have tokens"),
    ],
)
def test_attention_refuses(shape, source, target, message):
    with pytest.raises(ValueError, match=message):
        plot.attention(np.ones(shape), source, target)


@pytest.mark.usefixtures("_matplotlib")
def test_confusion_matrix(tmp_path):
    matrix = [[5, 0], [2, 3]]
    figure = plot.confusion_matrix(matrix, ["cat", "dog"], tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "5", (0, 1): "2", (1, 1): "3"}  # (column, row)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    assert axes.get_title(loc="left") == "80.00 % of 10 right"


@pytest.mark.usefixtures("_matplotlib")
@pytest.mark.parametrize(
    ("matrix", "labels", "message"),
    [
        ([[1, 2]], None, r"\(C, C\), got \(1, 2\)"),
        ([], None, r"\(C, C\)"),
        ([[1]], ["a", "b"], "name 1 classes, got 2"),
    ],
)
def test_confusion_matrix_errors(matrix, labels, message):
    with pytest.raises(ValueError, match=message):
        plot.confusion_matrix(matrix, labels)


@pytest.mark.usefixtures("_matplotlib")
def test_roc_and_precision_recall_curves(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    scores = np.eye(3)[truth] + rng.random((60, 3))
    scores /= scores.sum(axis=1, keepdims=True)
    areas = metrics.ROCAUC(None)
    areas.update(truth, scores)
    figure = plot.roc_curves(areas, tmp_path / "roc.png")
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [f"{i}  {area:.4g}" for i, area in enumerate(areas.compute())]
    precision = metrics.AveragePrecision(None)
    precision.update(truth, scores)
    figure = plot.precision_recall_curves(precision.curves(), tmp_path / "pr.svg")
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == [f"{i}  {mean:.4g}" for i, mean in enumerate(precision.compute())]
    (_, line) = plot.roc_curves(metrics.roc_curve(truth == 0, scores[:, 0])).axes[0].lines
    assert line.get_label() == f"{areas.compute()[0]:.4g}"


@pytest.mark.parametrize("draw", [plot.roc_curves, plot.precision_recall_curves])
def test_curve_errors(draw):
    with pytest.raises(ValueError, match="at least one curve"):
        draw(metrics.ROCAUC())
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1,\)"):
        draw(([1, 2], [3]))


@pytest.mark.usefixtures("_matplotlib")
def test_confusion_matrix_of_weights():
    figure = plot.confusion_matrix([[1.5, 0.0], [0.25, 2.0]])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["0.25", "1.5", "2"]


@pytest.mark.usefixtures("_matplotlib")
def test_learning_curves_of_many_things():
    rates = [1e-2, 1e-3, 1e-4]
    history = {**HISTORY, "learning_rate": rates, "f1": [[0.1, 0.2]] * 3, "m": [np.eye(2)] * 3}
    history["a$b_1$"] = [1.0, 2.0, 3.0]
    figure = plot.learning_curves(history)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "loss",
        "accuracy",
        "learning rate",
        r"a\$b 1\$",
    ]  # the other two are no curves
    assert not figure.axes[2].texts  # no learning rate is the best
    positions = [axes.get_subplotspec().rowspan.start for axes in figure.axes]
    assert positions == [0, 0, 0, 1]
    figure.canvas.draw()


@pytest.mark.usefixtures("_matplotlib")
def test_confusion_matrix_of_many_classes():
    names = [f"class $number {i}" + "!" * i for i in range(70)]
    figure = plot.confusion_matrix(np.eye(70, dtype=int), names)
    (axes,) = figure.axes
    assert not axes.texts
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 35
    assert labels[1] == r"class \$number 2!!"
    assert labels[-1].endswith("\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.usefixtures("_matplotlib")
def test_learned_filters(tmp_path):
    nv.manual_seed(0)
    colour = nn.Conv2d(3, 5, 4)
    figure = plot.learned_filters(colour, tmp_path / "colour.png", title="first")
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "first  5 filters"
    shown = axes.images[0].get_array()
    assert shown.shape == (9, 19, 4)  # two rows of four, one pixel apart
    weight = colour.weight.numpy()
    limit = np.abs(weight).max()
    expected = np.moveaxis(weight[1] / (2 * limit) + 0.5, 0, -1)
    np.testing.assert_allclose(shown[:4, 5:9, :3], expected, rtol=1e-5)
    assert (shown[:, 4, 3] == 0).all()  # nothing between filters

    deep = np.arange(2 * 5 * 3 * 3.0).reshape(2, 5, 3, 3)
    axes, bar = plot.learned_filters(deep).axes
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown[4:7, 0:3], deep[0, 1])  # channel 1 of filter 0
    np.testing.assert_array_equal(shown[4:7, 4:7], deep[1, 1])
    assert bar.get_ylim() == (-89.0, 89.0)
    axes = plot.learned_filters(np.ones((100, 100, 3)), max_filters=8).axes[0]
    assert axes.get_title(loc="left") == "4 of 100 filters (columns), 2 of 100 channels (rows)"
    plot.learned_filters(np.zeros((1, 1, 1, 1)), tmp_path / "zero.png")
    plot.learned_filters(np.full((2, 3, 2, 2), np.nan), tmp_path / "nan.png")
    with pytest.raises(ValueError, match=r"got \(3, 2\)"):
        plot.learned_filters(nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"got \(0, 1, 3, 3\)"):
        plot.learned_filters(np.zeros((0, 1, 3, 3)))


@pytest.mark.usefixtures("_matplotlib")
def test_activations(tmp_path):
    rng = np.random.default_rng(0)
    outputs = {"conv": rng.random((2, 3, 4, 5)), "rnn": rng.random((2, 7, 6)), "out": np.eye(2)}
    figure = plot.activations(outputs, tmp_path / "activations.png", sample=1)
    conv, rnn, out = figure.axes
    assert [a.get_title(loc="left") for a in figure.axes] == [
        "conv  3\N{MULTIPLICATION SIGN}4\N{MULTIPLICATION SIGN}5",
        "rnn  7\N{MULTIPLICATION SIGN}6",
        "out  2",
    ]
    np.testing.assert_array_equal(conv.images[0].get_array()[:, 6:11], outputs["conv"][1, 1])
    np.testing.assert_array_equal(rnn.images[0].get_array(), outputs["rnn"][1].T)
    assert out.patches[0].get_data().values.tolist() == [0.0, 1.0]
    many = plot.activations(np.ones((1, 100, 2, 2)), max_maps=6).axes[0].images[0].get_array()
    assert np.isfinite(many).sum() == 6 * 4
    with pytest.raises(IndexError, match="sample 2 is out of range for 2"):
        plot.activations(outputs, sample=2)
    with pytest.raises(ValueError, match=r"x must be .*, got \(3,\)"):
        plot.activations({"x": np.ones(3)})
    with pytest.raises(ValueError, match="at least one array, got none"):
        plot.activations({})


@pytest.mark.usefixtures("_matplotlib")
def test_attention_maps(tmp_path):
    rng = np.random.default_rng(0)
    weights = {"self": rng.random((2, 3, 4, 4)), "cross": rng.random((2, 1, 4, 6))}
    words = ["we", "$", "go", "on"]
    figure = plot.attention_maps(
        weights, tmp_path / "maps.png", rows=words, columns=words, sample=1
    )
    first, _, third, cross = figure.axes
    np.testing.assert_array_equal(third.images[0].get_array(), weights["self"][1, 2])
    np.testing.assert_array_equal(cross.images[0].get_array(), weights["cross"][1, 0])
    assert [label.get_text() for label in first.get_yticklabels()] == ["we", r"\$", "go", "on"]
    assert not third.get_yticklabels()
    assert len(third.get_xticklabels()) == 4
    assert not cross.get_xticklabels()  # six keys, four words
    assert third.get_title(loc="left") == "head 2"
    assert len(plot.attention_maps(np.ones((20, 2, 2)), max_heads=5).axes) == 5
    plot.attention_maps(np.ones((3, 70)), tmp_path / "flat.svg")
    with pytest.raises(IndexError, match="sample 2 is out of range for 2"):
        plot.attention_maps(weights, sample=2)
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        plot.attention_maps(np.ones(3))


@pytest.mark.usefixtures("_matplotlib")
def test_histograms(tmp_path):
    values = np.array([0.0, 0.0, 1.0, 2.0])
    arrays = {
        "weight": values,
        "a$": np.zeros(3),
        "b": [np.nan, 1.0, np.inf],
        "c": [np.nan],
        "d": [],
        "close": [1e8, 1e8 + 1e-6],
        "long." * 20 + "bias": [1.0],
    }
    figure = plot.weight_histograms(arrays, tmp_path / "weights.png", bins=4)
    bars = figure.axes[0].patches[0].get_data()
    assert bars.values.tolist() == [2, 0, 1, 1]
    assert bars.edges[[0, -1]].tolist() == [0.0, 2.0]
    assert figure.axes[-1].get_title(loc="left").endswith(".long.bias")
    notes = [axes.texts[0].get_text() for axes in figure.axes]
    assert notes[0] == "0.75 \N{PLUS-MINUS SIGN} 0.83"
    assert notes[1:5] == ["all zero", "2 not finite", "1 not finite", "empty"]
    model = nn.Linear(3, 2)
    assert [a.get_title(loc="left") for a in plot.weight_histograms(model).axes] == [
        "weight",
        "bias",
    ]
    with pytest.raises(ValueError, match="at least one gradient, got none"):
        plot.gradient_histograms(model)
    model(nv.ones(1, 3)).sum().backward()
    figure = plot.gradient_histograms(model, tmp_path / "gradients.png")
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["1 \N{PLUS-MINUS SIGN} 0"] * 2


@pytest.mark.usefixtures("_matplotlib")
def test_gradient_norms(tmp_path):
    gradients = {"first": [3.0, -4.0], "$none$": [0.0], "bad": [np.nan, 1.0], "last": [[1e-6]]}
    (axes,) = plot.gradient_norms(gradients, tmp_path / "norms.png").axes
    roots, largest = (line.get_xdata().tolist() for line in axes.lines)
    assert roots == [pytest.approx(12.5**0.5), pytest.approx(1e-6)]
    assert largest == [4.0, 1e-6]
    assert {int(text.get_position()[1]): text.get_text() for text in axes.texts} == {
        1: "all zero",
        2: "not finite",
    }
    plot.gradient_norms({"zero": np.zeros(2)}, tmp_path / "zero.png")
    with pytest.raises(ValueError, match="at least one gradient, got none"):
        plot.gradient_norms({})


@pytest.mark.usefixtures("_matplotlib")
def test_model_graph(tmp_path):
    body = nn.Sequential(nn.Linear(4, 8, activation="relu"), nn.Linear(8, 8))
    model = nn.Sequential(body, nn.Linear(8, 2).requires_grad_(False))

    def texts(figure):
        return [text.get_text() for text in figure.axes[0].texts]

    plain = texts(plot.model_graph(model))
    assert "output" not in plain
    drawn = texts(plot.model_graph(model, np.zeros((5, 4), "f4"), tmp_path / "graph.png"))
    assert drawn.count("N \N{MULTIPLICATION SIGN} 8") == 3
    assert drawn.count("N \N{MULTIPLICATION SIGN} 2") == 2
    assert [text for text in drawn if text.isdigit() and len(text) > 1] == ["40", "72", "18", "130"]
    assert "frozen" in drawn
    assert drawn[-2:] == ["130", "all parameters"]
    shallow = texts(plot.model_graph(model, depth=1))
    assert [text for text in shallow if text.isdigit() and len(text) > 1] == ["112", "18", "130"]
    assert texts(plot.model_graph(model, depth=0)).count("130") == 2

    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    pair = (np.ones((3, 2), "f4"), np.ones((3, 2), "f4"))
    assert texts(plot.model_graph(Two(), pair)).count("N \N{MULTIPLICATION SIGN} 2") == 1
    named = dict(zip("ab", pair, strict=True))
    assert texts(plot.model_graph(Two(), named)).count("N \N{MULTIPLICATION SIGN} 2") == 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.learning_curves(HISTORY),
        lambda: plot.confusion_matrix([[1]]),
        lambda: plot.learned_filters(np.ones((1, 1, 2, 2))),
        lambda: plot.activations(np.ones((1, 2))),
        lambda: plot.attention_maps(np.ones((2, 2))),
        lambda: plot.weight_histograms({"w": [1.0]}),
        lambda: plot.gradient_histograms({"w": [1.0]}),
        lambda: plot.gradient_norms({"w": [1.0]}),
        lambda: plot.model_graph(nn.Linear(1, 1)),
    ],
)
def test_without_matplotlib_the_extra_is_named(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'nervure\[plot\]'"):
        draw()


# ---- the progress bar ----------------------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def advance():
    with ProgressBar(2, "first") as bar:
        bar.update(1, text="loss 0.5")
        bar.print("a line")
        bar.update(1, description="second", text="loss 0.4")


def test_progress_is_silent_without_a_terminal(capsys):
    advance()
    assert capsys.readouterr().out == "a line\n"


def test_plain_progress(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    advance()
    lines = terminal.getvalue().replace("\r\x1b[K", "\n").split("\n")
    assert "a line" in lines
    assert lines[-2:] == [f"second [{'#' * 20}] loss 0.4", ""]  # and the bar is gone


def test_rich_progress(monkeypatch):
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    advance()
    text = terminal.getvalue()
    assert "a line" in text
    assert "second" in text
    assert "100 %" in text
    assert "loss 0.4" in text
