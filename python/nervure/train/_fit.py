# SPDX-License-Identifier: BSD-3-Clause
"""The loop of a training: epochs, batches, validation, callbacks, and going on in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nervure.callbacks.base import CallbackList
from nervure.optim.lr_scheduler import ReduceLROnPlateau
from nervure.train._batch import as_batch
from nervure.train._feed import Feed
from nervure.train._interrupt import Interrupt
from nervure.train._meter import Meter
from nervure.train._objective import ClassWeights
from nervure.train._step import Step

if TYPE_CHECKING:
    from nervure.train.trainer import Trainer


class Fit:
    """One call of ``fit``."""

    def __init__(
        self,
        trainer: Trainer,
        feed: Feed,
        validation: Feed | None,
        validation_freq: int,
        epochs: tuple[int, int],
        callbacks: CallbackList,
        class_weights: ClassWeights | None,
    ) -> None:
        self.trainer = trainer
        self.feed = feed
        self.validation = validation
        self.validation_freq = validation_freq
        self.epoch, self.last_epoch = epochs
        self.callbacks = callbacks
        self.batch = 0  # batches of the epoch that have been used up
        self.meter = Meter(trainer.metrics, trainer._objective)
        self.step = Step(trainer, self.meter, callbacks, class_weights)
        self._interrupt = Interrupt()
        self._goes_on = False

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the training is."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "steps": self.feed.steps,
            "meter": self.meter.state_dict(),
            "feed": self.feed.state_dict(),
            "validation": self.validation.state_dict() if self.validation is not None else None,
            "callbacks": self.callbacks.state_dict(),
            "stopped": self.trainer.stop_training,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a training was.

        Raises
        ------
        ValueError
            If the data, or how they are cut into batches, are visibly not the same.
        """
        if state["steps"] != self.feed.steps:
            raise ValueError(
                f"[load_checkpoint] an epoch had {state['steps']} batches, now it has "
                f"{self.feed.steps}: give the same data and batch size"
            )
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.meter.load_state_dict(state["meter"])
        self.feed.load_state_dict(state["feed"], self.batch)
        if self.validation is not None and state["validation"] is not None:
            self.validation.load_state_dict(state["validation"], 0)
        self.callbacks.load_state_dict(state["callbacks"])
        self.trainer.stop_training = state["stopped"]
        self._goes_on = self.batch > 0

    # ---- the loop --------------------------------------------------------------------------------

    def run(self, resumed: dict[str, Any] | None) -> None:
        """Train to the end, or until something stops it."""
        trainer = self.trainer
        with self._interrupt, self.step.limits():
            self.callbacks.call("on_train_begin", {})
            if resumed is not None:
                rng = resumed.pop("rng")
                self.load_state_dict(resumed)
                trainer._set_rng(rng)  # last: what came before may have drawn
            try:
                self._epochs()
            except KeyboardInterrupt:  # the second one, or one raised in the middle of a step
                trainer.interrupted = True
                self._stop_early()
            self.callbacks.call("on_train_end", {})

    def _epochs(self) -> None:
        trainer = self.trainer
        while self.epoch < self.last_epoch and not trainer.stop_training:
            if not self._goes_on:
                self.meter.reset()
                self.batch = 0
            self._goes_on = False
            trainer.model.train()
            self.callbacks.call("on_epoch_begin", self.epoch, {})
            self._batches()
            if self._interrupt.requested and not trainer.diverged:
                trainer.interrupted = True
                self.callbacks.call("on_interrupt", self.epoch, {"loss": self.meter.loss()})
            if trainer.interrupted or trainer.diverged:
                self._stop_early()
                return
            self._end_epoch()
            if self._interrupt.requested:  # while it validated
                trainer.interrupted = True
                self.callbacks.call("on_interrupt", self.epoch - 1, {"loss": self.meter.loss()})
                trainer.stop_training = True

    def _batches(self) -> None:
        trainer, callbacks = self.trainer, self.callbacks
        begins, ends = (
            callbacks.wants("on_train_batch_begin"),
            callbacks.wants("on_train_batch_end"),
        )
        size, group = trainer.accumulation_steps, []
        items = self.feed.epoch(self.batch)
        while True:
            item = next(items, None)
            if item is not None:
                group.append(as_batch(item, needs_target=True))
                del item
                if len(group) < size:
                    continue
            elif not group:
                return
            number = self.batch + len(group) - 1
            if begins:
                callbacks.call("on_train_batch_begin", number, {})
            self.step(group, number)
            if trainer.diverged:
                return
            self.batch = number + 1
            group.clear()  # before the next one is made, which can then have its memory
            if ends:
                callbacks.call("on_train_batch_end", number, {"loss": self.meter.loss()})
            if trainer.stop_training or self._interrupt.requested:
                return

    def _end_epoch(self) -> None:
        trainer, epoch = self.trainer, self.epoch
        logs = self.meter.logs()
        if not self.meter.count:
            raise ValueError("[Trainer] there are no batches to train with")
        if self.validation is not None and (epoch + 1) % self.validation_freq == 0:
            self.callbacks.call("on_test_begin", {})
            found = trainer._evaluated(self.validation)
            self.callbacks.call("on_test_end", found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        if trainer.scheduler is not None:
            logs["learning_rate"] = float(trainer.optimizer.param_groups[0]["lr"])
            if trainer.scheduler_step == "epoch":
                _step_schedule(trainer.scheduler, logs)
        self.callbacks.call("on_epoch_end", epoch, logs, last=False)
        trainer.history.append(epoch, logs)
        self.epoch, self.batch = epoch + 1, 0  # where a checkpoint of now would go on
        self.callbacks.call("on_epoch_end", epoch, logs, last=True)

    def _stop_early(self) -> None:
        """Keep what there is of an epoch that is cut short."""
        trainer = self.trainer
        trainer.stop_training = True
        if self.meter.count and self.batch:
            trainer.history.append(self.epoch, self.meter.logs())


def _step_schedule(scheduler: Any, logs: dict[str, Any]) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(logs["val_loss"] if "val_loss" in logs else logs["loss"])
    else:
        scheduler.step()
