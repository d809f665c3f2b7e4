# SPDX-License-Identifier: BSD-3-Clause
"""TerminateOnNaN: stop, and say where the first value that is no number came from."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure._core import Tensor
from nervure.callbacks.base import Callback, Logs
from nervure.data._arrays import leaves, map_structure
from nervure.train._batch import Batch, call, prediction_of


@dataclass(frozen=True)
class NonFinite:
    """Where the first infinity or NaN arose."""

    what: str  #: "input", "parameter", "output", "loss" or "gradient"
    layer: str  #: name of the module or parameter; empty for inputs and the loss
    step: int  #: number of the update that was not made
    epoch: int
    batch: int
    rows: list[int]  #: of the batch
    samples: list[int] | None  #: numbers in the data set, where the loader knows them

    def __str__(self) -> str:
        places = {
            "input": "in the input",
            "parameter": f"in the parameter {self.layer!r}",
            "output": f"in the output of {self.layer}",
            "loss": "in the loss",
            "gradient": f"in the gradient of {self.layer!r}",
        }
        text = f"infinity or NaN first arose {places[self.what]}, at step {self.step} "
        text += f"(epoch {self.epoch + 1}, batch {self.batch + 1})"
        if self.rows:
            text += f", in row {_list(self.rows)} of the batch"
        if self.samples:
            text += f", sample {_list(self.samples)} of the data set"
        return text


def _list(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"


class TerminateOnNaN(Callback):
    """Ends the training when loss or gradients are no longer finite, before the weights are spoilt.

    The step is repeated, with the same random numbers, to find out where: the first layer whose
    output is not finite, or the parameter whose gradient was the first, and the samples of the
    batch. A warning tells it; ``found`` keeps it. The update is not made: the weights are those
    before it.

    Costs one pass over the gradients per update.

    Attributes
    ----------
    found : NonFinite or None
        Where the first infinity or NaN arose.
    """

    def __init__(self) -> None:
        self.found: NonFinite | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self.found = None

    def on_gradients(self, batch: int, logs: Logs | None = None) -> None:
        """Look at loss and gradients of an update."""
        trainer = self.trainer
        if math.isfinite(trainer.last_loss) and self._gradients_are_finite():
            return
        self.found = self._search(batch)
        trainer.diverged = trainer.stop_training = True
        text = f"[TerminateOnNaN] {self.found}; training ends with the weights before that step"
        trainer.warnings.append(text)
        warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _gradients_are_finite(self) -> bool:
        parameters = [p for group in self.trainer.optimizer.param_groups for p in group["params"]]
        # One native pass for the greatest element. Nothing is clipped: the limit is infinite.
        return math.isfinite(_core.clip_grad_norm_(parameters, math.inf, math.inf))

    # ---- the search ------------------------------------------------------------------------------

    def _search(self, number: int) -> NonFinite:
        trainer = self.trainer
        group = trainer.current_group
        rng = _core.rng_state()
        buffers = [(b, b.detach().clone()) for b in trainer.model.buffers()]
        try:
            for place, (batch, state, before) in enumerate(group):
                back = len(group) - 1 - place
                found = self._forward(batch, state, before) or self._backward(batch, state, before)
                if found is not None:
                    what, layer, rows = found
                    return self._report(what, layer, number, back, rows)
        finally:
            _core.set_rng_state(*rng)
            for buffer, values in buffers:
                buffer.detach().copy_(values)
        # Each batch alone is finite, their sum is not; by now that holds for every element.
        return self._report("gradient", "all layers", number, 0, [])

    def _report(self, what: str, layer: str, last: int, back: int, rows: list[int]) -> NonFinite:
        run = self.trainer._run
        assert run is not None
        samples = run.feed.samples(back)
        known = None if samples is None else [int(samples[row]) for row in rows]
        return NonFinite(what, layer, self.trainer.step + 1, run.epoch, last - back, rows, known)

    def _forward(self, batch: Batch, state: Any, rng: Any) -> tuple[str, str, list[int]] | None:
        """First input, parameter or output that is not finite."""
        for leaf in leaves(batch.x):
            if not _is_finite(leaf):
                return "input", "", _bad_rows(leaf, batch.size)
        for name, parameter in self.trainer.model.named_parameters():
            if not _is_finite(parameter):
                return "parameter", name, []
        found: list[tuple[str, list[int]]] = []
        output = self._watched_call(batch, state, rng, found)
        if found:
            return "output", *found[0]
        trainer = self.trainer
        with _recording(False):
            loss = trainer._objective(output, batch.y, batch.weight)
            if math.isfinite(float(loss)):
                return None
            rows = [
                row
                for row in range(batch.size)
                if not math.isfinite(float(self._loss_of_row(output, batch, row)))
            ]
        return "loss", "", rows

    def _watched_call(
        self, batch: Batch, state: Any, rng: Any, found: list[tuple[str, list[int]]]
    ) -> Any:
        handles = []
        for name, module in self.trainer.model.named_modules():
            label = f"{name!r} ({type(module).__name__})" if name else type(module).__name__

            def look(_: Any, __: Any, output: Any, label: str = label) -> None:
                for leaf in leaves(output):
                    if isinstance(leaf, Tensor) and not found and not _is_finite(leaf):
                        found.append((label, _bad_rows(leaf, batch.size)))

            handles.append(module.register_forward_hook(look))
        _core.set_rng_state(*rng)
        try:
            with _recording(False):
                return prediction_of(self._call(batch.x, state))
        finally:
            for handle in handles:
                handle.remove()

    def _call(self, x: Any, state: Any) -> Any:
        more = {} if self.trainer.tbptt is None else {"state": state}
        return call(self.trainer.model, x, **more)

    def _loss_of_row(self, output: Any, batch: Batch, row: int) -> Tensor:
        def cut(leaf: Any) -> Any:
            return leaf[row : row + 1] if isinstance(leaf, Tensor) else leaf

        weight = None if batch.weight is None else cut(batch.weight)
        return self.trainer._objective(
            map_structure(cut, output), map_structure(cut, batch.y), weight
        )

    def _backward(self, batch: Batch, state: Any, rng: Any) -> tuple[str, str, list[int]] | None:
        """Parameter next to the loss whose gradient is not finite, and the samples it is due to."""
        x = map_structure(_leaf_copy, batch.x)
        self._gradients(batch._replace(x=x), state, rng)
        name = self._bad_gradient()
        if name is None:
            return None
        inputs = [leaf for leaf in leaves(x) if leaf.grad is not None]
        if inputs:
            rows = sorted({row for leaf in inputs for row in _bad_rows(leaf.grad, batch.size)})
            return "gradient", name, rows
        return "gradient", name, self._rows_alone(batch, state, rng)

    def _gradients(self, batch: Batch, state: Any, rng: Any) -> None:
        trainer = self.trainer
        trainer.optimizer.zero_grad()
        _core.set_rng_state(*rng)
        with _recording(True):
            output = prediction_of(self._call(batch.x, state))
            trainer._objective(output, batch.y, batch.weight).backward()

    def _rows_alone(self, batch: Batch, state: Any, rng: Any) -> list[int]:
        """Rows that have such gradients alone, for inputs that have none."""
        rows = []
        for row in range(batch.size):

            def cut(leaf: Any, row: int = row) -> Any:
                return leaf[row : row + 1] if isinstance(leaf, Tensor) else leaf

            weight = None if batch.weight is None else cut(batch.weight)
            alone = Batch(map_structure(cut, batch.x), map_structure(cut, batch.y), weight, 1)
            self._gradients(alone, None if state is None else map_structure(cut, state), rng)
            if self._bad_gradient() is not None:
                rows.append(row)
        return rows

    def _bad_gradient(self) -> str | None:
        """Last such parameter in the order of the model: the one backward came to first."""
        names = [
            name
            for name, parameter in self.trainer.model.named_parameters()
            if parameter.grad is not None and not _is_finite(parameter.grad)
        ]
        return names[-1] if names else None


def _leaf_copy(t: Tensor) -> Tensor:
    """The same values; floats ask for a gradient."""
    if t.dtype != _core.dtype.float32:
        return t
    return t.detach().clone().requires_grad_(True)


class _recording:
    def __init__(self, enabled: bool) -> None:
        self._wanted = enabled

    def __enter__(self) -> None:
        self._before = _core.grad_enabled()
        _core.set_grad_enabled(self._wanted)

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._before)


def _is_finite(t: Tensor) -> bool:
    values = t.numpy()
    if values.dtype.kind != "f":
        return True
    # One pass, no array of booleans: a sum is finite unless a term is not, or it overflows.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float64))) or bool(np.isfinite(values).all())


def _bad_rows(t: Tensor, size: int) -> list[int]:
    values: NDArray[Any] = t.numpy()
    if not values.ndim or len(values) != size:
        return []
    bad = ~np.isfinite(values.reshape(size, -1)).all(axis=1)
    return [int(row) for row in np.flatnonzero(bad)]
