# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoint files: everything that a training needs to go on, whole or not at all.

A checkpoint is a safetensors file. Tensors are entries of their own (those of the model under
``model.<name>``); all else is JSON in the metadata, in which ``{"$tensor": name}`` stands for a
tensor. A checksum over both is in the metadata too. The file is written under another name, synced
and renamed, so that a kill at any moment leaves the files before it as they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import serialize
from nervure._core import Tensor
from nervure.serialize import FormatError

FORMAT = "nervure-checkpoint"
VERSION = "1"
SUFFIX = ".safetensors"
_NUMBERED = re.compile(r"^step-(\d+)\.safetensors$")


# ---- one file ------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state: dicts, lists and tuples of tensors, arrays, numbers, text and None.

    Raises
    ------
    TypeError
        For anything else in it.
    OSError
        If the file cannot be written; what was there before stays.
    """
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_encode("", state, arrays), separators=(",", ":"))
    metadata = {"format": FORMAT, "version": VERSION, "state": text}
    metadata["checksum"] = _checksum(arrays, metadata)
    serialize.save(arrays, path, metadata)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state that :func:`write` wrote; tensors come as NumPy arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If the file is not whole, was changed, or is no checkpoint.
    """
    metadata = serialize.load_metadata(path)
    name = os.fspath(path)
    if metadata.get("format") != FORMAT:
        raise FormatError(f"[load_checkpoint] {name} is no checkpoint")
    if metadata.get("version") != VERSION:
        raise FormatError(
            f"[load_checkpoint] {name} has version {metadata.get('version')!r}, known is {VERSION}"
        )
    arrays = serialize.load(path)
    checksum = metadata.pop("checksum", None)
    if checksum != _checksum(arrays, metadata):
        raise FormatError(f"[load_checkpoint] {name} is damaged: its checksum is another one")
    try:
        state = _decode(json.loads(metadata["state"]), arrays)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"[load_checkpoint] {name} cannot be read: {error!r}") from None
    if not isinstance(state, dict):
        raise FormatError(f"[load_checkpoint] {name} is no checkpoint")
    return state


def _checksum(arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> str:
    """BLAKE2 of names, shapes, types and values, and of the metadata."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _encode(place: str, value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Tensor, np.ndarray)):
        arrays[place] = value.numpy() if isinstance(value, Tensor) else value
        return {"$tensor": place}
    if isinstance(value, (list, tuple)):
        items = [_encode(f"{place}.{i}", item, arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        pairs = [
            (key, _encode(f"{place}.{key}" if place else str(key), item, arrays))
            for key, item in value.items()
        ]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(pairs)
        return {"$dict": [[_encode(f"{place}.key", k, arrays), v] for k, v in pairs]}
    raise TypeError(
        f"[save_checkpoint] {place or 'the state'} is a {type(value).__name__}, which a checkpoint "
        "cannot hold"
    )


def _decode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return arrays[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_decode(item, arrays) for item in value["$tuple"])
    if "$dict" in value:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in value["$dict"]}
    return {key: _decode(item, arrays) for key, item in value.items()}


# ---- a folder of them ----------------------------------------------------------------------------


def numbered(folder: str | os.PathLike[str]) -> list[Path]:
    """Checkpoints ``step-<number>.safetensors`` of a folder, newest first."""
    found = []
    for path in Path(folder).iterdir():
        match = _NUMBERED.match(path.name)
        if match:
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found, reverse=True)]


def read_newest(folder: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint of a folder that is whole; None if there is none at all.

    A warning names each newer file that is not whole.

    Raises
    ------
    FormatError
        If there are checkpoints, but none is whole.
    """
    if not os.path.isdir(folder):
        return None
    problems = []
    for path in numbered(folder):
        try:
            state = read(path)
        except (FormatError, OSError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        for problem in problems:
            warnings.warn(
                f"[load_checkpoint] going back to {path.name}, because of {problem}",
                RuntimeWarning,
                stacklevel=3,
            )
        return path, state
    if problems:
        raise FormatError(
            f"[load_checkpoint] no checkpoint in {os.fspath(folder)} is whole: "
            + "; ".join(problems)
        )
    return None


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what writers left that were killed."""
    for path in Path(folder).glob(".nervure-*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()
