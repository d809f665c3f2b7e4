# SPDX-License-Identifier: BSD-3-Clause
"""Files of tensors in the formats that are around: what they hold, read, and converted.

safetensors and PyTorch's ``.pt`` are recognised by their content, NumPy's ``.npz`` too; ONNX by the
ending of its name. No file is trusted: nothing in it is executed, and everything it says is checked
against its true size before memory is asked for.
"""

from nervure.files.convert import convert
from nervure.files.describe import FileInfo, TensorInfo, describe
from nervure.files.torch_file import load_torch

__all__ = ["FileInfo", "TensorInfo", "convert", "describe", "load_torch"]
