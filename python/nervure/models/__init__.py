# SPDX-License-Identifier: BSD-3-Clause
"""Networks known from the literature. They have random weights until a state dict is loaded."""

from nervure.models.char_rnn import CharRNN
from nervure.models.lenet import LeNet5
from nervure.models.resnet import BasicBlock, ResNet, resnet18, resnet20, resnet32
from nervure.models.seq2seq import Seq2Seq
from nervure.models.transformer import GPT, TransformerSeq2Seq
from nervure.models.vgg import VGGSmall
from nervure.models.vit import ViT

__all__ = [
    "GPT",
    "BasicBlock",
    "CharRNN",
    "LeNet5",
    "ResNet",
    "Seq2Seq",
    "TransformerSeq2Seq",
    "VGGSmall",
    "ViT",
    "resnet18",
    "resnet20",
    "resnet32",
]
