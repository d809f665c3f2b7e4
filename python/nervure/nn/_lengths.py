# SPDX-License-Identifier: BSD-3-Clause
"""Lengths of the rows of a padded batch, as every sequence module takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from nervure import _core
from nervure._core import Tensor

Lengths: TypeAlias = Tensor | Sequence[int] | Any | None


def as_tensor(lengths: Lengths) -> Tensor | None:
    """A tensor of a list or an array; tensors and None as they are."""
    return lengths if lengths is None or isinstance(lengths, Tensor) else _core.tensor(lengths)
