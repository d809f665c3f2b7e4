# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that write down what happens, and one made of functions."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, TextIO

from nervure._numbers import plain
from nervure.callbacks.base import EVENTS, Callback, Logs


class CSVLogger(Callback):
    """Writes a line per epoch into a CSV file: its number, and all single values of the logs.

    Parameters
    ----------
    filename : str or PathLike
        The file.
    separator : str, default ","
        What stands between the fields.
    append : bool, default False
        Whether to go on with a file that exists. A training that goes on from a checkpoint does,
        and drops the lines of epochs that it does again.

    Raises
    ------
    ValueError
        When the first epoch ends, if the file to go on with does not begin with a column ``epoch``.
    OSError
        If the file cannot be written.

    Notes
    -----
    A value that comes up later, such as ``val_loss`` of a validation after every other epoch, gets
    a column then, which is empty in the lines before.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._names: list[str] | None = None
        self._done = 0  # epochs written in a training that goes on

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Wait for the first epoch, which says what columns there are."""
        self._names = None
        self._done = -1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line."""
        values = {n: v for n, v in (logs or {}).items() if isinstance(v, Real)}
        if self._names is None:
            self._begin(values)
        assert self._names is not None
        if not values.keys() <= set(self._names):
            self._widen(values)
        row = [epoch, *(values.get(name, "") for name in self._names)]
        with self._open("a") as file:
            csv.writer(file, delimiter=self.separator).writerow(row)
        self._done = epoch

    def _begin(self, values: Logs) -> None:
        old = self._old_lines()
        if old:
            if old[0][0] != "epoch":
                raise ValueError(
                    f"[CSVLogger] {self.filename} does not begin with a column 'epoch': "
                    "it has another separator, or is no log"
                )
            self._names = old[0][1:]
            kept = old if self._done < 0 else old[:1] + [r for r in old[1:] if self._keeps(r)]
        else:
            self._names = list(values)
            kept = [["epoch", *self._names]]
        with self._open("w") as file:
            csv.writer(file, delimiter=self.separator).writerows(kept)

    def _widen(self, values: Logs) -> None:
        """Columns that come later, as those of a validation after every other epoch do."""
        assert self._names is not None
        self._names += [name for name in values if name not in self._names]
        lines = self._lines()
        width = len(self._names) + 1
        rows = [["epoch", *self._names], *(r + [""] * (width - len(r)) for r in lines[1:])]
        with self._open("w") as file:
            csv.writer(file, delimiter=self.separator).writerows(rows)

    def _keeps(self, row: list[str]) -> bool:
        return bool(row) and row[0].isdigit() and int(row[0]) <= self._done

    def _old_lines(self) -> list[list[str]]:
        if not (self.append or self._done >= 0) or not os.path.exists(self.filename):
            return []
        return self._lines()

    def _lines(self) -> list[list[str]]:
        with self._open("r") as file:
            return [row for row in csv.reader(file, delimiter=self.separator) if row]

    def _open(self, mode: str) -> TextIO:
        return open(self.filename, mode, newline="", encoding="utf-8")  # type: ignore[return-value]

    def state_dict(self) -> dict[str, Any]:
        """How many epochs are written."""
        return {"done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self._done = state_dict["done"]


class LambdaCallback(Callback):
    """A callback made of functions, each called with what its event comes with.

    Parameters
    ----------
    **events : callable
        By name of the event: ``on_epoch_begin(epoch, logs)``, ``on_epoch_end(epoch, logs)``,
        ``on_train_begin(logs)``, ``on_train_batch_end(batch, logs)`` and so on, as in
        :class:`Callback`.

    Raises
    ------
    TypeError
        For an event that does not exist, or what cannot be called.
    """

    def __init__(self, **events: Callable[..., Any] | None) -> None:
        for name, function in events.items():
            if name not in EVENTS:
                raise TypeError(f"[LambdaCallback] there is no event {name}: {', '.join(EVENTS)}")
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"[LambdaCallback] {name} must be callable, got {function!r}")
            setattr(self, name, function)


class TensorBoard(Callback):
    """Writes loss and metrics for TensorBoard: ``train`` and ``validation`` under ``log_dir``.

    Needs the package tensorboard: ``pip install 'nervure[tensorboard]'``.

    Parameters
    ----------
    log_dir : str or PathLike, default "logs"
        The folder.
    update_freq : "epoch", "batch" or int, default "epoch"
        When, besides the end of each epoch, the loss is written: after every update, or so many.

    Raises
    ------
    ImportError
        If tensorboard is not installed.
    ValueError
        For an impossible option.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", update_freq: str | int = "epoch"
    ) -> None:
        update_freq = plain(update_freq)
        if update_freq not in ("epoch", "batch") and not (
            isinstance(update_freq, int) and update_freq > 0
        ):
            raise ValueError(
                "[TensorBoard] update_freq must be 'epoch', 'batch' or a positive integer, got "
                f"{update_freq!r}"
            )
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise ImportError(
                "[TensorBoard] needs the package tensorboard: pip install 'nervure[tensorboard]'"
            ) from None
        self._writer_type = Writer
        self.log_dir = Path(log_dir)
        self._every = {"epoch": 0, "batch": 1}.get(str(update_freq), update_freq)
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the files when there is something to write."""
        self._writers = {}

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write the loss, if it is time."""
        step = self.trainer.step
        if self._every and step % int(self._every) == 0:
            self._add("train", "batch_loss", float((logs or {})["loss"]), step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write all single values."""
        for name, value in (logs or {}).items():
            if isinstance(value, (int, float)):
                part = "validation" if name.startswith("val_") else "train"
                self._add(part, f"epoch_{name.removeprefix('val_')}", float(value), epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _add(self, part: str, tag: str, value: float, step: int) -> None:
        if part not in self._writers:
            self._writers[part] = self._writer_type(str(self.log_dir / part))
        self._writers[part].add_scalar(tag, value, step)
