# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: a training that was killed ends with the bits of one that was not."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import same_bits

import nervure as nv
from nervure import metrics, nn, optim
from nervure.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from nervure.data import ArrayDataset, BucketSampler, DataLoader, Mixup, SequenceDataset
from nervure.optim import lr_scheduler
from nervure.serialize import FormatError
from nervure.train import checkpoint

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3)).astype(np.float32)
Y = (X[:, 0] + 0.3 * RNG.normal(size=22) > 0).astype(np.int64)


# ---- the newest that is whole --------------------------------------------------------------------


def net(outputs: int = 2, dropout: float = 0.3) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 5, activation="tanh"), nn.Dropout(dropout), nn.Linear(5, outputs)
    )


def simple(**more: Any) -> nv.Trainer:
    nv.manual_seed(5)
    model = net()
    return nv.Trainer(model, "cross_entropy", optim.Adam(model.parameters(), 0.05), **more)


def test_damaged_files_are_passed_over(tmp_path: Path) -> None:
    expected = simple().fit(X, Y, batch_size=5, epochs=3).history
    trainer = simple()
    guard = ModelCheckpoint(tmp_path, save_freq=1)
    trainer.fit(X, Y, batch_size=5, epochs=2, callbacks=guard)
    newest, second, third = checkpoint.numbered(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-1])
    data = bytearray(second.read_bytes())
    data[-3] ^= 1
    second.write_bytes(data)
    other = simple()
    with pytest.warns(RuntimeWarning) as warned:
        history = other.fit(
            X, Y, batch_size=5, epochs=3, callbacks=guard, resume_from=tmp_path
        ).history
    assert [str(w.message).split(",")[0] for w in warned] == [
        f"[load_checkpoint] going back to {third.name}"
    ] * 2
    assert "step-000000010.safetensors: " in str(warned[0].message)
    assert "its checksum is another one" in str(warned[1].message)
    assert history == expected
    # What was damaged is out of the way, and nothing newer than the end is there.
    assert (tmp_path / "step-000000010.damaged").exists()
    assert [p.name for p in checkpoint.numbered(tmp_path)] == [
        f"step-0000000{step}.safetensors" for step in (15, 14, 13)
    ]


def test_when_none_is_whole(tmp_path: Path) -> None:
    simple().fit(X, Y, epochs=2, callbacks=ModelCheckpoint(tmp_path))
    for path in checkpoint.numbered(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(FormatError, match=r"no checkpoint in .* is whole: step-000000002"):
        simple().fit(X, Y, resume_from=tmp_path)
    trainer = simple()
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        trainer.load_checkpoint(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        trainer.fit(X, Y, resume_from=tmp_path / "one.safetensors")
    assert len(trainer.fit(X, Y, epochs=2, resume_from=tmp_path / "missing").epoch) == 2


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    simple().save_checkpoint(path)
    wide = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.1), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"size mismatch for 0\.weight"):
        nv.Trainer(wide, "cross_entropy").load_checkpoint(path)
    with pytest.raises(ValueError, match="the trainer has a average, the checkpoint has none"):
        simple(ema_decay=0.5).load_checkpoint(path)
    model = net()
    optimizer = optim.SGD(model.parameters())
    schedule = lr_scheduler.StepLR(optimizer, 1)
    nv.Trainer(model, "cross_entropy", optimizer, scheduler=schedule).save_checkpoint(path)
    with pytest.raises(ValueError, match="the checkpoint has a scheduler, the trainer has none"):
        simple().load_checkpoint(path)


def test_other_data_are_noticed(tmp_path: Path) -> None:
    simple().fit(X, Y, batch_size=5, callbacks=ModelCheckpoint(tmp_path))
    with pytest.raises(ValueError, match="an epoch had 5 batches, now it has 4: give the same"):
        simple().fit(X, Y, batch_size=6, epochs=2, resume_from=tmp_path)


def test_outside_of_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trainer = simple()
    trainer.fit(X, Y, epochs=2)
    trainer.save_checkpoint(path)
    random_numbers = nv._core.rng_state()
    other = simple()
    history = other.fit(X, Y, epochs=3, resume_from=path).history
    assert len(history["loss"]) == 3
    assert other.step == 5
    nv._core.set_rng_state(*random_numbers)
    assert trainer.fit(X, Y, epochs=3).history == history


