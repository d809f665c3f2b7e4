# SPDX-License-Identifier: BSD-3-Clause
"""Every error an operation can raise: its type, and a message that starts with the operation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ISAS
from subprocesses import run_python

import nervure as nv
from nervure import _core

Row = tuple[str, type[Exception], Callable[[], Any]]


def f(*shape: int) -> nv.Tensor:
    """Float32."""
    return nv.tensor(np.full(shape, 0.5, np.float32))


def i(*values: int) -> nv.Tensor:
    """int64, one dimension."""
    return nv.tensor(np.array(values, np.int64))


def b(*shape: int) -> nv.Tensor:
    """Boolean."""
    return nv.tensor(np.ones(shape, bool))


def _broadcast_rows() -> list[Row]:
    rows: list[Row] = []
    arithmetic = ("add", "sub", "mul", "div", "pow", "maximum", "minimum")
    for op in (*arithmetic, "eq", "ne", "lt", "le", "gt", "ge"):
        function = getattr(_core, op)
        rows += [
            (op, ValueError, lambda fn=function: fn(f(2, 3), f(2, 4))),
            (op, ValueError, lambda fn=function: fn(f(3), f(4))),
            (op, ValueError, lambda fn=function: fn(f(0, 3), f(2, 3))),
        ]
    for op in ("logical_and", "logical_or"):
        function = getattr(_core, op)
        rows += [
            (op, ValueError, lambda fn=function: fn(b(2), b(3))),
            (op, TypeError, lambda fn=function: fn(f(2), b(2))),
            (op, TypeError, lambda fn=function: fn(b(2), i(1, 0))),
        ]
    return [
        *rows,
        ("logical_not", TypeError, lambda: _core.logical_not(f(2))),
        ("where", TypeError, lambda: _core.where(f(2), f(2), f(2))),
        ("where", ValueError, lambda: _core.where(b(2), f(3), f(2))),
        ("where", ValueError, lambda: _core.where(b(2), f(2), f(3))),
        ("masked_fill", TypeError, lambda: _core.masked_fill(f(2), f(2), 1.0)),
        ("masked_fill", ValueError, lambda: _core.masked_fill(f(2), b(3), 1.0)),
    ]


LAYOUT: list[Row] = [
    ("to_order", ValueError, lambda: _core.to_order(f(2, 3), (0,))),
    ("to_order", ValueError, lambda: _core.to_order(f(2, 3), (0, 0))),
    ("to_order", ValueError, lambda: _core.to_order(f(2, 3), (0, 2))),
    ("to_order", ValueError, lambda: _core.to_order(f(2, 3), (-1, 0))),
    ("copy_", ValueError, lambda: _core.copy_(f(2, 3), f(2, 4))),
    ("copy_", ValueError, lambda: _core.copy_(f(3), f(2, 3))),
]

CREATION: list[Row] = [
    ("arange", ValueError, lambda: _core.arange(0.0, 5.0, 0.0)),
    ("arange", ValueError, lambda: _core.arange(0.0, 5.0, float("nan"))),
    ("arange", ValueError, lambda: _core.arange(0.0, float("inf"), 1.0)),
    ("randint", ValueError, lambda: _core.randint(3, 3, (2,))),
    ("randint", ValueError, lambda: _core.randint(5, 3, (2,))),
    ("randperm", ValueError, lambda: _core.randperm(-1)),
    ("uniform_", ValueError, lambda: _core.uniform_(f(2), 1.0, 0.0)),
    ("uniform_", ValueError, lambda: _core.uniform_(f(2), 0.0, float("inf"))),
    ("normal_", ValueError, lambda: _core.normal_(f(2), 0.0, -1.0)),
    ("normal_", ValueError, lambda: _core.normal_(f(2), float("nan"), 1.0)),
    ("trunc_normal_", ValueError, lambda: _core.trunc_normal_(f(2), 0.0, 0.0, -1.0, 1.0)),
    ("trunc_normal_", ValueError, lambda: _core.trunc_normal_(f(2), 0.0, 1.0, 1.0, -1.0)),
    ("trunc_normal_", ValueError, lambda: _core.trunc_normal_(f(2), 0.0, 1e-3, 5.0, 6.0)),
    ("bernoulli_", ValueError, lambda: _core.bernoulli_(f(2), 1.5)),
    ("bernoulli_", ValueError, lambda: _core.bernoulli_(f(2), -0.5)),
    ("uniform_", TypeError, lambda: _core.uniform_(i(1, 2), 0.0, 1.0)),
    ("normal_", TypeError, lambda: _core.normal_(i(1, 2), 0.0, 1.0)),
]

UNARY: list[Row] = [
    ("gelu", ValueError, lambda: _core.gelu(f(2), "erf")),
    ("gelu", ValueError, lambda: _core.gelu(f(2), "")),
    ("clip", ValueError, lambda: _core.clip(f(2))),
    ("softplus", ValueError, lambda: _core.softplus(f(2), 0.0)),
    ("hardtanh", ValueError, lambda: _core.hardtanh(f(2), 1.0, -1.0)),
]


def _reduce_rows() -> list[Row]:
    rows: list[Row] = []
    rows += [
        ("norm", ValueError, lambda: _core.norm(f(3), 3.0)),
        ("prod", IndexError, lambda: _core.prod(f(2, 3), 2)),
        ("cumsum", IndexError, lambda: _core.cumsum(f(2, 3), -3)),
        ("topk", IndexError, lambda: _core.topk(f(2, 3), 1, 2)),
        ("topk", ValueError, lambda: _core.topk(f(2, 3), 4)),
    ]
    for op in ("sum", "mean", "var", "amax", "amin", "logsumexp", "any", "all"):
        function = getattr(_core, op)
        rows += [
            (op, IndexError, lambda fn=function: fn(f(2, 3), 2)),
            (op, IndexError, lambda fn=function: fn(f(2, 3), -3)),
            (op, ValueError, lambda fn=function: fn(f(2, 3), (0, 0))),
            (op, ValueError, lambda fn=function: fn(f(2, 3), (1, -1))),
        ]
    for op in ("amax", "amin"):
        function = getattr(_core, op)
        rows += [
            (op, ValueError, lambda fn=function: fn(f(0))),
            (op, ValueError, lambda fn=function: fn(f(3, 0), 1)),
        ]
    for op in ("max", "min", "argmax", "argmin"):
        function = getattr(_core, op)
        rows += [
            (op, IndexError, lambda fn=function: fn(f(2, 3), 2)),
            (op, ValueError, lambda fn=function: fn(f(0, 3), 0)),
        ]
    for op in ("argmax", "argmin"):
        function = getattr(_core, op)
        rows.append((op, ValueError, lambda fn=function: fn(f(0))))
    return rows


SHAPE: list[Row] = [
    ("reshape", ValueError, lambda: _core.reshape(f(2, 3), (4,))),
    ("reshape", ValueError, lambda: _core.reshape(f(2, 3), (-1, -1))),
    ("reshape", ValueError, lambda: _core.reshape(f(2, 3), (-1, 4))),
    ("reshape", ValueError, lambda: _core.reshape(f(2, 3), (-2, 3))),
    ("reshape", ValueError, lambda: _core.reshape(f(0, 3), (-1, 0))),
    ("reshape", ValueError, lambda: _core.reshape(f(2, 3), (2**32, 2**32))),
    ("permute", ValueError, lambda: _core.permute(f(2, 3), (0,))),
    ("permute", ValueError, lambda: _core.permute(f(2, 3), (0, 0))),
    ("permute", IndexError, lambda: _core.permute(f(2, 3), (0, 2))),
    ("transpose", IndexError, lambda: _core.transpose(f(2, 3), 0, 2)),
    ("transpose", IndexError, lambda: _core.transpose(f(2, 3), -3, 0)),
    ("squeeze", IndexError, lambda: _core.squeeze(f(2, 1), 2)),
    ("unsqueeze", IndexError, lambda: _core.unsqueeze(f(2), 2)),
    ("unsqueeze", IndexError, lambda: _core.unsqueeze(f(2), -3)),
    ("unsqueeze", ValueError, lambda: _core.unsqueeze(f(*[1] * 8), 0)),
    ("flatten", IndexError, lambda: _core.flatten(f(2, 3), 2)),
    ("flatten", ValueError, lambda: _core.flatten(f(2, 3), 1, 0)),
    ("expand", ValueError, lambda: _core.expand(f(2, 3), (3,))),
    ("expand", ValueError, lambda: _core.expand(f(2, 3), (4, 3))),
    ("expand", ValueError, lambda: _core.expand(f(3), (-1, 3))),
    ("expand", ValueError, lambda: _core.expand(f(1), (-2,))),
    ("flip", IndexError, lambda: _core.flip(f(2, 3), (2,))),
    ("flip", ValueError, lambda: _core.flip(f(2, 3), (0, 0))),
    ("cat", ValueError, lambda: _core.cat([])),
    ("cat", ValueError, lambda: _core.cat([f(2, 3), f(2, 4)], 0)),
    ("cat", ValueError, lambda: _core.cat([f(2, 3), f(2)], 0)),
    ("cat", IndexError, lambda: _core.cat([f(2, 3)], 2)),
    ("cat", ValueError, lambda: _core.cat([f(), f()], 0)),
    ("stack", ValueError, lambda: _core.stack([])),
    ("stack", ValueError, lambda: _core.stack([f(2), f(3)])),
    ("split", ValueError, lambda: _core.split(f(5), (2, 2))),
    ("split", ValueError, lambda: _core.split(f(5), (7, -2))),
    ("split", IndexError, lambda: _core.split(f(5), (5,), 1)),
    ("chunk", ValueError, lambda: _core.chunk(f(5), 0)),
    ("chunk", ValueError, lambda: _core.chunk(f(5), -1)),
    ("chunk", IndexError, lambda: _core.chunk(f(5), 2, 1)),
]

INDEX: list[Row] = [
    ("slice", IndexError, lambda: _core.slice(f(), 0, 0, 0)),
    ("slice", IndexError, lambda: _core.slice(f(5), 1, 0, 1)),
    ("slice", IndexError, lambda: _core.slice(f(5), 0, 0, 6)),
    ("slice", IndexError, lambda: _core.slice(f(5), 0, -1, 3)),
    ("slice", IndexError, lambda: _core.slice(f(5), 0, 3, 2)),
    ("slice", ValueError, lambda: _core.slice(f(5), 0, 0, 3, 0)),
    ("slice", ValueError, lambda: _core.slice(f(5), 0, 0, 3, -1)),
    ("select", IndexError, lambda: _core.select(f(5), 0, 5)),
    ("select", IndexError, lambda: _core.select(f(5), 0, -6)),
    ("select", IndexError, lambda: _core.select(f(5), 1, 0)),
    ("select", IndexError, lambda: _core.select(f(), 0, 0)),
    ("index_select", IndexError, lambda: _core.index_select(f(5), 0, i(0, 5))),
    ("index_select", IndexError, lambda: _core.index_select(f(5), 0, i(-1))),
    ("index_select", IndexError, lambda: _core.index_select(f(5), 1, i(0))),
    ("index_select", TypeError, lambda: _core.index_select(f(5), 0, f(1))),
    ("index_select", ValueError, lambda: _core.index_select(f(5), 0, i(0, 1).reshape(1, 2))),
    ("take_rows", IndexError, lambda: _core.take_rows(f(5, 2), i(5))),
    ("take_rows", IndexError, lambda: _core.take_rows(f(5, 2), i(-6))),
    ("take_rows", IndexError, lambda: _core.take_rows(f(0, 2), i(0))),
    ("take_rows", IndexError, lambda: _core.take_rows(f(), i(0))),
    ("take_rows", TypeError, lambda: _core.take_rows(f(5), f(1))),
    ("take_rows", ValueError, lambda: _core.take_rows(f(*[1] * 8), i(0).reshape(1, 1))),
    ("masked_select", IndexError, lambda: _core.masked_select(f(5), b(4))),
    ("masked_select", IndexError, lambda: _core.masked_select(f(5), b(5, 1))),
    ("masked_select", TypeError, lambda: _core.masked_select(f(5), i(1, 0, 1, 0, 1))),
    ("gather", IndexError, lambda: _core.gather(f(2, 3), 1, i(0, 3).reshape(2, 1))),
    ("gather", IndexError, lambda: _core.gather(f(2, 3), 1, i(0, -1).reshape(2, 1))),
    ("gather", IndexError, lambda: _core.gather(f(2, 3), 2, i(0).reshape(1, 1))),
    ("gather", ValueError, lambda: _core.gather(f(2, 3), 1, i(0))),
    ("gather", ValueError, lambda: _core.gather(f(2, 3), 1, i(0, 0, 0).reshape(3, 1))),
    ("gather", TypeError, lambda: _core.gather(f(2, 3), 1, f(2, 1))),
]

PRODUCTS: list[Row] = [
    ("matmul", ValueError, lambda: _core.matmul(f(2, 3), f(4, 2))),
    ("matmul", ValueError, lambda: _core.matmul(f(3), f(4))),
    ("matmul", ValueError, lambda: _core.matmul(f(), f(3))),
    ("matmul", ValueError, lambda: _core.matmul(f(3), f())),
    ("matmul", ValueError, lambda: _core.matmul(f(2, 3, 4), f(3, 4, 5))),
    ("linear", ValueError, lambda: _core.linear(f(2, 3), f(5, 4))),
    ("linear", ValueError, lambda: _core.linear(f(2, 3), f(3))),
    ("linear", ValueError, lambda: _core.linear(f(), f(3, 3))),
    ("linear", ValueError, lambda: _core.linear(f(2, 3), f(5, 3), f(4))),
    ("linear", ValueError, lambda: _core.linear(f(2, 3), f(5, 3), f(5, 1))),
    ("linear", ValueError, lambda: _core.linear(f(2, 3), f(5, 3), None, "swish")),
    ("softmax", IndexError, lambda: _core.softmax(f(2, 3), 2)),
    ("softmax", IndexError, lambda: _core.softmax(f(2, 3), -3)),
    ("log_softmax", IndexError, lambda: _core.log_softmax(f(2, 3), 2)),
    ("dropout", ValueError, lambda: _core.dropout(f(2), 1.5)),
    ("dropout", ValueError, lambda: _core.dropout(f(2), -0.1)),
    ("dropout", ValueError, lambda: _core.dropout(f(2), float("nan"))),
    ("dropout", TypeError, lambda: _core.dropout(i(1, 2), 0.5)),
    ("dropout2d", ValueError, lambda: _core.dropout2d(f(2, 3, 4), 1.5)),
    ("dropout2d", ValueError, lambda: _core.dropout2d(f(2, 3), 0.5)),
    ("dropout2d", TypeError, lambda: _core.dropout2d(i(1, 2), 0.5)),
    ("embedding", TypeError, lambda: _core.embedding(f(3, 4), f(2))),
    ("embedding", IndexError, lambda: _core.embedding(f(3, 4), i(0, 3))),
    ("embedding", ValueError, lambda: _core.embedding(f(3), i(0, 1))),
    ("embedding", ValueError, lambda: _core.embedding(f(3, 4), i(0, 1), padding_idx=3)),
    ("avg_pool", ValueError, lambda: _core.avg_pool(f(1, 2, 4, 4), (2, 2), divisor_override=0)),
    ("adaptive_avg_pool", ValueError, lambda: _core.adaptive_avg_pool(f(1, 4), (2**62,))),
    ("lstm", ValueError, lambda: _core.lstm(f(3, 4), None, None, [f(4, 3), f(4, 1), None, None])),
]


def _class_loss_rows() -> list[Row]:
    rows: list[Row] = []
    for op in ("cross_entropy", "nll_loss"):
        fn = getattr(_core, op)
        rows += [
            (op, ValueError, lambda fn=fn: fn(f(), i(0))),
            (op, ValueError, lambda fn=fn: fn(f(2, 3), i(0, 1, 2))),
            (op, ValueError, lambda fn=fn: fn(f(2, 3), i(0, 1).reshape(2, 1))),
            (op, ValueError, lambda fn=fn: fn(f(2, 0), i(0, 0))),
            (op, IndexError, lambda fn=fn: fn(f(2, 3), i(0, 3))),
            (op, IndexError, lambda fn=fn: fn(f(2, 3), i(-1, 0))),
            (op, ValueError, lambda fn=fn: fn(f(2, 3), i(0, 1), f(2))),
            (op, ValueError, lambda fn=fn: fn(f(2, 3), i(0, 1), f(3, 1))),
            (op, ValueError, lambda fn=fn: fn(f(2, 3), i(0, 1), reduction="average")),
            (op, ValueError, lambda fn=fn: fn(f(2, 3), i(0, 1), reduction="batchmean")),
        ]
    fn = _core.cross_entropy
    return [
        *rows,
        ("nll_loss", TypeError, lambda: _core.nll_loss(f(2, 3), f(2, 3))),
        ("cross_entropy", ValueError, lambda: fn(f(2, 3), f(2, 4))),
        ("cross_entropy", ValueError, lambda: fn(f(2, 3), i(0, 1), label_smoothing=1.5)),
        ("cross_entropy", ValueError, lambda: fn(f(2, 3), i(0, 1), label_smoothing=-0.1)),
        ("cross_entropy", TypeError, lambda: fn(f(2, 3), b(2))),
    ]


def _pointwise_loss_rows() -> list[Row]:
    rows: list[Row] = []
    pairs = ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div")
    for op in (*pairs, "binary_cross_entropy", "binary_cross_entropy_with_logits"):
        fn = getattr(_core, op)
        rows += [
            (op, ValueError, lambda fn=fn: fn(f(2, 3), f(3))),
            (op, ValueError, lambda fn=fn: fn(f(2), f(3))),
            (op, ValueError, lambda fn=fn: fn(f(2), f(2), reduction="")),
        ]
        if op != "kl_div":
            rows.append((op, ValueError, lambda fn=fn: fn(f(2), f(2), reduction="batchmean")))
    outside = nv.tensor(np.float32([0.5, 1.5]))
    return [
        *rows,
        ("huber_loss", ValueError, lambda: _core.huber_loss(f(2), f(2), 0.0)),
        ("huber_loss", ValueError, lambda: _core.huber_loss(f(2), f(2), float("nan"))),
        ("smooth_l1_loss", ValueError, lambda: _core.smooth_l1_loss(f(2), f(2), -1.0)),
        ("binary_cross_entropy", ValueError, lambda: _core.binary_cross_entropy(outside, f(2))),
        ("binary_cross_entropy", ValueError, lambda: _core.binary_cross_entropy(f(2), f(2), f(3))),
        (
            "binary_cross_entropy_with_logits",
            ValueError,
            lambda: _core.binary_cross_entropy_with_logits(f(2), f(2), f(3)),
        ),
        (
            "binary_cross_entropy_with_logits",
            ValueError,
            lambda: _core.binary_cross_entropy_with_logits(f(2), f(2), None, f(3)),
        ),
    ]


SGD: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0}
SGD |= {"l1": 0.0, "nesterov": False, "maximize": False, "first_step": True}
ADAM: dict[str, Any] = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0}
ADAM |= {"l1": 0.0, "decoupled_weight_decay": False, "amsgrad": False, "maximize": False}


def parameter(*shape: int) -> nv.Tensor:
    p = f(*shape).requires_grad_()
    p.grad = f(*shape)
    return p


def _laid(t: nv.Tensor) -> nv.Tensor:
    return _core.to_order(t, (1, 0))


OPTIM: list[Row] = [
    ("sgd_step", ValueError, lambda: _core.sgd_step([parameter(2)], [], **SGD)),
    ("sgd_step", ValueError, lambda: _core.sgd_step([parameter(2)], [f(2), f(2)], **SGD)),
    ("sgd_step", ValueError, lambda: _core.sgd_step([parameter(2)], [f(3)], **SGD)),
    ("sgd_step", ValueError, lambda: _core.sgd_step([parameter(2, 3)], [_laid(f(2, 3))], **SGD)),
    ("sgd_step", TypeError, lambda: _core.sgd_step([parameter(2)], [i(1, 2)], **SGD)),
    ("sgd_step", TypeError, lambda: _core.sgd_step([i(1, 2)], [i(1, 2)], **SGD)),
    (
        "sgd_step",
        ValueError,
        lambda: _core.sgd_step(
            [parameter(2)], [f(2)], **{**SGD, "nesterov": True, "dampening": 0.5}
        ),
    ),
    (
        "adam_step",
        ValueError,
        lambda: _core.adam_step([parameter(2)], [], [], None, **ADAM, step=1),
    ),
    (
        "adam_step",
        ValueError,
        lambda: _core.adam_step([parameter(2)], [f(2)], [f(2)], None, **ADAM, step=0),
    ),
    (
        "adam_step",
        ValueError,
        lambda: _core.adam_step(
            [parameter(2)], [f(2)], [f(2)], None, **{**ADAM, "amsgrad": True}, step=1
        ),
    ),
    ("clip_grad_value_", ValueError, lambda: _core.clip_grad_value_([parameter(2)], -1.0)),
    ("clip_grad_norm_", ValueError, lambda: _core.clip_grad_norm_([parameter(2)], 1.0, 0.0)),
    ("clip_grad_norm_", ValueError, lambda: _core.clip_grad_norm_([parameter(2)], 1.0, -2.0)),
    ("clip_grad_norm_", ValueError, lambda: _core.clip_grad_norm_([parameter(2)], -1.0)),
    ("clip_grad_value_", ValueError, lambda: _core.clip_grad_value_([parameter(2)], -1.0)),
]

CONV: list[Row] = [
    *(
        (op, ValueError, lambda fn=function, a=args, k=kwargs: fn(*a, **k))
        for op, function in (
            ("conv2d", _core.conv2d),
            ("conv_transpose2d", _core.conv_transpose2d),
        )
        for args, kwargs in (
            ((f(4, 5), f(4, 4, 3, 3)), {}),
            ((f(2, 0, 5, 5), f(4, 4, 3, 3)), {}),
            ((f(2, 4, 0, 5), f(4, 4, 3, 3)), {"padding": 3}),
            ((f(2, 4, 5, 5), f(4, 4, 3)), {}),
            ((f(2, 4, 5, 5), f(4, 4, 0, 3)), {}),
            ((f(2, 4, 5, 5), f(3, 3, 3, 3)), {}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"groups": 0}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"groups": 3}),
            ((f(2, 4, 5, 5), f(6, 1, 3, 3)), {"groups": 4}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3), f(3)), {}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3), f(4, 1)), {}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"stride": 0}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"stride": (1, 2, 3)}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"stride": ()}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"padding": -1}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"padding": 2**40}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"dilation": 0}),
            ((f(2, 4, 5, 5), f(4, 4, 3, 3)), {"activation": "swish"}),
        )
    ),
    ("conv2d", TypeError, lambda: _core.conv2d(f(1, 1, 5, 5), b(1, 1, 3, 3))),
    ("conv2d", TypeError, lambda: _core.conv2d(f(1, 1, 5, 5), f(2, 1, 3, 3), i(1, 2))),
    ("conv2d", ValueError, lambda: _core.conv2d(f(2, 4, 5, 5), f(4, 4, 6, 3))),
    ("conv2d", ValueError, lambda: _core.conv2d(f(2, 4, 5, 5), f(4, 4, 3, 3), dilation=3)),
    ("conv2d", ValueError, lambda: _core.conv2d(f(2, 4, 5, 5), f(4, 4, 3, 3), padding="full")),
    (
        "conv2d",
        ValueError,
        lambda: _core.conv2d(f(2, 4, 5, 5), f(4, 4, 3, 3), stride=2, padding="same"),
    ),
    (
        "conv_transpose2d",
        ValueError,
        lambda: _core.conv_transpose2d(f(2, 4, 5, 5), f(4, 4, 3, 3), stride=2, output_padding=2),
    ),
    (
        "conv_transpose2d",
        ValueError,
        lambda: _core.conv_transpose2d(f(2, 4, 1, 1), f(4, 4, 3, 3), padding=2),
    ),
    ("conv1d", ValueError, lambda: _core.conv1d(f(2, 4, 5, 5), f(4, 4, 3))),
    ("conv1d", ValueError, lambda: _core.conv1d(f(2, 4, 5), f(4, 4, 3, 3))),
    ("conv1d", ValueError, lambda: _core.conv1d(f(2, 4, 5), f(4, 4, 3), stride=(1, 1))),
    ("conv1d", ValueError, lambda: _core.conv1d(f(2, 4, 5), f(4, 4, 6))),
    ("set_conv_algorithm", ValueError, lambda: _core.set_conv_algorithm("fft")),
    ("set_conv_accuracy", ValueError, lambda: _core.set_conv_accuracy("exact")),
]

ROWS: list[Row] = [
    *CONV,
    *_broadcast_rows(),
    *LAYOUT,
    *CREATION,
    *UNARY,
    *_reduce_rows(),
    *SHAPE,
    *INDEX,
    *PRODUCTS,
    *_class_loss_rows(),
    *_pointwise_loss_rows(),
    *OPTIM,
]


@pytest.mark.parametrize("op", list(dict.fromkeys(op for op, _, _ in ROWS)))
def test_errors_of(op: str) -> None:
    wrong = []
    for n, (name, kind, call) in enumerate(ROWS):
        if name != op:
            continue
        try:
            result = call()
            wrong.append(f"row {n}: no error, got {result!r}")
        except Exception as error:
            if type(error) is not kind or not str(error).startswith(f"[{op}] "):
                wrong.append(f"row {n}: expected {kind.__name__}, got {error!r}")
    assert not wrong, "\n".join(wrong)


def test_every_check_of_every_operation_has_rows() -> None:
    """An operation that checks its input has at least one row; a new one must be added here."""
    folder = Path(__file__).resolve().parents[1] / "cpp" / "ops"
    if not folder.is_dir():
        pytest.skip("the sources are not at hand")
    text = "".join(p.read_text() for p in folder.glob("*.cpp"))
    checked = set(re.findall(r'NV_CHECK\w*\([^;"]*?,\s*"(\w+)"', text))
    assert checked - {op for op, _, _ in ROWS} <= set()


# ---- arguments of the wrong type -----------------------------------------------------------------

OPERATIONS = [
    n
    for n in dir(_core)
    if not n.startswith("_")
    and isinstance(getattr(_core, n), type(_core.add))
    # Called by Function.apply, with a class and a context of its own.
    and n != "apply_function"
]


@pytest.mark.parametrize("name", OPERATIONS)
def test_wrong_types_are_type_errors(name: str) -> None:
    function = getattr(_core, name)
    for args in ((object(),), ("text", 3j), (None,) * 30, (object(),) * 3, ({}, [], set())):
        with pytest.raises((TypeError, ValueError)):
            function(*args)
    with pytest.raises(TypeError):
        function(no_such_argument=1)


def test_none_where_a_tensor_is_needed() -> None:
    for op in ("exp", "sum", "softmax", "linear", "add"):
        with pytest.raises(TypeError):
            getattr(_core, op)(None, None)


def test_tensors_from_what_is_no_number() -> None:
    for data in ("text", ["a", "b"], object(), [1 + 2j], np.array([1 + 2j]), [{}], b"bytes"):
        with pytest.raises(TypeError):
            nv.tensor(data)
    with pytest.raises((TypeError, ValueError)):
        nv.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"^\[tensor\]"):
        nv.tensor(np.zeros((1,) * 9))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (5, IndexError),
        (-6, IndexError),
        ((0, 0, 0), IndexError),
        ((..., ...), IndexError),
        (slice(None, None, -1), ValueError),
        (slice(None, None, 0), ValueError),
        (slice(1.5, None), TypeError),
        ("text", TypeError),
        (1.5, TypeError),
        (True, TypeError),
        (np.array([0.5]), TypeError),
        (np.array([7]), IndexError),
        (np.array([True, False]), IndexError),
        (([0, 1], [0, 1]), ValueError),
        (2**70, (IndexError, TypeError, OverflowError)),
    ],
)
def test_bad_subscripts(key: Any, kind: Any) -> None:
    x = f(5, 3)
    with pytest.raises(kind):
        x[key]


def test_methods_of_tensors_check_too() -> None:
    x = f(2, 3)
    calls: list[tuple[type[Exception], Callable[[], Any]]] = [
        (ValueError, x.item),
        (ValueError, lambda: float(x)),
        (ValueError, lambda: bool(x)),
        (TypeError, lambda: len(f())),
        (TypeError, lambda: iter(f())),
        (ValueError, lambda: f(2).T),
        (IndexError, lambda: x.size(2)),
        (ValueError, lambda: x.split(0)),
        (ValueError, lambda: x.split(-1)),
        (TypeError, lambda: x + "text"),
        (TypeError, lambda: x + None),
        (TypeError, lambda: x.reshape(1.5)),
        (TypeError, lambda: x.sum("text")),
        (TypeError, lambda: x.sum(True)),
        (ValueError, lambda: x.copy_(np.zeros((4, 4)))),
    ]
    for kind, call in calls:
        with pytest.raises(kind):
            call()


# ---- fuzz ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("isa", [ISAS[0], ISAS[-1]])
def test_no_argument_can_crash_the_process(isa: str, seed: int) -> None:
    """Thousands of calls with sensible and senseless arguments, in a process of their own."""
    code = f"import fuzz; fuzz.run(seed={seed}, calls=15_000)"
    done = run_python(code, {"NERVURE_ISA": isa}, timeout=120.0)
    tail = done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0, f"exit code {done.returncode}\n{tail}"
