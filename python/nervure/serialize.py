# SPDX-License-Identifier: BSD-3-Clause
"""Tensors in files: our own reader and writer of the safetensors format.

A file is eight bytes with the length N of the header (little-endian), N bytes of JSON, and the
values of all tensors, row-major and little-endian, without gaps. The header maps each name to
``{"dtype", "shape", "data_offsets"}``, with offsets counted from the end of the header, and
``"__metadata__"`` to a dictionary of strings. Format: https://github.com/huggingface/safetensors

A file is not trusted: everything it says is checked against its true size before memory is asked
for.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from nervure._core import Tensor

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_MAX_RANK = 32  # of NumPy before 2.0
_MAX_BYTES = 2**63 - 1

# Name in the file -> dtype in the file. The order is the one in which the official writer lays
# tensors out (the last first), which puts every tensor at a multiple of its item size.
_DTYPES = {
    "BOOL": "|u1",
    "U8": "|u1",
    "I8": "|i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "BF16": "<u2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
_RANKS = {name: rank for rank, name in enumerate(_DTYPES)}
_NAMES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}


class FormatError(ValueError):
    """The file is not what it should be: damaged, cut short, or never a safetensors file."""


class _Entry(NamedTuple):
    """One tensor as the header describes it, checked."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


# ---- reading -------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read all tensors of a safetensors file, or of a PyTorch or NumPy archive.

    Parameters
    ----------
    path : str or PathLike
        The file. What begins like a zip archive is read as PyTorch's ``.pt`` or NumPy's ``.npz``:
        without PyTorch, without executing anything, tensors only; those in nested dictionaries get
        dotted names (:func:`nervure.files.load_torch` keeps the nesting).

    Returns
    -------
    dict of str to numpy.ndarray
        Row-major arrays that own their memory, in the order of the file. dtypes are kept (float16
        stays float16), but for bfloat16, which NumPy does not have: it becomes float32, without
        loss.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If the file is not one that the format allows, or holds a dtype of less than a byte or with
        eight bits of floating point, which NumPy does not have; of an archive, if it holds anything
        but tensors, numbers and text.
    """
    with open(os.fspath(path), "rb") as file:  # no file descriptor, such as 0
        if _is_archive(file):
            from nervure.files.describe import read_tensors

            return read_tensors(file)
        entries, _, start = _read_header(file)
        arrays = {}
        for entry in entries:
            file.seek(start + entry.begin)
            arrays[entry.name] = _read_array(file, entry)
        return arrays


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty when it has none.

    The header is checked as for :func:`load`; the tensors are not read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If the header is not one that the format allows.
    """
    with open(os.fspath(path), "rb") as file:  # no file descriptor, such as 0
        return _read_header(file)[1]


def _is_archive(file: BinaryIO) -> bool:
    """Whether it begins as zip archives do, and not as a safetensors file of that header length."""
    start = file.read(9)
    file.seek(0)
    if start[8:9] == b"{":
        return False
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise FormatError(
            "[load] this is a bare pickle, as PyTorch wrote it before 1.6; load it there and save "
            "it again"
        )
    if start[:6] == b"\x93NUMPY":
        raise FormatError("[load] this is a single array (.npy), which numpy.load reads")
    return start[:4] == b"PK\3\4"