def test_any_name_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"  # a file though it does not end in .safetensors
    trainer = simple()
    trainer.fit(X, Y, epochs=2)
    trainer.save_checkpoint(path)
    assert simple().load_checkpoint(path) == path
    other = simple()
    other.fit(X, Y, epochs=1, resume_from=path)
    assert other.step == trainer.step * 3 // 2
    path.write_bytes(b"")
    with pytest.raises(nv.FormatError):
        simple().fit(X, Y, resume_from=path)


# ---- the same bits -------------------------------------------------------------------------------

Made = tuple[nv.Trainer, Callable[[], dict[str, Any]]]


def _fit(**options: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"x": X, "y": Y, "batch_size": 5, "epochs": 3, **options}


def plain() -> Made:
    return simple(metrics=["accuracy"]), _fit(validation_split=0.2)


def momentum() -> Made:
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=40)
    trainer = nv.Trainer(
        model, "cross_entropy", optimizer, scheduler=schedule, scheduler_step="step", clip_norm=0.5
    )
    return trainer, _fit(class_weight="balanced")


def nadam_averaged() -> Made:
    model = net()
    trainer = nv.Trainer(
        model, "cross_entropy", optim.NAdam(model.parameters(), 0.01), ema_decay=0.8, l2=0.01
    )
    return trainer, _fit(validation_data=(X, Y))


def accumulated() -> Made:
    model = net()
    optimizer = optim.RMSprop(model.parameters(), 0.01, momentum=0.5, centered=True)
    schedule = lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer), lr_scheduler.CosineAnnealingLR(optimizer, 3)],
        [2],
    )
    trainer = nv.Trainer(
        model, "cross_entropy", optimizer, accumulation_steps=2, scheduler=schedule
    )
    return trainer, _fit(batch_size=3, epochs=4)


def many_metrics() -> Made:
    found = ["accuracy", "f1", "confusion_matrix", "log_loss", "perplexity", metrics.TopK(1)]
    found += [metrics.ROCAUC(), "pr_auc", "average_precision", spread]
    return simple(metrics=found), _fit(shuffle=False)


def spread(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(y_pred.std())


def regression() -> Made:
    names = ["mse", "mae", "r2", "rmse"]
    model = net(1)
    trainer = nv.Trainer(model, "huber", optim.Adagrad(model.parameters(), 0.05), metrics=names)
    return trainer, _fit(y=X[:, 1], validation_split=0.3)


def stopping() -> Made:
    def options() -> dict[str, Any]:
        callbacks = [
            EarlyStopping(patience=2, restore_best_weights=True),
            ReduceLROnPlateau(patience=1, factor=0.3),
        ]
        return _fit(epochs=9, validation_split=0.3, callbacks=callbacks)()

    model = net()
    return nv.Trainer(model, "cross_entropy", optim.Adam(model.parameters(), 0.2)), options


def augmented() -> Made:
    def options() -> dict[str, Any]:
        loader = DataLoader(ArrayDataset(X, Y), 5, True, transform=Mixup(0.5, 2))
        return {"x": loader, "epochs": 3}

    return simple(), options


def validated_by_chance() -> Made:
    """Validation that draws random numbers itself, and generators that are passed over."""

    def options() -> dict[str, Any]:
        loader = DataLoader(ArrayDataset(X, Y), 5, True, transform=Mixup(0.5, 2))
        return _fit(validation_data=loader)()

    return simple(), options


def validated_by_generator() -> Made:
    return simple(), _fit(validation_data=_pairs(), validation_steps=2)


def buckets() -> Made:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: nv.Tensor, lengths: nv.Tensor) -> nv.Tensor:
            mask = nv.tensor((np.arange(x.shape[1]) < lengths.numpy()[:, None])[..., None])
            return self.net((x * mask).sum(1) / lengths.float().reshape(-1, 1))

    def options() -> dict[str, Any]:
        rng = np.random.default_rng(1)
        x = [rng.normal(size=(n, 3)).astype(np.float32) for n in rng.integers(1, 7, 22)]
        dataset = SequenceDataset(x, Y)
        loader = DataLoader(dataset, batch_sampler=BucketSampler(dataset.lengths, 4, pool=2))
        return {"x": loader, "epochs": 3}

    model = Mean()
    return nv.Trainer(model, "cross_entropy", optim.Adam(model.parameters(), 0.05)), options


def _pairs() -> Iterator[Any]:
    rng = np.random.default_rng(2)
    while True:
        rows = rng.integers(0, 22, 6)
        yield X[rows], Y[rows]


