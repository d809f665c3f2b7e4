# SPDX-License-Identifier: BSD-3-Clause
"""Positions of a sequence, for layers that do not know them: sinusoidal, learned, rotary."""

from __future__ import annotations

import math
from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure.nn import init
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter


def _check(owner: str, length: int, offset: int, capacity: int) -> None:
    if offset < 0 or offset + length > capacity:
        raise ValueError(
            f"[{owner}] positions {offset} to {offset + length - 1} lie outside the {capacity} "
            "there are"
        )


def _placed(owner: str, x: Tensor, table: Tensor, offset: int) -> Tensor:
    """Add the rows of the table from number ``offset`` on to x (..., T, E)."""
    length = x.shape[-2]
    _check(owner, length, offset, table.shape[0])
    return _core.add(x, _core.slice(table, 0, offset, offset + length, 1))


def _angles(capacity: int, features: int, base: float) -> Tensor:
    """``t * base^(-2 i / features)``, (capacity, features / 2)."""
    exponents = _core.arange(0, features, 2) * (-math.log(base) / features)
    return _core.arange(0, capacity).unsqueeze(1) * _core.exp(exponents)


class SinusoidalPositions(Module):
    r"""Adds sines and cosines of the position: ``sin(t / 10000^(2i/E))``, ``cos(...)`` in turn.

    Parameters
    ----------
    embed_dim : int
        Features; even.
    max_length : int, default 5000
        Positions to compute in advance.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", 2017, section 3.5
    """

    def __init__(self, embed_dim: int, max_length: int = 5000) -> None:
        super().__init__()
        embed_dim, max_length = index(embed_dim), index(max_length)
        if embed_dim < 2 or embed_dim % 2:
            raise ValueError(f"[SinusoidalPositions] embed_dim must be even, got {embed_dim}")
        angles = _angles(max_length, embed_dim, 10000.0)
        table = _core.stack([_core.sin(angles), _core.cos(angles)], -1)
        self._table = table.reshape(max_length, embed_dim)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """``x + positions``; x (B, T, embed_dim), its first position being number ``offset``."""
        return _placed("SinusoidalPositions", x, self._table, offset)


class LearnedPositions(Module):
    """Adds a learned vector for each position.

    Parameters
    ----------
    embed_dim : int
    max_length : int
        Positions there are.

    Attributes
    ----------
    weight : Parameter, (max_length, embed_dim)
        Normal with standard deviation 0.02 at first.
    """

    def __init__(self, embed_dim: int, max_length: int) -> None:
        super().__init__()
        self.weight = Parameter(_core.empty((index(max_length), index(embed_dim))))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """``x + positions``; x (B, T, embed_dim), its first position being number ``offset``."""
        return _placed("LearnedPositions", x, self.weight, offset)


class RotaryPositions(Module):
    r"""Turns pairs of features by an angle that grows with the position [1]_.

    ``(x_i, x_{i+D/2})`` is turned by ``t * base^(-2i/D)``, so that the product of a query and a key
    depends on their distance only. For queries and keys, before attention.

    Parameters
    ----------
    head_dim : int
        Features of a head, ``D``; even.
    max_length : int, default 2048
        Positions to compute in advance.
    base : float, default 10000.0
        Positive.

    Raises
    ------
    ValueError
        For an odd ``head_dim``, or an impossible ``base``.

    References
    ----------
    .. [1] Su et al., "RoFormer: enhanced Transformer with rotary position embedding", 2021,
       https://arxiv.org/abs/2104.09864
    """

    def __init__(self, head_dim: int, max_length: int = 2048, base: float = 10000.0) -> None:
        super().__init__()
        head_dim, max_length = index(head_dim), index(max_length)
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"[RotaryPositions] head_dim must be even, got {head_dim}")
        if not 0.0 < base < math.inf:
            raise ValueError(f"[RotaryPositions] base must be positive and finite, got {base}")
        angles = _angles(max_length, head_dim, base)
        self._cos, self._sin = _core.cos(angles), _core.sin(angles)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Turn x (..., T, head_dim), its first position being number ``offset``."""
        length, size = x.shape[-2:]
        _check("RotaryPositions", length, offset, self._cos.shape[0])
        if size != 2 * self._cos.shape[1]:
            raise ValueError(
                f"[RotaryPositions] x must be (..., T, {2 * self._cos.shape[1]}), got {x.shape}"
            )
        cos, sin = self._cos[offset : offset + length], self._sin[offset : offset + length]
        first, second = x.chunk(2, -1)
        return _core.cat([first * cos - second * sin, second * cos + first * sin], -1)
