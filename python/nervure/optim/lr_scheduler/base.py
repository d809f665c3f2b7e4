# SPDX-License-Identifier: BSD-3-Clause
"""What every learning-rate schedule is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from nervure._numbers import plain, plain_list
from nervure.optim.optimizer import Optimizer

Value = TypeVar("Value")


def per_group(name: str, value: Value | Sequence[Value], optimizer: Optimizer) -> list[Value]:
    """One value for each parameter group."""
    n, value = len(optimizer.param_groups), plain_list(value)
    if not isinstance(value, (list, tuple)):
        return [value] * n  # type: ignore[list-item]
    if len(value) != n:
        raise ValueError(f"[lr_scheduler] {name} must have {n} values, got {len(value)}")
    return list(value)


def check(condition: bool, name: str, expected: str, got: object) -> None:
    """Raise an error that says what was expected, unless the condition holds."""
    if not condition:
        raise ValueError(f"[lr_scheduler] {name} must be {expected}, got {got!r}")


def is_count(value: object) -> bool:
    """Whether the value is a positive integer."""
    value = plain(value)
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

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, plain_list(value))  # so that rates are Python's numbers

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
            group["lr"] = plain(lr)
        self._last_lr = self._current()
