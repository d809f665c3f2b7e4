# SPDX-License-Identifier: BSD-3-Clause
"""Rows of pooling. torch runs in both of its memory formats; the faster one counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nervure.nn import functional as F

from .data import Floats, floats
from .images import Pass, backward_contest, forward_contest
from .registry import Contest, Peers, rows

SHAPES = [(64, 32, 28, 28), (16, 128, 16, 16), (32, 64, 56, 56), (64, 6, 24, 24)]


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


Case = tuple[str, tuple[int, ...], dict[str, Any]]
WINDOWS: dict[str, Case] = {
    **{f"max 2x2 {_text(s)}": ("max_pool2d", s, {"kernel_size": 2}) for s in SHAPES},
    "max 3x3 stride 2 8x64x112x112": (
        "max_pool2d",
        (8, 64, 112, 112),
        {"kernel_size": 3, "stride": 2, "padding": 1},
    ),
    **{f"average 2x2 {_text(s)}": ("avg_pool2d", s, {"kernel_size": 2}) for s in SHAPES[:3]},
    "average 3x3 stride 1 32x64x28x28": (
        "avg_pool2d",
        (32, 64, 28, 28),
        {"kernel_size": 3, "stride": 1, "padding": 1},
    ),
    "global average 32x512x7x7": ("adaptive_avg_pool2d", (32, 512, 7, 7), {"output_size": 1}),
}
QUICK = ("max 2x2 64x32x28x28", "average 2x2 64x32x28x28")


def _tiles(x: Floats) -> Any:
    """(N, H, W, C) as (N, H / 2, 2, W / 2, 2, C)."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c)


def _numpy_forward(name: str, options: dict[str, Any]) -> Callable[[Floats], Floats] | None:
    """What NumPy can do without a loop over windows, on images that lie channels-last."""
    if name == "max_pool2d" and options == {"kernel_size": 2}:
        return lambda x: np.maximum(
            np.maximum(x[:, ::2, ::2], x[:, ::2, 1::2]),
            np.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]),
        )
    if name == "avg_pool2d" and options == {"kernel_size": 2}:
        return lambda x: np.asarray(
            (x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2])
            * np.float32(0.25)
        )
    if name == "adaptive_avg_pool2d":
        return lambda x: np.asarray(x.mean(axis=(1, 2), keepdims=True))
    return None


def _numpy_backward(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """From x (for the maximum) and dy."""
    if name == "max_pool2d" and options == {"kernel_size": 2}:

        def max_backward(x: Floats, dy: Floats) -> Floats:
            tiles = _tiles(x)
            largest = tiles.max(axis=(2, 4), keepdims=True)
            return np.multiply(tiles == largest, dy[:, :, None, :, None]).reshape(x.shape)

        return max_backward
    if name == "avg_pool2d" and options == {"kernel_size": 2}:

        def average_backward(x: Floats, dy: Floats) -> Floats:
            dx = np.empty_like(x)
            np.multiply(dy[:, :, None, :, None], np.float32(0.25), out=_tiles(dx))
            return dx

        return average_backward
    if name == "adaptive_avg_pool2d":
        return lambda x, dy: np.broadcast_to(
            dy * np.float32(1 / (x.shape[1] * x.shape[2])), x.shape
        ).copy()
    return None


def _pass(name: str, shape: tuple[int, ...], options: dict[str, Any]) -> Pass:
    return Pass(
        ours=lambda x: getattr(F, name)(x, **options),
        theirs=lambda torch, x: getattr(torch.nn.functional, name)(x, **options),
        x=floats(*shape),
        numpy_forward=_numpy_forward(name, options),
        numpy_backward=_numpy_backward(name, options, shape),
    )


@rows(
    "kernels",
    "pooling",
    {f"{name}, forward": case for name, case in WINDOWS.items()},
    quick=[f"{name}, forward" for name in QUICK],
)
def forward(peers: Peers, name: str, shape: tuple[int, ...], options: dict[str, Any]) -> Contest:
    """{name} of images (N, C, H, W), recorded for a backward pass"""
    return forward_contest(peers, _pass(name, shape, options))


@rows(
    "kernels",
    "pooling",
    {f"{name}, backward": case for name, case in WINDOWS.items()},
    quick=[f"{name}, backward" for name in QUICK],
)
def backward(peers: Peers, name: str, shape: tuple[int, ...], options: dict[str, Any]) -> Contest:
    """{name} of images (N, C, H, W): the gradient of the images"""
    return backward_contest(peers, _pass(name, shape, options))
