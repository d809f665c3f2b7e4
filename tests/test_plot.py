# SPDX-License-Identifier: BSD-3-Clause
"""Pictures, and the progress bar."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nervure import metrics, plot
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


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'nervure\[plot\]'"):
        plot.learning_curves(HISTORY)
    with pytest.raises(ImportError, match=r"pip install 'nervure\[plot\]'"):
        plot.confusion_matrix([[1]])


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
