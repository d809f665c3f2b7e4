# SPDX-License-Identifier: BSD-3-Clause
"""Whole models, each a :class:`nervure.nn.Module` that loads PyTorch weights of its like."""

from .seq2seq import Seq2Seq
from .transformer import GPT, TransformerSeq2Seq
from .vit import ViT

__all__ = ["GPT", "Seq2Seq", "TransformerSeq2Seq", "ViT"]
