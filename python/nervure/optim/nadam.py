# SPDX-License-Identifier: BSD-3-Clause
"""NAdam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nervure._core import Tensor

from .optimizer import Group, Optimizer, Plan, check_betas, check_not_negative, run_closure

_NAMES = ("exp_avg", "exp_avg_sq")


class NAdam(Optimizer):
    """Adam with Nesterov momentum.

    With ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)`` and ``P_t = mu_1 ... mu_t``:
    ``p <- p - lr ((1 - mu_t) / (1 - P_t) g + mu_{t+1} / (1 - P_{t+1}) m) /
    (sqrt(v / (1 - beta2^t)) + eps)``, m and v as in :class:`Adam`.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them with their own options.
    lr : float, default 2e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the two running averages.
    eps : float, default 1e-8
        Added to the root.
    weight_decay : float, default 0
        Added to the gradient as ``weight_decay * p`` (L2), or see ``decoupled_weight_decay``.
    momentum_decay : float, default 4e-3
        How fast mu rises to beta1.
    decoupled_weight_decay : bool, default False
        ``p <- (1 - lr weight_decay) p`` before the step instead of L2.
    maximize : bool, default False
        Ascend instead.
    l1 : float, default 0
        After the step, ``p <- sign(p) max(|p| - lr l1, 0)``: weights become exactly zero.

    Raises
    ------
    ValueError
        For a negative or non-finite option, or a beta outside [0, 1).

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", 2016
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        l1: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "l1": l1,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        check_not_negative(group, "lr", "eps", "weight_decay", "momentum_decay", "l1")
        check_betas(group)

    def _record(self, plan: Plan, values: dict[str, Any]) -> None:
        values["step"] = plan.step
        values["mu_product"] = plan.mu_product

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else run_closure(closure)
        for index, group in enumerate(self.param_groups):
            beta1, beta2 = group["betas"]
            momentum_decay = group["momentum_decay"]
            for plan in self._plans_for(index, group, _NAMES):
                plan.tensors.nadam_step(
                    group["lr"],
                    beta1,
                    beta2,
                    group["eps"],
                    group["weight_decay"],
                    momentum_decay,
                    group["l1"],
                    group["decoupled_weight_decay"],
                    group["maximize"],
                    plan.step + 1,
                    plan.mu_product,
                )
                plan.step += 1
                plan.mu_product *= beta1 * (1.0 - 0.5 * 0.96 ** (plan.step * momentum_decay))
        return loss
