# SPDX-License-Identifier: BSD-3-Clause
"""Reading ONNX files, which are not trusted."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from nervure.files.describe import FileInfo, TensorInfo
from nervure.serialize import FormatError

_NUMBERS = "biuf"


def read(path: str | os.PathLike[str]) -> Any:
    """The model in a file, checked.

    Raises
    ------
    FormatError
        If it is damaged, keeps its weights in other files, or breaks the rules of ONNX.
    """
    with open(os.fspath(path), "rb") as file:
        data = file.read()
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # the class belongs to a package that need not be there
        raise FormatError(f"[load] this is no ONNX file: {error}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError("[load] this is no ONNX file: it has no graph")
    for tensor in model.graph.initializer:
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise FormatError("[load] the weights of this model are in other files")
    try:
        onnx.checker.check_model(data)
    except Exception as error:
        raise FormatError(f"[load] the model is damaged: {_first_line(error)}") from None
    return model


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def array(tensor: Any) -> NDArray[Any]:
    """The values of a tensor in the file; bfloat16 and half precision as float32."""
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise FormatError("[load] the weights of this model are in other files")
    try:
        values = np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:
        raise FormatError(f"[load] {tensor.name!r} is damaged: {_first_line(error)}") from None
    if values.dtype.name == "bfloat16":
        return np.asarray(values.astype(np.float32))
    if values.dtype.kind not in _NUMBERS:
        raise FormatError(f"[load] {tensor.name!r} holds {values.dtype}, which is no number")
    return np.array(values)


def load_weights(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The weights in an ONNX file, by their names there.

    Parameters
    ----------
    path : str or PathLike
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is damaged or keeps its weights elsewhere.
    """
    return {tensor.name: array(tensor) for tensor in read(path).graph.initializer}


def file_info(path: str | os.PathLike[str]) -> FileInfo:
    """What :func:`nervure.files.describe` tells of an ONNX file.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    model = read(path)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    metadata["producer"] = f"{model.producer_name} {model.producer_version}".strip()
    metadata["opset"] = ", ".join(f"{o.domain} {o.version}".strip() for o in model.opset_import)
    for name, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            metadata[f"{name} {value.name}"] = _type(value)
    kinds = Counter(node.op_type for node in model.graph.node)
    metadata["nodes"] = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return FileInfo("ONNX", os.stat(path).st_size, tuple(_tensors(model)), metadata)


def _tensors(model: Any) -> list[TensorInfo]:
    found = []
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        try:
            item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        except (KeyError, ValueError, TypeError):
            raise FormatError(f"[load] {tensor.name!r} has an unknown type") from None
        if any(size < 0 for size in shape):
            raise FormatError(f"[load] {tensor.name!r} has an impossible shape")
        found.append(TensorInfo(tensor.name, kind, shape, math.prod(shape) * item))
    return found


def _type(value: Any) -> str:
    kind = value.type.tensor_type
    sizes = [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?")
             for d in kind.shape.dim]  # fmt: skip
    try:
        name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    except ValueError:
        name = "?"
    return f"{name} ({', '.join(sizes)})"
