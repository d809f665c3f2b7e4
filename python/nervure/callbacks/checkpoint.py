# SPDX-License-Identifier: BSD-3-Clause
"""ModelCheckpoint: the training in files while it runs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from nervure import serialize
from nervure._numbers import plain
from nervure.callbacks._monitor import Monitor
from nervure.callbacks.base import Logs
from nervure.serialize import FormatError
from nervure.train import checkpoint


class ModelCheckpoint(Monitor):
    """Writes checkpoints: whole or not at all, and the older ones stay until the new one is safe.

    Parameters
    ----------
    filepath : str or PathLike
        A folder of this training alone: its files are ``step-000000123.safetensors``, of which the
        last ones are kept, and ``best.safetensors``. ``fit(resume_from=folder)`` goes on from the
        newest that is whole. Or a file name ending in ``.safetensors``, which may have fields as
        ``{epoch:02d}`` (from 1), ``{step}`` and ``{val_loss:.3f}``.
    monitor : str, default "val_loss"
        What the best one is judged by, at the end of epochs. In a folder ``"loss"`` instead, when
        there is no validation.
    verbose : int, default 0
        1 prints a line for each file.
    save_best_only : bool, default False
        Whether only epochs better than all before are written.
    save_weights_only : bool, default False
        Whether files hold the state dict alone, with averaged weights if there are such. For file
        names only, because training cannot go on from them.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better; "auto" knows from the name.
    save_freq : "epoch" or int, default "epoch"
        After every epoch, or after so many updates.
    initial_value_threshold : float, optional
        What the first one has to be better than, to be the best.
    keep_last : int, default 3
        Files kept in a folder.

    Raises
    ------
    ValueError
        For an impossible option; when training begins, if the folder holds checkpoints of a
        training that got further.

    Notes
    -----
    A disk that is full does not end the training: a warning says that the file could not be
    written, the next one is tried as usual, and the files before it stay.
    """

    comes_last = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        keep_last: int = 3,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        self._is_folder = not self.filepath.endswith(checkpoint.SUFFIX)
        save_freq = plain(save_freq)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(
                f"[ModelCheckpoint] save_freq must be 'epoch' or a positive integer, got "
                f"{save_freq!r}"
            )
        if save_best_only and save_freq != "epoch":
            raise ValueError("[ModelCheckpoint] save_best_only needs save_freq='epoch'")
        if save_weights_only and self._is_folder:
            raise ValueError(
                "[ModelCheckpoint] save_weights_only needs a file name ending in .safetensors"
            )
        if keep_last < 1:
            raise ValueError(f"[ModelCheckpoint] keep_last must be positive, got {keep_last}")
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.keep_last = keep_last
        self._threshold = initial_value_threshold
        self._reset()

    def _reset(self) -> None:
        self.best = self.worst if self._threshold is None else self._threshold

    # ---- events ----------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Make the folder, or look at what is in it."""
        self._reset()
        if not self._is_folder:
            Path(self.filepath).parent.mkdir(parents=True, exist_ok=True)
            return
        Path(self.filepath).mkdir(parents=True, exist_ok=True)
        checkpoint.remove_leftovers(self.filepath)
        self._check_folder()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write, if it is time."""
        if self.save_freq != "epoch" and self.trainer.step % int(self.save_freq) == 0:
            self._write_new(logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write, if it is time, and the best one if this is it."""
        values = logs or {}
        better = self._is_best(values)
        if self.save_freq == "epoch" and not self.save_best_only:
            self._write_new(values)
        if better and self._is_folder:
            self._write(os.path.join(self.filepath, f"best{checkpoint.SUFFIX}"))
        elif better and self.save_best_only:
            self._write_new(values)

    def on_interrupt(self, epoch: int, logs: Logs | None = None) -> None:
        """Write, so that nothing is lost."""
        if self._is_folder and not self.save_best_only:
            self._write_new(logs or {})

    def state_dict(self) -> dict[str, Any]:
        """The best value."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.best = state_dict["best"]

    # ---- files -----------------------------------------------------------------------------------

    def _is_best(self, logs: Logs) -> bool:
        if not self._is_folder and not self.save_best_only:
            return False
        if self.monitor == "val_loss" and "val_loss" not in logs and not self.save_best_only:
            logs = {**logs, "val_loss": logs["loss"]}
        value = self.value_in(logs)
        if value is None or not self.is_better(value, self.best):
            return False
        self.best = value
        return True

    def _write_new(self, logs: Logs) -> None:
        if not self._is_folder:
            self._write(self._file_name(logs))
            return
        name = f"step-{self.trainer.step:09d}{checkpoint.SUFFIX}"
        if self._write(os.path.join(self.filepath, name)):
            for path in checkpoint.numbered(self.filepath)[self.keep_last :]:
                path.unlink(missing_ok=True)

    def _file_name(self, logs: Logs) -> str:
        run = self.trainer._run
        assert run is not None
        epoch = run.epoch if run.batch == 0 else run.epoch + 1
        try:
            return self.filepath.format(epoch=epoch, step=self.trainer.step, **logs)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"[ModelCheckpoint] {self.filepath!r} cannot be filled in: {error!r}; there are "
                f"epoch, step, {', '.join(logs)}"
            ) from None

    def _write(self, path: str) -> bool:
        """Write a file; whether that worked."""
        try:
            if self.save_weights_only:
                self._write_weights(path)
            else:
                self.trainer.save_checkpoint(path)
        except OSError as error:
            warnings.warn(
                f"[ModelCheckpoint] {path} could not be written ({error}); training goes on, and "
                "older files stay",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        if self.verbose:
            self.say(f"Step {self.trainer.step}: wrote {path}")
        return True

    def _write_weights(self, path: str) -> None:
        trainer = self.trainer
        if trainer.average is None:
            serialize.save(trainer.model, path)
            return
        with trainer.average.applied():
            serialize.save(trainer.model, path)

    def _check_folder(self) -> None:
        """Refuse a folder of another training; put damaged files aside."""
        for path in checkpoint.numbered(self.filepath):
            if int(path.stem.removeprefix("step-")) <= self.trainer.step:
                break
            try:
                checkpoint.read(path)
            except FormatError:
                path.rename(path.with_suffix(".damaged"))
                continue
            raise ValueError(
                f"[ModelCheckpoint] {self.filepath} holds {path.name} of a training that got "
                "further: go on from it with fit(resume_from=...), or take another folder"
            )
