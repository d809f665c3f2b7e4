# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that end a training or slow it down."""

from __future__ import annotations

from typing import Any

import numpy as np

from nervure.callbacks._monitor import Monitor
from nervure.callbacks.base import Logs


class EarlyStopping(Monitor):
    """Ends the training when a value has not improved for a while.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The value, by its name in the history.
    min_delta : float, default 0
        Smaller improvements do not count.
    patience : int, default 0
        Epochs without improvement after which training ends.
    verbose : int, default 0
        1 prints a line when it does.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better; "auto" knows from the name.
    baseline : float, optional
        Value that has to be reached: epochs that are not better do not count as improvement.
    restore_best_weights : bool, default False
        Whether the model gets the weights of the best epoch when training ends, in whatever way.
    start_from_epoch : int, default 0
        Epochs before this one are not looked at.

    Attributes
    ----------
    stopped_epoch : int or None
        Epoch after which the training was ended.
    best_epoch : int or None
        Epoch with the best value.

    Raises
    ------
    ValueError
        For an impossible option; in training, if the logs do not have the value.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, abs(min_delta))
        if patience < 0:
            raise ValueError(f"[EarlyStopping] patience must not be negative, got {patience}")
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.best = self.worst
        self.wait = 0
        self.stopped_epoch: int | None = None
        self.best_epoch: int | None = None
        self._weights: dict[str, Any] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch with the best one."""
        if epoch < self.start_from_epoch:
            return
        value = self.value_in(logs or {})
        if value is None:
            return
        self.wait += 1
        if self.is_better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._weights = self._copy_of_weights()
            if self.baseline is None or self.is_better(value, self.baseline):
                self.wait = 0
                return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True
            if self.verbose:
                self.say(f"Epoch {epoch + 1}: early stopping")

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Give the model the best weights, if that is wanted."""
        if self._weights is None:
            return
        self.trainer.model.load_state_dict(self._weights["model"])
        if self.trainer.average is not None:
            self.trainer.average.load_state_dict(self._weights["average"])
        if self.verbose and self.best_epoch is not None:
            self.say(f"Weights of epoch {self.best_epoch + 1} are restored")

    def _copy_of_weights(self) -> dict[str, Any]:
        trainer = self.trainer
        copies = {name: np.array(t.numpy()) for name, t in trainer.model.state_dict().items()}
        if trainer.average is None:
            return {"model": copies}
        averages = trainer.average.state_dict()["averages"] or {}
        return {
            "model": copies,
            "average": {"averages": {name: np.array(t.numpy()) for name, t in averages.items()}},
        }

    def state_dict(self) -> dict[str, Any]:
        """Best value and weights, and how long ago they were."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "wait": self.wait,
            "weights": self._weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.best = state_dict["best"]
        self.best_epoch = state_dict["best_epoch"]
        self.stopped_epoch = state_dict["stopped_epoch"]
        self.wait = state_dict["wait"]
        self._weights = state_dict["weights"]


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by ``factor`` when a value has not improved for a while.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The value, by its name in the history.
    factor : float, default 0.1
        Below 1.
    patience : int, default 10
        Epochs without improvement after which the rate is reduced.
    verbose : int, default 0
        1 prints a line when it is.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better; "auto" knows from the name.
    min_delta : float, default 1e-4
        Smaller improvements do not count.
    cooldown : int, default 0
        Epochs after a reduction that do not count.
    min_lr : float, default 0
        Lowest rate.

    Raises
    ------
    ValueError
        For an impossible option; in training, if the logs do not have the value.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0.0 <= factor < 1.0:
            raise ValueError(f"[ReduceLROnPlateau] factor must be in [0, 1), got {factor}")
        if patience < 0 or cooldown < 0 or min_lr < 0:
            raise ValueError("[ReduceLROnPlateau] patience, cooldown, min_lr: none may be negative")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._reset()

    def _reset(self) -> None:
        self.best = self.worst
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch with the best one."""
        groups = self.trainer.optimizer.param_groups
        if logs is not None:
            logs["learning_rate"] = float(groups[0]["lr"])
        value = self.value_in(logs or {})
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch, groups)

    def _reduce(self, epoch: int, groups: list[dict[str, Any]]) -> None:
        if all(group["lr"] <= self.min_lr for group in groups):
            return
        for group in groups:
            group["lr"] = max(group["lr"] * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            self.say(f"Epoch {epoch + 1}: learning rate reduced to {groups[0]['lr']:.3g}")

    def state_dict(self) -> dict[str, Any]:
        """Best value, and how long ago it was."""
        return {"best": self.best, "wait": self.wait, "cooldown": self.cooldown_counter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.best, self.wait = state_dict["best"], state_dict["wait"]
        self.cooldown_counter = state_dict["cooldown"]
