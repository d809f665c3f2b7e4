# SPDX-License-Identifier: BSD-3-Clause
"""A schedule that follows a metric."""

from __future__ import annotations

import math
from typing import SupportsFloat

from nervure.optim.optimizer import Optimizer

from .base import LRScheduler, check, per_group


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by ``factor`` when a metric has not improved for ``patience`` epochs.

    Call ``step(metric)`` after each epoch.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    mode : {"min", "max"}, default "min"
        Which metric is the better one.
    factor : float, default 0.1
        Factor of each reduction, below 1.
    patience : int, default 10
        Epochs without improvement that are allowed.
    threshold : float, default 1e-4
        Smaller improvements do not count.
    threshold_mode : {"rel", "abs"}, default "rel"
        Whether the threshold is a share of the best value or a difference.
    cooldown : int, default 0
        Epochs after a reduction in which none are counted.
    min_lr : float or list of float, default 0
        Lowest rate, for all groups or for each.
    eps : float, default 1e-8
        Reductions that are not greater are left out.

    Raises
    ------
    ValueError
        For an impossible option.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        check(factor < 1.0, "factor", "below 1", factor)
        check(mode in ("min", "max"), "mode", "min or max", mode)
        check(threshold_mode in ("rel", "abs"), "threshold_mode", "rel or abs", threshold_mode)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[lr_scheduler] needs an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = per_group("min_lr", min_lr, optimizer)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = self._current()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Take note of the metric of an epoch."""
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._current()

    def _is_better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "abs":
            return sign * value > sign * (self.best + sign * self.threshold)
        return sign * value > sign * (self.best * (1.0 + sign * self.threshold))

    def _reduce(self) -> None:
        missing = len(self.optimizer.param_groups) - len(self.min_lrs)
        self.min_lrs += [self.min_lrs[-1]] * missing  # groups added since
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            reduced = max(group["lr"] * self.factor, lowest)
            if group["lr"] - reduced > self.eps:
                group["lr"] = reduced
