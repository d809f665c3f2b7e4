# SPDX-License-Identifier: BSD-3-Clause
"""Dropout."""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor
from nervure.nn.module import Module


class Dropout(Module):
    """Inverted dropout: elements are set to zero at random while training.

    Each element is 0 with probability ``p`` and ``x / (1 - p)`` otherwise, so that the mean stays.
    In evaluation mode the input passes unchanged.

    Parameters
    ----------
    p : float, default 0.5
        Probability of a zero, in [0, 1].

    Raises
    ------
    ValueError
        If ``p`` is outside [0, 1].

    Notes
    -----
    The mask depends on ``nervure.manual_seed`` and on how many random numbers were drawn since, not
    on the number of threads.

    References
    ----------
    Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors",
    2012, https://arxiv.org/abs/1207.0580
    """

    _settings = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"[Dropout] p must be a probability in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of ``x`` (any shape) in training mode."""
        if not self.training or self.p == 0.0:
            return x
        return _core.dropout(x, self.p)


class Dropout2d(Module):
    """Inverted dropout of whole channels: (N, C, H, W) or (N, C, L).

    Neighbouring pixels of a channel are alike, so that dropping single ones takes little away; here
    a channel of an image is 0 with probability ``p`` and ``x / (1 - p)`` otherwise. In evaluation
    mode the input passes unchanged.

    Parameters
    ----------
    p : float, default 0.5
        Probability of a zero, in [0, 1].

    Raises
    ------
    ValueError
        If ``p`` is outside [0, 1], or the input has other dimensions.

    References
    ----------
    Tompson et al., "Efficient object localization using convolutional networks", 2015,
    https://arxiv.org/abs/1411.4280
    """

    _settings = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"[Dropout2d] p must be a probability in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels of ``x`` in training mode."""
        if not self.training or self.p == 0.0:
            return x
        return _core.dropout2d(x, self.p)
