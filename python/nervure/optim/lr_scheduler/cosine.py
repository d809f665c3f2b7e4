# SPDX-License-Identifier: BSD-3-Clause
"""Cosine annealing, with and without warm restarts."""

from __future__ import annotations

import math

from nervure.optim.optimizer import Optimizer

from .base import LRScheduler, check, is_count


class CosineAnnealingLR(LRScheduler):
    """``lr = eta_min + (lr_0 - eta_min) (1 + cos(pi t / T_max)) / 2``; follows the current rate.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    T_max : int
        Epochs from ``lr_0`` down to ``eta_min``; then up again.
    eta_min : float, default 0
        Lowest rate.
    last_epoch : int, default -1
        Last epoch done, when training goes on.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016,
    https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check(is_count(T_max), "T_max", "a positive integer", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Rates of all groups at this epoch; see :meth:`LRScheduler.get_lr`."""
        t, period = self.last_epoch, self.T_max
        if (t - 1 - period) % (2 * period) == 0:  # the quotient below would divide by zero
            rise = (1.0 - math.cos(math.pi / period)) / 2.0
            return [
                lr + (base - self.eta_min) * rise
                for lr, base in zip(self._current(), self.base_lrs, strict=False)
            ]
        now, before = (1.0 + math.cos(math.pi * s / period) for s in (t, t - 1))
        return [now / before * (lr - self.eta_min) + self.eta_min for lr in self._current()]

    def _from_start(self) -> list[float]:
        share = (1.0 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2.0
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """``lr = eta_min + (lr_0 - eta_min) (1 + cos(pi T_cur / T_i)) / 2``, starting over.

    ``T_cur`` epochs of the cycle are done, ``T_i`` is its length.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    T_0 : int
        Length of the first cycle.
    T_mult : int, default 1
        Each cycle is this many times as long as the one before.
    eta_min : float, default 0
        Lowest rate.
    last_epoch : int, default -1
        Last epoch done, when training goes on.

    Raises
    ------
    ValueError
        If ``T_0`` or ``T_mult`` is not a positive integer.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016,
    https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check(is_count(T_0), "T_0", "a positive integer", T_0)
        check(is_count(T_mult), "T_mult", "a positive integer", T_mult)
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = 0
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to ``epoch``, which may be a fraction (between batches).

        Raises
        ------
        ValueError
            If ``epoch`` is negative.
        """
        at = self.last_epoch + 1 if epoch is None else epoch
        check(at >= 0, "epoch", "not negative", at)
        self.last_epoch = math.floor(at)
        self._locate(at)
        self._set(self.get_lr())

    def get_lr(self) -> list[float]:
        """Rates of all groups at this epoch; see :meth:`LRScheduler.get_lr`."""
        share = (1.0 + math.cos(math.pi * self.T_cur / self.T_i)) / 2.0
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def _locate(self, epoch: float) -> None:
        """The cycle that the epoch lies in, and how far."""
        self.T_cur, self.T_i = epoch, self.T_0
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
            return
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult

    def _first_lr(self) -> list[float]:
        self._locate(self.last_epoch)
        return self.get_lr()

    def _from_start(self) -> list[float]:
        return self._first_lr()
