# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation: ``y = (x - mean) / sqrt(variance + eps) * weight + bias``."""

from __future__ import annotations

from collections.abc import Sequence

from nervure import _core
from nervure._core import Tensor


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
) -> Tensor:
    """Normalise each channel by its statistics over the batch and space, or by running ones.

    Parameters
    ----------
    x : Tensor, (N, C) or (N, C, ...)
        Input, channels-last in memory; another order is converted.
    running_mean, running_var : Tensor, (C,), or None
        Running averages: read when not training; when training, updated in place to
        ``(1 - momentum) running + momentum * batch``, the variance as its unbiased estimate.
    weight, bias : Tensor, (C,), optional
        Scale and shift.
    training : bool, default False
        Whether to use, and differentiate through, the statistics of the batch (the biased
        variance).
    momentum : float, default 0.1
        Share of the new batch in the running averages.
    eps : float, default 1e-5
        Added to the variance.
    activation : "relu", optional
        Computed in the same pass over the data, forward and backward.

    Returns
    -------
    Tensor, shape of ``x``
        Channels-last in memory.

    Raises
    ------
    ValueError
        For shapes that do not fit; in training with one value per channel, whose variance is zero
        whatever it is; without running averages when not training.
    """
    return _core.batch_norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, activation or ""
    )


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each image by its own statistics.

    Parameters
    ----------
    x : Tensor, (N, C, ...)
        Input, channels-last in memory; another order is converted.
    running_mean, running_var, weight, bias, momentum, eps
        As for `batch_norm`; running averages take the mean over the batch.
    use_input_stats : bool, default True
        Whether to use the statistics of ``x`` (biased variance), not the running ones.

    Raises
    ------
    ValueError
        For shapes that do not fit; with one spatial element when using the statistics of ``x``;
        without running averages otherwise.
    """
    return _core.instance_norm(
        x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise groups of neighbouring channels of each image by their statistics.

    Parameters
    ----------
    x : Tensor, (N, C) or (N, C, ...)
        Input, channels-last in memory; another order is converted.
    num_groups : int
        Must divide C.
    weight, bias : Tensor, (C,), optional
        Scale and shift of each channel.
    eps : float, default 1e-5
        Added to the (biased) variance.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    """
    return _core.group_norm(x, num_groups, weight, bias, eps)


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise by statistics over the last dimensions.

    Parameters
    ----------
    x : Tensor, (..., *normalized_shape)
        Input. Fastest where the normalised dimensions lie together in memory.
    normalized_shape : sequence of int
        Sizes of the dimensions that are normalised together.
    weight, bias : Tensor, normalized_shape, optional
        Scale and shift of each element.
    eps : float, default 1e-5
        Added to the (biased) variance.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    """
    return _core.layer_norm(x, tuple(normalized_shape), weight, bias, eps)


def rms_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root of the mean square over the last dimensions.

    ``y = x / sqrt(mean(x^2) + eps) * weight``

    Parameters
    ----------
    x : Tensor, (..., *normalized_shape)
        Input.
    normalized_shape : sequence of int
        Sizes of the dimensions that are normalised together.
    weight : Tensor, normalized_shape, optional
        Scale of each element.
    eps : float, optional
        Added to the mean square; by default the machine epsilon of float32.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    """
    return _core.rms_norm(x, tuple(normalized_shape), weight, eps)
