# SPDX-License-Identifier: BSD-3-Clause
"""Rows of normalisation. torch runs in both of its memory formats; the faster one counts."""

from __future__ import annotations

from typing import Any

import numpy as np

import nervure as nv
from nervure.nn import functional as F

from .data import Floats, floats
from .images import Pass, backward_contest, forward_contest
from .registry import Contest, Peers, rows

EPS = np.float32(1e-5)

# ---- the NumPy contestants -----------------------------------------------------------------------


def _scaled(x: Floats, axis: int | tuple[int, ...]) -> tuple[Floats, Any]:
    """(x - mean) / deviation and the reciprocal deviation; einsum sums squares without a copy."""
    h = x - x.mean(axis=axis, keepdims=True)
    flat = h.reshape(-1, h.shape[-1])
    if axis == 1:
        squares = np.einsum("ij,ij->i", flat, flat)[:, None] / np.float32(x.shape[1])
    else:
        squares = np.einsum("ij,ij->j", flat, flat) / np.float32(flat.shape[0])
    rstd = 1 / np.sqrt(squares + EPS)
    h *= rstd
    return h, rstd


def _numpy_batch(x: Floats, weight: Floats, bias: Floats) -> Floats:
    h, _ = _scaled(x, (0, 1, 2))
    h *= weight
    h += bias
    return h


def _numpy_batch_relu(x: Floats, weight: Floats, bias: Floats) -> Floats:
    y = _numpy_batch(x, weight, bias)
    return np.maximum(y, 0, out=y)


def _numpy_layer(x: Floats, weight: Floats, bias: Floats) -> Floats:
    h, _ = _scaled(x, 1)
    h *= weight
    h += bias
    return h


def _numpy_batch_backward(
    x: Floats, dy: Floats, weight: Floats, bias: Floats
) -> tuple[Floats, Floats, Floats]:
    h, rstd = _scaled(x, (0, 1, 2))
    n = np.float32(1 / (x.size // x.shape[-1]))
    dbias = dy.sum(axis=(0, 1, 2))
    dweight = np.einsum("nhwc,nhwc->c", dy, h)
    h *= -dweight * n
    h += dy
    h -= dbias * n
    h *= weight * rstd
    return h, dweight, dbias


def _numpy_layer_backward(
    x: Floats, dy: Floats, weight: Floats, bias: Floats
) -> tuple[Floats, Floats, Floats]:
    h, rstd = _scaled(x, 1)
    dbias, dweight = dy.sum(axis=0), np.einsum("ij,ij->j", dy, h)
    g = dy * weight
    h *= -np.einsum("ij,ij->i", g, h)[:, None] / np.float32(x.shape[1])
    h += g
    h -= g.mean(axis=1, keepdims=True)
    h *= rstd
    return h, dweight, dbias


# ---- rows ----------------------------------------------------------------------------------------


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _batch(shape: tuple[int, ...], activation: str, training: bool) -> Pass:
    c = shape[1]
    ours = nv.zeros(c), nv.ones(c)

    def theirs(torch: Any, x: Any, weight: Any, bias: Any) -> Any:
        running = torch.zeros(c), torch.ones(c)
        y = torch.nn.functional.batch_norm(x, *running, weight, bias, training)
        return torch.relu(y) if activation else y

    plain = training and not activation
    return Pass(
        ours=lambda x, w, b: F.batch_norm(
            x, *(ours if not training else (None, None)), w, b, training, activation=activation
        ),
        theirs=theirs,
        x=floats(*shape),
        parameters=(floats(c, seed=2), floats(c, seed=3)),
        numpy_forward=(_numpy_batch_relu if activation else _numpy_batch) if training else None,
        numpy_backward=_numpy_batch_backward if plain else None,
        passes=3.0 if training else 2.0,
    )


def _layer(shape: tuple[int, ...]) -> Pass:
    n = shape[-1]
    return Pass(
        ours=lambda x, w, b: F.layer_norm(x, (n,), w, b),
        theirs=lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (n,), w, b),
        x=floats(*shape),
        parameters=(floats(n, seed=2), floats(n, seed=3)),
        numpy_forward=_numpy_layer,
        numpy_backward=_numpy_layer_backward,
    )


def _rms(shape: tuple[int, ...]) -> Pass:
    n = shape[-1]
    return Pass(
        ours=lambda x, w: F.rms_norm(x, (n,), w),
        theirs=lambda torch, x, w: torch.nn.functional.rms_norm(x, (n,), w),
        x=floats(*shape),
        parameters=(floats(n, seed=2),),
    )


def _group(shape: tuple[int, ...], groups: int) -> Pass:
    c = shape[1]
    return Pass(
        ours=lambda x, w, b: F.group_norm(x, groups, w, b),
        theirs=lambda torch, x, w, b: torch.nn.functional.group_norm(x, groups, w, b),
        x=floats(*shape),
        parameters=(floats(c, seed=2), floats(c, seed=3)),
        passes=3.0,
    )


IMAGES = [(64, 32, 28, 28), (16, 128, 16, 16), (32, 64, 56, 56), (32, 512, 7, 7)]
CASES: dict[str, Any] = {
    **{f"batch norm {_text(s)}": (_batch, s, "", True) for s in IMAGES},
    **{f"batch norm and relu {_text(s)}": (_batch, s, "relu", True) for s in IMAGES[:3]},
    "batch norm, evaluation 64x32x28x28": (_batch, (64, 32, 28, 28), "", False),
    **{
        f"layer norm {_text(s)}": (_layer, s)
        for s in [(64, 64), (512, 256), (2048, 768), (4096, 1024)]
    },
    "rms norm 2048x768": (_rms, (2048, 768)),
    "group norm 16x64x28x28, 8 groups": (_group, (16, 64, 28, 28), 8),
    "instance norm 16x64x28x28": (_group, (16, 64, 28, 28), 64),
}
QUICK = ("batch norm 64x32x28x28", "layer norm 2048x768")


@rows(
    "kernels",
    "normalisation",
    {f"{name}, forward": case for name, case in CASES.items()},
    quick=[f"{name}, forward" for name in QUICK],
)
def forward(peers: Peers, build: Any, *arguments: Any) -> Contest:
    """{name}, recorded for a backward pass"""
    return forward_contest(peers, build(*arguments))


@rows(
    "kernels",
    "normalisation",
    {f"{name}, backward": case for name, case in CASES.items()},
    quick=[f"{name}, backward" for name in QUICK],
)
def backward(peers: Peers, build: Any, *arguments: Any) -> Contest:
    """{name}: the gradients of input, weight and bias"""
    return backward_contest(peers, build(*arguments))
