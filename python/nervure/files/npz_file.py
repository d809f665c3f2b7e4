# SPDX-License-Identifier: BSD-3-Clause
"""NumPy's ``.npz`` archives, without pickle."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nervure.files.zipped import Archive
from nervure.serialize import FormatError

_HEADER_BYTES = 65_536
_KINDS = "biuf"


class NpzFile:
    """Names, dtypes and shapes of the arrays; :meth:`load` reads them."""

    def __init__(self, file: BinaryIO) -> None:
        self._archive = Archive(file, packed=True)
        self.entries: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._starts: dict[str, tuple[int, bool]] = {}
        for name in self._archive.entries:
            if not name.endswith(".npy"):
                raise FormatError(f"[load] {name!r} is no array")
            self._describe(name)

    def _describe(self, name: str) -> None:
        stream = io.BytesIO(self._archive.start(name, _HEADER_BYTES))
        try:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(stream)
        except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, EOFError) as error:
            raise FormatError(f"[load] the header of {name!r} is damaged: {error}") from None
        if dtype.kind not in _KINDS:
            raise FormatError(f"[load] {name!r} has the dtype {dtype}, which is no number")
        count, extent = 1, dtype.itemsize
        for dim in shape:
            if not isinstance(dim, int) or dim < 0 or len(shape) > 32:
                raise FormatError(f"[load] {name!r} has an impossible shape")
            count *= dim
            extent *= max(dim, 1)
        size = self._archive.size(name) - stream.tell()
        if count * dtype.itemsize != size or extent >= 2**62:
            raise FormatError(
                f"[load] {name!r}: {dtype} of shape {shape} takes {count * dtype.itemsize} bytes, "
                f"there are {size}"
            )
        key = name.removesuffix(".npy")
        self.entries[key] = (dtype, tuple(shape))
        self._starts[key] = (stream.tell(), fortran)

    def load(self) -> dict[str, NDArray[Any]]:
        """All arrays by name."""
        arrays = {}
        for name, (dtype, shape) in self.entries.items():
            start, fortran = self._starts[name]
            flat = np.frombuffer(self._archive.read(f"{name}.npy"), np.uint8)[start:]
            values: NDArray[Any] = flat.view(dtype) if flat.size else np.empty(0, dtype)
            order = "F" if fortran else "C"
            shaped = values.reshape(shape, order=order)  # type: ignore[call-overload]
            arrays[name] = np.array(shaped, dtype=dtype.newbyteorder("="), order="C")
        return arrays
