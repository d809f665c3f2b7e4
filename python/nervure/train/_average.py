# SPDX-License-Identifier: BSD-3-Clause
"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nervure import _core, nn
from nervure._core import Tensor
from nervure._grad_mode import no_grad


class WeightAverage:
    """``average <- decay * average + (1 - decay) * weights`` after every update.

    It begins with the weights after the first update. Buffers (running statistics) are not
    averaged: they are averages already.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"[Trainer] ema_decay must be in [0, 1), got {decay}")
        self._model = model
        self.decay = decay
        self._averages: dict[str, Tensor] | None = None

    def update(self) -> None:
        """Take the weights of the model in."""
        with no_grad():
            parameters = dict(self._model.named_parameters())
            if self._averages is None:
                self._averages = {name: p.detach().clone() for name, p in parameters.items()}
                return
            for name, average in self._averages.items():
                weights = parameters[name].detach()
                average.copy_(average * self.decay + weights * (1.0 - self.decay))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the block."""
        if self._averages is None:
            yield
            return
        parameters = {n: p.detach() for n, p in self._model.named_parameters()}
        own = {name: p.clone() for name, p in parameters.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            for name, values in own.items():
                parameters[name].copy_(values)

    def copy_to_model(self) -> None:
        """Give the model the averaged weights for good."""
        for name, parameter in self._model.named_parameters():
            if self._averages is not None:
                parameter.detach().copy_(self._averages[name])

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        averages = self._averages
        return {"averages": None if averages is None else dict(averages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        saved = state["averages"]
        if saved is None:
            self._averages = None
            return
        averages = {}
        for name, parameter in self._model.named_parameters():
            averages[name] = parameter.detach().clone()
            averages[name].copy_(_core.tensor(saved[name]))
        self._averages = averages
