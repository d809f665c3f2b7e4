# SPDX-License-Identifier: BSD-3-Clause
"""Rows of convolutions. Read ``registry.py`` first.

PyTorch runs in both of its memory formats; the faster one is the contestant.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import nervure as nv
from nervure import kernels
from nervure.nn import functional as F

from .data import Floats, empty, floats
from .registry import Contest, Peers, rows


@dataclass(frozen=True)
class Layer:
    """N, C, H = W, K, R = S, then stride, padding, dilation and groups."""

    images: int
    inputs: int
    size: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def out(self) -> int:
        """P = Q."""
        extent = self.dilation * (self.kernel - 1) + 1
        return (self.size + 2 * self.padding - extent) // self.stride + 1

    @property
    def window(self) -> dict[str, int]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def flops(self) -> float:
        depth = self.kernel**2 * self.inputs // self.groups
        return 2.0 * self.images * self.out**2 * self.outputs * depth

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Images (N, H, W, C), weights (R, S, C / groups, K), bias, dy (N, P, Q, K)."""
        depth = self.kernel**2 * self.inputs // self.groups
        weights = floats(self.kernel, self.kernel, self.inputs // self.groups, self.outputs)
        weights /= np.float32(np.sqrt(depth))
        return (
            floats(self.images, self.size, self.size, self.inputs),
            weights,
            floats(self.outputs),
            floats(self.images, self.out, self.out, self.outputs, seed=1),
        )


LAYERS = {
    "3x3 32x32x28->64": Layer(32, 32, 28, 64, 3, padding=1),
    "3x3 16x128x16->128": Layer(16, 128, 16, 128, 3, padding=1),
    "3x3 32x64x14->64": Layer(32, 64, 14, 64, 3, padding=1),
    "1x1 32x64x28->128": Layer(32, 64, 28, 128, 1),
    "1x1 32x256x14->64": Layer(32, 256, 14, 64, 1),
    "5x5 16x32x28->64": Layer(16, 32, 28, 64, 5, padding=2),
    "3x3 stride 2 16x64x28->128": Layer(16, 64, 28, 128, 3, stride=2, padding=1),
    "1x1 stride 2 32x64x28->128": Layer(32, 64, 28, 128, 1, stride=2),
    "3x3 dilation 2 8x64x28->64": Layer(8, 64, 28, 64, 3, padding=2, dilation=2),
    "3x3 groups 4 16x64x28->64": Layer(16, 64, 28, 64, 3, padding=1, groups=4),
    "5x5 64x6x14->16": Layer(64, 6, 14, 16, 5),
    "depthwise 32x128x28": Layer(32, 128, 28, 128, 3, padding=1, groups=128),
    "depthwise 32x256x14": Layer(32, 256, 14, 256, 3, padding=1, groups=256),
    "depthwise stride 2 16x128x28": Layer(16, 128, 28, 128, 3, stride=2, padding=1, groups=128),
}
FIRST_LAYERS = {
    "3x3 64x1x28->32": Layer(64, 1, 28, 32, 3, padding=1),
    "5x5 64x1x28->6": Layer(64, 1, 28, 6, 5, padding=2),
    "3x3 32x3x32->64": Layer(32, 3, 32, 64, 3, padding=1),
    "7x7 stride 2 4x3x224->64": Layer(4, 3, 224, 64, 7, stride=2, padding=3),
}
FAST = [name for name in LAYERS if name.startswith("3x3 ") and name.split()[1][0].isdigit()]


def _tensors(torch: Any, layer: Layer, channels_last: bool) -> list[Any]:
    """The same numbers as PyTorch tensors: images, weights, bias, dy."""
    x, w, b, dy = map(torch.from_numpy, layer.arrays())
    kind = torch.channels_last if channels_last else torch.contiguous_format
    places = ((x, (0, 3, 1, 2)), (w, (3, 2, 0, 1)), (dy, (0, 3, 1, 2)))
    x, w, dy = (t.permute(order).contiguous(memory_format=kind) for t, order in places)
    return [x, w, b, dy]


def _faster(calls: list[Callable[[], Any]]) -> Callable[[], Any]:
    times = []
    for call in calls:
        call()
        start = time.perf_counter()
        for _ in range(3):
            call()
        times.append(time.perf_counter() - start)
    return calls[times.index(min(times))]


def _backward(torch: Any, layer: Layer, tensors: list[Any], data: bool) -> Any:
    x, w, _, dy = tensors
    return torch.ops.aten.convolution_backward(
        dy,
        x,
        w,
        None,
        [layer.stride] * 2,
        [layer.padding] * 2,
        [layer.dilation] * 2,
        False,
        [0, 0],
        layer.groups,
        [data, not data, False],
    )[0 if data else 1]


def _columns(x: Floats, layer: Layer) -> Floats:
    """Patches as the rows of one matrix per group: (groups, N P Q, R S C / groups)."""
    p = layer.padding
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    extent = layer.dilation * (layer.kernel - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (extent, extent), axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride, :, :: layer.dilation, :: layer.dilation]
    n, h, w, c, r, s = windows.shape
    grouped = windows.reshape(n, h, w, layer.groups, c // layer.groups, r, s)
    return grouped.transpose(3, 0, 1, 2, 5, 6, 4).reshape(layer.groups, n * h * w, -1)


def _by_group(dy: Floats, layer: Layer) -> Floats:
    """(groups, pixels, K / groups)"""
    return dy.reshape(-1, layer.groups, layer.outputs // layer.groups).swapaxes(0, 1)


def _numpy_forward(x: Floats, w: Floats, b: Floats, layer: Layer) -> Floats:
    weights = _by_group(w, layer)
    y = np.matmul(_columns(x, layer), weights).swapaxes(0, 1)
    shape = (layer.images, layer.out, layer.out, layer.outputs)
    return np.add(y.reshape(shape), b)


def _numpy_data(dy: Floats, w: Floats, layer: Layer) -> Floats:
    columns = np.matmul(_by_group(dy, layer), _by_group(w, layer).swapaxes(1, 2))
    k, n, out = layer.kernel, layer.images, layer.out
    taps = columns.reshape(layer.groups, n, out, out, k, k, -1)
    side = layer.size + 2 * layer.padding
    padded = np.zeros((n, side, side, layer.groups, layer.inputs // layer.groups), np.float32)
    reach = (out - 1) * layer.stride + 1
    for r in range(k):
        for s in range(k):
            i, j = r * layer.dilation, s * layer.dilation
            rows_, columns_ = slice(i, i + reach, layer.stride), slice(j, j + reach, layer.stride)
            padded[:, rows_, columns_] += np.moveaxis(taps[:, :, :, :, r, s], 0, 3)
    inner = slice(layer.padding, layer.padding + layer.size)
    return padded[:, inner, inner].reshape(n, layer.size, layer.size, layer.inputs)


def _numpy_weight(x: Floats, dy: Floats, layer: Layer) -> Floats:
    dw = np.matmul(_columns(x, layer).swapaxes(1, 2), _by_group(dy, layer))
    shape = (layer.kernel, layer.kernel, layer.inputs // layer.groups, layer.outputs)
    return np.moveaxis(dw, 0, 1).reshape(shape)


def _oihw(w: Floats) -> nv.Tensor:
    """A weight as layers have it: of PyTorch's shape, lying as the kernels read it."""
    return nv.tensor(w).permute(3, 2, 0, 1)


def _forward(peers: Peers, layer: Layer, accuracy: str) -> Contest:
    x, w, b, _ = layer.arrays()
    contest = Contest(flops=layer.flops, tolerance=1e-5)
    images, weight, bias = nv.tensor(x).permute(0, 3, 1, 2), _oihw(w), nv.tensor(b)

    def ours() -> nv.Tensor:
        nv.set_conv_accuracy(accuracy)
        return F.conv2d(images, weight, bias, **layer.window)

    contest.add("nervure", ours, lambda: ours().numpy().transpose(0, 2, 3, 1))
    contest.add("numpy", partial(_numpy_forward, x, w, b, layer))
    if torch := peers.torch:

        def call(tensors: list[Any]) -> Any:
            return torch.conv2d(*tensors[:3], **layer.window)

        theirs = _faster([partial(call, _tensors(torch, layer, last)) for last in (False, True)])
        contest.add("torch", theirs, lambda: theirs().permute(0, 2, 3, 1))
    return contest


def _data_gradient(peers: Peers, layer: Layer, accuracy: str) -> Contest:
    _, w, _, dy = layer.arrays()
    contest = Contest(flops=layer.flops, tolerance=1e-5)
    out = empty(layer.images, layer.size, layer.size, layer.inputs)

    def ours() -> Floats:
        nv.set_conv_accuracy(accuracy)
        return kernels.conv2d_backward_data(dy, w, layer.size, out, **layer.window)

    contest.add("nervure", ours)
    contest.add("numpy", partial(_numpy_data, dy, w, layer))
    if torch := peers.torch:
        both = [_tensors(torch, layer, last) for last in (False, True)]
        theirs = _faster([partial(_backward, torch, layer, t, True) for t in both])
        contest.add("torch", theirs, lambda: theirs().permute(0, 2, 3, 1))
    return contest


def _weight_gradient(peers: Peers, layer: Layer, accuracy: str) -> Contest:
    x, w, _, dy = layer.arrays()
    contest = Contest(flops=layer.flops, tolerance=2e-5)
    out = empty(*w.shape)

    def ours() -> Floats:
        nv.set_conv_accuracy(accuracy)
        return kernels.conv2d_backward_weight(x, dy, layer.kernel, out, **layer.window)

    contest.add("nervure", ours)
    contest.add("numpy", partial(_numpy_weight, x, dy, layer))
    if torch := peers.torch:
        both = [_tensors(torch, layer, last) for last in (False, True)]
        theirs = _faster([partial(_backward, torch, layer, t, False) for t in both])
        contest.add("torch", theirs, lambda: theirs().permute(2, 3, 1, 0))
    return contest


def _cases(part: str, layers: dict[str, Layer]) -> dict[str, tuple[Layer, str]]:
    cases = {f"conv {part} {name}": (layer, "accurate") for name, layer in layers.items()}
    cases |= {f"conv {part} {n} fast": (layers[n], "fast") for n in FAST if n in layers}
    return cases


@rows(
    "kernels",
    "convolution",
    _cases("forward", {**LAYERS, **FIRST_LAYERS}),
    quick=["conv forward 3x3 32x64x14->64"],
)
def forward(peers: Peers, layer: Layer, accuracy: str) -> Contest:
    """convolution with bias, N x C x H -> K, H = W; fast: set_conv_accuracy("fast")"""
    return _forward(peers, layer, accuracy)


@rows("kernels", "convolution", _cases("dx", LAYERS), quick=["conv dx 3x3 32x64x14->64"])
def data_gradient(peers: Peers, layer: Layer, accuracy: str) -> Contest:
    """gradient of the convolution's input from dy"""
    return _data_gradient(peers, layer, accuracy)


@rows(
    "kernels",
    "convolution",
    _cases("dW", {**LAYERS, **FIRST_LAYERS}),
    quick=["conv dW 3x3 32x64x14->64"],
)
def weight_gradient(peers: Peers, layer: Layer, accuracy: str) -> Contest:
    """gradient of the convolution's weight from x and dy"""
    return _weight_gradient(peers, layer, accuracy)
