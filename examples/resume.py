# SPDX-License-Identifier: BSD-3-Clause
"""Kill a training in the middle, start it again, and end with the same bits.

Runs itself twice in a process of its own: the first time it is killed (SIGKILL) after some updates.
Takes a few seconds.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import nervure as nv
from nervure import nn, optim
from nervure.callbacks import ModelCheckpoint


def train(folder):
    """Start, or go on: the same call does both."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 20)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)

    nv.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64, activation="relu"), nn.Dropout(0.2), nn.Linear(64, 2))
    trainer = nv.Trainer(model, "cross_entropy", optim.Adam(model.parameters()), ["accuracy"])
    trainer.fit(
        x,
        y,
        epochs=10,
        verbose=2,
        validation_split=0.2,
        callbacks=ModelCheckpoint(folder, save_freq=10),
        resume_from=folder,
    )
    return model


def kill_in_the_middle(folder):
    process = subprocess.Popen([sys.executable, __file__, str(folder)])
    while process.poll() is None and not list(folder.glob("step-*[2-9]?0.safetensors")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    newest = max(path.name for path in folder.glob("step-*"))
    print(f"-- killed; the newest checkpoint is {newest}\n")


if len(sys.argv) > 1:
    train(sys.argv[1])
    sys.exit()

base = Path(tempfile.mkdtemp())
try:
    (base / "killed").mkdir()
    kill_in_the_middle(base / "killed")
    print("-- again:")
    resumed = train(base / "killed")
    print("\n-- and without interruption:")
    whole = train(base / "whole")
    same = all(
        np.array_equal(p.numpy(), q.numpy())
        for p, q in zip(resumed.parameters(), whole.parameters(), strict=True)
    )
    print(f"\nthe same bits: {same}")
    assert same
finally:
    shutil.rmtree(base)
