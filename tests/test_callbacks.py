# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks: when they act, what they write, what they refuse."""

from __future__ import annotations

import csv
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn, optim
from nervure.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    TensorBoard,
)
from nervure.callbacks.base import EVENTS

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def make(lr: float = 0.1, **more: Any) -> nv.Trainer:
    nv.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, activation="tanh"), nn.Linear(4, 2))
    return nv.Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=lr), **more)


class Script(Callback):
    """Puts given values into the logs, epoch by epoch."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs[self.name] = self.values[epoch]


def scripted(
    values: list[float], callback: Callback, name: str = "val_loss", **more: Any
) -> tuple[nv.Trainer, dict[str, list[Any]]]:
    trainer = make(**more)
    history = trainer.fit(
        X, Y, epochs=len(values), callbacks=[Script(name, values), callback]
    ).history
    return trainer, history


# ---- events --------------------------------------------------------------------------------------


def test_events_come_in_order() -> None:
    seen: list[str] = []
    functions = {
        name: (lambda *args, name=name: seen.append(f"{name} {args[0]}" if len(args) > 1 else name))
        for name in EVENTS
    }
    trainer = make()
    trainer.fit(
        X, Y, batch_size=20, epochs=2, validation_data=(X, Y), callbacks=LambdaCallback(**functions)
    )
    epoch = [
        f"{event} {batch}"
        for batch in (0, 1)
        for event in ("on_train_batch_begin", "on_gradients", "on_train_batch_end")
    ]
    expected = ["on_train_begin"]
    for number in (0, 1):
        expected += [f"on_epoch_begin {number}", *epoch, "on_test_begin", "on_test_end"]
        expected += [f"on_epoch_end {number}"]
    assert seen == [*expected, "on_train_end"]
    seen.clear()
    trainer.evaluate(X, Y, callbacks=LambdaCallback(**functions))
    trainer.predict(X, callbacks=[LambdaCallback(**functions)])
    assert seen == ["on_test_begin", "on_test_end", "on_predict_begin", "on_predict_end"]
    with pytest.raises(TypeError, match="there is no event on_bell"):
        LambdaCallback(on_bell=print)
    with pytest.raises(TypeError, match="on_epoch_end must be callable"):
        LambdaCallback(on_epoch_end=3)  # type: ignore[arg-type]
    LambdaCallback(on_epoch_end=None)


def test_what_callbacks_add_to_the_logs_is_in_the_history() -> None:
    _, history = scripted([3.0, 1.0], Callback(), "mine")
    assert history["mine"] == [3.0, 1.0]


def test_a_callback_can_stop_the_training() -> None:
    trainer = make()

    def stop(batch: int, logs: Any) -> None:
        trainer.stop_training = trainer.step == 3

    trainer.fit(X, Y, batch_size=20, epochs=9, callbacks=LambdaCallback(on_train_batch_end=stop))
    assert trainer.step == 3
    assert trainer.history.epoch == [0, 1]


# ---- EarlyStopping -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([3, 2, 1, 2, 3, 4], {"patience": 2}, 5, 2),
        ([3, 2, 1, 2, 0, 4, 4, 4], {"patience": 2}, 7, 4),
        ([1, 2, 2, 2], {}, 2, 0),
        ([1, 1, 1], {"patience": 5}, 3, 0),
        ([1.0, 0.95, 0.7, 0.69, 0.68], {"min_delta": 0.1, "patience": 2}, 5, 2),
        ([1, 2, 3, 2, 1], {"mode": "max", "patience": 1}, 4, 2),
        ([9, 8, 7, 9, 9, 9], {"start_from_epoch": 3, "patience": 2}, 6, 3),
        ([5, 4, 3, 2], {"baseline": 1.0, "patience": 2}, 2, 1),
        ([1, math.nan, math.nan, 0], {"patience": 2}, 3, 0),
    ],
)
def test_early_stopping(
    values: list[float], options: dict[str, Any], epochs: int, best: int
) -> None:
    stopping = EarlyStopping(**options)
    _, history = scripted([float(v) for v in values], stopping)
    assert len(history["loss"]) == epochs
    assert stopping.best_epoch == best
    if epochs < len(values):
        assert stopping.stopped_epoch == epochs - 1


def test_which_direction_is_better_follows_from_the_name() -> None:
    for name, mode in (
        ("val_loss", "min"),
        ("loss", "min"),
        ("val_accuracy", "max"),
        ("f1_macro", "max"),
        ("val_roc_auc", "max"),
        ("mean_squared_error", "min"),
    ):
        assert EarlyStopping(name).mode == mode
    with pytest.raises(ValueError, match="mode must be 'auto', 'min' or 'max'"):
        EarlyStopping(mode="up")
    with pytest.raises(ValueError, match="patience must not be negative"):
        EarlyStopping(patience=-1)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_best_weights_come_back(averaged: bool, capsys: pytest.CaptureFixture[str]) -> None:
    kept: list[np.ndarray] = []
    trainer = make(ema_decay=0.9 if averaged else None)
    watch = LambdaCallback(on_epoch_end=lambda e, logs: kept.append(trainer.predict(X)))
    stopping = EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    script = Script("val_loss", [3.0, 1.0, 2.0, 2.0, 0.0])
    trainer.fit(X, Y, epochs=5, callbacks=[script, watch, stopping])
    assert len(kept) == 4
    np.testing.assert_array_equal(trainer.predict(X), kept[1])
    assert (kept[3] != kept[1]).any()
    out = capsys.readouterr().out
    assert out == "Epoch 4: early stopping\nWeights of epoch 2 are restored\n"
    # Also when nothing stopped early.
    trainer = make()
    kept.clear()
    script.values = [3.0, 1.0, 2.0]
    stopping = EarlyStopping(patience=5, restore_best_weights=True)
    trainer.fit(X, Y, epochs=3, callbacks=[script, watch, stopping])
    np.testing.assert_array_equal(trainer.predict(X), kept[1])


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
def test_a_value_that_is_not_there(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"there is no 'val_loss' to monitor, there are loss"):
        make().fit(X, Y, callbacks=kind())
    # Epochs without validation do not count.
    trainer = make()
    options = {"validation_data": (X, Y), "validation_freq": 2}
    assert len(trainer.fit(X, Y, epochs=4, callbacks=kind(patience=9), **options).epoch) == 4
    with pytest.raises(ValueError, match="'confusion_matrix' is not a single number"):
        make(metrics=["confusion_matrix"]).fit(X, Y, callbacks=kind("confusion_matrix"))


# ---- ReduceLROnPlateau ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "options", "rates"),
    [
        ([3, 2, 2, 2, 1, 1], {"patience": 2}, [1, 1, 1, 1, 0.5, 0.5]),
        ([2, 2, 2, 2], {"patience": 1}, [1, 1, 0.5, 0.25]),
        ([2, 2, 2, 2, 2], {"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.25]),
        ([2, 2, 2, 2], {"patience": 1, "min_lr": 0.4}, [1, 1, 0.5, 0.4]),
        ([1, 2, 3, 3], {"patience": 1, "mode": "max"}, [1, 1, 1, 1]),
        ([2, 1.99, 1.98], {"patience": 1, "min_delta": 0.1}, [1, 1, 0.5]),
    ],
)
def test_reduction_of_the_learning_rate(
    values: list[float], options: dict[str, Any], rates: list[float]
) -> None:
    """The rate in the history is the one that the epoch was trained with."""
    _, history = scripted(
        [float(v) for v in values], ReduceLROnPlateau(factor=0.5, **options), lr=1.0
    )
    assert history["learning_rate"] == rates


def test_reduction_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    trainer, _ = scripted([2.0, 2.0], ReduceLROnPlateau(patience=1, verbose=1), lr=1.0)
    assert capsys.readouterr().out == "Epoch 2: learning rate reduced to 0.1\n"
    assert trainer.optimizer.param_groups[0]["lr"] == 0.1
    for options in ({"factor": 1.0}, {"patience": -1}, {"min_delta": -1.0}):
        with pytest.raises(ValueError, match="ReduceLROnPlateau"):
            ReduceLROnPlateau(**options)


# ---- logs ----------------------------------------------------------------------------------------


def read(path: Path, separator: str = ",") -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=separator))


def test_csv_logs(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    trainer = make(metrics=["accuracy", "confusion_matrix"])
    history = trainer.fit(X, Y, epochs=2, callbacks=CSVLogger(path)).history
    rows = read(path)
    assert rows[0] == ["epoch", "loss", "accuracy"]
    assert [row[0] for row in rows[1:]] == ["0", "1"]
    assert [float(row[1]) for row in rows[1:]] == history["loss"]
    trainer.fit(X, Y, epochs=1, callbacks=CSVLogger(path, append=True))
    assert [row[0] for row in read(path)] == ["epoch", "0", "1", "0"]
    trainer.fit(X, Y, callbacks=CSVLogger(path, ";"))
    assert [row[0] for row in read(path, ";")] == ["epoch", "0"]


def test_csv_logs_get_columns_that_come_later(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    more = {"epochs": 2, "validation_data": (X, Y), "validation_freq": 2}
    history = make().fit(X, Y, callbacks=CSVLogger(path), **more).history
    loss, val_loss = history["loss"], history["val_loss"][-1]
    expected = [["epoch", "loss", "val_loss"], ["0", str(loss[0]), ""]]
    expected += [["1", str(loss[1]), str(val_loss)]]
    assert read(path) == expected
    make(metrics=["accuracy"]).fit(X, Y, callbacks=CSVLogger(path, append=True))
    rows = read(path)
    assert rows[0] == ["epoch", "loss", "val_loss", "accuracy"]
    assert rows[1:3] == [[*row, ""] for row in expected[1:]]
    assert rows[3][2] == ""
    assert float(rows[3][3]) > 0
    with pytest.raises(ValueError, match="not begin with a column 'epoch': it has another sep"):
        make().fit(X, Y, callbacks=CSVLogger(path, ";", append=True))
    assert read(path) == rows


def test_events_of_keras_that_would_never_come() -> None:
    class Wrong(Callback):
        def on_batch_end(self, batch: int, logs: Any = None) -> None: ...

    with pytest.raises(TypeError, match=r"Wrong has on_batch_end, .* there is on_train_batch_end"):
        make().fit(X, Y, callbacks=Wrong())


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            self.part = Path(folder).name

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written.append((self.part, tag, value, step))

        def flush(self) -> None:
            written.append((self.part, "flush", 0.0, 0))

        def close(self) -> None:
            written.append((self.part, "close", 0.0, 0))

    module = type(sys)("tensorboard.summary")
    module.Writer = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", type(sys)("tensorboard"))
    monkeypatch.setitem(sys.modules, "tensorboard.summary", module)
    trainer = make(metrics=["accuracy"])
    board = TensorBoard(tmp_path, update_freq=2)
    history = trainer.fit(
        X, Y, epochs=2, batch_size=10, callbacks=board, validation_data=(X, Y)
    ).history
    tags = [entry[:2] for entry in written if entry[3] == 1]
    assert tags == [
        ("train", "epoch_loss"),
        ("train", "epoch_accuracy"),
        ("validation", "epoch_loss"),
        ("validation", "epoch_accuracy"),
    ]
    assert [e[2] for e in written if e[:2] == ("train", "epoch_loss")] == history["loss"]
    assert [e[2] for e in written if e[:2] == ("validation", "epoch_loss")] == history["val_loss"]
    assert [e[3] for e in written if e[1] == "batch_loss"] == [2, 4, 6, 8]
    assert [e[0] for e in written if e[1] == "close"] == ["train", "validation"]
    with pytest.raises(ValueError, match="update_freq must be"):
        TensorBoard(update_freq=0)


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard.summary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    history = make().fit(X, Y, epochs=2, callbacks=TensorBoard(tmp_path)).history
    events = EventAccumulator(str(tmp_path / "train"))
    events.Reload()
    values = [event.tensor_proto.float_val[0] for event in events.Tensors("epoch_loss")]
    np.testing.assert_allclose(values, history["loss"], rtol=1e-6)


def test_without_tensorboard_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(ImportError, match=r"pip install 'nervure\[tensorboard\]'"):
        TensorBoard()


def test_a_progress_bar_of_ones_own_replaces_the_usual(capsys: pytest.CaptureFixture[str]) -> None:
    make().fit(X, Y, epochs=2, verbose=2, callbacks=ProgressBar(2))
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(ValueError, match="verbose must be 1 or 2"):
        ProgressBar(0)


# ---- ModelCheckpoint -----------------------------------------------------------------------------


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    script = Script("val_loss", [3.0, 1.0, 2.0, 2.5, 2.0])
    trainer = make()
    kept: list[np.ndarray] = []
    watch = LambdaCallback(on_epoch_end=lambda e, logs: kept.append(trainer.predict(X)))
    trainer.fit(X, Y, epochs=5, callbacks=[ModelCheckpoint(folder, keep_last=2), watch, script])
    assert files(folder) == ["best.safetensors"] + [f"step-{2 * e:09d}.safetensors" for e in (4, 5)]
    other = make()
    assert other.load_checkpoint(folder / "best.safetensors") == folder / "best.safetensors"
    np.testing.assert_array_equal(other.predict(X), kept[1])
    assert other.load_checkpoint(folder) == folder / "step-000000010.safetensors"
    np.testing.assert_array_equal(other.predict(X), kept[4])
    assert other.history.history == trainer.history.history
    assert other.step == 10


def test_after_so_many_updates(tmp_path: Path) -> None:
    trainer = make()
    trainer.fit(
        X, Y, epochs=2, batch_size=10, callbacks=ModelCheckpoint(tmp_path, save_freq=3, keep_last=9)
    )
    assert files(tmp_path) == [
        "best.safetensors",  # by loss, there being no validation
        "step-000000003.safetensors",
        "step-000000006.safetensors",
    ]


def test_named_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script("val_loss", [3.0, 1.25, 2.0])
    name = tmp_path / "model-{epoch:02d}-{val_loss:.2f}-{step}.safetensors"
    make().fit(X, Y, epochs=3, callbacks=[script, ModelCheckpoint(name, verbose=1)])
    assert files(tmp_path) == [
        "model-01-3.00-2.safetensors",
        "model-02-1.25-4.safetensors",
        "model-03-2.00-6.safetensors",
    ]
    assert (
        capsys.readouterr().out.splitlines()[0] == f"Step 2: wrote {tmp_path}/" + files(tmp_path)[0]
    )
    best = tmp_path / "best.safetensors"
    make().fit(X, Y, epochs=3, callbacks=[script, ModelCheckpoint(best, save_best_only=True)])
    trainer = make()
    trainer.load_checkpoint(best)
    assert trainer.step == 4
    unreached = ModelCheckpoint(
        tmp_path / "no.safetensors", save_best_only=True, initial_value_threshold=1.0
    )
    make().fit(X, Y, epochs=3, callbacks=[script, unreached])
    assert "no.safetensors" not in files(tmp_path)
    with pytest.raises(ValueError, match="cannot be filled in"):
        make().fit(X, Y, callbacks=ModelCheckpoint(tmp_path / "{accuracy}.safetensors"))


@pytest.mark.parametrize("averaged", [False, True])
def test_weights_alone(tmp_path: Path, averaged: bool) -> None:
    path = tmp_path / "weights.safetensors"
    trainer = make(ema_decay=0.9 if averaged else None)
    trainer.fit(X, Y, epochs=3, callbacks=ModelCheckpoint(path, save_weights_only=True))
    twin = make()
    twin.model.load_state_dict(nv.load(path))
    np.testing.assert_array_equal(twin.predict(X), trainer.predict(X))
    with pytest.raises(nv.FormatError, match="is no checkpoint"):
        twin.load_checkpoint(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_freq": 0}, "save_freq must be"),
        ({"save_freq": "batch"}, "save_freq must be"),
        ({"save_freq": 2, "save_best_only": True}, "save_best_only needs"),
        ({"save_weights_only": True}, "needs a file name ending in .safetensors"),
        ({"keep_last": 0}, "keep_last must be positive"),
        ({"mode": "best"}, "mode must be"),
    ],
)
def test_checkpoints_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelCheckpoint("folder", **options)


def test_a_folder_of_another_training_is_not_touched(tmp_path: Path) -> None:
    make().fit(X, Y, epochs=2, callbacks=ModelCheckpoint(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="of a training that got further"):
        make().fit(X, Y, callbacks=ModelCheckpoint(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
