# SPDX-License-Identifier: BSD-3-Clause
"""Rows of whole convolutional networks. Read ``registry.py`` first.

PyTorch runs in both of its memory formats; the faster one is the contestant.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import nervure as nv
from nervure import models, nn, optim
from nervure.nn import functional as F

from .data import classes, floats
from .models import training_step
from .registry import Contest, Peers, rows

# Losses of so many steps from the same weights are compared; Adam soon makes much of rounding.
CHECKED_STEPS = 3

Make = Callable[[], Any]


# ---- the networks --------------------------------------------------------------------------------


def _lenet_style() -> nn.Module:
    """Two pairs of convolution and pooling, two dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, activation="relu"),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, activation="relu"),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128, activation="relu"),
        nn.Linear(128, 10),
    )


def _torch_lenet_style(torch: Any) -> Any:
    t = torch.nn
    return t.Sequential(
        t.Conv2d(1, 32, 3, padding=1), t.ReLU(), t.MaxPool2d(2),
        t.Conv2d(32, 64, 3, padding=1), t.ReLU(), t.MaxPool2d(2),
        t.Flatten(), t.Linear(64 * 7 * 7, 128), t.ReLU(), t.Linear(128, 10),
    )  # fmt: skip


def _torch_vgg(torch: Any) -> Any:
    t = torch.nn
    layers: list[Any] = []
    channels = 3
    for width in (64, 128, 256):
        for _ in range(2):
            layers += [t.Conv2d(channels, width, 3, padding=1, bias=False), t.BatchNorm2d(width)]
            layers.append(t.ReLU(inplace=True))
            channels = width
        layers.append(t.MaxPool2d(2))
    return t.Sequential(*layers, t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(256, 10))


def _torch_resnet18(torch: Any) -> Any:
    """The network of torchvision, which need not be installed."""
    t = torch.nn

    class Block(t.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = t.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = t.BatchNorm2d(outputs)
            self.relu = t.ReLU(inplace=True)
            self.conv2 = t.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = t.BatchNorm2d(outputs)
            self.downsample = None
            if stride != 1:
                conv = t.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.downsample = t.Sequential(conv, t.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            y += x if self.downsample is None else self.downsample(x)
            return self.relu(y)

    layers = [t.Conv2d(3, 64, 7, 2, 3, bias=False), t.BatchNorm2d(64), t.ReLU(inplace=True)]
    layers.append(t.MaxPool2d(3, 2, 1))
    inputs = 64
    for width in (64, 128, 256, 512):
        layers += [Block(inputs, width, 1 if width == 64 else 2), Block(width, width, 1)]
        inputs = width
    return t.Sequential(*layers, t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(512, 1000))


NETWORKS: dict[str, tuple[Make, Callable[[Any], Any]]] = {
    "LeNet-style": (_lenet_style, _torch_lenet_style),
    "VGG with batch norm": (lambda: models.VGGSmall(dropout=0.0), _torch_vgg),
    "ResNet-18": (models.resnet18, _torch_resnet18),
}


# ---- rows ----------------------------------------------------------------------------------------


def _same_weights(ours: nn.Module, theirs: Any) -> None:
    """The names differ, for activations are modules there; the order does not."""
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))


def _faster(calls: list[Callable[[], Any]]) -> Callable[[], Any]:
    times = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        call()
        times.append(time.perf_counter() - start)
    return calls[times.index(min(times))]


@rows(
    "models",
    "training step, convolutional",
    {
        "LeNet-style CNN, batch 64, 28x28, Adam": ("LeNet-style", (64, 1, 28, 28)),
        "VGG with batch norm, batch 32, 32x32, Adam": ("VGG with batch norm", (32, 3, 32, 32)),
        "ResNet-18, batch 8, 64x64, Adam": ("ResNet-18", (8, 3, 64, 64)),
    },
    quick=["LeNet-style CNN, batch 64, 28x28, Adam"],
)
def network_step(peers: Peers, network: str, shape: tuple[int, ...]) -> Contest:
    """forward, cross-entropy, backward and Adam of a convolutional network (torch: eager, fused
    Adam, the faster of NCHW and channels_last)"""
    make, make_torch = NETWORKS[network]
    x, y = floats(*shape), classes(10, shape[0])
    contest = Contest(tolerance=2e-3)

    def ours(weights_of: Any = None) -> Callable[[], Any]:
        net = make()
        if weights_of is not None:
            _same_weights(net, weights_of)
        adam = optim.Adam(net.parameters(), lr=1e-4)
        return training_step(net, adam, F.cross_entropy, nv.tensor(x), nv.tensor(y))

    if not peers.torch:
        contest.add("nervure", ours(), lambda: _losses(ours()))
        return contest
    torch = peers.torch
    first = make_torch(torch)

    def theirs(channels_last: bool) -> Callable[[], Any]:
        kind = torch.channels_last if channels_last else torch.contiguous_format
        net = make_torch(torch)
        net.load_state_dict(first.state_dict())
        net = net.to(memory_format=kind)
        adam = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
        images = torch.from_numpy(x).contiguous(memory_format=kind)
        loss = torch.nn.functional.cross_entropy
        return training_step(net, adam, loss, images, torch.from_numpy(y))

    contest.add("nervure", ours(first), lambda: _losses(ours(first)))
    contest.add("torch", _faster([theirs(False), theirs(True)]), lambda: _losses(theirs(True)))
    return contest


def _losses(step: Callable[[], Any]) -> list[float]:
    return [step().item() for _ in range(CHECKED_STEPS)]


@rows(
    "models",
    "inference, convolutional",
    {
        "ResNet-18, batch 1, 224x224": ("ResNet-18", (1, 3, 224, 224)),
        "VGG with batch norm, batch 32, 32x32": ("VGG with batch norm", (32, 3, 32, 32)),
    },
)
def network_inference(peers: Peers, network: str, shape: tuple[int, ...]) -> Contest:
    """forward of a convolutional network in evaluation mode, no gradients (torch: eager, the faster
    of NCHW and channels_last)"""
    make, make_torch = NETWORKS[network]
    x = floats(*shape)
    contest = Contest(tolerance=1e-4)
    net = make().eval()
    images = nv.tensor(x)

    def ours() -> Any:
        with nv.no_grad():
            return net(images)

    if not peers.torch:
        contest.add("nervure", ours)
        return contest
    torch = peers.torch

    def theirs(channels_last: bool) -> Callable[[], Any]:
        kind = torch.channels_last if channels_last else torch.contiguous_format
        copy = make_torch(torch).eval()
        copy.load_state_dict(first.state_dict())
        copy = copy.to(memory_format=kind)
        images = torch.from_numpy(x).contiguous(memory_format=kind)

        def call() -> Any:
            with torch.no_grad():
                return copy(images)

        return call

    first = make_torch(torch).eval()
    _same_weights(net, first)
    contest.add("nervure", ours)
    contest.add("torch", _faster([theirs(False), theirs(True)]))
    return contest
