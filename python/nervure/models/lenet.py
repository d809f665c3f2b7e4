# SPDX-License-Identifier: BSD-3-Clause
"""LeNet-5."""

from __future__ import annotations

from nervure import nn
from nervure._core import Tensor


class LeNet5(nn.Module):
    """The first convolutional network in wide use, with today's activation and pooling.

    Two convolutions of 5 x 5 (6 and 16 channels), each with ReLU and a maximum over 2 x 2, then
    dense layers of 120, 84 and ``num_classes``. (The original had sigmoid units and trainable
    averages.)

    Parameters
    ----------
    num_classes : int, default 10
        Number of scores.
    in_channels : int, default 1
        Channels of the images.
    image_size : {28, 32}, default 28
        Height and width of the images; 28 are padded to 32 as LeCun did.

    Raises
    ------
    ValueError
        For another image size.

    Notes
    -----
    The state dict has the keys of the network of PyTorch's tutorials: ``conv1``, ``conv2``,
    ``fc1``, ``fc2``, ``fc3``.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", 1998,
    http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf

    Examples
    --------
    >>> import nervure as nv
    >>> from nervure.models import LeNet5
    >>> LeNet5()(nv.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """

    _settings = ("num_classes", "in_channels", "image_size")

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        super().__init__()
        if image_size not in (28, 32):
            raise ValueError(f"[LeNet5] image_size must be 28 or 32, got {image_size!r}")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.image_size = image_size
        padding = 2 if image_size == 28 else 0
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=padding, activation="relu")
        self.conv2 = nn.Conv2d(6, 16, 5, activation="relu")
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120, activation="relu")
        self.fc2 = nn.Linear(120, 84, activation="relu")
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, image_size, image_size)."""
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(x.shape[1:]) != expected:
            raise ValueError(
                f"[LeNet5] expected images (N, {', '.join(map(str, expected))}), got {x.shape}"
            )
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv2(x))
        x = x.flatten(1)
        scores: Tensor = self.fc3(self.fc2(self.fc1(x)))
        return scores
