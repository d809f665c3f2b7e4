# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo``, run as a user runs it."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest
from subprocesses import run_program

import nervure as nv
from nervure import cli, demo
from nervure.demo import digits
from nervure.demo.dates import dates


def need_the_extra():
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("nervure.bench", reason="the benchmark comes with the wheel")


def test_demo_learns_and_leaves_its_files(tmp_path):
    need_the_extra()
    text = run_program("-m", "nervure", "demo", folder=tmp_path)
    accuracy = re.search(r"test accuracy (\d+\.\d+) % of 360 images", text)
    assert float(accuracy[1]) >= 97
    assert "confusion matrix" in text
    assert "f1-score" in text
    assert re.search(r"plain NumPy +\d+ µs, \d+\.\d times as long", text)
    assert f"loaded again: {accuracy[1]} %" in text
    for name in ("learning_curves.png", "confusion_matrix.png"):
        assert (tmp_path / "nervure-demo" / name).read_bytes().startswith(b"\x89PNG")
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["0.weight"].shape == (256, 64)


def test_demo_of_a_convolutional_network(tmp_path):
    need_the_extra()
    text = run_program("-m", "nervure", "demo", "--task", "cnn", folder=tmp_path)
    accuracy = re.search(r"test accuracy (\d+\.\d+) % of 360 images", text)
    assert float(accuracy[1]) >= 98.5
    assert re.search(r"recognising one image takes \d+ µs", text)
    assert f"loaded again: {accuracy[1]} %" in text
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["1.weight"].shape == (32, 1, 3, 3)


def test_demo_of_a_vision_transformer(tmp_path):
    need_the_extra()
    run = ("-m", "nervure", "demo", "--task", "vit", "--epochs", "8")
    text = run_program(*run, folder=tmp_path)
    accuracy = re.search(r"test accuracy (\d+\.\d+) % of 360 images", text)
    assert float(accuracy[1]) >= 30  # about 98 after the usual 60 epochs
    assert f"loaded again: {accuracy[1]} %" in text
    for name in ("learning_curves.png", "confusion_matrix.png"):
        assert (tmp_path / "nervure-demo" / name).read_bytes().startswith(b"\x89PNG")
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["1.pos_embed"].shape == (1, 16, 64)


def test_demo_of_a_translation(tmp_path):
    pytest.importorskip("matplotlib")
    run = ("-m", "nervure", "demo", "--task", "translate", "--epochs", "2")
    text = run_program(*run, folder=tmp_path)
    greedy, beam = re.search(r"greedy (\d+\.\d+) %, beam search (\d+\.\d+) %", text).groups()
    assert float(greedy) >= 90
    assert float(beam) >= 90
    assert f"loaded again: {greedy} %" in text
    for name in ("learning_curves.png", "attention.png"):
        assert (tmp_path / "nervure-demo" / name).read_bytes().startswith(b"\x89PNG")
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["encoder.weight_hh_l0"].shape == (288, 96)


def test_demo_dates_mean_what_they_say():
    pairs = dates(2000, seed=1)
    assert pairs == dates(2000, seed=1)
    assert pairs != dates(2000, seed=2)
    for source, target in pairs:
        year, _, day = target.split("-")
        assert 1970 <= int(year) <= 2030
        assert str(int(day)) in source
        assert year[2:] in source
    assert {"the 1st of", "the 2nd of", "the 3rd of", "the 11th of"} <= {
        re.match("the [0-9a-z]* of|", source)[0] for source, _ in pairs
    }


def test_demo_is_repeatable(tmp_path, capsys):
    need_the_extra()
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        found.append(demo.run(epochs=2, seed=3, output=folder))
    assert found[0] == found[1]
    a, b = (nv.load(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key])


def test_demo_splits_without_leaks():
    pytest.importorskip("sklearn")
    train, validation, test = digits.load_digits(0)
    assert [len(part.y) for part in (train, validation, test)] == [1221, 216, 360]
    assert train.x.mean() == pytest.approx(0, abs=1e-5)
    assert train.x.std() == pytest.approx(1, abs=1e-5)
    assert train.x.min() == pytest.approx(train.blank)
    rows = [{row.tobytes() for row in part.x} for part in (train, validation, test)]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]


def test_demo_varies_images():
    rng = np.random.default_rng(0)
    labels = np.arange(200)
    images = np.full((200, 8, 8), -1, np.float32)
    images[:, 3, 4] = labels + 10
    varied = digits.vary(digits.Split(images.reshape(200, 64), labels, -1.0), rng)
    assert sorted(varied.y) == labels.tolist()
    place = varied.x.argmax(axis=1)
    np.testing.assert_allclose(varied.x[np.arange(200), place], varied.y + 10, atol=1.5)
    assert set(place // 8) == {2, 3, 4}
    assert set(place % 8) == {3, 4, 5}
    blank = np.sort(varied.x, axis=1)[:, :-1]
    assert blank.mean() == pytest.approx(-1, abs=0.02)
    assert blank.std() == pytest.approx(digits.NOISE, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"task": "chess"}, "chess"), ({"epochs": 0}, "--epochs"), ({"seed": -1}, "--seed")],
)
def test_demo_refuses(settings, message):
    with pytest.raises(demo.DemoError, match=message):
        demo.run(**settings)


def test_demo_names_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["demo"]) == 2
    error = capsys.readouterr().err
    assert "needs scikit-learn and matplotlib: pip install 'nervure[demo]'" in error


def test_demo_needs_a_folder(tmp_path):
    need_the_extra()
    (tmp_path / "file").touch()
    with pytest.raises(demo.DemoError, match="cannot make the folder"):
        demo.run(output=tmp_path / "file" / "folder")


def test_demo_of_a_text(tmp_path):
    pytest.importorskip("matplotlib")
    run = ("-m", "nervure", "demo", "--task", "charlm", "--epochs", "1")
    text = run_program(*run, folder=tmp_path)
    assert float(re.search(r"(\d+\.\d) % foretold", text)[1]) > 25
    assert "\nReturn " in text
    assert (tmp_path / "nervure-demo" / "learning_curves.png").exists()
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["rnn.weight_hh_l0"].shape == (640, 160)
