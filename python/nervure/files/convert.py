# SPDX-License-Identifier: BSD-3-Clause
"""From one file of tensors to another."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nervure import serialize
from nervure.files.describe import is_onnx


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Write the tensors of one file to another, in the format that its name says.

    Parameters
    ----------
    source : str or PathLike
        A safetensors, PyTorch (``.pt``, ``.pth``), npz or ONNX file. Of nested dictionaries the
        tensors are taken under dotted names; of an ONNX model the weights.
    target : str or PathLike
        Ends in ``.safetensors`` or ``.npz``. Metadata is kept between safetensors files.

    Returns
    -------
    int
        How many tensors were written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If ``source`` is damaged or none of these.
    ValueError
        If the name of ``target`` ends in anything else. PyTorch reads ``.safetensors``; an ONNX
        file needs the model, not only its tensors: ``nervure.onnx.export``.
    """
    ending = Path(target).suffix.lower()
    if ending == ".onnx":
        raise ValueError(
            "[convert] an ONNX file needs the model, not only its tensors: nervure.onnx.export"
        )
    if ending in (".pt", ".pth", ".bin"):
        raise ValueError("[convert] PyTorch's own format is not written; it reads .safetensors")
    if ending not in (".safetensors", ".npz"):
        raise ValueError(f"[convert] the target must end in .safetensors or .npz, got {target}")
    metadata = None
    if is_onnx(source):
        from nervure.onnx import load_weights

        tensors = load_weights(source)
    else:
        tensors = serialize.load(source)
        with open(source, "rb") as file:
            archive = serialize._is_archive(file)
        metadata = None if archive else serialize.load_metadata(source) or None
    if ending == ".safetensors":
        serialize.save(tensors, target, metadata)
    else:
        with serialize._replacing(os.path.realpath(target)) as file:
            _write_npz(file, tensors)
    return len(tensors)


def _write_npz(file: BinaryIO, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Unlike ``numpy.savez``, for any name."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
