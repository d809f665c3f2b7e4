# SPDX-License-Identifier: BSD-3-Clause
"""Files: round trips, the official package, hostile input, interrupted writing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import serialize

DTYPES = [
    *("bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
]


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {d: (100 * rng.random((3, 5))).astype(d) for d in DTYPES}
    return {**arrays, "scalar": np.float32(3.5), "empty": np.zeros((0, 4), np.float32)}


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


# ---- round trips ---------------------------------------------------------------------------------


def test_round_trip_of_every_dtype(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nv.save(sample(), path, metadata={"note": 'ü "quoted" \n', "": ""})
    loaded = nv.load(path)
    assert_same(loaded, sample())
    assert nv.load_metadata(path) == {"note": 'ü "quoted" \n', "": ""}
    for array in loaded.values():
        assert array.flags.writeable
        assert array.flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(24.0, dtype=np.float32)[::-2],
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.broadcast_to(np.float32(2.0), (3, 2)),
        np.arange(5, dtype=">f4"),
        np.array(True),
    ],
    ids=["transposed", "reversed", "fortran", "broadcast", "big-endian", "scalar"],
)
def test_any_memory_order(tmp_path: Path, array: np.ndarray) -> None:
    nv.save({"x": array}, tmp_path / "x")
    np.testing.assert_array_equal(nv.load(tmp_path / "x")["x"], array)


def test_tensors_in_their_memory_order(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    weight = nv._core.empty((2, 3), (1, 0)).copy_(values)
    assert not weight.is_contiguous()
    tensors = {"w": weight.requires_grad_(), "i": nv.tensor([1, 2]), "b": nv.tensor([True, False])}
    nv.save(tensors, tmp_path / "x")
    expected = {"w": values, "i": np.array([1, 2]), "b": np.array([True, False])}
    assert_same(nv.load(tmp_path / "x"), expected)


def test_module_saves_its_state_dict(tmp_path: Path) -> None:
    model = nv.nn.Linear(3, 2)
    nv.save(model, tmp_path / "m")
    other = nv.nn.Linear(3, 2)
    other.load_state_dict(nv.load(tmp_path / "m"))
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.numpy())
    np.testing.assert_array_equal(other.bias.numpy(), model.bias.numpy())


def test_no_tensors(tmp_path: Path) -> None:
    nv.save({}, tmp_path / "x")
    assert nv.load(tmp_path / "x") == {}
    assert nv.load_metadata(tmp_path / "x") == {}


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.0e38, np.inf], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    path = tmp_path / "x"
    path.write_bytes(raw({"x": entry("BF16", [4], [0, 8])}, upper.tobytes()))
    loaded = nv.load(path)["x"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded[[0, 1, 3]], values[[0, 1, 3]])
    assert loaded[2] == pytest.approx(3.0e38, rel=1 / 128)


# ---- the official package ------------------------------------------------------------------------


def test_the_official_package_reads_our_files(tmp_path: Path) -> None:
    official = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "x"
    nv.save(sample(), path)
    assert_same(official.load_file(path), sample())


def test_we_read_files_of_the_official_package(tmp_path: Path) -> None:
    official = pytest.importorskip("safetensors.numpy")
    arrays = {name: np.asarray(array) for name, array in sample().items()}
    official.save_file(arrays, tmp_path / "x", metadata={"a": "b"})
    assert_same(nv.load(tmp_path / "x"), arrays)
    assert nv.load_metadata(tmp_path / "x") == {"a": "b"}


def test_our_files_are_those_of_the_official_package_byte_for_byte(tmp_path: Path) -> None:
    official = pytest.importorskip("safetensors.numpy")
    arrays = {name: np.asarray(array) for name, array in sample().items()} | {
        'ü"\\\n\x01 name': np.ones(3, np.float32)
    }
    official.save_file(arrays, tmp_path / "theirs", metadata={"one": "ü"})
    nv.save(arrays, tmp_path / "ours", metadata={"one": "ü"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


# ---- hostile files -------------------------------------------------------------------------------

GOOD = raw({"a": entry(), "b": entry("I64", [1], [8, 16])}, bytes(16))

HOSTILE = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "no header": struct.pack("<Q", 0),
    "header longer than the file": struct.pack("<Q", 100) + b"{}",
    "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "header of 2^64 - 1 bytes": b"\xff" * 8 + b"{}",
    "not JSON": raw(b"{]"),
    "cut JSON": raw(b'{"a": {"dtype"'),
    "not UTF-8": raw(b'{"\xff": 1}'),
    "a list": raw(b"[]"),
    "space before the brace": raw(b" {}"),
    "two documents": raw(b"{}{}"),
    "key twice": raw(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},' * 2 + b'"c":1}'),
    "field twice": raw(b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "NaN": raw(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}'),
    "deep nesting": raw(b'{"a":' + b"[" * 100_000),
    "huge number": raw(
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 50_000 + b'],"data_offsets":[0,0]}}'
    ),
    "lone surrogate": raw(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "metadata is a list": raw({"__metadata__": []}),
    "metadata is null": raw({"__metadata__": None}),
    "metadata holds a number": raw({"__metadata__": {"a": 1}}),
    "metadata holds a surrogate": raw(b'{"__metadata__":{"a":"\\ud800"}}'),
    "entry is a number": raw({"a": 1}),
    "no dtype": raw({"a": {"shape": [0], "data_offsets": [0, 0]}}),
    "no shape": raw({"a": {"dtype": "U8", "data_offsets": [0, 0]}}),
    "no offsets": raw({"a": {"dtype": "U8", "shape": [0]}}),
    "unknown field": raw({"a": {**entry("U8", [0], [0, 0]), "x": 1}}),
    "unknown dtype": raw({"a": entry("F31")}, bytes(8)),
    "dtype is a list": raw({"a": entry(["F32"])}, bytes(8)),  # type: ignore[arg-type]
    "dtype is null": raw({"a": entry(None)}, bytes(8)),  # type: ignore[arg-type]
    "shape is a number": raw({"a": entry(shape=2)}, bytes(8)),
    "shape is an object": raw({"a": entry(shape={"0": 2})}, bytes(8)),
    "negative size": raw({"a": entry(shape=[-2])}, bytes(8)),
    "two negative sizes": raw({"a": entry(shape=[-1, -2])}, bytes(8)),
    "minus zero": raw(b'{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}'),
    "size is a float": raw({"a": entry(shape=[2.0])}, bytes(8)),
    "size is a bool": raw({"a": entry(shape=[True, 2])}, bytes(8)),
    "size is a string": raw({"a": entry(shape=["2"])}, bytes(8)),
    "size beyond 64 bits": raw({"a": entry(shape=[2**64 + 2])}, bytes(8)),
    "product wraps round to 2": raw({"a": entry(shape=[2**63, 2, 2])}, bytes(8)),
    "bytes wrap round": raw({"a": entry(shape=[2**62 + 2])}, bytes(8)),
    "huge but empty": raw({"a": entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}),
    "rank 33": raw({"a": entry(shape=[1] * 32 + [2])}, bytes(8)),
    "rank 100 000": raw({"a": entry(shape=[1] * 100_000 + [2])}, bytes(8)),
    "a terabyte": raw({"a": entry(shape=[2**38], offsets=[0, 2**40])}, bytes(8)),
    "one offset": raw({"a": entry(offsets=[8])}, bytes(8)),
    "three offsets": raw({"a": entry(offsets=[0, 8, 8])}, bytes(8)),
    "offsets in reverse": raw({"a": entry(offsets=[8, 0])}, bytes(8)),
    "negative offset": raw({"a": entry(offsets=[-8, 0])}, bytes(8)),
    "offset is a float": raw({"a": entry(offsets=[0, 8.0])}, bytes(8)),
    "beyond the end": raw({"a": entry(offsets=[8, 16])}, bytes(8)),
    "smaller than its shape": raw({"a": entry(offsets=[0, 4])}, bytes(4)),
    "larger than its shape": raw({"a": entry(offsets=[0, 12])}, bytes(12)),
    "values cut short": GOOD[:-1],
    "values too long": GOOD + b"\0",
    "gap at the start": raw({"a": entry(offsets=[8, 16])}, bytes(16)),
    "gap in between": raw({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
    "overlap": raw({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
    "same place twice": raw({"a": entry(), "b": entry()}, bytes(8)),
    "boolean 2": raw({"a": entry("BOOL", [2], [0, 2])}, b"\1\2"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(nv.FormatError, match=r"^\[load\]"):
        nv.load(path)


def test_good_file_is_good(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(GOOD)
    loaded = nv.load(tmp_path / "x")
    assert {name: a.shape for name, a in loaded.items()} == {"a": (2,), "b": (1,)}


def test_nothing_big_is_allocated_for_a_header_that_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("allocated before the header was checked")

    monkeypatch.setattr(serialize.np, "empty", refuse)
    for name in ("a terabyte", "values cut short", "beyond the end", "overlap", "gap in between"):
        (tmp_path / "x").write_bytes(HOSTILE[name])
        with pytest.raises(nv.FormatError):
            nv.load(tmp_path / "x")


def test_header_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with open(path, "wb") as file:  # sparse: the file is as long as the header claims
        file.write(struct.pack("<Q", serialize.MAX_HEADER_BYTES + 1) + b"{}")
        file.truncate(8 + serialize.MAX_HEADER_BYTES + 1)
    with pytest.raises(nv.FormatError, match="may have 100000000 bytes"):
        nv.load(path)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change, insert, drop or repeat bytes, or change a number of the header."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        i = rng.randrange(len(data))
        j = min(len(data), i + rng.randint(1, 8))
        match rng.randrange(6):
            case 0:
                data[i] = rng.randrange(256)
            case 1:
                data[i] ^= 1 << rng.randrange(8)
            case 2:
                data[i:i] = bytes(rng.choices(b'{}[]",:0129eE.-\\', k=rng.randint(1, 4)))
            case 3:
                del data[i:j]
            case 4:
                data[i:i] = data[i:j]
            case 5:
                digits = [k for k, byte in enumerate(data) if chr(byte).isdigit()]
                data[rng.choice(digits)] = rng.choice(b"0123456789")
    return bytes(data)


GOOD_OF_ALL_KINDS = raw(
    {
        "__metadata__": {"format": "np"},
        "w": entry("F32", [2, 3], [0, 24]),
        "i": entry("I64", [2], [24, 40]),
        "b": entry("BOOL", [4], [40, 44]),
        "h": entry("BF16", [2], [44, 48]),
        "e": entry("F64", [0, 7], [48, 48]),
    },
    struct.pack("<6f2q4B2H", *range(6), 1, -1, 0, 1, 1, 0, 0x3F80, 0),
)
MUTATIONS = 300


def loaded_or_refused(path: Path) -> dict[str, np.ndarray] | None:
    try:
        return nv.load(path)
    except nv.FormatError:
        return None


def test_mutated_files(tmp_path: Path) -> None:
    """Any damage gives FormatError or arrays that account for every byte, never another error."""
    path = tmp_path / "x"
    refused = 0
    for seed in range(MUTATIONS):
        content = mutated(GOOD_OF_ALL_KINDS, random.Random(seed))
        path.write_bytes(content)
        loaded = loaded_or_refused(path)
        refused += loaded is None
        if loaded is not None:
            length = struct.unpack("<Q", content[:8])[0]
            header = json.loads(content[8 : 8 + length])
            header.pop("__metadata__", None)
            spans = [value["data_offsets"] for value in header.values()]
            assert loaded.keys() == header.keys(), seed
            assert sum(end - begin for begin, end in spans) == len(content) - 8 - length, seed
    assert MUTATIONS / 2 < refused < MUTATIONS


def test_what_the_official_package_refuses_we_refuse(tmp_path: Path) -> None:
    """The other way round we may be stricter: unknown fields, dtypes that NumPy does not have."""
    safetensors = pytest.importorskip("safetensors")
    good = raw({"w": entry("F32", [2, 3], [0, 24]), "i": entry("I64", [2], [24, 40])}, bytes(40))
    path = tmp_path / "x"
    for seed in range(MUTATIONS):
        path.write_bytes(mutated(good, random.Random(1000 + seed)))
        theirs = None
        with contextlib.suppress(safetensors.SafetensorError):
            theirs = dict(safetensors.deserialize(path.read_bytes()))
        ours = loaded_or_refused(path)
        if ours is not None:
            assert theirs is not None, seed
            assert {name: a.tobytes() for name, a in ours.items()} == {
                name: bytes(t["data"]) for name, t in theirs.items()
            }, seed


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        nv.load(tmp_path / "nowhere")
    for load in (nv.load, nv.load_metadata):
        with pytest.raises(TypeError, match="not int"):
            load(0)  # type: ignore[arg-type]  # standard input, which would be waited for


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(nv.FormatError, match=r"a single array \(\.npy\)"):
        nv.load(tmp_path / "x.npy")


def test_file_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    nv.save({"x": np.zeros(100_000, np.float32)}, path)
    check = serialize._check_coverage

    def shrink(entries: Any, size: int) -> None:
        check(entries, size)
        os.truncate(path, 50_000)

    monkeypatch.setattr(serialize, "_check_coverage", shrink)
    with pytest.raises(nv.FormatError, match="ends early"):
        nv.load(path)


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ([1, 2], None, TypeError),
        ({1: np.zeros(2)}, None, TypeError),
        ({"x": [1.0, 2.0]}, None, TypeError),
        ({"x": None}, None, TypeError),
        ({"x": np.zeros(2, complex)}, None, TypeError),
        ({"x": np.array(["a"])}, None, TypeError),
        ({"x": np.array([None])}, None, TypeError),
        ({"x": np.zeros(2, np.longdouble)}, None, TypeError),
        ({"__metadata__": np.zeros(2)}, None, ValueError),
        ({"\ud800": np.zeros(2)}, None, ValueError),
        ({"x": np.zeros(2)}, {"a": 1}, TypeError),
        ({"x": np.zeros(2)}, {"a": "\ud800"}, ValueError),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, tensors: Any, metadata: Any, error: type) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(error):
        nv.save(tensors, path, metadata=metadata)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_save_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "x"
    nv.save({"x": np.zeros(2)}, path)
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(serialize.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        nv.save({"x": np.ones(2)}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x"]


def test_interrupted_save_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    nv.save({"x": np.zeros(2)}, path)

    def interrupt(array: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serialize, "_packed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        nv.save({"x": np.ones(2)}, path)
    assert nv.load(path)["x"].tolist() == [0.0, 0.0]
    assert os.listdir(tmp_path) == ["x"]


def test_values_are_on_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def logged(*args: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(serialize.os, name, logged)
    nv.save({"x": np.zeros(2)}, tmp_path / "x")
    assert calls == ["fsync", "replace", "fsync"]  # the values, the name, the folder


def test_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "x"
    with pytest.raises(FileNotFoundError) as caught:
        nv.save({}, path)
    assert caught.value.filename == str(path.resolve())


def test_permissions(tmp_path: Path) -> None:
    path = tmp_path / "x"
    nv.save({}, path)
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    path.chmod(0o600)
    nv.save({}, path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_keeps_pointing_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "x", tmp_path / "link"
    nv.save({"x": np.zeros(1)}, target)
    link.symlink_to(target)
    nv.save({"x": np.ones(1)}, link)
    assert link.is_symlink()
    assert nv.load(target)["x"].tolist() == [1.0]


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nv.save({"x": np.ones(1)}, "x")
    assert nv.load("x")["x"].tolist() == [1.0]
