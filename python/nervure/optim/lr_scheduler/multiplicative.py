# SPDX-License-Identifier: BSD-3-Clause
"""Schedules that multiply the current rate: step, multi-step, exponential and linear."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from nervure.optim.optimizer import Optimizer

from .base import LRScheduler, check, is_count


class _Multiplicative(LRScheduler):
    """A schedule that multiplies the current rate, by the quotient of two closed forms."""

    def _factor(self) -> float:
        """Rate at ``self.last_epoch`` over rate at the epoch before."""
        raise NotImplementedError

    def _total_factor(self) -> float:
        """Rate at ``self.last_epoch`` over ``lr_0``."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """Rates of all groups at this epoch; see :meth:`LRScheduler.get_lr`."""
        factor = self._factor()
        return [lr * factor for lr in self._current()]

    def _from_start(self) -> list[float]:
        factor = self._total_factor()
        return [lr * factor for lr in self.base_lrs]


class StepLR(_Multiplicative):
    """``lr = lr_0 gamma^floor(t / step_size)``; multiplies the current rate.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    step_size : int
        Epochs between two reductions.
    gamma : float, default 0.1
        Factor of each.
    last_epoch : int, default -1
        Last epoch done, when training goes on.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check(is_count(step_size), "step_size", "a positive integer", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else 1.0

    def _total_factor(self) -> float:
        return self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(_Multiplicative):
    """``lr = lr_0 gamma^(number of milestones reached)``; multiplies the current rate.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    milestones : iterable of int
        Epochs of the reductions; one given twice counts twice.
    gamma : float, default 0.1
        Factor of each.
    last_epoch : int, default -1
        Last epoch done, when training goes on.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return float(self.gamma ** self.milestones.count(self.last_epoch))

    def _total_factor(self) -> float:
        return float(self.gamma ** bisect_right(self.milestones, self.last_epoch))


class ExponentialLR(_Multiplicative):
    """``lr = lr_0 gamma^t``; multiplies the current rate.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    gamma : float
        Factor of each epoch.
    last_epoch : int, default -1
        Last epoch done, when training goes on.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma

    def _total_factor(self) -> float:
        return float(self.gamma**self.last_epoch)


class LinearLR(_Multiplicative):
    """``lr = lr_0 (start_factor + (end_factor - start_factor) min(t, total_iters) / total_iters)``.

    A warm-up with the defaults; multiplies the current rate.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    start_factor : float, default 1/3
        Factor at the beginning, in (0, 1].
    end_factor : float, default 1
        Factor at the end, in [0, 1].
    total_iters : int, default 5
        Epochs from one to the other.
    last_epoch : int, default -1
        Last epoch done, when training goes on.

    Raises
    ------
    ValueError
        For a factor out of range or no iterations.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check(0.0 < start_factor <= 1.0, "start_factor", "in (0, 1]", start_factor)
        check(0.0 <= end_factor <= 1.0, "end_factor", "in [0, 1]", end_factor)
        check(is_count(total_iters), "total_iters", "a positive integer", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _first_lr(self) -> list[float]:
        if self.last_epoch > 0:
            return self._current()
        return [lr * self.start_factor for lr in self._current()]

    def _factor(self) -> float:
        if self.last_epoch > self.total_iters:
            return 1.0
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return 1.0 + rise / before

    def _total_factor(self) -> float:
        done = min(self.last_epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done
