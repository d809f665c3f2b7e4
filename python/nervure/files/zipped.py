# SPDX-License-Identifier: BSD-3-Clause
"""Zip archives that are not trusted."""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from nervure.serialize import FormatError

MAX_ENTRIES = 1_000_000
MAX_RATIO = 1100  # deflate packs nothing tighter than 1032 to 1
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    UnicodeError,
    ValueError,
)


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except FormatError:
        raise
    except OSError as error:
        if error.errno is None or error.errno == 22:  # a seek to where nothing is
            raise FormatError(f"[load] the archive is damaged: {error}") from None
        raise
    except _DAMAGE as error:
        raise FormatError(f"[load] the archive is damaged: {error}") from None


class Archive:
    """Entries by name; sizes are checked against that of the file.

    Parameters
    ----------
    file
        Open for reading, at any position.
    packed
        Whether entries may be compressed.
    """

    def __init__(self, file: BinaryIO, *, packed: bool) -> None:
        size = os.fstat(file.fileno()).st_size
        with _damage():
            self._zip = zipfile.ZipFile(file)
            entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise FormatError(f"[load] the archive has {len(entries)} entries")
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise FormatError("[load] the archive has an entry twice")
        for entry in entries:
            _check(entry, packed)
        if sum(entry.compress_size for entry in entries) > size:
            raise FormatError("[load] the entries of the archive are larger than the file")

    def size(self, name: str) -> int:
        """Bytes of an entry, unpacked."""
        return self._entry(name).file_size

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of an entry."""
        entry = self._entry(name)
        if limit is not None and entry.file_size > limit:
            raise FormatError(f"[load] {name!r} may have {limit} bytes, it has {entry.file_size}")
        with _damage():
            data = self._zip.read(entry)
        if len(data) != entry.file_size:
            raise FormatError(f"[load] {name!r} ends early")
        return data

    def start(self, name: str, count: int) -> bytes:
        """The first bytes of an entry."""
        with _damage(), self._zip.open(self._entry(name)) as stream:
            return stream.read(count)

    def _entry(self, name: str) -> zipfile.ZipInfo:
        if name not in self.entries:
            raise FormatError(f"[load] the archive has no {name!r}")
        return self.entries[name]


def _check(entry: zipfile.ZipInfo, packed: bool) -> None:
    if entry.flag_bits & 1:
        raise FormatError("[load] the archive is encrypted")
    if entry.compress_type == zipfile.ZIP_STORED:
        if entry.compress_size != entry.file_size:
            raise FormatError(f"[load] {entry.filename!r} has two sizes")
    elif not packed or entry.compress_type != zipfile.ZIP_DEFLATED:
        raise FormatError(f"[load] {entry.filename!r} must not be compressed so")
    elif entry.file_size > MAX_RATIO * entry.compress_size:
        raise FormatError(f"[load] {entry.filename!r} cannot unpack to {entry.file_size} bytes")
