# SPDX-License-Identifier: BSD-3-Clause
"""The one-cycle policy."""

from __future__ import annotations

import math

from nervure.optim.optimizer import Group, Optimizer

from .base import LRScheduler, check, is_count, per_group


class OneCycleLR(LRScheduler):
    """Up from ``max_lr / div_factor`` to ``max_lr``, then far down; momentum the other way round.

    Call ``step()`` after every batch.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    max_lr : float or list of float
        Greatest rate, for all groups or for each.
    total_steps : int, optional
        Steps of the cycle; or give ``epochs`` and ``steps_per_epoch``.
    epochs, steps_per_epoch : int, optional
        Their product is the number of steps.
    pct_start : float, default 0.3
        Share of the cycle spent going up.
    anneal_strategy : {"cos", "linear"}, default "cos"
        Shape of the curves.
    cycle_momentum : bool, default True
        Whether momentum (the first beta of Adam) moves as well.
    base_momentum, max_momentum : float or list of float, default 0.85 and 0.95
        Its range.
    div_factor : float, default 25
        Initial rate: ``max_lr / div_factor``.
    final_div_factor : float, default 1e4
        Last rate: initial rate over this.
    three_phase : bool, default False
        Down to the initial rate in as many steps as up, and only then to the last one.
    last_epoch : int, default -1
        Last step done, when training goes on.

    Raises
    ------
    ValueError
        For impossible options, for an optimiser without momentum when ``cycle_momentum``, and
        from ``step()`` after the last step.

    References
    ----------
    Smith and Topin, "Super-convergence", 2017, https://arxiv.org/abs/1708.07120
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[lr_scheduler] needs an Optimizer, got {type(optimizer).__name__}")
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("[OneCycleLR] needs total_steps, or epochs and steps_per_epoch")
            check(is_count(epochs), "epochs", "a positive integer", epochs)
            check(
                is_count(steps_per_epoch), "steps_per_epoch", "a positive integer", steps_per_epoch
            )
            total_steps = epochs * steps_per_epoch
        check(is_count(total_steps), "total_steps", "a positive integer", total_steps)
        check(0.0 <= pct_start <= 1.0, "pct_start", "in [0, 1]", pct_start)
        check(
            anneal_strategy in ("cos", "linear"),
            "anneal_strategy",
            "cos or linear",
            anneal_strategy,
        )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        self._phases = _one_cycle_phases(total_steps, pct_start, three_phase)
        if last_epoch == -1:
            rates = per_group("max_lr", max_lr, optimizer)
            for group, highest in zip(optimizer.param_groups, rates, strict=True):
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            self._start_momentum(optimizer, base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Rates of all groups at this epoch; see :meth:`LRScheduler.get_lr`."""
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(
                f"[OneCycleLR] the cycle has {self.total_steps} steps, this would be number {t}"
            )
        begin = 0.0
        for phase in self._phases:
            if t <= phase[0] or phase is self._phases[-1]:
                break
            begin = phase[0]
        end, lr_range, momentum_range = phase
        share = (
            (t - begin) / (end - begin) if end != begin else 1.0
        )  # an empty phase is over at once
        # Groups added to the optimiser since have no cycle and keep their own rate.
        groups = self.optimizer.param_groups[: len(self.base_lrs)]
        for group in groups if self.cycle_momentum else ():
            self._set_momentum(group, self._between(group, momentum_range, share))
        return [self._between(group, lr_range, share) for group in groups]

    def _first_lr(self) -> list[float]:
        return self.get_lr()

    def _between(self, group: Group, names: tuple[str, str], share: float) -> float:
        start, end = float(group[names[0]]), float(group[names[1]])
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1.0)

    def _set_momentum(self, group: Group, value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value

    def _start_momentum(
        self,
        optimizer: Optimizer,
        base_momentum: float | list[float],
        max_momentum: float | list[float],
        last_epoch: int,
    ) -> None:
        if not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                "[OneCycleLR] cycle_momentum needs an optimiser with momentum or betas"
            )
        if last_epoch != -1:
            return
        low = per_group("base_momentum", base_momentum, optimizer)
        high = per_group("max_momentum", max_momentum, optimizer)
        for group, lowest, highest in zip(optimizer.param_groups, low, high, strict=True):
            self._set_momentum(group, highest)
            group["max_momentum"] = highest
            group["base_momentum"] = lowest


def _one_cycle_phases(
    steps: int, pct_start: float, three_phase: bool
) -> list[tuple[float, tuple[str, str], tuple[str, str]]]:
    """Last step of each phase, and between which options of a group its rate and momentum go."""
    up = float(pct_start * steps) - 1.0
    rise = (up, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
    if not three_phase:
        return [rise, (steps - 1, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))]
    return [
        rise,
        (
            float(2.0 * pct_start * steps) - 2.0,
            ("max_lr", "initial_lr"),
            ("base_momentum", "max_momentum"),
        ),
        (steps - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]
