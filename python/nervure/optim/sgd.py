# SPDX-License-Identifier: BSD-3-Clause
"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nervure._core import Tensor

from .optimizer import Group, Optimizer, Plan, check_not_negative, require, run_closure

_PLAIN: tuple[str, ...] = ()
_MOMENTUM = ("momentum_buffer",)


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    ``b <- momentum b + (1 - dampening) g`` (``b = g`` at a parameter's first step), then
    ``p <- p - lr b``; with Nesterov ``p <- p - lr (g + momentum b)``; without momentum
    ``p <- p - lr g``.

    Of a row-sparse gradient, the rows that are in it are updated, with their part of the buffer. A
    row that is not in the first one begins with ``b = 0``: it gets ``b = (1 - dampening) g`` when
    its turn comes, as it would with a dense gradient.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters, or groups of them with their own options.
    lr : float, default 1e-3
        Learning rate.
    momentum : float, default 0
        Factor of the momentum buffer.
    dampening : float, default 0
        Share of the gradient kept out of the buffer.
    weight_decay : float, default 0
        Added to the gradient as ``weight_decay * p`` (L2).
    nesterov : bool, default False
        Nesterov momentum; needs momentum and no dampening.
    maximize : bool, default False
        Ascend instead.
    l1 : float, default 0
        After the step, ``p <- sign(p) max(|p| - lr l1, 0)``: weights become exactly zero.

    Raises
    ------
    ValueError
        For a negative or non-finite option, or ``nesterov`` without momentum.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013
    """

    _first_writes = "momentum_buffer"

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        l1: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "l1": l1,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        check_not_negative(group, "lr", "momentum", "weight_decay", "l1")
        dampening = group["dampening"]
        require(-1e30 < dampening < 1e30, "dampening", "a finite number", dampening)
        if group["nesterov"] and (group["momentum"] <= 0 or dampening != 0):
            raise ValueError("[SGD] nesterov needs a positive momentum and no dampening")

    def _record(self, plan: Plan, values: dict[str, Any]) -> None:
        """Steps are not counted."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; see :meth:`Optimizer.step`."""
        loss = None if closure is None else run_closure(closure)
        for index, group in enumerate(self.param_groups):
            momentum = group["momentum"]
            names = _MOMENTUM if momentum != 0 else _PLAIN
            for plan in self._plans_for(index, group, names):
                plan.tensors.sgd_step(
                    group["lr"],
                    momentum,
                    group["dampening"],
                    group["weight_decay"],
                    group["l1"],
                    group["nesterov"],
                    group["maximize"],
                    plan.first,
                )
                plan.first = False
        return loss
