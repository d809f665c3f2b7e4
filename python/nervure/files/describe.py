# SPDX-License-Identifier: BSD-3-Clause
"""What a file holds, without reading its values where that can be avoided."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nervure import serialize
from nervure.files.npz_file import NpzFile
from nervure.files.torch_file import TorchFile, TorchTensor, flat_tensors, walk
from nervure.files.zipped import Archive
from nervure.serialize import FormatError


@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype, shape and size of a tensor in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class FileInfo:
    """What :func:`describe` found.

    Attributes
    ----------
    format
        ``"safetensors"``, ``"PyTorch"``, ``"npz"`` or ``"ONNX"``.
    nbytes
        Size of the file.
    tensors
        One entry per tensor, in the order of the file.
    metadata
        Notes in the file, or numbers and text next to the tensors, all as text.
    """

    format: str
    nbytes: int
    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    def __str__(self) -> str:
        lines = [f"{'format':<12} {self.format}", f"{'file':<12} {_size(self.nbytes)}"]
        total = sum(tensor.nbytes for tensor in self.tensors)
        lines.append(
            f"{'tensors':<12} {len(self.tensors)}, {self.parameters:,} values, {_size(total)}"
        )
        lines += [f"{key:<12} {_line(value)}" for key, value in self.metadata.items()]
        if self.tensors:
            lines += ["", *_table(self.tensors)]
        return "\n".join(lines)


def _table(tensors: tuple[TensorInfo, ...]) -> list[str]:
    rows = [("name", "dtype", "shape", "size")]
    rows += [
        (_line(t.name), t.dtype, "x".join(map(str, t.shape)) or "scalar", _size(t.nbytes))
        for t in tensors
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  ".join([*(f"{row[i]:<{widths[i]}}" for i in range(3)), f"{row[3]:>{widths[3]}}"])
        for row in rows
    ]


def _line(text: str) -> str:
    """Text of a file as one line that a terminal does not act upon."""
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def describe(path: str | os.PathLike[str]) -> FileInfo:
    """Format, tensors, shapes, sizes and metadata of a file.

    Parameters
    ----------
    path : str or PathLike
        A safetensors, PyTorch, npz or ONNX file (the last by the ending of its name, and with the
        extra ``onnx``).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is none of these, or damaged.
    """
    size = os.stat(path).st_size
    if is_onnx(path):
        from nervure.onnx import file_info

        return file_info(path)
    with open(os.fspath(path), "rb") as file:
        kind = recognise(file)
        if kind == "npz":
            arrays = NpzFile(file).entries
            found = [_info(name, dtype.name, shape) for name, (dtype, shape) in arrays.items()]
            return FileInfo("npz", size, tuple(found))
        if kind == "PyTorch":
            return _describe_torch(TorchFile(file), size)
        entries, metadata, _ = serialize._read_header(file)
    found = [TensorInfo(e.name, e.dtype, e.shape, e.end - e.begin) for e in entries]
    return FileInfo("safetensors", size, tuple(found), metadata)


def is_onnx(path: str | os.PathLike[str]) -> bool:
    """Whether the name says so; the content of an ONNX file has no mark."""
    return Path(path).suffix.lower() == ".onnx"


def recognise(file: BinaryIO) -> str:
    """The format of an open file by its content; leaves it at its beginning."""
    if not serialize._is_archive(file):
        return "safetensors"
    names = Archive(file, packed=True).entries
    file.seek(0)
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "PyTorch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise FormatError("[load] the archive is neither PyTorch's nor NumPy's")


def read_tensors(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """The tensors of an archive, PyTorch's or NumPy's, as one flat dictionary."""
    if recognise(file) == "npz":
        return NpzFile(file).load()
    return flat_tensors(TorchFile(file).load())


def _info(name: str, dtype: str, shape: tuple[int, ...]) -> TensorInfo:
    return TensorInfo(name, dtype, shape, math.prod(shape) * np.dtype(dtype).itemsize)


def _describe_torch(file: TorchFile, size: int) -> FileInfo:
    tree = walk(file.value, lambda tensor: tensor)
    tensors = []
    for name, tensor in flat_tensors(tree).items():
        if tensor.dtype == "bf16":
            count = math.prod(tensor.shape)
            tensors.append(TensorInfo(name, "bfloat16", tensor.shape, 2 * count))
        else:
            tensors.append(_info(name, np.dtype(tensor.dtype).name, tensor.shape))
    return FileInfo("PyTorch", size, tuple(tensors), _notes(tree))


def _notes(value: Any, name: str = "") -> dict[str, str]:
    """Numbers and text next to the tensors, by dotted names."""
    if isinstance(value, TorchTensor):
        return {}
    if isinstance(value, dict):
        inner = [(str(key), v) for key, v in value.items()]
    elif isinstance(value, (list, tuple)):
        inner = [(str(i), v) for i, v in enumerate(value)]
    else:
        return {name or "value": str(value)}
    notes: dict[str, str] = {}
    for key, v in inner:
        notes.update(_notes(v, f"{name}.{key}" if name else key))
    return notes
