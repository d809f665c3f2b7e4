# SPDX-License-Identifier: BSD-3-Clause
"""The bare kernels on NumPy arrays: no tensors, no tape, no copies.

For anyone who wants just the arithmetic: a training loop of one's own, another library's back
end, a measurement. Every function takes ``float32`` arrays (labels ``int64``) and writes into
``out`` when it is given, else into a new array. Nothing is converted or copied behind the
caller's back: a wrong dtype raises `TypeError`, a wrong shape or memory order `ValueError`. The
kernels release the interpreter's lock while they work and use the threads of
`nervure.set_num_threads`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nervure._core import kernels as _kernels

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_step",
    "cross_entropy_forward",
    "gemm",
    "log_softmax_backward",
    "log_softmax_forward",
    "rmsprop_step",
    "sgd_step",
    "softmax_backward",
    "softmax_forward",
]

Float = NDArray[np.float32]
Int = NDArray[np.int64]


def _empty(shape: tuple[int, ...], out: Float | None) -> Float:
    return np.empty(shape, np.float32) if out is None else out


def gemm(
    a: Float,
    b: Float,
    out: Float | None = None,
    *,
    bias: Float | None = None,
    activation: str = "",
    accumulate: bool = False,
) -> Float:
    r"""Matrix product with bias and activation, ``out = activation(a @ b + bias)``.

    Parameters
    ----------
    a : array, shape (M, K)
        C or Fortran order (``x.T``), or a block of such a matrix.
    b : array, shape (K, N)
        Likewise.
    out : array, shape (M, N), optional
        C-contiguous; must not share memory with ``a`` or ``b``.
    bias : array, shape (N,), optional
        Added to every row.
    activation : str
        ``""`` or one of relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus,
        hardtanh.
    accumulate : bool
        Add what ``out`` holds before the activation; needs ``out``.

    Returns
    -------
    array, shape (M, N)
        ``out``.

    Raises
    ------
    TypeError
        If an array is not float32.
    ValueError
        If the shapes do not agree, a memory order is not supported, or ``accumulate`` has no
        ``out``.
    """
    if out is None:
        if accumulate:
            raise ValueError("[gemm] accumulate needs out")
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"[gemm] a and b must be matrices, got {a.shape} and {b.shape}")
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
    _kernels.gemm(a, b, out, bias, activation, accumulate)
    return out


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
    out = _empty(x.shape, out)
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
    out = _empty(dy.shape, out)
    _kernels.activation_backward(name, dy, saved, out)
    return out


def softmax_forward(x: Float, out: Float | None = None) -> Float:
    r"""Softmax along the last axis, :math:`y_i = e^{x_i} / \sum_j e^{x_j}`.

    ``out`` may be ``x``.
    """
    out = _empty(x.shape, out)
    _kernels.softmax_forward(x, out)
    return out


def softmax_backward(dy: Float, y: Float, out: Float | None = None) -> Float:
    r"""Gradient of `softmax_forward` from its output: :math:`dx = y (dy - \sum dy\, y)`."""
    out = _empty(y.shape, out)
    _kernels.softmax_backward(dy, y, out)
    return out


def log_softmax_forward(x: Float, out: Float | None = None) -> Float:
    r"""Logarithm of softmax along the last axis, :math:`y_i = x_i - \log \sum_j e^{x_j}`.

    ``out`` may be ``x``.
    """
    out = _empty(x.shape, out)
    _kernels.log_softmax_forward(x, out)
    return out


def log_softmax_backward(dy: Float, y: Float, out: Float | None = None) -> Float:
    r"""Gradient of `log_softmax_forward` from its output: :math:`dx = dy - e^y \sum dy`."""
    out = _empty(y.shape, out)
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
    loss = _empty(logits.shape[:1], loss)
    gradient = _empty(logits.shape, gradient)
    _kernels.cross_entropy_forward(logits, target, loss, gradient)
    return loss, gradient


def sgd_step(
    parameter: Float,
    gradient: Float,
    momentum_buffer: Float | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    first_step: bool = False,
) -> None:
    r"""One step of stochastic gradient descent, in place, as PyTorch computes it.

    :math:`g \leftarrow g + \lambda p`; with momentum :math:`b \leftarrow \mu b + (1 - \tau) g`
    (:math:`b = g` on the first step) and :math:`g \leftarrow b` (Nesterov: :math:`g + \mu b`);
    then :math:`p \leftarrow p - \eta g`.

    Parameters
    ----------
    parameter, gradient : array
        C-contiguous, of one shape; ``parameter`` is changed.
    momentum_buffer : array, optional
        Needed when ``momentum`` is not 0; changed.
    """
    _kernels.sgd_step(
        parameter,
        gradient,
        momentum_buffer,
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov,
        first_step,
    )


def rmsprop_step(
    parameter: Float,
    gradient: Float,
    square_average: Float,
    momentum_buffer: Float | None = None,
    gradient_average: Float | None = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    r"""One step of RMSProp, in place, as PyTorch computes it.

    :math:`s \leftarrow \alpha s + (1 - \alpha) g^2`, :math:`p \leftarrow p - \eta g / (\sqrt s +
    \epsilon)`; with ``momentum_buffer`` and ``momentum`` a velocity is kept, with
    ``gradient_average`` the variance is centered. Every array given is changed, except
    ``gradient``.
    """
    _kernels.rmsprop_step(
        parameter,
        gradient,
        square_average,
        momentum_buffer,
        gradient_average,
        lr,
        alpha,
        eps,
        weight_decay,
        momentum,
    )


def adam_step(
    parameter: Float,
    gradient: Float,
    first_moment: Float,
    second_moment: Float,
    *,
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
) -> None:
    r"""One step of Adam (AdamW with ``decoupled_weight_decay``), in place, as PyTorch computes it.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g,
              \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
              p \leftarrow p - \eta
              \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015. ``step`` (t) counts from
    1. ``parameter`` and both moments (zeros before the first step) are changed.
    """
    _kernels.adam_step(
        parameter,
        gradient,
        first_moment,
        second_moment,
        lr,
        beta1,
        beta2,
        eps,
        weight_decay,
        decoupled_weight_decay,
        step,
    )
