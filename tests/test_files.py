# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch and NumPy archives: round trips, hostile files; describing and converting."""

from __future__ import annotations

import collections
import io
import pickle
import random
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import cli, files
from nervure.files import torch_file, torch_pickle

# ---- a writer of PyTorch's format, so that the tests need no PyTorch -----------------------------


class Global:
    """Pickles as the name of a function or class that need not exist."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    def __init__(self, function: Global, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class Storage:
    def __init__(self, kind: str, key: str, numel: int) -> None:
        self.id = ("storage", Global("torch", kind), key, "cpu", numel)


class Writer(pickle._Pickler):  # the one in Python: its opcodes can be chosen
    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(value, Storage):
            self.save(value.id)
            self.write(pickle.BINPERSID)
        else:
            super().save(value, save_persistent_id)


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
ORDERED = Call(Global("collections", "OrderedDict"))


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    Writer(file, protocol=2).dump(value)
    return file.getvalue()


def tensor(key: str = "0", shape: Any = (2, 3), strides: Any = (3, 1), offset: Any = 0,
           numel: int = 6, kind: str = "FloatStorage") -> Call:  # fmt: skip
    return Call(REBUILD, Storage(kind, key, numel), offset, shape, strides, False, ORDERED)


VALUES = np.arange(6, dtype="<f4")


def archive(
    value: Any,
    entries: dict[str, bytes] | None = None,
    prefix: str = "model/",
    data: bytes | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        out.writestr(f"{prefix}data.pkl", pickled(value) if data is None else data)
        out.writestr(f"{prefix}byteorder", "little")
        for name, content in (entries or {"data/0": VALUES.tobytes()}).items():
            out.writestr(prefix + name, content)
    return file.getvalue()


GOOD = archive({"w": tensor(), "nested": {"t": [tensor(shape=(3,), strides=(2,))], "epoch": 3}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pt"


def test_our_own_archive(path: Path) -> None:
    path.write_bytes(GOOD)
    found = nv.load(path)
    assert list(found) == ["w", "nested.t.0"]
    np.testing.assert_array_equal(found["w"], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(found["nested.t.0"], [0, 2, 4])
    assert found["w"].flags.owndata
    assert found["w"].flags.writeable
    tree = files.load_torch(path)
    assert tree["nested"]["epoch"] == 3
    np.testing.assert_array_equal(tree["w"], found["w"])


def test_big_endian(path: Path) -> None:
    content = archive(tensor(), {"data/0": VALUES.astype(">f4").tobytes()})
    path.write_bytes(content.replace(b"little", b"big\0\0\0"))
    with pytest.raises(nv.FormatError):  # the checksum no longer fits
        nv.load(path)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("a/data.pkl", pickled(tensor()))
        out.writestr("a/byteorder", "big")
        out.writestr("a/data/0", VALUES.astype(">f4").tobytes())
    path.write_bytes(file.getvalue())
    np.testing.assert_array_equal(nv.load(path)["tensor"], VALUES.reshape(2, 3))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves(path: Path, protocol: int) -> None:
    torch = pytest.importorskip("torch")
    dtypes = [
        *(torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16),
        *(torch.int8, torch.uint8, torch.bool, torch.uint16),
    ]
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    saved: dict[str, Any] = {str(d): torch.tensor([[0, 1], [1, 0], [1, 1]]).to(d) for d in dtypes}
    saved |= {
        "transposed": base.transpose(0, 2),
        "slice": base[1, ::2],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "expanded": torch.ones(1, 3).expand(5, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    bf16 = torch.tensor([1.0, -2.5, 1e30]).bfloat16()
    notes = {"epoch": 3, "lr": 1e-3, "name": "é", "none": None, "yes": True, "big": 2**40}
    size, device = torch.Size([1, 2]), [1, (2, "x")]
    torch.save(
        {"state": saved, "bf": bf16, "notes": notes, "size": size, "list": device},
        path,
        pickle_protocol=protocol,
    )
    tree = files.load_torch(path)
    for name, expected in saved.items():
        value = expected.detach().numpy()
        assert tree["state"][name].dtype == value.dtype, name
        assert tree["state"][name].shape == value.shape, name
        np.testing.assert_array_equal(tree["state"][name], value)
    np.testing.assert_array_equal(tree["bf"], bf16.float().numpy())
    assert tree["notes"] == notes
    assert (tree["size"], tree["list"]) == ((1, 2), device)
    assert set(nv.load(path)) == {"bf", *(f"state.{name}" for name in saved)}


def test_a_model_of_torch_and_its_optimiser(path: Path) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    optimizer = torch.optim.Adam(theirs.parameters())
    theirs(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    torch.save(theirs.state_dict(), path)
    ours = nv.nn.Sequential(nv.nn.Linear(4, 3), nv.nn.Tanh(), nv.nn.Linear(3, 2))
    ours.load_state_dict(nv.load(path))
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(nv.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)
    torch.save({"model": theirs.state_dict(), "optimizer": optimizer.state_dict()}, path)
    tree = files.load_torch(path)
    mine = nv.optim.Adam(ours.parameters())
    mine.load_state_dict(tree["optimizer"])
    assert mine.state_dict()["state"][0]["step"] == 1


def test_safetensors_in_and_out_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    official = pytest.importorskip("safetensors.torch")
    theirs = torch.nn.Linear(4, 3)
    official.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors", {"format": "pt"})
    ours = nv.nn.Linear(4, 3)
    ours.load_state_dict(nv.load(tmp_path / "theirs.safetensors"))
    np.testing.assert_array_equal(ours.weight.numpy(), theirs.weight.detach().numpy())
    nv.save(nv.nn.Linear(4, 3), tmp_path / "ours.safetensors")
    theirs.load_state_dict(official.load_file(tmp_path / "ours.safetensors"))
    found = nv.load(tmp_path / "ours.safetensors")
    np.testing.assert_array_equal(theirs.bias.detach().numpy(), found["bias"])


# ---- hostile files -------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def looped() -> bytes:
    value: list[Any] = []
    value.append(value)
    return pickle.dumps(value, 2)


def doubled() -> bytes:
    value: Any = ["x"]
    for _ in range(60):
        value = [value, value]
    return pickle.dumps(value, 2)


def nested(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


PICKLES = {
    "a call of print": pickle.dumps(Evil(), 2),
    "os.system": pickled(Call(Global("os", "system"), "true")),
    "eval in a state": pickled({"w": Call(Global("builtins", "eval"), "1")}),
    "getattr": pickled(Call(Global("builtins", "getattr"), ORDERED, "clear")),
    "a class of torch": pickled(Call(Global("torch.nn.modules.linear", "Linear"))),
    "an object with attributes": pickle.dumps(Path("x"), 2),
    "NEWOBJ": pickle.dumps(collections.Counter(a=1), 2),
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\no.",
    "a name alone": pickled({"f": Global("os", "system")}),
    "extension code": b"\x80\x02\x82\x01.",
    "a set": pickle.dumps({1, 2}, 4),
    "bytes": pickle.dumps(b"abc", 4),
    "empty": b"",
    "no stop": b"\x80\x02}",
    "nothing": b"\x80\x02.",
    "two values": b"\x80\x02}}.",
    "a mark left": b"\x80\x02(.",
    "stack underflow": b"\x80\x02s.",
    "tuple of nothing": b"\x80\x02\x86.",
    "unknown memo": b"\x80\x02h\x05.",
    "key without value": b"\x80\x02}(K\x01u.",
    "key that is a list": b"\x80\x02}(]K\x01u.",
    "append to a dictionary": b"\x80\x02}K\x01a.",
    "set an item of a list": b"\x80\x02]K\x01K\x02s.",
    "build on a number": b"\x80\x02K\x01}b.",
    "call a number": b"\x80\x02K\x01)R.",
    "call without a tuple": b"\x80\x02ccollections\nOrderedDict\nK\x01R.",
    "text beyond the end": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "8-byte length": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "negative long": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "not UTF-8": b"\x80\x02X\x02\0\0\0\xff\xfe.",
    "huge memo index": b"\x80\x02}r\xff\xff\xff\xff" + b"j\xff\xff\xff\xfe.",
    "contains itself": looped(),
    "2^60 values": doubled(),
    "deep nesting": nested(100_000),
    "a huge key": pickled({"k" * 5000: 1}),
    "an OrderedDict of values": pickled(Call(Global("collections", "OrderedDict"), [1])),
}

TENSORS: dict[str, Any] = {
    "beyond the storage": tensor(shape=(3, 3)),
    "offset beyond the storage": tensor(offset=1),
    "negative offset": tensor(offset=-1),
    "negative size": tensor(shape=(-2, -3)),
    "negative stride": tensor(strides=(3, -1)),
    "stride beyond": tensor(strides=(4, 1)),
    "stride of 2^63": tensor(shape=(2, 1), strides=(2**63, 2**63)),
    "strides too few": tensor(strides=(3,)),
    "rank 33": tensor(shape=(1,) * 33, strides=(1,) * 33),
    "sizes are floats": tensor(shape=(2.0, 3.0)),
    "sizes are bools": tensor(shape=(True, True)),
    "sizes are a list": tensor(shape=[2, 3]),
    "expanded to a terabyte": tensor(shape=(2**38,), strides=(0,)),
    "expanded many times": [tensor(shape=(10**6,), strides=(0,)) for _ in range(40)],
    "huge but empty": tensor(shape=(0, 2**40, 2**40), strides=(1, 1, 1)),
    "no such storage": tensor(key="1"),
    "storage elsewhere": tensor(key="../data.pkl"),
    "storage larger than its entry": tensor(numel=7),
    "storage smaller than its entry": tensor(numel=5),
    "storage of -1": tensor(numel=-1),
    "storage of another type": tensor(kind="DoubleStorage"),
    "unknown storage": tensor(kind="QInt8Storage"),
    "complex": tensor(kind="ComplexFloatStorage", numel=3),
    "untyped without dtype": tensor(kind="UntypedStorage", numel=24),
    "too few arguments": Call(REBUILD, Storage("FloatStorage", "0", 6), 0),
    "no storage": Call(REBUILD, 0, 0, (1,), (1,), False, ORDERED),
    "a storage alone": Storage("FloatStorage", "0", 6),
    "a parameter of nothing": Call(Global("torch._utils", "_rebuild_parameter"), 1, True, ORDERED),
    "a size of text": Call(Global("torch", "Size"), "ab"),
    "same name twice": {"a": {"b": tensor()}, "a.b": tensor()},
    "unknown dtype": Call(Global("torch._utils", "_rebuild_tensor_v3"),
                          Storage("UntypedStorage", "0", 24), 0, (1,), (1,), False, ORDERED,
                          Global("torch", "float8_e5m2")),
}  # fmt: skip


def zipped(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as out:
        warnings.simplefilter("ignore")  # names twice
        for name, content in entries:
            out.writestr(name, content)
    return file.getvalue()


def claims(content: bytes, entry: bytes, size: int) -> bytes:
    """The archive with another size of an entry in its directory."""
    at = content.rindex(b"PK\x01\x02" + content[content.rindex(entry) - 42 : content.rindex(entry)])
    header = bytearray(content)
    struct.pack_into("<II", header, at + 20, size, size)
    return bytes(header)


PICKLE = pickled(tensor())
ZIPS = {
    "only the magic": b"PK\3\4",
    "cut in half": GOOD[: len(GOOD) // 2],
    "without its directory": GOOD[:-40],
    "compressed": archive(tensor(), compression=zipfile.ZIP_DEFLATED),
    "no pickle": zipped(("a/b", b"")),
    "two pickles": zipped(("a/data.pkl", PICKLE), ("b/data.pkl", PICKLE)),
    "storage twice": zipped(("a/data.pkl", PICKLE), ("a/data/0", b"0" * 24), ("a/data/0", b"")),
    "no storage": zipped(("a/data.pkl", PICKLE)),
    "strange byte order": zipped(
        ("a/data.pkl", PICKLE), ("a/byteorder", b"middle"), ("a/data/0", VALUES.tobytes())
    ),
    "claims a gigabyte": claims(archive(tensor()), b"model/data/0", 2**30),
    "an entry of none of them": zipped(("a.txt", b"hello")),
}


def hostile() -> dict[str, bytes]:
    found = {f"pickle: {name}": archive(None, data=data) for name, data in PICKLES.items()}
    found |= {f"tensor: {name}": archive(value) for name, value in TENSORS.items()}
    found |= {f"zip: {name}": data for name, data in ZIPS.items()}
    found["booleans of 2"] = archive(tensor(kind="BoolStorage"), {"data/0": b"\2" * 6})
    found["bare pickle"] = pickle.dumps({"a": 1}, 2)
    return found


HOSTILE = hostile()


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file(path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(content)
    with pytest.raises(nv.FormatError, match=r"^\[load\]"):
        nv.load(path)
    assert "executed" not in capsys.readouterr().out


def test_a_whole_model_is_told_from_a_state_dict(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(nv.FormatError, match=r"Linear, which is no tensor; .*save the state_dict"):
        nv.load(path)


def test_limits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(GOOD)
    monkeypatch.setattr(torch_file, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(nv.FormatError, match="may have 10 bytes"):
        nv.load(path)
    monkeypatch.undo()
    monkeypatch.setattr(torch_pickle, "MAX_OPCODES", 10)
    with pytest.raises(nv.FormatError, match="more than 10 steps"):
        nv.load(path)


def mutated(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at : at + rng.choice((1, 4, 50))]
        else:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
        if not data:
            break
    return bytes(data)


def npz(compressed: bool = False) -> bytes:
    file = io.BytesIO()
    write = np.savez_compressed if compressed else np.savez
    write(file, a=VALUES.reshape(2, 3), b=np.asfortranarray(np.eye(3)), c=np.array(True))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["torch", "torch pickle", "npz", "npz compressed", "safetensors"])
def test_mutations(tmp_path: Path, kind: str) -> None:
    """A clean error or tensors, never anything else."""
    rng = random.Random(kind)
    path = tmp_path / "x"
    nv.save({"a": VALUES, "b": np.eye(3)}, path, {"note": "x"})
    whole = {"torch": GOOD, "npz": npz(), "npz compressed": npz(True)}.get(kind, path.read_bytes())
    plain = pickled({"w": tensor(), "x": [1, "a", {"t": tensor(offset=2, shape=(2, 2))}]})
    for _ in range(300):
        if kind == "torch pickle":  # the checksum of the archive would find these
            path.write_bytes(archive(None, data=mutated(plain, rng)))
        else:
            path.write_bytes(mutated(whole, rng))
        for read in (nv.load, files.describe):
            try:
                read(path)
            except nv.FormatError:
                pass


# ---- NumPy's archives ----------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path: Path, compressed: bool) -> None:
    (tmp_path / "x.npz").write_bytes(npz(compressed))
    found = nv.load(tmp_path / "x.npz")
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["a"], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], np.eye(3))
    assert found["c"].shape == ()
    assert found["c"].dtype == bool


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def described(shape: str, dtype: str = "'<f4'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"


NPZ = {
    "no magic": b"hello",
    "a terabyte": npy(described(f"({2**38},)"), bytes(8)),
    "negative size": npy(described("(-2,)"), bytes(8)),
    "huge but empty": npy(described(f"(0, {2**40}, {2**40})")),
    "objects": npy(described("(1,)", "'|O'"), bytes(8)),
    "text": npy(described("(1,)", "'<U2'"), bytes(8)),
    "records": npy(described("(1,)", "[('a', '<f4'), ('b', '<f4')]"), bytes(8)),
    "code": npy("__import__('os').system('true')", bytes(8)),
    "too short": npy(described("(3,)"), bytes(8)),
    "too long": npy(described("(1,)"), bytes(8)),
    "version 9": b"\x93NUMPY\x09\x00" + bytes(20),
}


@pytest.mark.parametrize("content", NPZ.values(), ids=NPZ.keys())
def test_hostile_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(zipped(("a.npy", content)))
    with pytest.raises(nv.FormatError, match=r"^\[load\]"):
        nv.load(path)


def test_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    content = zipped(("a.npy", npy(described("(1000,)"), bytes(4000))),
                     compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    path.write_bytes(content)
    assert nv.load(path)["a"].sum() == 0
    at = content.index(b"PK\x01\x02")
    broken = bytearray(content)
    struct.pack_into("<I", broken, at + 24, 2**31)
    path.write_bytes(bytes(broken))
    with pytest.raises(nv.FormatError, match="cannot unpack"):
        nv.load(path)


# ---- describe and convert ------------------------------------------------------------------------


def test_describe(tmp_path: Path) -> None:
    nv.save({"w": np.zeros((2, 3), np.float16), "s": np.float64(1)}, tmp_path / "a", {"k": "v\x1b"})
    info = files.describe(tmp_path / "a")
    assert (info.format, info.parameters) == ("safetensors", 7)
    assert files.TensorInfo("w", "F16", (2, 3), 12) in info.tensors
    assert info.metadata == {"k": "v\x1b"}
    assert "\x1b" not in str(info)
    (tmp_path / "b").write_bytes(GOOD)
    info = files.describe(tmp_path / "b")
    assert info.format == "PyTorch"
    assert info.tensors[0] == files.TensorInfo("w", "float32", (2, 3), 24)
    assert info.metadata == {"nested.epoch": "3"}
    bf16 = archive(tensor(kind="BFloat16Storage"), {"data/0": bytes(12)})
    (tmp_path / "b").write_bytes(bf16)
    expected = (files.TensorInfo("tensor", "bfloat16", (2, 3), 12),)
    assert files.describe(tmp_path / "b").tensors == expected
    (tmp_path / "c").write_bytes(npz())
    info = files.describe(tmp_path / "c")
    assert (info.format, len(info.tensors)) == ("npz", 3)
    assert "2x3" in str(info)
    (tmp_path / "d").write_bytes(zipped(("a.txt", b"hello")))
    with pytest.raises(nv.FormatError, match="neither"):
        files.describe(tmp_path / "d")


def test_info_and_convert_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "model.pt", tmp_path / "model.safetensors"
    source.write_bytes(GOOD)
    assert cli.main(["info", str(source)]) == 0
    text = capsys.readouterr().out
    for expected in ("PyTorch", "nested.t.0", "2x3", "24 B", "nested.epoch 3", "9 values"):
        assert expected in text
    assert cli.main(["convert", str(source), str(target)]) == 0
    assert "2 tensors written" in capsys.readouterr().out
    other = tmp_path / "model.npz"
    assert cli.main(["convert", str(target), str(other)]) == 0
    with np.load(other) as found:
        np.testing.assert_array_equal(found["w"], VALUES.reshape(2, 3))
    again = tmp_path / "again.safetensors"
    nv.save(nv.load(target), target, {"note": "kept"})
    assert cli.main(["convert", str(target), str(again)]) == 0
    assert nv.load_metadata(again) == {"note": "kept"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing"], "No such file"),
        (["info", "text"], r"at least 8 bytes"),
        (["convert", "missing", "a.npz"], "No such file"),
        (["convert", "text", "a.npz"], "at least 8 bytes"),
        (["convert", "good.pt", "a.onnx"], r"nervure\.onnx\.export"),
        (["convert", "good.pt", "a.pt"], r"it reads \.safetensors"),
        (["convert", "good.pt", "a.txt"], r"must end in \.safetensors or \.npz"),
    ],
)
def test_command_line_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("hello")
    Path("good.pt").write_bytes(GOOD)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nervure {arguments[0]}: ")

    assert re.search(message, error)


def test_npz_takes_any_name(tmp_path: Path) -> None:
    nv.save({"file": VALUES, "a/b": VALUES}, tmp_path / "x.safetensors")
    assert files.convert(tmp_path / "x.safetensors", tmp_path / "y.npz") == 2
    assert set(nv.load(tmp_path / "y.npz")) == {"file", "a/b"}
