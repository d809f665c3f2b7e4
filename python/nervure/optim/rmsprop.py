# SPDX-License-Identifier: BSD-3-Clause
"""RMSprop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nervure._core import Tensor

from .optimizer import Group, Optimizer, check_not_negative, require, run_closure

# By momentum in use and centered: the order of the compiled step, "" where it takes nothing.
_NAMES = {
    (momentum, centered): (
        "square_avg",
        "momentum_buffer" if momentum else "",
        "grad_avg" if centered else "",
    )
    for momentum in (False, True)
    for centered in (False, True)
}


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient.

    ``v <- alpha v + (1 - alpha) g^2``, ``d = g / (sqrt(v) + eps)``, ``p <- p - lr d``; with
    momentum ``b <- momentum b + d``, ``p <- p - lr b``; centered: ``v`` less the square of the
    running mean of the gradient.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them with their own options.
    lr : float, default 1e-2
        Learning rate.
    alpha : float, default 0.99
        Decay of the running averages, in [0, 1].
    eps : float, default 1e-8
        Added to the root.
    weight_decay : float, default 0
        Added to the gradient as ``weight_decay * p`` (L2).
    momentum : float, default 0
        Factor of the momentum buffer.
    centered : bool, default False
        Divide by the standard deviation instead. A variance that rounding makes negative counts
        as 0.
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
    Tieleman and Hinton, "Lecture 6.5: RMSprop", 2012; centered: Graves, "Generating sequences
    with recurrent neural networks", 2013, https://arxiv.org/abs/1308.0850
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        l1: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "l1": l1,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        check_not_negative(group, "lr", "alpha", "eps", "weight_decay", "momentum", "l1")
        require(group["alpha"] <= 1.0, "alpha", "in [0, 1]", group["alpha"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; see :meth:`Optimizer.step`."""
        loss = None if closure is None else run_closure(closure)
        for index, group in enumerate(self.param_groups):
            momentum, centered = group["momentum"], group["centered"]
            for plan in self._plans_for(index, group, _NAMES[momentum > 0, centered]):
                plan.tensors.rmsprop_step(
                    group["lr"],
                    group["alpha"],
                    group["eps"],
                    group["weight_decay"],
                    momentum,
                    group["l1"],
                    centered,
                    group["maximize"],
                )
                plan.step += 1
        return loss
