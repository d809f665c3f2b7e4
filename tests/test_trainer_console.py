# SPDX-License-Identifier: BSD-3-Clause
"""Trainer at the console: Ctrl-C, and what is shown."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from trainings import X, Y, assert_same, net, pairs, sgd

import nervure as nv
from nervure.callbacks import Callback, LambdaCallback

# ---- Ctrl-C --------------------------------------------------------------------------------------


class Press(Callback):
    """Presses Ctrl-C at some batches, in the middle of an update."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.events: list[str] = []

    def on_gradients(self, batch: int, logs: Any = None) -> None:
        if self.trainer.step in self.steps:
            for _ in range(self.steps.count(self.trainer.step)):
                signal.raise_signal(signal.SIGINT)

    def on_interrupt(self, epoch: int, logs: Any = None) -> None:
        self.events.append(f"interrupt {epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.events.append(f"epoch {epoch}")

    def on_train_end(self, logs: Any = None) -> None:
        self.events.append("end")


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_ends_after_the_update_and_keeps_everything() -> None:
    model, twin = net(), net()
    press = Press(7)
    trainer = nv.Trainer(model, "cross_entropy", sgd(model), ["accuracy"])
    history = trainer.fit(
        X, Y, batch_size=10, epochs=4, shuffle=False, callbacks=press, validation_data=(X, Y)
    )
    assert trainer.interrupted
    assert trainer.step == 8
    assert press.events == ["epoch 0", "interrupt 1", "end"]
    assert history.epoch == [0, 1]
    assert np.isfinite(history.history["loss"]).all()
    assert np.isnan(history.history["val_loss"]).tolist() == [False, True]
    other = nv.Trainer(twin, "cross_entropy", sgd(twin))
    other.fit(X, Y, batch_size=10, shuffle=False)
    other.fit(X[:30], Y[:30], batch_size=10, shuffle=False)
    assert_same(model, twin)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not trainer.fit(X, Y).epoch == []
    assert not trainer.interrupted


@pytest.mark.usefixtures("_ctrl_c")
def test_a_second_ctrl_c_stops_at_once() -> None:
    press = Press(3, 3)
    trainer = nv.Trainer(net(), "cross_entropy")
    history = trainer.fit(X, Y, batch_size=10, epochs=4, callbacks=press)
    assert trainer.interrupted
    assert trainer.step == 3
    assert press.events == ["end"]  # no whole state to keep in a file
    assert history.epoch == [0]


@pytest.mark.usefixtures("_ctrl_c")
def test_other_handlers_stay_in_charge() -> None:
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    trainer = nv.Trainer(net(), "cross_entropy")
    trainer.fit(X, Y, batch_size=10, callbacks=Press(2))
    assert pressed == [signal.SIGINT]
    assert not trainer.interrupted
    assert trainer.step == 5


def test_errors_come_out_and_leave_a_usable_trainer() -> None:
    trainer = nv.Trainer(net(), "cross_entropy")

    def fail(epoch: int, logs: Any) -> None:
        raise RuntimeError("from a callback")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="from a callback"):
        trainer.fit(X, Y, callbacks=LambdaCallback(on_epoch_end=fail))
    assert signal.getsignal(signal.SIGINT) is before
    assert len(trainer.fit(X, Y, epochs=2).epoch) == 2


# ---- what is shown -------------------------------------------------------------------------------


def test_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = nv.Trainer(net(), "cross_entropy", metrics=["accuracy"])
    trainer.fit(X, Y, epochs=2)
    trainer.predict(X)
    trainer.evaluate(X, Y)
    assert capsys.readouterr().out == ""  # no terminal
    for verbose in (1, 2):
        trainer.fit(X, Y, epochs=2, verbose=verbose, validation_data=(X, Y))
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
        for word in ("loss", "accuracy", "val_loss", "val_accuracy", "samples/s"):
            assert all(word in line for line in lines)
    with pytest.raises(ValueError, match="verbose must be 'auto', 0, 1 or 2, got 3"):
        trainer.fit(X, Y, verbose=3)


def test_the_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich.progress", None)  # the plain bar
    monkeypatch.setattr("nervure.callbacks.ProgressBar.interval", 0.0)
    monkeypatch.setattr("nervure.progress._Clock.interval", 0.0)
    trainer = nv.Trainer(net(), "cross_entropy")
    trainer.fit(X, Y, batch_size=5, epochs=2)
    shown = capsys.readouterr().out
    pictures = [part for part in shown.split("\r\x1b[K") if "[" in part]
    assert any("Epoch 2/2 [##########----------] loss" in p for p in pictures)
    assert any("samples/s  0:00 left" in p for p in pictures)
    trainer.predict(X, batch_size=5)
    assert "predict [##########----------]" in capsys.readouterr().out
    trainer.evaluate(X, Y, batch_size=5)
    assert "evaluate [##########----------]" in capsys.readouterr().out
    trainer.fit((pair for pair in pairs(5)), verbose=1)  # nobody knows how many
    assert "Epoch 1/1 [3] loss" in capsys.readouterr().out


def test_the_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, thing: Any) -> None:
            shown.append(repr(thing))

    class IPython:
        @staticmethod
        def get_ipython() -> Any:
            return type("Shell", (), {"kernel": object()})()

        class display:
            @staticmethod
            def display(thing: Any, display_id: bool) -> Handle:
                return Handle()

    monkeypatch.setitem(sys.modules, "IPython", IPython)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", IPython.display)  # type: ignore[arg-type]
    monkeypatch.setattr("nervure.callbacks.ProgressBar.interval", 0.0)
    monkeypatch.setattr("nervure.progress._Clock.interval", 0.0)
    nv.Trainer(net(), "cross_entropy").fit(X, Y, batch_size=5)
    assert any("[##########----------] loss" in s and "left" in s for s in shown)
    assert shown[-1] == ""
