# SPDX-License-Identifier: BSD-3-Clause
"""Batch and layer normalisation of arrays whose last axis holds the channels."""

from __future__ import annotations

import numpy as np

from nervure._core import kernels as _kernels

from ._arrays import Float, empty


def batch_norm_forward(
    x: Float,
    weight: Float | None = None,
    bias: Float | None = None,
    eps: float = 1e-5,
    relu: bool = False,
    out: Float | None = None,
    statistics: Float | None = None,
) -> tuple[Float, Float]:
    r"""Normalise each channel by the mean and variance of its elements.

    .. math:: y = (x - \mu)\, / \sqrt{\sigma^2 + \epsilon} \cdot w + b

    Parameters
    ----------
    x : array, shape (..., C)
        At least two elements per channel.
    weight, bias : array, shape (C,), optional
    eps : float, default 1e-5
    relu : bool, default False
        Whether ``y = max(y, 0)`` follows, in the same pass.
    out : array, shape of ``x``, optional
        May be ``x`` where no backward pass follows.
    statistics : array, shape (4, C), optional

    Returns
    -------
    out, statistics : arrays
        The rows of ``statistics``: the mean in float32, what it lacks of the true mean,
        :math:`1 / \sqrt{\sigma^2 + \epsilon}`, and the biased variance :math:`\sigma^2`.
    """
    out = empty(x.shape, out)
    statistics = empty((4, x.shape[-1] if x.ndim else 0), statistics)
    _kernels.batch_norm_forward(x, weight, bias, eps, relu, out, statistics)
    return out, statistics


def batch_norm_backward(
    dy: Float,
    x: Float,
    statistics: Float,
    weight: Float | None = None,
    bias: Float | None = None,
    relu: bool = False,
    out: Float | None = None,
) -> tuple[Float, Float, Float]:
    """Gradients of `batch_norm_forward` from its input.

    Parameters
    ----------
    dy, x : arrays, shape (..., C)
    statistics : array, shape (4, C)
        From the forward pass.
    weight, bias, relu
        As in the forward pass (``bias`` only matters with ``relu``).
    out : array, shape of ``x``, optional
        May be ``dy`` or ``x``.

    Returns
    -------
    dx, dweight, dbias : arrays, shapes (..., C), (C,) and (C,)
    """
    out = empty(x.shape, out)
    channels = x.shape[-1:]
    dweight, dbias = np.empty(channels, np.float32), np.empty(channels, np.float32)
    _kernels.batch_norm_backward(dy, x, statistics, weight, bias, relu, out, dweight, dbias)
    return out, dweight, dbias


def layer_norm_forward(
    x: Float,
    weight: Float | None = None,
    bias: Float | None = None,
    eps: float = 1e-5,
    out: Float | None = None,
    statistics: Float | None = None,
) -> tuple[Float, Float]:
    """Normalise each row along the last axis by its mean and variance.

    Parameters
    ----------
    x : array, shape (..., C)
    weight, bias : array, shape (C,), optional
    eps : float, default 1e-5
    out : array, shape of ``x``, optional
        May be ``x`` where no backward pass follows.
    statistics : array, shape (rows, 3), optional
        ``rows`` is the product of the other sizes.

    Returns
    -------
    out, statistics : arrays
        Of each row: the mean in float32, what it lacks of the true mean, and the reciprocal
        standard deviation.
    """
    out = empty(x.shape, out)
    rows = x.size // max(1, x.shape[-1]) if x.ndim else 0
    statistics = empty((rows, 3), statistics)
    _kernels.layer_norm_forward(x, weight, bias, eps, out, statistics)
    return out, statistics


def layer_norm_backward(
    dy: Float,
    x: Float,
    statistics: Float,
    weight: Float | None = None,
    out: Float | None = None,
) -> tuple[Float, Float, Float]:
    """Gradients of `layer_norm_forward` from its input.

    Parameters
    ----------
    dy, x : arrays, shape (..., C)
    statistics : array, shape (rows, 3)
        From the forward pass.
    weight : array, shape (C,), optional
        As in the forward pass.
    out : array, shape of ``x``, optional
        May be ``dy`` or ``x``.

    Returns
    -------
    dx, dweight, dbias : arrays, shapes (..., C), (C,) and (C,)
    """
    out = empty(x.shape, out)
    channels = x.shape[-1:]
    dweight, dbias = np.empty(channels, np.float32), np.empty(channels, np.float32)
    _kernels.layer_norm_backward(dy, x, statistics, weight, out, dweight, dbias)
    return out, dweight, dbias
