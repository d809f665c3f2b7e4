# SPDX-License-Identifier: BSD-3-Clause
"""The Vision Transformer.

Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021, https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nervure import _core
from nervure._core import Tensor
from nervure.nn import (
    Conv2d,
    Dropout,
    Identity,
    LayerNorm,
    Linear,
    Module,
    ModuleList,
    Parameter,
    init,
)
from nervure.nn.module import IncompatibleKeys


class StochasticDepth(Module):
    """Drops the whole residual branch of a sample with probability ``p`` while training.

    The branches kept are divided by ``1 - p``. Source: Huang et al., "Deep networks with stochastic
    depth", 2016.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"[StochasticDepth] p must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, ...) to the same shape."""
        if not self.training or self.p == 0.0:
            return x
        keep = _core.dropout(_core.full((x.shape[0], *[1] * (len(x.shape) - 1)), 1.0), self.p)
        return x * keep


class Attention(Module):
    """Self-attention under timm's names: ``qkv`` and ``proj``."""

    def __init__(self, dim: int, heads: int, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"[ViT] heads must divide dim, got dim = {dim}, heads = {heads}")
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.proj_drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to the same shape."""
        p = self.attention_dropout if self.training else 0.0
        y = _core.self_attention(self.qkv.forward(x), heads=self.heads, dropout_p=p)
        return self.proj_drop.forward(self.proj.forward(y))


class Mlp(Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden, activation="gelu")
        self.fc2 = Linear(hidden, dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to the same shape."""
        hidden = self.drop.forward(self.fc1.forward(x))
        return self.drop.forward(self.fc2.forward(hidden))


class Block(Module):
    """Pre-norm Transformer layer with stochastic depth."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, attention_dropout, dropout)
        self.norm2 = LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden, dropout)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to the same shape."""
        x = x + self.drop_path.forward(self.attn.forward(self.norm1.forward(x)))
        return x + self.drop_path.forward(self.mlp.forward(self.norm2.forward(x)))


class PatchEmbedding(Module):
    """Cuts an image into squares and maps each to a vector: a convolution."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, patches, dim)."""
        return self.proj.forward(x).flatten(2, -1).transpose(1, 2)


class ViT(Module):
    r"""Vision Transformer: patches as words, a Transformer encoder, one linear classifier.

    Parameters
    ----------
    image_size, patch_size : int, default 224 and 16
        Height and width of images and of their patches; ``patch_size`` divides ``image_size``.
    in_channels : int, default 3
    num_classes : int, default 1000
        0 leaves the features (B, dim) as they are.
    dim, depth, heads : int, default 192, 12 and 3
        Features, layers, heads per layer; by default those of ViT-Tiny.
    mlp_ratio : float, default 4.0
        Hidden features of the network in each layer, relative to ``dim``.
    dropout, attention_dropout : float, default 0.0
    drop_path : float, default 0.0
        Probability of dropping the last layer's branches; it grows linearly from 0 at the first.
    pool : str, default "cls"
        ``"cls"``: classify by a learned extra token. ``"mean"``: by the mean of all patches,
        without such a token.

    Raises
    ------
    ValueError
        For sizes that do not divide each other, or an unknown ``pool``.

    Notes
    -----
    Input (B, in_channels, image_size, image_size), output (B, num_classes). Keys of the state dict
    are timm's; :meth:`load_state_dict` takes torchvision's as well.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        dim: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        pool: str = "cls",
    ) -> None:
        super().__init__()
        if patch_size < 1 or image_size < 1 or image_size % patch_size:
            raise ValueError(
                f"[ViT] patch_size must divide image_size, got {patch_size} and {image_size}"
            )
        if pool not in ("cls", "mean"):
            raise ValueError(f'[ViT] pool must be "cls" or "mean", got {pool!r}')
        self.image_size = image_size
        self.pool = pool
        tokens = (image_size // patch_size) ** 2 + (pool == "cls")
        self.patch_embed = PatchEmbedding(in_channels, dim, patch_size)
        self.cls_token = Parameter(_core.empty((1, 1, dim))) if pool == "cls" else None
        self.pos_embed = Parameter(_core.empty((1, tokens, dim)))
        self.pos_drop = Dropout(dropout)
        self.blocks = ModuleList(
            [
                Block(
                    dim,
                    heads,
                    int(dim * mlp_ratio),
                    dropout,
                    attention_dropout,
                    drop_path * i / max(depth - 1, 1),
                )
                for i in range(depth)
            ]
        )
        self.norm = LayerNorm(dim, eps=1e-6)
        self.head: Module = Linear(dim, num_classes) if num_classes else Identity()
        self.reset_parameters()

    @classmethod
    def tiny(cls, **options: Any) -> ViT:
        """ViT-Tiny: 192 features, 12 layers, 3 heads."""
        return cls(**{"dim": 192, "depth": 12, "heads": 3, **options})

    @classmethod
    def small(cls, **options: Any) -> ViT:
        """ViT-Small: 384 features, 12 layers, 6 heads."""
        return cls(**{"dim": 384, "depth": 12, "heads": 6, **options})

    @classmethod
    def base(cls, **options: Any) -> ViT:
        """ViT-Base: 768 features, 12 layers, 12 heads."""
        return cls(**{"dim": 768, "depth": 12, "heads": 12, **options})

    def reset_parameters(self) -> None:
        """Tokens and positions normal (deviation 0.02), matrices Xavier, biases zero."""
        init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, Linear):
                init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """All tokens after the last norm, (B, tokens, dim)."""
        if len(x.shape) != 4 or x.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"[ViT] x must be (B, C, {self.image_size}, {self.image_size}), got {x.shape}"
            )
        tokens = self.patch_embed.forward(x)
        if self.cls_token is not None:
            first = self.cls_token.expand(tokens.shape[0], 1, tokens.shape[2])
            tokens = _core.cat([first, tokens], 1)
        tokens = self.pos_drop.forward(tokens + self.pos_embed)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm.forward(tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        tokens = self.features(x)
        pooled = tokens[:, 0] if self.pool == "cls" else tokens.mean(1)
        logits: Tensor = self.head(pooled)
        return logits

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Load weights under timm's or torchvision's names; see :meth:`Module.load_state_dict`."""
        return super().load_state_dict(_timm_names(state_dict), strict)


_TORCHVISION = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.fc2."),
)


def _timm_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {}
    for key, value in state_dict.items():
        for pattern, name in _TORCHVISION:
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed


__all__ = ["StochasticDepth", "ViT"]
