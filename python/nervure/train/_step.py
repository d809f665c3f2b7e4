# SPDX-License-Identifier: BSD-3-Clause
"""One update of the weights: forward, loss, backward, clipping, optimiser, schedule, average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import no_grad
from nervure.data._arrays import leaves
from nervure.train._batch import Batch, call, prediction_of
from nervure.train._recurrent import detached, stretches

if TYPE_CHECKING:
    from nervure.callbacks.base import CallbackList
    from nervure.train._meter import Meter
    from nervure.train._objective import ClassWeights
    from nervure.train.trainer import Trainer


class Step:
    """Updates the weights of a trainer's model, group of batches by group of batches."""

    def __init__(
        self,
        trainer: Trainer,
        meter: Meter,
        callbacks: CallbackList,
        class_weights: ClassWeights | None,
    ) -> None:
        self._trainer = trainer
        self._meter = meter
        self._callbacks = callbacks
        self._class_weights = class_weights
        self._parameters = [p for g in trainer.optimizer.param_groups for p in g["params"]]
        self._watched = callbacks.wants("on_gradients")
        self._penalty = trainer._penalty if trainer._penalty else None
        self._advisor = trainer._advisor
        # The compiled steps limit gradients on the way; a step that somebody wrote does not.
        self._limits_itself = type(trainer.optimizer).step.__module__.startswith("nervure.optim.")

    @contextmanager
    def limits(self) -> Iterator[None]:
        """Inside the block, steps of the optimiser limit the elements of gradients."""
        limit = self._trainer.clip_value
        if limit is None or not self._limits_itself:
            yield
            return
        with self._trainer.optimizer.clipped(limit):
            yield

    def __call__(self, group: list[Batch], number: int) -> None:
        """Update once with some batches, the last of which has this number."""
        if self._trainer.tbptt is not None:
            for batch in group:
                self._through_time(batch, number)
            return
        trainer = self._trainer
        trainer.optimizer.zero_grad()
        trainer.last_loss = 0.0
        trainer.current_group.clear()
        for batch in group:
            if self._watched:
                trainer.current_group.append((batch, None, _core.rng_state()))
            output = prediction_of(self._call(batch))
            loss = self._loss(output, batch)
            if len(group) == 1 or trainer._objective.reduction == "sum":
                loss.backward()
            else:
                total = sum(other.size for other in group)
                loss.backward(_core.full((), batch.size / total))
            self._meter.add(self._value(loss), batch.size, output, batch.y)
        self._update(number)

    def _through_time(self, batch: Batch, number: int) -> None:
        trainer = self._trainer
        assert trainer.tbptt is not None
        ignored = trainer._objective.ignore_index
        state: Any = None
        for stretch in stretches(batch, trainer.tbptt, ignored):
            part = stretch.batch
            if not stretch.share:
                with no_grad():
                    state = self._state_of(call(trainer.model, part.x, state=state))
                continue
            trainer.optimizer.zero_grad()
            trainer.last_loss = 0.0
            if self._watched:
                trainer.current_group[:] = [(part, state, _core.rng_state())]
            result = self._call(part, state=state)
            state = detached(self._state_of(result))
            output = prediction_of(result)
            loss = self._loss(output, part)
            loss.backward()
            # The stretches of a batch together count as the batch.
            self._meter.add_share(self._value(loss), part.size, stretch.share, output, part.y)
            self._update(number)
            if trainer.stop_training:
                break
        self._meter.end_shares(batch.size)

    def _call(self, batch: Batch, **more: Any) -> Any:
        trainer, advisor, x = self._trainer, self._advisor, batch.x
        if advisor is not None and trainer.step >= advisor.next_step:
            return advisor.call(batch, **more)
        return (
            trainer.model(x) if type(x) is Tensor and not more else call(trainer.model, x, **more)
        )

    @staticmethod
    def _state_of(result: Any) -> Any:
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                "[Trainer] tbptt needs a model that is called as model(x, state=state) and returns "
                f"(output, state), got {type(result).__name__}"
            )
        return result[1]

    def _loss(self, output: Any, batch: Batch) -> Tensor:
        weight = batch.weight
        if self._class_weights is not None:
            weight = self._class_weights(leaves(batch.y)[0], weight)
        loss: Tensor = self._trainer._objective(output, batch.y, weight)
        return loss if self._penalty is None else loss + self._penalty()

    def _value(self, loss: Tensor) -> float:
        value = float(loss)
        if not math.isfinite(value) or math.isfinite(self._trainer.last_loss):
            self._trainer.last_loss = value  # of a group, one that is not finite stays
        return value

    def _update(self, number: int) -> None:
        trainer = self._trainer
        if self._watched:
            self._callbacks.call("on_gradients", number, {"loss": trainer.last_loss})
            if trainer.stop_training:
                return
        advisor, loss = self._advisor, trainer.last_loss
        if advisor is not None and (trainer.step >= advisor.next_step or not math.isfinite(loss)):
            advisor.look(loss)
        if trainer.clip_value is not None and not self._limits_itself:
            _core.clip_grad_value_(self._parameters, trainer.clip_value)
        if trainer.clip_norm is not None:
            _core.clip_grad_norm_(self._parameters, trainer.clip_norm)
        trainer.optimizer.step()
        trainer.step += 1
        if trainer.scheduler is not None and trainer.scheduler_step == "step":
            trainer.scheduler.step()
        if trainer.average is not None:
            trainer.average.update()
