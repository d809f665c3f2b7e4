# SPDX-License-Identifier: BSD-3-Clause
"""Adagrad."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nervure._core import Tensor

from .optimizer import Group, Optimizer, check_not_negative, run_closure

_NAMES = ("sum",)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

    ``s <- s + g^2``, ``p <- p - lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)``.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them with their own options.
    lr : float, default 1e-2
        Learning rate.
    lr_decay : float, default 0
        Decay of the learning rate.
    weight_decay : float, default 0
        Added to the gradient as ``weight_decay * p`` (L2).
    initial_accumulator_value : float, default 0
        Start of the sums.
    eps : float, default 1e-10
        Added to the root.
    maximize : bool, default False
        Ascend instead.
    l1 : float, default 0
        After the step, ``p <- sign(p) max(|p| - lr l1, 0)``: weights become exactly zero.

    Raises
    ------
    ValueError
        For a negative or non-finite option.

    References
    ----------
    Duchi et al., "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        l1: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
            "l1": l1,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        check_not_negative(
            group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps", "l1"
        )

    def _initial(self, group: Group, name: str) -> float:
        return float(group["initial_accumulator_value"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else run_closure(closure)
        for index, group in enumerate(self.param_groups):
            for plan in self._plans_for(index, group, _NAMES):
                plan.tensors.adagrad_step(
                    group["lr"],
                    group["lr_decay"],
                    group["weight_decay"],
                    group["eps"],
                    group["l1"],
                    group["maximize"],
                    plan.step + 1,
                )
                plan.step += 1
        return loss
