# SPDX-License-Identifier: BSD-3-Clause
"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nervure._core import Tensor

from .optimizer import Group, Optimizer, check_betas, check_not_negative, run_closure

_PLAIN = ("exp_avg", "exp_avg_sq")
_AMSGRAD = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


class Adam(Optimizer):
    """Steps along a running mean of the gradient, divided by its running root mean square.

    ``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``,
    ``p <- p - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)`` at step t.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them with their own options.
    lr : float, default 1e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the two running averages.
    eps : float, default 1e-8
        Added to the root.
    weight_decay : float, default 0
        Added to the gradient as ``weight_decay * p`` (L2), or see ``decoupled_weight_decay``.
    amsgrad : bool, default False
        Divide by the greatest running mean square so far.
    maximize : bool, default False
        Ascend instead.
    decoupled_weight_decay : bool, default False
        ``p <- (1 - lr weight_decay) p`` before the step instead of L2: AdamW.
    l1 : float, default 0
        After the step, ``p <- sign(p) max(|p| - lr l1, 0)``: weights become exactly zero.

    Raises
    ------
    ValueError
        For a negative or non-finite option, or a beta outside [0, 1).

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2014,
    https://arxiv.org/abs/1412.6980; amsgrad: Reddi et al., "On the convergence of Adam and
    beyond", 2018
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        l1: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
            "l1": l1,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        check_not_negative(group, "lr", "eps", "weight_decay", "l1")
        check_betas(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else run_closure(closure)
        for index, group in enumerate(self.param_groups):
            amsgrad = group["amsgrad"]
            beta1, beta2 = group["betas"]
            for plan in self._plans_for(index, group, _AMSGRAD if amsgrad else _PLAIN):
                plan.tensors.adam_step(
                    group["lr"],
                    beta1,
                    beta2,
                    group["eps"],
                    group["weight_decay"],
                    group["l1"],
                    group["decoupled_weight_decay"],
                    amsgrad,
                    group["maximize"],
                    plan.step + 1,
                )
                plan.step += 1
        return loss


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p <- (1 - lr weight_decay) p`` before each step.

    Parameters are those of :class:`Adam`; ``weight_decay`` is 1e-2 by default.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2017,
    https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        l1: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
            l1=l1,
        )
