# SPDX-License-Identifier: BSD-3-Clause
"""The progress of a training, on a terminal or in a notebook."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from nervure import progress
from nervure.callbacks.base import Callback, Logs


def resolve_verbose(verbose: Any) -> int:
    """0, 1 or 2; "auto" is 1 where a bar can be drawn.

    Raises
    ------
    ValueError
        For anything else.
    """
    if verbose == "auto":
        return int(progress.can_draw())
    if verbose not in (0, 1, 2):
        raise ValueError(f"[Trainer] verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return int(verbose)


def say(text: str) -> None:
    """Print a line, above the bar if there is one."""
    if progress.current is not None:
        progress.current.print(text)
    else:
        print(text, flush=True)


def _values(logs: Logs) -> str:
    parts = []
    for name, value in logs.items():
        if isinstance(value, (int, float)):
            parts.append(f"{name} {_number(float(value))}")
    return "  ".join(parts)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def _rate(samples: int, seconds: float) -> str:
    return f"{samples / seconds:,.0f} samples/s" if seconds > 0 else ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


class ProgressBar(Callback):
    """Shows loss, metrics, samples per second and the time left while an epoch runs.

    ``fit`` adds one by itself, see its ``verbose``. After each epoch a line remains. Where neither
    a terminal nor a notebook can draw a bar, only these lines are printed.

    Parameters
    ----------
    verbose : {1, 2}, default 1
        1 draws the bar, 2 only prints a line per epoch.
    """

    interval = 0.1  # seconds between two pictures

    def __init__(self, verbose: int = 1) -> None:
        if verbose not in (1, 2):
            raise ValueError(f"[ProgressBar] verbose must be 1 or 2, got {verbose!r}")
        self.verbose = verbose
        self._bar: progress.ProgressBar | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Draw an empty bar."""
        run = self.trainer._run
        assert run is not None
        self._epoch = epoch
        self._began = self._drawn = time.monotonic()
        self._first = run.meter.count
        self._seen = run.batch
        if self.verbose == 1 and progress.can_draw():
            self._bar = progress.ProgressBar(self.params["steps"] or 0, self._title(epoch))
            self._bar.__enter__()
            self._bar.update(run.batch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Draw, if the last picture is old enough."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._drawn < self.interval:
            return
        self._drawn = now
        run = self.trainer._run
        assert run is not None
        rate = _rate(run.meter.count - self._first, now - self._began)
        text = f"{_values(run.meter.peek())}  {rate}"
        self._bar.update(batch + 1 - self._seen, text=text)
        self._seen = batch + 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take the bar away and leave a line."""
        run = self.trainer._run
        assert run is not None
        self._close()
        seconds = time.monotonic() - self._began
        rate = _rate(run.meter.count - self._first, seconds)
        say(f"{self._title(epoch)}  {_values(logs or {})}  {rate}  {_duration(seconds)}")

    def on_interrupt(self, epoch: int, logs: Logs | None = None) -> None:
        """Say that it was heard."""
        self._close()
        say(f"{self._title(epoch)}  interrupted after step {self.trainer.step}: everything is kept")

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Take the bar away, if it is still there."""
        self._close()

    def _title(self, epoch: int) -> str:
        return f"Epoch {epoch + 1}/{self.params['epochs']}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


@contextmanager
def bar_over(
    items: Iterable[Any], steps: int | None, verbose: int, title: str
) -> Iterator[Iterator[Any]]:
    """Items with a bar that says how many of them have passed."""
    if verbose != 1 or not progress.can_draw():
        yield iter(items)
        return
    with progress.ProgressBar(steps or 0, title) as bar:

        def passing() -> Iterator[Any]:
            for item in items:
                yield item
                bar.update(1)

        yield passing()
