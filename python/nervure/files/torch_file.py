# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch's ``.pt`` and ``.pth`` files, without PyTorch and without executing anything.

A zip archive: ``<name>/data.pkl`` describes the values, ``<name>/data/<key>`` are the storages of
the tensors, not compressed. Written by ``torch.save`` since PyTorch 1.6.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nervure.files.torch_pickle import Name, Rebuild, unpickle
from nervure.files.zipped import Archive
from nervure.serialize import FormatError

MAX_PICKLE_BYTES = 256_000_000
MAX_VALUES = 1_000_000  # in nested dictionaries and lists
MAX_DEPTH = 64
MAX_RANK = 32
SPARE_BYTES = 64_000_000  # what expanded tensors may take beyond four times the file

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
    "UntypedStorage": "",
}
_DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "bf16",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "|b1",
}


class _Storage(NamedTuple):
    key: str
    dtype: str  # empty for untyped ones, counted in bytes
    numel: int


class TorchTensor(NamedTuple):
    """A tensor as the file describes it, checked; sizes and strides in elements."""

    storage: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load_torch(path: str | os.PathLike[str]) -> Any:
    """Read what ``torch.save`` wrote: dictionaries, lists, numbers, text and tensors.

    Parameters
    ----------
    path : str or PathLike
        A ``.pt`` or ``.pth`` file of PyTorch 1.6 or newer.

    Returns
    -------
    object
        What was saved, with arrays in place of tensors and parameters: row-major, owning their
        memory, bfloat16 as float32. ``nervure.load(path)`` gives the tensors alone, as one flat
        dictionary.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If the file holds anything else (a pickled module, a function, an optimiser's closure), is
        damaged, or is of a format that PyTorch no longer writes.
    """
    with open(os.fspath(path), "rb") as file:
        return TorchFile(file).load()


