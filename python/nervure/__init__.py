# SPDX-License-Identifier: BSD-3-Clause
"""Nervure: train and run neural networks on a CPU.

Import it as ``import nervure as nv``. Everything but the tensor itself is imported when it is first
used.
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING
from typing import Any as _Any

from nervure._load import _core as _core  # before all others: it sets up the threads

# isort: split
from nervure._core import (
    Tensor,
    dtype,
    get_conv_accuracy,
    get_conv_algorithm,
    get_num_threads,
    manual_seed,
    memory_stats,
    set_conv_accuracy,
    set_conv_algorithm,
    set_num_threads,
    tensor,
    trim_memory,
)
from nervure._functions import (
    arange,
    cat,
    empty,
    empty_like,
    full,
    full_like,
    matmul,
    maximum,
    minimum,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    stack,
    where,
    zeros,
    zeros_like,
)
from nervure._grad_mode import is_grad_enabled, no_grad

if TYPE_CHECKING:
    from nervure import callbacks as callbacks
    from nervure import data as data
    from nervure import diagnostics as diagnostics
    from nervure import files as files
    from nervure import kernels as kernels
    from nervure import metrics as metrics
    from nervure import models as models
    from nervure import nn as nn
    from nervure import onnx as onnx
    from nervure import optim as optim
    from nervure import plot as plot
    from nervure import reference as reference
    from nervure import sklearn as sklearn
    from nervure._config import show_config as show_config
    from nervure._gradcheck import gradcheck as gradcheck
    from nervure.function import Function as Function
    from nervure.serialize import FormatError as FormatError
    from nervure.serialize import load as load
    from nervure.serialize import load_metadata as load_metadata
    from nervure.serialize import save as save
    from nervure.train import History as History
    from nervure.train import Trainer as Trainer
    from nervure.train import TrainingWarning as TrainingWarning

__version__: str = _core.config()["version"]

float32 = dtype.float32
int64 = dtype.int64
bool = dtype.bool

# Imported on first use. Name -> module that defines it; modules are their own.
_LAZY = {
    "show_config": "nervure._config",
    "Function": "nervure.function",
    "gradcheck": "nervure._gradcheck",
    "FormatError": "nervure.serialize",
    "History": "nervure.train",
    "Trainer": "nervure.train",
    "TrainingWarning": "nervure.train",
    "load": "nervure.serialize",
    "load_metadata": "nervure.serialize",
    "save": "nervure.serialize",
}
_SUBMODULES = frozenset(
    (
        *("callbacks", "data", "diagnostics", "files", "kernels", "metrics", "models", "nn"),
        *("onnx", "optim", "plot", "reference", "serialize", "sklearn", "train"),
    )
)


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        value = getattr(_importlib.import_module(_LAZY[name]), name)
    elif name in _SUBMODULES:
        value = _importlib.import_module(f"nervure.{name}")
    else:
        raise AttributeError(f"module 'nervure' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_SUBMODULES})


__all__ = [
    "FormatError",
    "Function",
    "History",
    "Tensor",
    "Trainer",
    "TrainingWarning",
    "arange",
    "callbacks",
    "cat",
    "data",
    "diagnostics",
    "dtype",
    "empty",
    "empty_like",
    "files",
    "float32",
    "full",
    "full_like",
    "get_conv_accuracy",
    "get_conv_algorithm",
    "get_num_threads",
    "gradcheck",
    "int64",
    "is_grad_enabled",
    "kernels",
    "load",
    "load_metadata",
    "manual_seed",
    "matmul",
    "maximum",
    "memory_stats",
    "metrics",
    "minimum",
    "models",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "plot",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "reference",
    "save",
    "set_conv_accuracy",
    "set_conv_algorithm",
    "set_num_threads",
    "show_config",
    "stack",
    "tensor",
    "trim_memory",
    "where",
    "zeros",
    "zeros_like",
]
