# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules: call ``step()`` after the optimiser's, usually once per epoch.

Below, ``lr_0`` is the learning rate that a group had when the schedule was made (its
``initial_lr``) and ``t`` counts the calls of ``step()``. Schedules that say so multiply the
current rate, so several of them can be used together.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsFloat, TypeVar

from .optimizer import Group, Optimizer

Value = TypeVar("Value")


def _per_group(name: str, value: Value | Sequence[Value], optimizer: Optimizer) -> list[Value]:
    """One value for each parameter group."""
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * n  # type: ignore[list-item]
    if len(value) != n:
        raise ValueError(f"[lr_scheduler] {name} must have {n} values, got {len(value)}")
    return list(value)


def _check(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"[lr_scheduler] {name} must be {expected}, got {got!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class LRScheduler:
    """Base class: a schedule says in :meth:`get_lr` what the rates are at ``self.last_epoch``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups get the learning rates.
    last_epoch : int, default -1
        Number of the last epoch done, when training goes on; -1 starts anew.

    Raises
    ------
    TypeError
        If ``optimizer`` is none.
    ValueError
        If training goes on and a group has no ``initial_lr``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[lr_scheduler] needs an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"[lr_scheduler] group {i} has no initial_lr, needed to go on after epoch "
                    f"{last_epoch}"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self._begin()

    def get_lr(self) -> list[float]:
        """Rates of all groups at ``self.last_epoch``, from those of the epoch before."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The learning rates set last, one per group."""
        return self._last_lr

    def step(self) -> None:
        """Go on to the next epoch and set its learning rates."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave. Load the optimiser's state as well."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "optimizer"})

    def _begin(self) -> None:
        """The first epoch: of a new schedule, or the next one of a training that goes on."""
        self.last_epoch += 1
        self._set(self._first_lr())

    def _first_lr(self) -> list[float]:
        return self._current()

    def _from_start(self) -> list[float]:
        """Rates at ``self.last_epoch`` from ``base_lrs`` alone."""
        return self.get_lr()

    def _enter(self) -> None:
        """Begin at epoch 0 while training is under way (SequentialLR)."""
        self.last_epoch = 0
        self._set(self._from_start())

    def _current(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set(self, rates: list[float]) -> None:
        # Groups added to the optimiser since keep their own rate.
        for group, lr in zip(self.optimizer.param_groups, rates, strict=False):
            group["lr"] = lr
        self._last_lr = self._current()


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
        _check(_is_count(step_size), "step_size", "a positive integer", step_size)
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
        _check(0.0 < start_factor <= 1.0, "start_factor", "in (0, 1]", start_factor)
        _check(0.0 <= end_factor <= 1.0, "end_factor", "in [0, 1]", end_factor)
        _check(_is_count(total_iters), "total_iters", "a positive integer", total_iters)
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
        self.lr_lambdas = _per_group("lr_lambda", lr_lambda, optimizer)
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
        _check(_is_count(T_max), "T_max", "a positive integer", T_max)
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
        _check(_is_count(T_0), "T_0", "a positive integer", T_0)
        _check(_is_count(T_mult), "T_mult", "a positive integer", T_mult)
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
        _check(at >= 0, "epoch", "not negative", at)
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
            _check(_is_count(epochs), "epochs", "a positive integer", epochs)
            _check(
                _is_count(steps_per_epoch), "steps_per_epoch", "a positive integer", steps_per_epoch
            )
            total_steps = epochs * steps_per_epoch
        _check(_is_count(total_steps), "total_steps", "a positive integer", total_steps)
        _check(0.0 <= pct_start <= 1.0, "pct_start", "in [0, 1]", pct_start)
        _check(
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
            rates = _per_group("max_lr", max_lr, optimizer)
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
        low = _per_group("base_momentum", base_momentum, optimizer)
        high = _per_group("max_momentum", max_momentum, optimizer)
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
        _check(len(schedulers) > 0, "schedulers", "a list of at least one", schedulers)
        _check(
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
            _check(fits, "schedulers", "schedules of this optimiser by epoch", scheduler)
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
        _check(factor < 1.0, "factor", "below 1", factor)
        _check(mode in ("min", "max"), "mode", "min or max", mode)
        _check(threshold_mode in ("rel", "abs"), "threshold_mode", "rel or abs", threshold_mode)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"[lr_scheduler] needs an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = _per_group("min_lr", min_lr, optimizer)
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
