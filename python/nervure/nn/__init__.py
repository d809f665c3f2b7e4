# SPDX-License-Identifier: BSD-3-Clause
"""Layers, losses and what belongs to them, in PyTorch's spelling."""

from nervure.nn import functional, init, utils
from nervure.nn.activation import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from nervure.nn.alignment import AdditiveAttention, DotAttention
from nervure.nn.attention import KeyValueCache, MultiheadAttention
from nervure.nn.container import Flatten, Identity, ModuleDict, ModuleList, Sequential, Unflatten
from nervure.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from nervure.nn.dropout import Dropout
from nervure.nn.linear import Linear
from nervure.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter

__all__ = [
    "ELU",
    "GELU",
    "AdditiveAttention",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "DotAttention",
    "Dropout",
    "Flatten",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "KeyValueCache",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "Unflatten",
    "functional",
    "init",
    "utils",
]
