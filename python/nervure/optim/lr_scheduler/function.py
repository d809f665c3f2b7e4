# SPDX-License-Identifier: BSD-3-Clause
"""A schedule given by functions of the epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nervure.optim.optimizer import Optimizer

from .base import LRScheduler, per_group


class LambdaLR(LRScheduler):
    """``lr = lr_0 f(t)``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    lr_lambda : callable, or list of them
        f, one for all groups or one for each. Functions are not part of ``state_dict()``, the
        attributes of callable objects are.
    last_epoch : int, default -1
        Last epoch done, when training goes on.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = per_group("lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def _first_lr(self) -> list[float]:
        return self.get_lr()

    def get_lr(self) -> list[float]:
        """Rates of all groups at this epoch; see :meth:`LRScheduler.get_lr`."""
        return [
            base * f(self.last_epoch)
            for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser; see :meth:`LRScheduler.state_dict`."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            dict(vars(f)) if hasattr(f, "__dict__") and not hasattr(f, "__code__") else None
            for f in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for f, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                vars(f).update(attributes)
