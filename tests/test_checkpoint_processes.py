# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of real processes: killed trainings go on with the same bits, full disks end none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparison import same_bits
from subprocesses import clean_environment, output_of

from nervure.train import checkpoint

# ---- real processes ------------------------------------------------------------------------------

PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
import nervure as nv
from nervure import nn, optim
from nervure.callbacks import ModelCheckpoint
from nervure.train import checkpoint

def train(folder, result, epochs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    nv.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64, activation="relu"), nn.Dropout(0.3), nn.Linear(64, 2))
    trainer = nv.Trainer(model, "cross_entropy", optim.Adam(model.parameters()), ["accuracy"])
    trainer.fit(
        x, y, batch_size=7, epochs=epochs, validation_split=0.1,
        callbacks=ModelCheckpoint(folder, save_freq=1), resume_from=folder,
    )
    trainer.save_checkpoint(result)

def newest(folder):
    steps = [int(p.stem[5:]) for p in checkpoint.numbered(folder)] if folder.exists() else []
    return max(steps, default=0)
"""

# Each training is a process of its own, forked from one that has imported everything.
KILLER = (
    PROGRAM
    + """
base, kills = Path(sys.argv[1]), int(sys.argv[2])
steps = 2 * kills + 8
epochs = steps // 8  # 8 batches each
chance = random.Random(0)
killed = reached = 0
while True:
    child = os.fork()
    if child == 0:
        train(base / "killed", base / "result.safetensors", epochs)
        os._exit(0)
    target = reached + 1
    ended = 0
    while killed < kills and newest(base / "killed") < target and not ended:
        ended, status = os.waitpid(child, os.WNOHANG)
    if killed < kills and not ended:
        time.sleep(0.004 * chance.random())  # in a step, in a file, between two
        os.kill(child, signal.SIGKILL)
        killed += 1
    if not ended:
        ended, status = os.waitpid(child, 0)
    now = newest(base / "killed")
    assert now >= reached, "what was safe is lost"
    reached = now
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
train(base / "whole", base / "whole.safetensors", epochs)
print(killed)
"""
)


def newest(folder: Path) -> int:
    steps = [int(p.stem[5:]) for p in checkpoint.numbered(folder)] if folder.exists() else []
    return max(steps, default=0)


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_trainings_end_with_the_same_bits(kills: int, tmp_path: Path) -> None:
    program = KILLER.replace("sys.argv[1]", repr(str(tmp_path)))
    killed = int(output_of(program.replace("sys.argv[2]", str(kills)), timeout=300))
    assert killed >= 0.8 * kills
    whole = checkpoint.read(tmp_path / "whole.safetensors")
    assert same_bits(whole, checkpoint.read(tmp_path / "result.safetensors"))
    folder = tmp_path / "killed"
    assert not list(folder.glob(".nervure-*.tmp"))  # what the killed ones had begun
    assert len(checkpoint.numbered(folder)) == 3


def test_a_fresh_process_goes_on(tmp_path: Path) -> None:
    """The same in processes that share nothing, with other numbers of threads."""
    results = []
    for name, kills in (("whole", 0), ("killed", 2)):
        folder, result = tmp_path / name, tmp_path / f"{name}.safetensors"
        call = f"train(Path({str(folder)!r}), {str(result)!r}, 3)"
        for kill in range(kills + 1):
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", PROGRAM + call],
                env=clean_environment({"NERVURE_NUM_THREADS": str(kill + 1)}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            while kill < kills and process.poll() is None and newest(folder) < 7 * (kill + 1):
                time.sleep(0.0005)
            if kill < kills:
                process.send_signal(signal.SIGKILL)
            output, _ = process.communicate(timeout=120)
            assert process.returncode in (0, -signal.SIGKILL), output
        results.append(checkpoint.read(result))
    assert same_bits(*results)


def test_a_full_disk_does_not_end_the_training(tmp_path: Path) -> None:
    code = f"""
        import resource, warnings
        import numpy as np
        import nervure as nv
        from nervure import nn
        from nervure.callbacks import LambdaCallback, ModelCheckpoint

        nv.manual_seed(0)
        x, y = np.ones((40, 3), np.float32), np.arange(40) % 2
        model = nn.Sequential(nn.Linear(3, 300), nn.Linear(300, 2))
        trainer = nv.Trainer(model, "cross_entropy", "sgd")
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

        def limit(batch, logs):
            size = 5000 if 3 <= trainer.step < 6 else hard
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.fit(x, y, batch_size=5, callbacks=[
                LambdaCallback(on_train_batch_end=limit),
                ModelCheckpoint({str(tmp_path)!r}, save_freq=1, keep_last=4)])
        print(trainer.step, len(caught), "could not be written" in str(caught[0].message))
    """
    assert output_of(code) == "8 3 True"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        *(f"step-00000000{step}.safetensors" for step in (2, 6, 7, 8)),
    ]
    for path in checkpoint.numbered(tmp_path):
        checkpoint.read(path)
