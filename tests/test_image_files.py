# SPDX-License-Identifier: BSD-3-Clause
"""Readers of MNIST's and CIFAR-10's files, on files written here, damaged ones among them."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest

import nervure as nv
from nervure import data

IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array):
    kind = array.dtype.str[1:]
    head = bytes([0, 0, IDX_CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(f">{kind}").tobytes()


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# ---- IDX -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 28, 28), (1, 1, 1, 1, 7)])
def test_idx_round_trip(tmp_path, shape, dtype, ending):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 100, shape).astype(dtype)
    read = data.read_idx(write(tmp_path / f"a-idx{ending}", idx_bytes(array)))
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)
    read[...] = 0  # writable: it owns its memory


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
DAMAGED = {
    "empty": b"",
    "not IDX": b"PK\x03\x04" + GOOD[4:],
    "unknown type": GOOD[:2] + b"\x0a" + GOOD[3:],
    "no dimension": GOOD[:3] + b"\0",
    "header cut short": GOOD[:10],
    "data cut short": GOOD[:-1],
    "more than promised": GOOD + b"x",
    "promises the whole memory": GOOD[:4] + b"\xff" * 12 + GOOD[16:],
    "too many dimensions": b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"x",
}


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("what", DAMAGED)
def test_idx_damaged(tmp_path, what, ending):
    path = write(tmp_path / f"a{ending}", DAMAGED[what])
    with pytest.raises(nv.FormatError, match="read_idx"):
        data.read_idx(path)


def test_idx_damaged_gzip(tmp_path):
    packed = gzip.compress(GOOD)
    wrong_sum = packed[:-8] + bytes(4) + packed[-4:]
    for content in (packed[:-9], GOOD, wrong_sum, packed[:15] + b"\xff\xff\xff" + packed[18:]):
        path = tmp_path / "a.gz"
        path.write_bytes(content)
        with pytest.raises(nv.FormatError, match="read_idx"):
            data.read_idx(path)


@pytest.mark.parametrize("naming", ["{}-idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte"])
def test_mnist(tmp_path, naming):
    rng = np.random.default_rng(0)
    sets = {}
    for part, count in (("train", 7), ("t10k", 3)):
        x = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        y = rng.integers(0, 10, count).astype(np.uint8)
        write(tmp_path / naming.format(f"{part}-images", 3), idx_bytes(x))
        write(tmp_path / naming.format(f"{part}-labels", 1), idx_bytes(y))
        sets[part] = x, y
    for part, train in (("train", True), ("t10k", False)):
        read = data.read_mnist(tmp_path, train=train)
        np.testing.assert_array_equal(read.x, sets[part][0])
        np.testing.assert_array_equal(read.y, sets[part][1])
        assert read.y.dtype == np.int64


def test_mnist_that_does_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte or .*\.gz"):
        data.read_mnist(tmp_path, train=False)
    images = tmp_path / "train-images-idx3-ubyte"
    labels = tmp_path / "train-labels-idx1-ubyte"
    write(images, idx_bytes(np.zeros((3, 28, 28), np.uint8)))
    write(labels, idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(nv.FormatError, match="3 images but 2 labels"):
        data.read_mnist(tmp_path)
    write(labels, idx_bytes(np.zeros((3, 28, 28), np.uint8)))
    with pytest.raises(nv.FormatError, match="not labels"):
        data.read_mnist(tmp_path)
    write(images, idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(nv.FormatError, match="not images"):
        data.read_mnist(tmp_path)


# ---- CIFAR-10 ------------------------------------------------------------------------------------


def cifar_batch(count, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072)).astype(np.uint8), rng.integers(0, 10, count).tolist()


def binary(pixels, labels):
    return np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1).tobytes()


def text(value):
    return b"T" + struct.pack("<i", len(value)) + value


def python_2_pickle(pixels, labels):
    """The instructions that Python 2 wrote into the published files."""
    shape = b"M" + struct.pack("<H", pixels.shape[0]) + b"M" + struct.pack("<H", 3072) + b"\x86"
    dtype = (
        b"cnumpy\ndtype\n"
        + b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85U\x01b\x87R"
        + b"(K\x01" + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    )  # fmt: skip
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x05first"
        + b"U\x06labels](" + numbers + b"e"
        + b"U\x04data" + array
        + b"U\tfilenames](U\x01aU\x01beu."
    )  # fmt: skip


def fill(folder, make, ending):
    folder.mkdir(exist_ok=True)
    parts = [cifar_batch(2, seed) for seed in range(6)]
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for name, part in zip(names, parts, strict=True):
        (folder / (name + ending)).write_bytes(make(*part))
    return parts


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("make", "ending", "name"),
    [(binary, ".bin", "cifar-10-batches-bin"), (python_2_pickle, "", "cifar-10-batches-py")],
)
def test_cifar(tmp_path, make, ending, name, inside):
    parts = fill(tmp_path / name, make, ending)
    folder = tmp_path / name if inside else tmp_path
    train, test = data.read_cifar10(folder), data.read_cifar10(folder, train=False)
    np.testing.assert_array_equal(
        train.x.reshape(-1, 3072), np.concatenate([p[0] for p in parts[:5]])
    )
    assert train.y.tolist() == [label for p in parts[:5] for label in p[1]]
    assert test.x.shape == (2, 3, 32, 32)
    assert test.x.dtype == np.uint8
    assert test.y.tolist() == parts[5][1]
    assert test.y.dtype == np.int64


def test_the_pickles_written_here_are_those_of_numpy():
    pixels, labels = cifar_batch(2, 0)
    batch = pickle.loads(python_2_pickle(pixels, labels), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], pixels)
    assert batch[b"labels"] == labels


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_is_no_data_does_not_run(tmp_path, capsys, protocol):
    fill(tmp_path, python_2_pickle, "")
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}, protocol))
    with pytest.raises(nv.FormatError, match="test_batch"):
        data.read_cifar10(tmp_path, train=False)
    assert capsys.readouterr().out == ""


def test_cifar_damaged(tmp_path):
    pixels, labels = cifar_batch(2, 0)
    good = python_2_pickle(pixels, labels)
    damaged = {
        "empty": b"",
        "cut short": good[: len(good) // 2],
        "no end": good[:-1],
        "shape": good.replace(b"M\x02\x00M", b"M\x03\x00M"),
        "type": good.replace(b"U\x02u1", b"U\x02f4"),
        "a list": pickle.dumps([1, 2], 2),
        "no labels": pickle.dumps({}, 2),
        "labels too few": good.replace(b"](K", b"](0K", 1),
        "labels too large": python_2_pickle(pixels, [1, 200]),
        "labels of text": good.replace(b"U\x06labels](K", b"U\x06labels](U\x01aK", 1),
        "no mark": b"\x80\x02K\x01t.",
        "no such memo": b"\x80\x02h\x07.",
        "nothing to add to": b"\x80\x02K\x01K\x02a.",
        "nothing there": b"\x80\x02.",
        "array without contents": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.",
        "call of a number": b"\x80\x02K\x01)R.",
    }
    path = tmp_path / "test_batch"
    for content in damaged.values():
        path.write_bytes(content)
        with pytest.raises(nv.FormatError, match="test_batch"):
            data.read_cifar10(tmp_path, train=False)


def test_cifar_any_damage_is_a_format_error_or_harmless(tmp_path):
    pixels, labels = cifar_batch(1, 0)
    good = bytearray(python_2_pickle(pixels[:, :3072], labels))
    path = tmp_path / "test_batch"
    rng = np.random.default_rng(0)
    refused = 0
    places = [i for i in range(len(good)) if not 300 < i < 3000]
    for _ in range(500):
        content = bytearray(good)
        for place in rng.choice(places, 2):
            content[place] = rng.integers(0, 256)
        path.write_bytes(bytes(content))
        try:
            read = data.read_cifar10(tmp_path, train=False)
        except nv.FormatError:
            refused += 1
        else:
            assert read.x.shape[1:] == (3, 32, 32)
    assert refused > 100


def test_cifar_binary_damaged(tmp_path):
    path = tmp_path / "test_batch.bin"
    content = binary(*cifar_batch(2, 0))
    for damaged in (b"", content[:-1], b"\x0a" + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(nv.FormatError, match=r"test_batch\.bin"):
            data.read_cifar10(tmp_path, train=False)


def test_cifar_missing(tmp_path):
    fill(tmp_path, binary, ".bin")
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3"):
        data.read_cifar10(tmp_path)
