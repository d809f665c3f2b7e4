# SPDX-License-Identifier: BSD-3-Clause
"""The file of a checkpoint: every state comes back to the bit, every damage is found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import same_bits

import nervure as nv
from nervure.serialize import FormatError
from nervure.train import checkpoint

STATE: dict[str, Any] = {
    "tensor": nv.tensor([[1.5, -0.0], [float("nan"), 3e38]]),
    "arrays": [np.arange(5), np.array(7.0), np.zeros((0, 2), np.float32), np.array([True])],
    "numbers": (1, 2**63, -1.5, 0.1, float("inf"), True, None),
    "nested": {"a": {"$odd": 1}, "b": {3: "three", (1, 2): [{}, ()]}},
    "text": "Grüße \u2028 \x00",
}


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "state.safetensors", STATE)
    assert same_bits(STATE, checkpoint.read(tmp_path / "state.safetensors"))
    tensors = nv.load(tmp_path / "state.safetensors")
    np.testing.assert_array_equal(tensors["tensor"], STATE["tensor"].numpy())
    with pytest.raises(TypeError, match=r"a\.0 is a object, which a checkpoint cannot hold"):
        checkpoint.write(tmp_path / "bad.safetensors", {"a": [object()]})
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def mutations(data: bytes, count: int) -> Iterator[bytes]:
    rng = random.Random(0)
    for i in range(count):
        copy = bytearray(data)
        place = rng.randrange(len(data))
        match i % 6:
            case 0:
                copy = copy[:place]
            case 1:
                copy[place] ^= 1 << rng.randrange(8)
            case 2:
                copy += bytes(rng.randrange(1, 50))
            case 3:
                del copy[place : place + rng.randrange(1, 20)]
            case 4:
                copy[place : place + 8] = bytes(8)
            case 5:
                copy[place:place] = rng.randbytes(rng.randrange(1, 9))
        yield bytes(copy)


def test_every_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.write(path, STATE)
    whole = path.read_bytes()
    found = 0
    for damaged in mutations(whole, 300):
        path.write_bytes(damaged)
        if damaged == whole:
            continue
        found += 1
        try:
            state = checkpoint.read(path)
        except FormatError:
            continue
        assert same_bits(STATE, state)  # a blank that became another blank
    assert found > 280


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nv.save({"w": np.zeros(3)}, path)
    with pytest.raises(FormatError, match="is no checkpoint"):
        checkpoint.read(path)
    nv.save({}, path, {"format": checkpoint.FORMAT, "version": "9"})
    with pytest.raises(FormatError, match="has version '9', known is 1"):
        checkpoint.read(path)
    for text in ("[]", '{"$tensor": "gone"}', "[", '{"a": {"$tensor": 3}}', '{"$dict": 5}'):
        metadata = {"format": checkpoint.FORMAT, "version": "1", "state": text}
        metadata["checksum"] = checkpoint._checksum({}, metadata)
        nv.save({}, path, metadata)
        with pytest.raises(FormatError, match=r"cannot be read|is no checkpoint"):
            checkpoint.read(path)
    with pytest.raises(FileNotFoundError):
        checkpoint.read(tmp_path / "nothing.safetensors")
