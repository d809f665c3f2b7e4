# SPDX-License-Identifier: BSD-3-Clause
"""Residual networks of two-layer blocks."""

from __future__ import annotations

from collections.abc import Sequence

from nervure import nn
from nervure._core import Tensor
from nervure.nn import init


def _conv3x3(channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """``y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`` with convolutions of 3 x 3.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    stride : int, default 1
        Of the first convolution. With a stride, or where the channels differ, the shortcut is a
        convolution of 1 x 1 with batch normalisation; otherwise it is ``x``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels, activation="relu")
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, out_channels, H / stride, W / stride) from (N, in_channels, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return (y + shortcut).relu()


class ResNet(nn.Module):
    """A residual network: a first layer, groups of blocks, the mean over the image, a linear layer.

    :func:`resnet18`, :func:`resnet20` and :func:`resnet32` make the usual ones.

    Parameters
    ----------
    blocks : sequence of int
        Blocks in each group; every group but the first halves height and width.
    widths : sequence of int
        Channels of each group.
    num_classes : int, default 10
        Number of scores.
    in_channels : int, default 3
        Channels of the images.
    stem : {"cifar", "imagenet"}, default "cifar"
        First layer: a convolution of 3 x 3, for images of about 32 x 32; or one of 7 x 7 with
        stride 2 and a maximum over 3 x 3 with stride 2, for those of about 224 x 224.

    Raises
    ------
    ValueError
        For another stem, no groups, or not as many widths as groups.

    Notes
    -----
    The state dict has torchvision's keys: ``conv1``, ``bn1``, ``layer1.0.conv1``,
    ``layer2.0.downsample.0``, ..., ``fc``. Weights are drawn as there: normally with
    ``std = sqrt(2 / fan_out)`` for the convolutions.

    References
    ----------
    He et al., "Deep residual learning for image recognition", 2015,
    https://arxiv.org/abs/1512.03385
    """

    _settings = ("num_classes",)

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        if stem not in ("cifar", "imagenet"):
            raise ValueError(f'[ResNet] stem must be "cifar" or "imagenet", got {stem!r}')
        if not blocks or len(blocks) != len(widths) or min(blocks) < 1:
            raise ValueError(
                "[ResNet] blocks and widths must hold one positive number for each group, got "
                f"{tuple(blocks)} and {tuple(widths)}"
            )
        self.num_classes = num_classes
        channels = widths[0]
        self.maxpool: nn.Module | None = None
        if stem == "cifar":
            self.conv1 = _conv3x3(in_channels, channels)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels, activation="relu")
        for i, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            group = [BasicBlock(channels, width, 1 if i == 1 else 2)]
            group += [BasicBlock(width, width) for _ in range(count - 1)]
            setattr(self, f"layer{i}", nn.Sequential(*group))
            channels = width
        self._groups = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, H, W)."""
        x = self.bn1(self.conv1(x))
        if self.maxpool is not None:
            x = self.maxpool(x)
        for i in range(1, self._groups + 1):
            x = getattr(self, f"layer{i}")(x)
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores


def resnet18(num_classes: int = 1000, in_channels: int = 3, stem: str = "imagenet") -> ResNet:
    """ResNet-18 as torchvision has it: 11.7 million parameters for images of about 224 x 224.

    Parameters
    ----------
    num_classes : int, default 1000
        Number of scores.
    in_channels : int, default 3
        Channels of the images.
    stem : {"imagenet", "cifar"}, default "imagenet"
        First layer; "cifar" for small images.

    Returns
    -------
    ResNet
        The network, with random weights.
    """
    return ResNet((2, 2, 2, 2), (64, 128, 256, 512), num_classes, in_channels, stem)


def resnet20(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-20 for images of 32 x 32: three groups of three blocks, 16, 32 and 64 channels.

    The shortcuts that change the number of channels are convolutions of 1 x 1 (option B of He et
    al.).

    Returns
    -------
    ResNet
        The network, with random weights.
    """
    return ResNet((3, 3, 3), (16, 32, 64), num_classes, in_channels)


def resnet32(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-32: as :func:`resnet20`, with five blocks in each group.

    Returns
    -------
    ResNet
        The network, with random weights.
    """
    return ResNet((5, 5, 5), (16, 32, 64), num_classes, in_channels)
