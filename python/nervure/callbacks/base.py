# SPDX-License-Identifier: BSD-3-Clause
"""Callback: what can be done at the events of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nervure.train.trainer import Trainer

Logs = dict[str, Any]


class Callback:
    """Base class: override the events that matter; the others cost nothing.

    Events are Keras's, and ``on_gradients``, after the gradients of an update are there and before
    they are clipped and used. ``logs`` holds the loss, the metrics and their ``val_`` twins under
    the names of the history; it may be added to at the end of an epoch.

    Attributes
    ----------
    trainer : Trainer
        Who calls; there from ``on_train_begin`` on. ``trainer.stop_training = True`` ends the
        training after the event.
    params : dict
        ``"epochs"``, ``"steps"`` (None when not known) and ``"verbose"``.
    """

    trainer: Trainer
    params: dict[str, Any]
    #: Writers of checkpoints come after all others: a checkpoint holds what these have done.
    comes_last = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Training begins."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Training ends, in whatever way but by an error."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch begins, or goes on where a checkpoint was taken."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch ends, validation included."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch comes: its number in the epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The weights have been updated with a batch; ``logs`` has the loss of the epoch so far.

        With gradient accumulation, the last batch of the group.
        """

    def on_gradients(self, batch: int, logs: Logs | None = None) -> None:
        """Gradients of an update are there; ``trainer.stop_training = True`` prevents it."""

    def on_interrupt(self, epoch: int, logs: Logs | None = None) -> None:
        """Ctrl-C ended the training, after an update in the middle of an epoch or after one."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Evaluation or validation begins."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Evaluation or validation ends."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Prediction begins."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Prediction ends."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: numbers, text, arrays, tensors, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
# Keras's, which would never be called here.
_NO_EVENTS = {
    "on_batch_begin": "on_train_batch_begin",
    "on_batch_end": "on_train_batch_end",
    "on_test_batch_begin": "on_test_begin",
    "on_test_batch_end": "on_test_end",
    "on_predict_batch_begin": "on_predict_begin",
    "on_predict_batch_end": "on_predict_end",
}


class CallbackList:
    """Several callbacks; of each event those are called that override it."""

    def __init__(self, callbacks: list[Callback], trainer: Trainer, params: dict[str, Any]) -> None:
        self.callbacks = sorted(callbacks, key=lambda callback: callback.comes_last)
        for callback in self.callbacks:
            for name, instead in _NO_EVENTS.items():
                if hasattr(callback, name):
                    raise TypeError(
                        f"[Trainer] {type(callback).__name__} has {name}, which is no event here: "
                        f"there is {instead}"
                    )
            callback.trainer = trainer
            callback.params = params
        self._called = {name: self._overriding(name) for name in EVENTS}

    def _overriding(self, event: str) -> list[tuple[bool, Callable[..., None]]]:
        """Methods that override an event, and whether they come last."""
        return [
            (callback.comes_last, getattr(callback, event))
            for callback in self.callbacks
            if getattr(type(callback), event) is not getattr(Callback, event)
            or event in vars(callback)
        ]

    def wants(self, event: str) -> bool:
        """Whether anyone overrides an event."""
        return bool(self._called[event])

    def call(self, event: str, *args: Any, last: bool | None = None) -> None:
        """Tell all of an event; with ``last`` only those that come last, or only the others."""
        for comes_last, method in self._called[event]:
            if last is None or comes_last == last:
                method(*args)

    def state_dict(self) -> list[dict[str, Any]]:
        """State of each, in the order of the calls."""
        return [{"type": type(c).__name__, "state": c.state_dict()} for c in self.callbacks]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Give each callback the state that the first one left of its type had."""
        left = list(states)
        for callback in self.callbacks:
            name = type(callback).__name__
            found = next((s for s in left if s["type"] == name), None)
            if found is not None:
                left.remove(found)
                callback.load_state_dict(found["state"])
