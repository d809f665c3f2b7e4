# SPDX-License-Identifier: BSD-3-Clause
"""What ``fit`` returns."""

from __future__ import annotations

from typing import Any


class History:
    """Loss and metrics of every epoch.

    Attributes
    ----------
    history : dict of str to list
        ``"loss"``, each metric, and both with the prefix ``"val_"`` for validation data: one value
        per epoch. NaN where an epoch has none, as the one that was interrupted before validation.
    epoch : list of int
        Numbers of the epochs, from 0.
    params : dict
        ``"epochs"``, ``"steps"`` (None when not known) and ``"verbose"``.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.params: dict[str, Any] = {}

    def append(self, epoch: int, logs: dict[str, Any]) -> None:
        """Take down an epoch."""
        for name in logs:
            if name not in self.history:
                self.history[name] = [float("nan")] * len(self.epoch)
        for name, values in self.history.items():
            values.append(logs.get(name, float("nan")))
        self.epoch.append(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything, for checkpoints."""
        return {"history": {k: list(v) for k, v in self.history.items()}, "epoch": self.epoch[:]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.history = {k: list(v) for k, v in state["history"].items()}
        self.epoch = list(state["epoch"])

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"