def _read_header(file: BinaryIO) -> tuple[list[_Entry], dict[str, str], int]:
    """Give the tensors by position, the metadata, and where the values begin."""
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise FormatError(f"[load] a safetensors file has at least 8 bytes, got {size}")
    length = int.from_bytes(_read_exactly(file, 8), "little")
    if length > MAX_HEADER_BYTES:
        raise FormatError(
            f"[load] the header may have {MAX_HEADER_BYTES} bytes, it claims {length}: "
            "is it a safetensors file?"
        )
    if length > size - 8:
        raise FormatError(
            f"[load] the header claims {length} bytes, the file has {size - 8} after its first 8"
        )
    header = _parse(_read_exactly(file, length))
    metadata = _metadata(header.pop("__metadata__", {}))
    entries = sorted(
        (_entry(name, value) for name, value in header.items()), key=lambda e: (e.begin, e.end)
    )
    _check_coverage(entries, size - 8 - length)
    return entries, metadata, 8 + length


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise FormatError(f"[load] the file ends early: expected {count} bytes, got {len(data)}")
    return data


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise FormatError("[load] the header must begin with '{'")
    try:
        header = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_constant=_refuse_constant,
        )
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"[load] the header is not valid JSON: {error}") from None
    if not isinstance(header, dict):
        raise FormatError("[load] the header must be a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FormatError("[load] the header has a key twice")
    return result


def _integer(text: str) -> int:
    if not text.isdigit() or len(text) > 19:
        raise FormatError(f"[load] {_short(text)} is not a size")
    return int(text)


def _refuse_constant(name: str) -> Any:
    raise FormatError(f"[load] {name} is not JSON")


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise FormatError("[load] __metadata__ must map strings to strings")
    for text in (*value, *value.values()):
        _check_text("__metadata__", text)
    return value


def _check_text(what: str, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"[load] {what} holds text that is not Unicode: {text!r}") from None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_BYTES


def _entry(name: str, value: Any) -> _Entry:
    _check_text("the header", name)
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"[load] {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(
            f"[load] {name!r} has the dtype {dtype!r}, known are {', '.join(_DTYPES)}"
        )
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(map(_is_size, shape)):
        raise FormatError(
            f"[load] {name!r} must have a shape of up to {_MAX_RANK} sizes, got {_short(shape)}"
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise FormatError(f"[load] {name!r} must have two data_offsets, got {_short(offsets)}")
    itemsize = int(_DTYPES[dtype][-1])
    elements = extent = 1
    for dim in shape:
        elements *= dim
        extent *= max(dim, 1)  # NumPy counts so: (0, 2^62, 2^62) is refused
    if extent * itemsize > _MAX_BYTES:
        raise FormatError(f"[load] {name!r} is too large: {dtype} of shape {_short(shape)}")
    begin, end = offsets
    if end - begin != elements * itemsize:
        raise FormatError(
            f"[load] {name!r}: {dtype} of shape {_short(shape)} takes {elements * itemsize} bytes, "
            f"data_offsets {_short(offsets)} give {end - begin}"
        )
    return _Entry(name, dtype, tuple(shape), begin, end)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_coverage(entries: list[_Entry], size: int) -> None:
    """Refuse tensors, in order of position, that do not cover each byte exactly once."""
    position = 0
    for entry in entries:
        if entry.begin != position:
            problem = (
                "overlaps the tensor before it"
                if entry.begin < position
                else "leaves a gap before it"
            )
            raise FormatError(
                f"[load] {entry.name!r} at {entry.begin} {problem}, which ends at {position}"
            )
        position = entry.end
    if position != size:
        raise FormatError(
            f"[load] the tensors take {position} bytes, the file has {size} after its header"
        )


def _read_array(file: BinaryIO, entry: _Entry) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.empty(entry.shape, dtype=_DTYPES[entry.dtype])
    if array.size:
        view = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise FormatError(f"[load] the file ends early, in {entry.name!r}")
            done += count
    if entry.dtype == "BOOL":
        if array.size and array.max() > 1:
            raise FormatError(f"[load] {entry.name!r} holds booleans other than 0 and 1")
        return array.view(np.bool_)
    if entry.dtype == "BF16":  # the upper half of a float32
        wide: npt.NDArray[Any] = array.astype(np.uint32)
        wide <<= np.uint32(16)
        return wide.view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# ---- writing -------------------------------------------------------------------------------------


def save(
    tensors: Any, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    The values go to a temporary file in the same folder, which takes the place of ``path`` once it
    is safely on disk. Whatever goes wrong before that leaves the old file as it was.

    Parameters
    ----------
    tensors : mapping of str to Tensor or array, or Module
        What to write; any memory order. Of a module its ``state_dict()`` is written.
    path : str or PathLike
        The file; its folder must exist.
    metadata : mapping of str to str, optional
        Notes kept in the header; read back by :func:`load_metadata`.

    Raises
    ------
    TypeError
        For names that are not strings, values that are not tensors or arrays, or dtypes that the
        format does not have (complex, object, text).
    ValueError
        For the name ``"__metadata__"``, text that is not Unicode, or a header beyond the format's
        limit.
    OSError
        If the file cannot be written.
    """
    if not isinstance(tensors, Mapping) and callable(getattr(tensors, "state_dict", None)):
        tensors = tensors.state_dict()
    if not isinstance(tensors, Mapping):
        raise TypeError(
            f"[save] expected a mapping of names to tensors, got {type(tensors).__name__}"
        )
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    order = sorted(arrays, key=lambda name: (-_RANKS[_NAMES[arrays[name].dtype.name]], name))
    header = _header(arrays, order, metadata)
    with _replacing(os.path.realpath(path)) as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in order:
            if arrays[name].size:
                file.write(_packed(arrays[name]).reshape(-1).view(np.uint8).data)


def _array(name: Any, value: Any) -> npt.NDArray[Any]:
    if not isinstance(name, str):
        raise TypeError(f"[save] names must be str, got {type(name).__name__}")
    if name == "__metadata__":
        raise ValueError("[save] the name '__metadata__' is reserved; use metadata=")
    if isinstance(value, Tensor):
        array = value.numpy()
    elif hasattr(value, "__array__"):
        array = np.asarray(value)
    else:
        raise TypeError(f"[save] {name!r} must be a Tensor or an array, got {type(value).__name__}")
    if array.dtype.name not in _NAMES:
        raise TypeError(
            f"[save] {name!r} has the dtype {array.dtype}, which the format does not have"
        )
    return array


def _packed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Row-major and little-endian; a copy only where needed."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _header(
    arrays: dict[str, npt.NDArray[Any]], order: list[str], metadata: Mapping[str, str] | None
) -> bytes:
    header: dict[str, Any] = {}
    if metadata is not None:
        for key, value in metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError("[save] metadata must map strings to strings")
        header["__metadata__"] = dict(metadata)
    position = 0
    for name in order:
        array = arrays[name]
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"[save] names and metadata must be Unicode text: {error}") from None
    data += b" " * (-len(data) % 8)  # so that the values begin at a multiple of 8
    if len(data) > MAX_HEADER_BYTES:
        raise ValueError(
            f"[save] the header may have {MAX_HEADER_BYTES} bytes, it would have {len(data)}"
        )
    return data


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` when the block ends well, and vanishes if not."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".nervure-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(path).st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, FileNotFoundError) and error.filename == temporary:
            error.filename = path  # the folder is missing, and the user knows this name only
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make the new name durable, where folders can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