class TorchFile:
    """An open file; ``value`` is what it describes, with :class:`TorchTensor` for tensors."""

    def __init__(self, file: BinaryIO) -> None:
        self._size = os.fstat(file.fileno()).st_size
        self._archive = Archive(file, packed=False)
        pickles = [n for n in self._archive.entries if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise FormatError("[load] a PyTorch file has one data.pkl, this archive has "
                              f"{len(pickles)}")  # fmt: skip
        self._prefix = pickles[0].removesuffix("data.pkl")
        self._order = self._byte_order()
        self._budget = 4 * self._size + SPARE_BYTES  # tensors may share their storage
        data = self._archive.read(pickles[0], MAX_PICKLE_BYTES)
        self.value = unpickle(data, self._functions(), self._storage)

    def _byte_order(self) -> Literal["<", ">"]:
        name = self._prefix + "byteorder"
        if name not in self._archive.entries:
            return "<"
        text = self._archive.read(name, 16)
        if text not in (b"little", b"big"):
            raise FormatError(f"[load] byteorder must be little or big, got {text!r}")
        return "<" if text == b"little" else ">"

    def _functions(self) -> dict[str, Rebuild]:
        return {
            "torch._utils._rebuild_tensor_v2": self._rebuild,
            "torch._utils._rebuild_tensor_v3": self._rebuild_typed,
            "torch._utils._rebuild_parameter": self._first,
            "torch._utils._rebuild_parameter_with_state": self._first,
            "collections.OrderedDict": self._dictionary,
            "torch.Size": self._size_of,
        }

    # ---- what the pickle may ask for -------------------------------------------------------------

    def _storage(self, identifier: Any) -> _Storage:
        if not isinstance(identifier, tuple) or len(identifier) != 5:
            raise FormatError("[load] a storage must be named by five values")
        kind, storage_type, key, _, numel = identifier
        if kind != "storage" or not isinstance(key, str) or not _is_size(numel):
            raise FormatError("[load] a storage must have a key and a size")
        full = str(storage_type) if isinstance(storage_type, Name) else "?"
        module, _, name = full.rpartition(".")
        if module not in ("torch", "torch.storage") or name not in _STORAGES:
            raise FormatError(f"[load] storages of the type {full} are not known")
        storage = _Storage(key, _STORAGES[name], numel)
        found = self._archive.size(f"{self._prefix}data/{key}")
        if found != numel * _itemsize(storage.dtype):
            raise FormatError(
                f"[load] storage {key!r} must have {numel * _itemsize(storage.dtype)} bytes, "
                f"it has {found}"
            )
        return storage

    def _rebuild(self, arguments: tuple[Any, ...]) -> TorchTensor:
        if len(arguments) < 4 or not isinstance(arguments[0], _Storage):
            raise FormatError("[load] a tensor must have a storage, an offset, sizes and strides")
        storage, offset, shape, strides = arguments[:4]
        return self._checked(storage, storage.dtype, offset, shape, strides)

    def _rebuild_typed(self, arguments: tuple[Any, ...]) -> TorchTensor:
        if len(arguments) < 7 or not isinstance(arguments[0], _Storage):
            raise FormatError("[load] a tensor must have a storage, an offset, sizes and strides")
        storage, offset, shape, strides = arguments[:4]
        named = str(arguments[6])
        dtype = _DTYPES.get(named.removeprefix("torch."))
        if dtype is None or not isinstance(arguments[6], Name):
            raise FormatError(f"[load] the dtype {named} is not known")
        return self._checked(storage, dtype, offset, shape, strides)

    def _checked(
        self, storage: _Storage, dtype: str, offset: Any, shape: Any, strides: Any
    ) -> TorchTensor:
        item = _itemsize(dtype)
        numel = storage.numel * _itemsize(storage.dtype) // item
        valid = _are_sizes(shape) and _are_sizes(strides) and _is_size(offset) and dtype != ""
        if not valid or len(shape) != len(strides):
            raise FormatError("[load] a tensor has an impossible offset, shape or strides")
        count = 1
        for dim in shape:
            count *= dim
        last = offset + sum((d - 1) * s for d, s in zip(shape, strides, strict=True))
        if count and last >= numel:
            raise FormatError(
                f"[load] a tensor of shape {shape} does not fit into its storage of {numel}"
            )
        extent = item
        for dim in shape:
            extent *= max(dim, 1)  # NumPy counts so
        self._budget -= count * item
        if self._budget < 0 or extent >= 2**62:
            raise FormatError("[load] the tensors are far larger than the file")
        return TorchTensor(storage.key, dtype, offset, shape, strides)

    def _first(self, arguments: tuple[Any, ...]) -> TorchTensor:
        if not arguments or not isinstance(arguments[0], TorchTensor):
            raise FormatError("[load] a parameter must have a tensor")
        return arguments[0]

    def _dictionary(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        if arguments:
            raise FormatError("[load] an OrderedDict must begin empty")
        return {}

    def _size_of(self, arguments: tuple[Any, ...]) -> tuple[int, ...]:
        if len(arguments) != 1 or not _are_sizes(arguments[0]):
            raise FormatError("[load] a Size must hold sizes")
        return tuple(arguments[0])

    # ---- values ----------------------------------------------------------------------------------

    def load(self) -> Any:
        """What was saved, with arrays for tensors."""
        storages: dict[str, bytes] = {}
        made: dict[int, NDArray[Any]] = {}

        def array(tensor: TorchTensor) -> NDArray[Any]:
            if id(tensor) not in made:  # one that is held twice stays one
                if tensor.storage not in storages:
                    name = f"{self._prefix}data/{tensor.storage}"
                    storages[tensor.storage] = self._archive.read(name)
                made[id(tensor)] = _array(tensor, storages[tensor.storage], self._order)
            return made[id(tensor)]

        return walk(self.value, array)


def walk(value: Any, tensor: Any) -> Any:
    """A copy of nested dictionaries, lists and tuples with `tensor` applied to each tensor."""
    left = MAX_VALUES

    def visit(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise FormatError("[load] the file holds too many values, or too deep ones")
        if isinstance(value, TorchTensor):
            return tensor(value)
        if isinstance(value, dict):
            return {key: visit(v, depth + 1) for key, v in value.items()}
        if isinstance(value, (list, tuple)) and not isinstance(value, _Storage):
            return type(value)(visit(v, depth + 1) for v in value)
        if isinstance(value, Name):
            if value.module == "torch" and value.name in _DTYPES:
                return str(value)
            raise FormatError(f"[load] the file holds {value}, which is no tensor")
        if isinstance(value, _Storage):
            raise FormatError("[load] the file holds a storage without a tensor")
        return value

    return visit(value, 0)


def flat_tensors(value: Any) -> dict[str, Any]:
    """The tensors or arrays of nested dictionaries and lists under dotted names."""
    found: dict[str, Any] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, (TorchTensor, np.ndarray)):
            if name in found:
                raise FormatError(f"[load] two tensors have the name {name!r}")
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, (list, tuple)):
            for i, inner in enumerate(value):
                visit(f"{name}.{i}" if name else str(i), inner)

    visit("", value)
    if "" in found:
        found["tensor"] = found.pop("")  # saved alone
    return found


def _array(tensor: TorchTensor, data: bytes, order: Literal["<", ">"]) -> NDArray[Any]:
    wide = tensor.dtype == "bf16"
    dtype = np.dtype("<u2" if wide else tensor.dtype).newbyteorder(order)
    if 0 in tensor.shape:
        view: NDArray[Any] = np.empty(tensor.shape, dtype)
    else:
        count = len(data) // dtype.itemsize
        flat: NDArray[Any] = np.frombuffer(data, dtype, count)[tensor.offset :]
        sizes = zip(tensor.shape, tensor.strides, strict=True)
        strides = [stride * dtype.itemsize if dim > 1 else 0 for dim, stride in sizes]
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    if wide:
        upper: NDArray[np.uint32] = view.astype(np.uint32)
        upper <<= np.uint32(16)
        return upper.view(np.float32)
    if tensor.dtype == "|b1" and view.size and view.view(np.uint8).max() > 1:
        raise FormatError("[load] a tensor holds booleans other than 0 and 1")
    return np.array(view, dtype=dtype.newbyteorder("="), order="C")


def _itemsize(dtype: str) -> int:
    if dtype == "bf16":
        return 2
    return np.dtype(dtype).itemsize if dtype else 1


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _are_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_RANK and all(map(_is_size, value))
