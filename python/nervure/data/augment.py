# SPDX-License-Identifier: BSD-3-Clause
"""Augmentation of images, for ``DataLoader(transform=...)``.

Each is called with a batch of images ``(N, C, H, W)``, its targets and a random generator, and
returns images and targets; all work on the whole batch at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nervure._numbers import plain
from nervure.data._arrays import Array


def _check_images(name: str, x: Any) -> Array:
    if not isinstance(x, np.ndarray) or x.ndim != 4:
        got = x.shape if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"[{name}] x must be images (N, C, H, W), got {got}")
    return x


class RandomCrop:
    """Cuts a window out of each image at a random place.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    padding : int, default 0
        Rows and columns put around the image first, on each side.
    fill : float, default 0
        Their value.

    Raises
    ------
    ValueError
        For impossible options, or images smaller than the window.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0, fill: float = 0.0) -> None:
        size = plain(size)
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1 or padding < 0:
            raise ValueError(
                f"[RandomCrop] size must be positive, padding not negative, got {size}, {padding}"
            )
        self.padding = padding
        self.fill = fill

    def __call__(self, x: Any, y: Any, rng: np.random.Generator) -> tuple[Array, Any]:
        """Crop every image at a place of its own."""
        images = _check_images("RandomCrop", x)
        if self.padding:
            sides = (self.padding, self.padding)
            images = np.pad(
                images, ((0, 0), (0, 0), sides, sides), constant_values=np.array(self.fill)
            )
        n, _, h, w = images.shape
        height, width = self.size
        if height > h or width > w:
            raise ValueError(
                f"[RandomCrop] images of {h} x {w} are smaller than {height} x {width}"
            )
        tops = rng.integers(0, h - height, n, endpoint=True)
        lefts = rng.integers(0, w - width, n, endpoint=True)
        windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(2, 3))
        return windows[np.arange(n), :, tops, lefts], y


class RandomHorizontalFlip:
    """Mirrors images, each with probability ``p``.

    Parameters
    ----------
    p : float, default 0.5
        Probability.

    Raises
    ------
    ValueError
        If ``p`` is outside [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"[RandomHorizontalFlip] p must be in [0, 1], got {p}")
        self.p = p

    def __call__(self, x: Any, y: Any, rng: np.random.Generator) -> tuple[Array, Any]:
        """Mirror some of the images."""
        images = _check_images("RandomHorizontalFlip", x)
        chosen = rng.random(len(images)) < self.p
        return np.where(chosen[:, None, None, None], images[..., ::-1], images), y


class Mixup:
    """Mixes each sample with another one of the batch, and their targets likewise.

    ``x <- m x + (1 - m) x'`` and the same for ``y``, with one ``m`` per batch, drawn from
    Beta(alpha, alpha). Class numbers become one-hot rows, which
    :class:`nervure.nn.CrossEntropyLoss` takes as probabilities. Works on arrays of any shape.

    Parameters
    ----------
    alpha : float, default 0.2
        The greater, the more is mixed.
    num_classes : int, optional
        Number of classes; needed when targets are class numbers.

    Raises
    ------
    ValueError
        For impossible options, no targets, or class numbers without ``num_classes``.

    References
    ----------
    Zhang et al., "mixup: beyond empirical risk minimization", 2017,
    https://arxiv.org/abs/1710.09412
    """

    def __init__(self, alpha: float = 0.2, num_classes: int | None = None) -> None:
        if not alpha > 0.0 or (num_classes is not None and num_classes < 1):
            raise ValueError(
                f"[Mixup] alpha and num_classes must be positive, got {alpha}, {num_classes}"
            )
        self.alpha = alpha
        self.num_classes = num_classes

    def __call__(self, x: Any, y: Any, rng: np.random.Generator) -> tuple[Array, Array]:
        """Mix the batch with a shuffled copy of itself."""
        if not isinstance(y, np.ndarray) or not isinstance(x, np.ndarray):
            raise ValueError("[Mixup] needs a single array x, and targets")
        targets = self._as_numbers(y)
        share = np.float32(rng.beta(self.alpha, self.alpha))
        other = rng.permutation(len(x))
        mixed = share * x + (1 - share) * x[other]
        return mixed.astype(np.float32), share * targets + (1 - share) * targets[other]

    def _as_numbers(self, y: Array) -> Array:
        if y.dtype.kind not in "iu":
            return y.astype(np.float32)
        if self.num_classes is None or y.ndim != 1:
            raise ValueError("[Mixup] class numbers (N,) as targets need num_classes")
        if y.size and not 0 <= y.min() <= y.max() < self.num_classes:
            raise IndexError(f"[Mixup] class numbers must be in 0 .. {self.num_classes - 1}")
        rows = np.zeros((len(y), self.num_classes), np.float32)
        rows[np.arange(len(y)), y] = 1
        return rows
