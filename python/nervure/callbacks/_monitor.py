# SPDX-License-Identifier: BSD-3-Clause
"""Watching one value of the logs."""

from __future__ import annotations

import math
from typing import Any

from nervure.callbacks.base import Callback, Logs

# Names of values of which more is better; of all others less is.
_MORE_IS_BETTER = (
    *("acc", "auc", "average_precision", "exact_match", "f1", "fbeta", "pr_auc", "precision"),
    *("r2", "recall", "roc_auc", "topk"),
)


class Monitor(Callback):
    """Base of callbacks that compare a value of the logs with the best one so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        name = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"[{name}] mode must be 'auto', 'min' or 'max', got {mode!r}")
        if not min_delta >= 0:
            raise ValueError(f"[{name}] min_delta must not be negative, got {min_delta}")
        self.monitor = monitor
        if mode == "auto":
            mode = "max" if monitor.removeprefix("val_").startswith(_MORE_IS_BETTER) else "min"
        self.mode = mode
        self.min_delta = min_delta
        self.best = self.worst

    @property
    def worst(self) -> float:
        """What everything is better than."""
        return -math.inf if self.mode == "max" else math.inf

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better by more than ``min_delta``; NaN never is."""
        if self.mode == "max":
            return value > than + self.min_delta
        return value < than - self.min_delta

    def value_in(self, logs: Logs) -> float | None:
        """The value watched; None in epochs without validation.

        Raises
        ------
        ValueError
            If no epoch can have it, or it is no number.
        """
        if self.monitor not in logs:
            if self.monitor.startswith("val_") and self._validates_sometimes():
                return None
            raise ValueError(
                f"[{type(self).__name__}] there is no {self.monitor!r} to monitor, there are "
                f"{', '.join(logs)}; val_ values need validation data"
            )
        value: Any = logs[self.monitor]
        if not isinstance(value, (int, float)):
            raise ValueError(f"[{type(self).__name__}] {self.monitor!r} is not a single number")
        return float(value)

    def _validates_sometimes(self) -> bool:
        run = self.trainer._run
        return run is not None and run.validation is not None and run.validation_freq > 1

    def say(self, text: str) -> None:
        """Print a line, above a progress bar if there is one."""
        from nervure.callbacks.progress import say

        say(text)
