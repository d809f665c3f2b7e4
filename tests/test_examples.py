# SPDX-License-Identifier: BSD-3-Clause
"""The examples, run as a user runs them, the long ones with small settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from subprocesses import run_program

import nervure as nv

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_example_of_digits_with_convolutions(tmp_path):
    pytest.importorskip("sklearn")
    text = run_program(EXAMPLES / "digits_cnn.py", folder=tmp_path)
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
    text = run_program(EXAMPLES / "images_cnn.py", "--data", ".", "--epochs", "3", folder=tmp_path)
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


def test_example_digits_mlp(tmp_path):
    pytest.importorskip("sklearn")
    text = run_program(EXAMPLES / "digits_mlp.py", folder=tmp_path)
    assert float(text.split()[-1]) >= 0.96
    assert (tmp_path / "digits_mlp.safetensors").exists()


def test_example_custom_function(tmp_path):
    text = run_program(EXAMPLES / "custom_function.py", folder=tmp_path)
    assert float(text.split()[-1]) == pytest.approx(1.7, abs=1e-2)


def test_example_trainer(tmp_path):
    pytest.importorskip("sklearn")
    text = run_program(EXAMPLES / "trainer.py", folder=tmp_path)
    assert float(re.search(r"accuracy (\d\.\d+), F1", text)[1]) >= 0.96


def test_example_imbalanced(tmp_path):
    pytest.importorskip("sklearn")
    text = run_program(EXAMPLES / "imbalanced.py", folder=tmp_path)
    f1 = [float(found) for found in re.findall(r"  F1 (\d\.\d+)\n", text)]
    assert len(f1) == 4
    assert f1[0] == 0.0
    assert f1[-1] == max(f1) > 0.3


def test_example_sklearn_grid(tmp_path):
    pytest.importorskip("sklearn")
    text = run_program(EXAMPLES / "sklearn_grid.py", folder=tmp_path)
    assert float(text.split()[-1]) >= 0.95


def test_example_resume(tmp_path):
    text = run_program(EXAMPLES / "resume.py", folder=tmp_path)
    assert "-- killed; the newest checkpoint is step-" in text
    assert text.endswith("the same bits: True\n")


def test_example_vanishing_gradients(tmp_path):
    text = run_program(EXAMPLES / "vanishing_gradients.py", folder=tmp_path)
    assert re.search(r"clipped by norm, 5: .* -> +0\.\d+ ", text)


def test_example_char_lm_resumes(tmp_path):
    run = (EXAMPLES / "char_lm.py", "--limit", "30000", "--hidden", "32", "--write", "50")
    whole = run_program(*run, "--epochs", "3", "--file", "whole", folder=tmp_path)
    run_program(*run, "--epochs", "2", "--file", "parts", folder=tmp_path)
    rest = run_program(*run, "--epochs", "3", "--file", "parts", "--resume", folder=tmp_path)
    assert "parts: 2 epochs done" in rest
    bits = [re.search(r"epoch 3: .*held back: (\d\.\d+) bits", text)[1] for text in (whole, rest)]
    assert bits[0] == bits[1]
    assert float(bits[0]) < 5.5  # of log2(90) = 6.5
    a, b = (nv.load(tmp_path / name) for name in ("whole", "parts"))
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name])


def test_example_sequence_tagging(tmp_path):
    text = run_program(EXAMPLES / "sequence_tagging.py", "--steps", "300", folder=tmp_path)
    assert float(re.search(r"test accuracy (\d+\.\d+) %", text)[1]) > 95


# ---- encoder-decoders, the Vision Transformer, GPT -----------------------------------------------


def write_pairs(path, count=300):
    """Words of a, b, c and the same backwards."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(count)]
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words), encoding="utf-8")


@pytest.mark.parametrize("model", ["additive", "none", "transformer"])
def test_example_translate(tmp_path, model):
    write_pairs(tmp_path / "pairs.tsv")
    options = ("--data", "pairs.tsv", "--model", model, "--epochs", "4", "--hidden", "32")
    text = run_program(EXAMPLES / "translate.py", *options, "--batch", "16", folder=tmp_path)
    assert "270 pairs to learn, 30 to test" in text
    losses = [float(loss) for loss in re.findall(r"epoch +\d+  loss (\d+\.\d+)", text)]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]
    greedy, beam = re.findall(r"exact match, (?:greedy|beam): (\d\.\d+)", text)
    assert 0 <= float(greedy) <= 1
    assert 0 <= float(beam) <= 1
    assert nv.load(tmp_path / "translate.safetensors")
    drawn = (tmp_path / "translate-attention.png").exists()
    assert drawn == (model == "additive" and "no heat map" not in text)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("a\tb\nc\n", "line 2 is not source"), ("", "line 1 is not source")],
)
def test_example_translate_refuses(tmp_path, content, message):
    if content is not None:
        (tmp_path / "pairs.tsv").write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "translate.py", "--data", "pairs.tsv"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_example_vit_digits(tmp_path):
    pytest.importorskip("sklearn")
    text = run_program(EXAMPLES / "vit_digits.py", "--epochs", "4", folder=tmp_path)
    assert "1437 images to train, 360 to test; 136,010 parameters" in text
    assert float(re.search(r"test accuracy (\d\.\d+)", text)[1]) > 0.2
    assert nv.load(tmp_path / "vit_digits.safetensors")["pos_embed"].shape == (1, 16, 64)


def write_cifar(folder, count):
    """Noise of one of ten colours, in the binary form."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 200, (10, 3, 1))
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        labels = rng.integers(0, 10, count)
        pixels = colours[labels] + rng.integers(0, 55, (count, 3, 1024))
        records = np.concatenate([labels[:, None], pixels.reshape(count, 3072)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    ("write", "channels", "epochs", "least"), [(write_mnist, 1, 1, 0.0), (write_cifar, 3, 3, 0.2)]
)
def test_example_vit_on_files(tmp_path, write, channels, epochs, least):
    write(tmp_path, 128)
    options = ("--data", ".", "--epochs", str(epochs), "--batch", "16", "--limit", "96")
    text = run_program(EXAMPLES / "vit_digits.py", *options, folder=tmp_path)
    assert "96 images to train, 128 to test" in text
    found = re.findall(r"loss (\d\.\d+)  test accuracy (\d\.\d+)", text)
    assert len(found) == epochs
    loss, accuracy = (float(value) for value in found[-1])
    assert loss < 5  # log(10) = 2.3, and few steps
    assert accuracy >= least
    state = nv.load(tmp_path / "vit_images.safetensors")
    assert state["patch_embed.proj.weight"].shape == (128, channels, 4, 4)


def test_example_gpt_chars(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60, encoding="utf-8")
    options = ("--data", "text.txt", "--steps", "60", "--context", "16", "--width", "32")
    more = ("--layers", "1", "--write", "12", "--batch", "8", "--temperature", "0.3")
    text = run_program(EXAMPLES / "gpt_chars.py", *options, *more, folder=tmp_path)
    assert "1440 characters, 11 different ones" in text
    assert float(re.search(r"held back: (\d\.\d+) bits", text)[1]) < 3  # of log2(11) = 3.5
    written = text.splitlines()[-1]
    assert len(written) == 8 + 12
    assert set(written) <= set("the cat sat on the mat. ")


def test_example_gpt_chars_on_its_own_text(tmp_path):
    options = ("--steps", "2", "--context", "16", "--width", "16", "--layers", "1", "--write", "5")
    text = run_program(EXAMPLES / "gpt_chars.py", *options, folder=tmp_path)
    assert int(re.match(r"(\d+) characters", text)[1]) > 50_000
