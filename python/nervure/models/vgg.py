# SPDX-License-Identifier: BSD-3-Clause
"""A small network in the style of VGG."""

from __future__ import annotations

from collections.abc import Sequence

from nervure import nn
from nervure._core import Tensor
from nervure.nn import init


class VGGSmall(nn.Module):
    """Pairs of 3 x 3 convolutions with batch normalisation, a maximum over 2 x 2 after each pair.

    Parameters
    ----------
    num_classes : int, default 10
        Number of scores.
    in_channels : int, default 3
        Channels of the images.
    widths : sequence of int, default (64, 128, 256)
        Channels of the pairs.
    dropout : float, default 0.5
        Share of the features that training leaves out before the last layer.

    Raises
    ------
    ValueError
        For no widths at all.

    Notes
    -----
    The state dict has the keys that torchvision gives a VGG with batch normalisation:
    ``features.0.weight`` (convolution), ``features.1.weight`` (batch normalisation), then 3, 4, and
    7, 8, 10, 11 for the next pair, with ReLU and pooling counted; and ``classifier.1``, after
    dropout. The convolutions have no bias: batch normalisation would take it away again. Features
    are averaged over the image, so that images of any size will do.

    References
    ----------
    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
    2014, https://arxiv.org/abs/1409.1556
    """

    _settings = ("num_classes",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("[VGGSmall] widths must not be empty")
        self.num_classes = num_classes
        layers: dict[str, nn.Module] = {}
        channels = in_channels
        for pair, width in enumerate(widths):
            for i in (7 * pair, 7 * pair + 3):
                layers[str(i)] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers[str(i + 1)] = nn.BatchNorm2d(width, activation="relu")
                channels = width
            layers[str(7 * pair + 6)] = nn.MaxPool2d(2)
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, H, W)."""
        scores: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return scores
