# SPDX-License-Identifier: BSD-3-Clause
"""Networks known from the literature. They have random weights until a state dict is loaded."""

from nervure.models.lenet import LeNet5
from nervure.models.resnet import BasicBlock, ResNet, resnet18, resnet20, resnet32
from nervure.models.vgg import VGGSmall

__all__ = ["BasicBlock", "LeNet5", "ResNet", "VGGSmall", "resnet18", "resnet20", "resnet32"]
