# SPDX-License-Identifier: BSD-3-Clause
"""A live progress bar.

On a terminal rich's where that is installed, else a plain one; in a notebook a line that is
replaced; elsewhere nothing.
"""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Protocol

__all__ = ["ProgressBar", "can_draw"]

current: ProgressBar | None = None  # the one that is on the screen


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
        global current
        current = self
        self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global current
        current = None
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


def can_draw() -> bool:
    """Whether there is a terminal or a notebook to draw in."""
    return in_notebook() or _is_terminal()


def _is_terminal() -> bool:
    isatty = getattr(sys.stdout, "isatty", None)  # a replacement may not have it
    return bool(isatty and isatty())


def in_notebook() -> bool:
    """Whether this runs in a notebook: IPython is there, and talks to a front end."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _display(total: int) -> _Display:
    if in_notebook():
        return _Notebook(total)
    if not _is_terminal():
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


class _Line:
    """A bar as text, with the time left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._began: float | None = None
        self._first = 0

    def of(self, completed: int, description: str, text: str) -> str:
        done = min(20 * completed // max(self.total, 1), 20)
        bar = f"{'#' * done}{'-' * (20 - done)}" if self.total else f"{completed}"
        return f"{description} [{bar}] {text}{self._left(completed)}"

    def _left(self, completed: int) -> str:
        now = time.monotonic()
        if self._began is None:
            self._began, self._first = now, completed
        made = completed - self._first
        if made <= 0 or not self.total or completed >= self.total:
            return ""
        seconds = round((now - self._began) / made * (self.total - completed))
        hours, rest = divmod(seconds, 3600)
        shown = f"{rest // 60}:{rest % 60:02d}"
        return f"  {f'{hours}:{shown:0>5}' if hours else shown} left"


class _Notebook:
    """One line of output that is replaced."""

    def __init__(self, total: int) -> None:
        from IPython.display import display  # there is a notebook, so it is there

        self._line = _Line(total)
        self._clock = _Clock()
        self._handle = display(_Text(""), display_id=True)

    def show(self, completed: int, description: str, text: str) -> None:
        line = self._line.of(completed, description, text)
        if self._clock.ticks():
            self._handle.update(_Text(line))

    def print(self, line: str) -> None:
        print(line, flush=True)

    def close(self) -> None:
        self._handle.update(_Text(""))


class _Text:
    """What a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _Plain:
    def __init__(self, total: int) -> None:
        self.total = total
        self._line = _Line(total)
        self._clock = _Clock()
        self._last = ""

    def show(self, completed: int, description: str, text: str) -> None:
        self._last = self._line.of(completed, description, text)
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
        self._task = self._progress.add_task("", total=total or None, text="")
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
