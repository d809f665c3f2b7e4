# SPDX-License-Identifier: BSD-3-Clause
"""Schedules one after the other."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from nervure.optim.optimizer import Optimizer

from .base import LRScheduler, check
from .plateau import ReduceLROnPlateau


class SequentialLR(LRScheduler):
    """One schedule after the other.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    schedulers : list of LRScheduler
        In order, all of this optimiser; ReduceLROnPlateau is not among them.
    milestones : list of int
        Epochs at which the second, third, ... one begins, each at its own epoch 0.
    last_epoch : int, default -1
        Last epoch done, when training goes on.

    Raises
    ------
    ValueError
        If the numbers of schedules and milestones do not fit, or for another optimiser.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        check(len(schedulers) > 0, "schedulers", "a list of at least one", schedulers)
        check(
            len(milestones) == len(schedulers) - 1,
            "milestones",
            f"a list of {len(schedulers) - 1}, one fewer than schedulers",
            milestones,
        )
        for scheduler in schedulers:
            fits = (
                isinstance(scheduler, LRScheduler)
                and not isinstance(scheduler, ReduceLROnPlateau)
                and scheduler.optimizer is optimizer
            )
            check(fits, "schedulers", "schedules of this optimiser by epoch", scheduler)
        self.optimizer = optimizer
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        # Making the schedules set the learning rate and counted a step: start over with the first.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in schedulers:
            _undo_first_step(scheduler)
        active = schedulers[bisect_right(milestones, 0)]
        active._begin()
        self._last_lr = active.get_last_lr()

    def step(self) -> None:
        """Go on to the next epoch, in the schedule whose turn it is."""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        active = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            active._enter()
        else:
            active.step()
        self._last_lr = active.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser; see :meth:`LRScheduler.state_dict`."""
        state = super().state_dict()
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _undo_first_step(scheduler: LRScheduler) -> None:
    if isinstance(scheduler, SequentialLR):
        for inner in scheduler._schedulers:
            _undo_first_step(inner)
    else:
        scheduler.last_epoch -= 1
