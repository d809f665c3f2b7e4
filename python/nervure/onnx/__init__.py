# SPDX-License-Identifier: BSD-3-Clause
"""Models to and from ONNX files (``pip install 'nervure[onnx]'``).

:func:`export` writes a model with symbolic batch and time; :func:`load` reads one as a module that
computes with Nervure's operations and can be trained further.
"""

import importlib.util as _util

if _util.find_spec("onnx") is None:
    raise ImportError("[nervure.onnx] needs onnx: pip install 'nervure[onnx]'")

# isort: split
from nervure.onnx._export import Input, export
from nervure.onnx._import import ImportedModel, load
from nervure.onnx._proto import file_info, load_weights

__all__ = ["ImportedModel", "Input", "export", "file_info", "load", "load_weights"]