def generated() -> Made:
    return simple(), lambda: {"x": _pairs(), "epochs": 3, "steps_per_epoch": 4}


def generated_anew() -> Made:
    def source() -> Iterator[Any]:
        pairs = _pairs()
        return (next(pairs) for _ in range(4))

    return simple(), lambda: {"x": source, "epochs": 3}


def through_time() -> Made:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.drop = nn.Linear(3, 4), nn.Linear(4, 4), nn.Dropout(0.2)
            self.head = nn.Linear(4, 2)

        def forward(self, x: nv.Tensor, state: Any = None) -> Any:
            h = nv.zeros(x.shape[0], 4) if state is None else state
            out = []
            for t in range(x.shape[1]):
                h = self.drop((self.a(x[:, t]) + self.b(h)).tanh())
                out.append(self.head(h))
            return nv.stack(out, 1), h

    model = Cell()
    trainer = nv.Trainer(
        model,
        "cross_entropy",
        optim.Adam(model.parameters(), 0.05),
        ["accuracy"],
        tbptt=2,
        class_dim=-1,
    )
    sequences, labels = X[:20].reshape(4, 5, 3), Y[:20].reshape(4, 5)
    return trainer, _fit(x=sequences, y=labels, batch_size=2)


KINDS: list[Callable[[], Made]] = [
    plain,
    momentum,
    nadam_averaged,
    accumulated,
    many_metrics,
    regression,
    stopping,
    augmented,
    validated_by_chance,
    validated_by_generator,
    buckets,
    generated,
    generated_anew,
    through_time,
]


class Crash(Callback):
    """Ends the training by an error after an update, behind the writer of checkpoints."""

    comes_last = True

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.trainer.step >= self.step:
            raise ConnectionAbortedError

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.trainer.step >= self.step:
            raise ConnectionAbortedError


def result(trainer: nv.Trainer) -> dict[str, Any]:
    """All there is at the end."""
    state = trainer.state_dict()
    state["predictions"] = trainer.predict(X[:20].reshape(4, 5, 3) if trainer.tbptt else X[:20])
    return state


def run(kind: Callable[[], Made], folder: Path, freq: int | str, crash: int | None) -> nv.Trainer:
    nv.manual_seed(3)
    trainer, make_options = kind()
    nv.manual_seed(4)
    options = make_options()
    callbacks = [*options.pop("callbacks", []), ModelCheckpoint(folder, "loss", save_freq=freq)]
    if crash is not None:
        callbacks.append(Crash(crash))
    trainer.fit(**options, callbacks=callbacks, resume_from=folder)
    return trainer


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("freq", [1, "epoch"])
def test_a_resumed_training_ends_with_the_same_bits(
    kind: Callable[[], Made], freq: int | str, tmp_path: Path
) -> None:
    whole = run(kind, tmp_path / "whole", freq, None)
    expected, steps = whole.state_dict(), whole.step
    assert expected["run"] is None
    folder = tmp_path / "cut"
    crashes = 0
    while True:  # dies again and again, later and later, by steps that do not divide the epochs
        nv.manual_seed(99)
        try:
            found = run(kind, folder, freq, 3 * crashes + 2)
        except ConnectionAbortedError:
            crashes += 1
            continue
        break
    assert crashes >= (steps - 2) // 3
    assert same_bits(expected, _arrays(found.state_dict()))


