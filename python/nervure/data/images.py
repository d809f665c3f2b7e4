# SPDX-License-Identifier: BSD-3-Clause
"""Image sets in the files they are published in: MNIST and its kin (IDX), CIFAR-10.

Nothing is downloaded. Files are checked before memory is taken for them, and no code in them runs.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from nervure.data._arrays import Array, Indices
from nervure.data._pickled import read_pickled
from nervure.serialize import FormatError

AnyPath = str | os.PathLike[str]

# Third byte of an IDX file -> type of its big-endian elements.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot do better: whoever promises more wants the memory of this machine.
_GZIP_MOST = 1032


class Images(NamedTuple):
    """Images and what they show."""

    x: Array  #: (N, H, W) or (N, C, H, W), uint8
    y: Indices  #: (N,), class numbers


# ---- IDX -----------------------------------------------------------------------------------------


def read_idx(path: AnyPath) -> Array:
    """Read an array from an IDX file, the format of MNIST; one ending in ``.gz`` is unpacked.

    Parameters
    ----------
    path : str or PathLike
        The file.

    Returns
    -------
    numpy.ndarray
        The array, of the type in the file, in the byte order of this machine.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is not IDX, damaged, or its size is not what its header says.

    References
    ----------
    http://yann.lecun.com/exdb/mnist/ (at the end)
    """
    path = Path(path)
    if path.suffix != ".gz":
        with open(path, "rb") as file:
            return _read_idx(path, file, path.stat().st_size)
    try:
        with gzip.open(path, "rb") as unpacked:
            return _read_idx(path, unpacked, path.stat().st_size * _GZIP_MOST)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"[read_idx] {path}: damaged or not gzip: {error}") from error


def _read_idx(path: Path, file: BinaryIO | gzip.GzipFile, most: int) -> Array:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or not head[3]:
        raise FormatError(f"[read_idx] {path}: not an IDX file")
    sizes_bytes = file.read(4 * head[3])
    if len(sizes_bytes) < 4 * head[3]:
        raise FormatError(f"[read_idx] {path}: cut short in the header")
    sizes = struct.unpack(f">{head[3]}I", sizes_bytes)
    if len(sizes) > 32:
        raise FormatError(f"[read_idx] {path}: {len(sizes)} dimensions, at most 32 are possible")
    dtype = np.dtype(_IDX_TYPES[head[2]])
    expected = math.prod(sizes) * dtype.itemsize
    if expected > most:
        raise FormatError(
            f"[read_idx] {path}: the header promises {expected} bytes for {sizes}, the file cannot "
            "hold them"
        )
    data = file.read(expected + 1)
    if len(data) != expected:
        found = "more" if len(data) > expected else str(len(data))
        raise FormatError(f"[read_idx] {path}: {expected} bytes expected for {sizes}, got {found}")
    array = np.frombuffer(data, dtype).reshape(sizes)
    return array.astype(dtype.newbyteorder("="))


def read_mnist(folder: AnyPath, train: bool = True) -> Images:
    """Read MNIST, Fashion-MNIST or another set under the same file names.

    Parameters
    ----------
    folder : str or PathLike
        Where the files lie: ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, or
        ``t10k-...``; each also with ``.gz``, or with a dot before ``idx``.
    train : bool, default True
        The training data or the test data.

    Returns
    -------
    Images
        ``x`` (N, 28, 28) uint8 and ``y`` (N,) int64; N is 60000 or 10000 in the published sets.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message names the places looked at.
    FormatError
        If a file is damaged, or the two do not fit together.
    """
    part = "train" if train else "t10k"
    images_path = _find(folder, _idx_names(f"{part}-images", 3))
    labels_path = _find(folder, _idx_names(f"{part}-labels", 1))
    x, y = read_idx(images_path), read_idx(labels_path)
    if x.ndim != 3 or x.dtype != np.uint8:
        raise FormatError(f"[read_mnist] {images_path}: not images, but {x.dtype} of {x.shape}")
    if y.ndim != 1 or y.dtype != np.uint8:
        raise FormatError(f"[read_mnist] {labels_path}: not labels, but {y.dtype} of {y.shape}")
    if len(x) != len(y):
        raise FormatError(f"[read_mnist] {folder}: {len(x)} images but {len(y)} labels")
    return Images(x, y.astype(np.int64))


def _idx_names(stem: str, rank: int) -> list[str]:
    names = [f"{stem}-idx{rank}-ubyte", f"{stem}.idx{rank}-ubyte"]
    return [name + ending for name in names for ending in ("", ".gz")]


def _find(folder: AnyPath, names: list[str]) -> Path:
    for name in names:
        path = Path(folder, name)
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {' or '.join(names)} in the folder {os.fspath(folder)!r}")


# ---- CIFAR-10 ------------------------------------------------------------------------------------

_CIFAR_IMAGE = 3 * 32 * 32
_CIFAR_FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")


def read_cifar10(folder: AnyPath, train: bool = True) -> Images:
    """Read CIFAR-10, from the binary version or the one made for Python.

    Parameters
    ----------
    folder : str or PathLike
        Where ``data_batch_1.bin`` ... ``data_batch_5.bin`` and ``test_batch.bin`` lie, or the same
        without ``.bin`` (the version for Python); or the folder above, with
        ``cifar-10-batches-bin`` or ``cifar-10-batches-py`` in it.
    train : bool, default True
        The training data (five files) or the test data.

    Returns
    -------
    Images
        ``x`` (N, 3, 32, 32) uint8 and ``y`` (N,) int64; N is 50000 or 10000 in the published set.

    Raises
    ------
    FileNotFoundError
        If files are missing; the message names the places looked at.
    FormatError
        If a file is damaged.

    Notes
    -----
    The version for Python is a pickle, which could run any code. It is read by a reader of our own
    that knows nothing but numbers, text, lists, dictionaries and arrays of bytes.

    References
    ----------
    https://www.cs.toronto.edu/~kriz/cifar.html
    """
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    places = [Path(folder), *(Path(folder, name) for name in _CIFAR_FOLDERS)]
    for place in places:
        for ending, read in ((".bin", _read_cifar_binary), ("", _read_cifar_pickled)):
            paths = [place / (name + ending) for name in names]
            if all(path.is_file() for path in paths):
                parts = [read(path) for path in paths]
                return Images(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    looked_at = ", ".join(repr(str(place)) for place in places)
    raise FileNotFoundError(f"no {', '.join(names)} (all with .bin, or all without) in {looked_at}")


def _read_cifar_binary(path: Path) -> Images:
    size = path.stat().st_size
    if size == 0 or size % (_CIFAR_IMAGE + 1):
        raise FormatError(
            f"[read_cifar10] {path}: {size} bytes are no whole number of records of "
            f"{_CIFAR_IMAGE + 1}"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, _CIFAR_IMAGE + 1)
    return _cifar_images(path, records[:, 1:], records[:, 0])


def _read_cifar_pickled(path: Path) -> Images:
    batch = read_pickled(path)
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= set(batch):
        raise FormatError(f"[read_cifar10] {path}: no data and labels in it")
    data, labels = batch[b"data"], batch[b"labels"]
    if not (isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == _CIFAR_IMAGE):
        raise FormatError(f"[read_cifar10] {path}: data is no array of rows of {_CIFAR_IMAGE}")
    if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        raise FormatError(f"[read_cifar10] {path}: labels is no list of integers")
    return _cifar_images(path, data, np.array(labels, object))


def _cifar_images(path: Path, pixels: Array, labels: Array) -> Images:
    if len(pixels) != len(labels):
        raise FormatError(f"[read_cifar10] {path}: {len(pixels)} images, {len(labels)} labels")
    wrong = [label for label in labels.tolist() if not 0 <= label < 10]
    if wrong:
        raise FormatError(f"[read_cifar10] {path}: a label is {wrong[0]}, expected 0 to 9")
    images = np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32)
    return Images(images, labels.astype(np.int64))
