# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo`` and the examples, run as a user runs them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nervure as nv
from nervure import cli, demo
from nervure.demo import digits
from nervure.demo.dates import dates

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_python(*arguments, folder):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def need_the_extra():
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("nervure.bench", reason="the benchmark comes with the wheel")


def test_demo_learns_and_leaves_its_files(tmp_path):
    need_the_extra()
    text = run_python("-m", "nervure", "demo", folder=tmp_path)
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
    text = run_python("-m", "nervure", "demo", "--task", "cnn", folder=tmp_path)
    accuracy = re.search(r"test accuracy (\d+\.\d+) % of 360 images", text)
    assert float(accuracy[1]) >= 98.5
    assert re.search(r"recognising one image takes \d+ µs", text)
    assert f"loaded again: {accuracy[1]} %" in text
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["1.weight"].shape == (32, 1, 3, 3)


def test_demo_of_a_vision_transformer(tmp_path):
    need_the_extra()
    run = ("-m", "nervure", "demo", "--task", "vit", "--epochs", "8")
    text = run_python(*run, folder=tmp_path)
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
    text = run_python(*run, folder=tmp_path)
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


def test_example_of_digits_with_convolutions(tmp_path):
    pytest.importorskip("sklearn")
    text = run_python(EXAMPLES / "digits_cnn.py", folder=tmp_path)
    assert float(re.search(r"test accuracy (\d\.\d+)", text)[1]) >= 0.985
    assert (tmp_path / "digits_cnn.safetensors").is_file()


def write_mnist(folder, count):
    """Bright squares in one of ten places."""
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 50, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 5)
            image[2 + 12 * row : 12 + 12 * row, 1 + 5 * column : 6 + 5 * column] += 180
        head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = b"\0\0\x08\x01" + count.to_bytes(4, "big")
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def test_example_of_images(tmp_path):
    write_mnist(tmp_path, 640)
    text = run_python(EXAMPLES / "images_cnn.py", "--data", ".", "--epochs", "3", folder=tmp_path)
    assert "640 images to train, 640 to test; lenet, 61,706 parameters" in text
    assert float(re.findall(r"test accuracy (\d\.\d+)", text)[-1]) > 0.95
    assert (tmp_path / "images_lenet.safetensors").is_file()


def test_example_of_images_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "images_cnn.py", "--data", "nowhere"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert "found neither MNIST nor CIFAR-10 in 'nowhere'" in done.stderr
    assert "train-images-idx3-ubyte" in done.stderr
    assert "data_batch_1" in done.stderr
    assert "Traceback" not in done.stderr


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


def test_example_digits_mlp(tmp_path):
    pytest.importorskip("sklearn")
    text = run_python(EXAMPLES / "digits_mlp.py", folder=tmp_path)
    assert float(text.split()[-1]) >= 0.96
    assert (tmp_path / "digits_mlp.safetensors").exists()


def test_example_custom_function(tmp_path):
    text = run_python(EXAMPLES / "custom_function.py", folder=tmp_path)
    assert float(text.split()[-1]) == pytest.approx(1.7, abs=1e-2)


def test_example_trainer(tmp_path):
    pytest.importorskip("sklearn")
    text = run_python(EXAMPLES / "trainer.py", folder=tmp_path)
    assert float(re.search(r"accuracy (\d\.\d+), F1", text)[1]) >= 0.96


def test_example_imbalanced(tmp_path):
    pytest.importorskip("sklearn")
    text = run_python(EXAMPLES / "imbalanced.py", folder=tmp_path)
    f1 = [float(found) for found in re.findall(r"  F1 (\d\.\d+)\n", text)]
    assert len(f1) == 4
    assert f1[0] == 0.0
    assert f1[-1] == max(f1) > 0.3


def test_example_sklearn_grid(tmp_path):
    pytest.importorskip("sklearn")
    text = run_python(EXAMPLES / "sklearn_grid.py", folder=tmp_path)
    assert float(text.split()[-1]) >= 0.95


def test_example_resume(tmp_path):
    text = run_python(EXAMPLES / "resume.py", folder=tmp_path)
    assert "-- killed; the newest checkpoint is step-" in text
    assert text.endswith("the same bits: True\n")


def test_example_vanishing_gradients(tmp_path):
    text = run_python(EXAMPLES / "vanishing_gradients.py", folder=tmp_path)
    assert re.search(r"clipped by norm, 5: .* -> +0\.\d+ ", text)


def test_demo_of_a_text(tmp_path):
    pytest.importorskip("matplotlib")
    run = ("-m", "nervure", "demo", "--task", "charlm", "--epochs", "1")
    text = run_python(*run, folder=tmp_path)
    assert float(re.search(r"(\d+\.\d) % foretold", text)[1]) > 25
    assert "\nReturn " in text
    assert (tmp_path / "nervure-demo" / "learning_curves.png").exists()
    state = nv.load(tmp_path / "nervure-demo" / "model.safetensors")
    assert state["rnn.weight_hh_l0"].shape == (640, 160)


def test_example_char_lm_resumes(tmp_path):
    run = (EXAMPLES / "char_lm.py", "--limit", "30000", "--hidden", "32", "--write", "50")
    whole = run_python(*run, "--epochs", "3", "--file", "whole", folder=tmp_path)
    run_python(*run, "--epochs", "2", "--file", "parts", folder=tmp_path)
    rest = run_python(*run, "--epochs", "3", "--file", "parts", "--resume", folder=tmp_path)
    assert "parts: 2 epochs done" in rest
    bits = [re.search(r"epoch 3: .*held back: (\d\.\d+) bits", text)[1] for text in (whole, rest)]
    assert bits[0] == bits[1]
    assert float(bits[0]) < 5.5  # of log2(90) = 6.5
    a, b = (nv.load(tmp_path / name) for name in ("whole", "parts"))
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name])


def test_example_sequence_tagging(tmp_path):
    text = run_python(EXAMPLES / "sequence_tagging.py", "--steps", "300", folder=tmp_path)
    assert float(re.search(r"test accuracy (\d+\.\d+) %", text)[1]) > 95
