# SPDX-License-Identifier: BSD-3-Clause
"""Activations, softmax and cross-entropy."""

from __future__ import annotations

from nervure._core import kernels as _kernels

from ._arrays import Float, Int, empty


def activation_forward(name: str, x: Float, out: Float | None = None) -> Float:
    """Apply an activation to every element, ``out = f(x)``, with PyTorch's default parameters.

    Parameters
    ----------
    name : str
        relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus or hardtanh.
    x : array
        C-contiguous.
    out : array, optional
        Of the shape of ``x``; may be ``x`` itself.
    """
    out = empty(x.shape, out)
    _kernels.activation_forward(name, x, out)
    return out


def activation_backward(name: str, dy: Float, saved: Float, out: Float | None = None) -> Float:
    """Gradient of an activation, ``out = dy * f'(.)``.

    Parameters
    ----------
    name : str
        As in `activation_forward`.
    dy : array
        C-contiguous.
    saved : array
        Of the same shape: the *output* of relu, elu, tanh and sigmoid, the *input* of the others.
    out : array, optional
        Of the same shape; may be ``dy`` or ``saved`` itself.
    """
    out = empty(dy.shape, out)
    _kernels.activation_backward(name, dy, saved, out)
    return out


def softmax_forward(x: Float, out: Float | None = None) -> Float:
    r"""Softmax along the last axis, :math:`y_i = e^{x_i} / \sum_j e^{x_j}`.

    ``out`` may be ``x``.
    """
    out = empty(x.shape, out)
    _kernels.softmax_forward(x, out)
    return out


def softmax_backward(dy: Float, y: Float, out: Float | None = None) -> Float:
    r"""Gradient of `softmax_forward` from its output: :math:`dx = y (dy - \sum dy\, y)`."""
    out = empty(y.shape, out)
    _kernels.softmax_backward(dy, y, out)
    return out


def log_softmax_forward(x: Float, out: Float | None = None) -> Float:
    r"""Logarithm of softmax along the last axis, :math:`y_i = x_i - \log \sum_j e^{x_j}`.

    ``out`` may be ``x``.
    """
    out = empty(x.shape, out)
    _kernels.log_softmax_forward(x, out)
    return out


def log_softmax_backward(dy: Float, y: Float, out: Float | None = None) -> Float:
    r"""Gradient of `log_softmax_forward` from its output: :math:`dx = dy - e^y \sum dy`."""
    out = empty(y.shape, out)
    _kernels.log_softmax_backward(dy, y, out)
    return out


def cross_entropy_forward(
    logits: Float, target: Int, loss: Float | None = None, gradient: Float | None = None
) -> tuple[Float, Float]:
    r"""Cross-entropy of each row, and its gradient, in one pass over the logits.

    .. math:: l_n = \log \sum_c e^{x_{nc}} - x_{n t_n}, \qquad dl_n / dx_{nc} =
    \mathrm{softmax}(x_n)_c - [c = t_n]

    Parameters
    ----------
    logits : array, shape (N, C)
    target : array, shape (N,), int64
        Classes from 0 to C - 1.
    loss : array, shape (N,), optional
    gradient : array, shape (N, C), optional

    Returns
    -------
    loss, gradient : arrays
        Of each row; divide both by N for the mean.

    Raises
    ------
    IndexError
        If a target is not a class; nothing has been written then.
    """
    loss = empty(logits.shape[:1], loss)
    gradient = empty(logits.shape, gradient)
    _kernels.cross_entropy_forward(logits, target, loss, gradient)
    return loss, gradient
