# SPDX-License-Identifier: BSD-3-Clause
"""A live progress bar: rich's where that is installed, else plain; nothing without a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Protocol

__all__ = ["ProgressBar"]


class _Display(Protocol):
    def show(self, completed: int, description: str, text: str) -> None: ...
    def print(self, line: str) -> None: ...
    def close(self) -> None: ...


class ProgressBar:
    """A bar over ``total`` steps with a description before it and a text behind it.

    Use it as a context manager. Lines to be read while it is there go through :meth:`print`.
    """

    def __init__(self, total: int, description: str = "") -> None:
        self.total = total
        self.completed = 0
        self.description = description
        self.text = ""
        self._display = _display(total)

    def __enter__(self) -> ProgressBar:
        self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.close()

    def update(
        self, advance: int = 0, *, description: str | None = None, text: str | None = None
    ) -> None:
        """Go on by ``advance`` steps and change what stands before and behind the bar."""
        self.completed += advance
        if description is not None:
            self.description = description
        if text is not None:
            self.text = text
        self._show()

    def print(self, line: str = "") -> None:
        """Print a line above the bar."""
        self._display.print(line)

    def _show(self) -> None:
        self._display.show(self.completed, self.description, self.text)


def _display(total: int) -> _Display:
    if not sys.stdout.isatty():
        return _Silent()
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return _Plain(total)
    return _Rich(total)


class _Silent:
    def show(self, completed: int, description: str, text: str) -> None:
        pass

    def print(self, line: str) -> None:
        print(line, flush=True)

    def close(self) -> None:
        pass


class _Clock:
    """Says when it is time for the next picture."""

    interval = 0.1  # seconds

    def __init__(self) -> None:
        self._last = float("-inf")

    def ticks(self) -> bool:
        now = time.monotonic()
        if now - self._last < self.interval:
            return False
        self._last = now
        return True


class _Plain:
    def __init__(self, total: int) -> None:
        self.total = total
        self._clock = _Clock()
        self._last = ""

    def show(self, completed: int, description: str, text: str) -> None:
        done = 20 * completed // max(self.total, 1)
        self._last = f"{description} [{'#' * done}{'-' * (20 - done)}] {text}"
        if self._clock.ticks() or completed >= self.total:
            self._draw()

    def print(self, line: str) -> None:
        sys.stdout.write(f"\r\x1b[K{line}\n")
        self._draw()

    def close(self) -> None:
        sys.stdout.write("\r\x1b[K")
        sys.stdout.flush()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write(f"\r\x1b[K{self._last[:width]}")
        sys.stdout.flush()


class _Rich:
    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            # A thread that draws would take time from what is being timed or trained.
            auto_refresh=False,
            transient=True,
        )
        self._clock = _Clock()
        self._task = self._progress.add_task("", total=total, text="")
        self._progress.start()

    def show(self, completed: int, description: str, text: str) -> None:
        self._progress.update(self._task, completed=completed, description=description, text=text)
        if self._clock.ticks() or completed >= (self._progress.tasks[0].total or 0):
            self._progress.refresh()

    def print(self, line: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text.from_ansi(line), soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
