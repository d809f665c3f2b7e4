# SPDX-License-Identifier: BSD-3-Clause
"""Optimiser steps."""

from __future__ import annotations

from nervure._core import kernels as _kernels

from ._arrays import Float


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
    lr : float
        Learning rate, :math:`\eta`.
    momentum : float, default 0.0
        :math:`\mu`.
    dampening : float, default 0.0
        :math:`\tau`.
    weight_decay : float, default 0.0
        :math:`\lambda`.
    nesterov : bool, default False
        Whether the step looks ahead by the momentum.
    first_step : bool, default False
        Whether ``momentum_buffer`` has no values yet and is written.
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