def _arrays(state: Any) -> Any:
    if isinstance(state, nv.Tensor):
        return state.numpy()
    if isinstance(state, dict):
        return {key: _arrays(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_arrays(item) for item in state)
    return state


def test_the_trainings_of_the_test_above_do_use_chance(tmp_path: Path) -> None:
    """Otherwise equal bits would prove nothing about the random numbers."""
    found = []
    for seed in (1, 2):
        nv.manual_seed(5)
        trainer, _ = plain()
        nv.manual_seed(seed)
        trainer.fit(X, Y, batch_size=5)
        found.append(trainer.state_dict()["model"]["0.weight"].numpy())
    assert (found[0] != found[1]).any()


def test_a_training_that_had_stopped_stays_so(tmp_path: Path) -> None:
    first = run(stopping, tmp_path, "epoch", None)
    epochs = first.history.epoch
    assert len(epochs) < 9
    again = run(stopping, tmp_path, "epoch", None)
    assert again.history.epoch == epochs
    assert same_bits(_arrays(first.state_dict()["model"]), _arrays(again.state_dict()["model"]))


def test_going_on_for_more_epochs(tmp_path: Path) -> None:
    expected = simple().fit(X, Y, batch_size=5, epochs=4).history
    first = simple()
    first.fit(X, Y, batch_size=5, epochs=2, callbacks=ModelCheckpoint(tmp_path))
    second = simple()
    second.load_checkpoint(tmp_path)
    assert second.fit(X, Y, batch_size=5, epochs=4).history == expected


def test_a_checkpoint_by_hand_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "middle.safetensors"
    trainer = simple()

    def save(batch: int, logs: Any) -> None:
        if trainer.step == 7:
            trainer.save_checkpoint(path)

    expected = trainer.fit(
        X, Y, batch_size=5, epochs=3, callbacks=LambdaCallback(on_train_batch_end=save)
    ).history
    assert simple().fit(X, Y, batch_size=5, epochs=3, resume_from=path).history == expected


def test_ctrl_c_writes_a_checkpoint_that_goes_on(tmp_path: Path) -> None:
    expected = simple().fit(X, Y, batch_size=5, epochs=3).history
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        trainer = simple()

        def press(batch: int, logs: Any) -> None:
            if trainer.step == 7:
                signal.raise_signal(signal.SIGINT)

        callbacks = [LambdaCallback(on_train_batch_begin=press), ModelCheckpoint(tmp_path)]
        trainer.fit(X, Y, batch_size=5, epochs=3, callbacks=callbacks)
        assert trainer.interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    assert [p.name for p in checkpoint.numbered(tmp_path)] == [
        "step-000000008.safetensors",
        "step-000000005.safetensors",
    ]
    assert simple().fit(X, Y, batch_size=5, epochs=3, resume_from=tmp_path).history == expected


def test_ctrl_c_while_it_validates(tmp_path: Path) -> None:
    expected = simple().fit(X, Y, batch_size=5, epochs=3, validation_split=0.2).history
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        press = LambdaCallback(on_test_begin=lambda logs: signal.raise_signal(signal.SIGINT))
        trainer = simple()
        trainer.fit(
            X,
            Y,
            batch_size=5,
            epochs=3,
            validation_split=0.2,
            callbacks=[press, ModelCheckpoint(tmp_path, save_freq=100)],
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert trainer.interrupted
    assert trainer.history.epoch == [0]
    assert np.isfinite(trainer.history.history["val_loss"]).all()
    again = simple()
    history = again.fit(X, Y, batch_size=5, epochs=3, validation_split=0.2, resume_from=tmp_path)
    assert history.history == expected


def test_csv_logs_go_on(tmp_path: Path) -> None:
    def go(crash: int | None, folder: str) -> str:
        path = tmp_path / f"{folder}.csv"
        callbacks: list[Any] = [CSVLogger(path), ModelCheckpoint(tmp_path / folder, save_freq=2)]
        if crash:
            callbacks.append(Crash(crash))
        simple().fit(
            X, Y, batch_size=5, epochs=4, callbacks=callbacks, resume_from=tmp_path / folder
        )
        return path.read_text()

    whole = go(None, "whole")
    with pytest.raises(ConnectionAbortedError):
        go(7, "cut")
    with pytest.raises(ConnectionAbortedError):
        go(15, "cut")
    assert go(None, "cut") == whole


def test_metrics_are_made_of_their_own_classes_only(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trainer = simple(metrics=["accuracy"])
    trainer.fit(
        X,
        Y,
        batch_size=5,
        callbacks=LambdaCallback(on_train_batch_end=lambda b, logs: trainer.save_checkpoint(path)),
    )
    state = checkpoint.read(path)
    state["run"]["meter"]["metrics"]["accuracy"]["attributes"]["evil"] = {
        "class": "subprocess:Popen",
        "attributes": {},
    }
    checkpoint.write(path, state)
    with pytest.raises(ValueError, match="subprocess:Popen is no class of a metric"):
        simple(metrics=["accuracy"]).fit(X, Y, batch_size=5, resume_from=path)
    with pytest.raises(ValueError, match="the checkpoint has no metric 'f1'"):
        simple(metrics=["f1"]).fit(X, Y, batch_size=5, resume_from=path)


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".nervure-0123456789abcdef.tmp").write_bytes(b"half a file")
    (tmp_path / "mine.tmp").write_bytes(b"of the user")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simple().fit(X, Y, callbacks=ModelCheckpoint(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        "mine.tmp",
        "step-000000001.safetensors",
    ]
