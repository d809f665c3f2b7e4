# SPDX-License-Identifier: BSD-3-Clause
"""ONNX: what is exported computes the same in onnxruntime, and read back in here."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import cli, models, nn

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from nervure import onnx as ours  # noqa: E402
from nervure.files import describe  # noqa: E402
from nervure.onnx import Input  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def flat(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple):
        return [array for part in value for array in flat(part)]
    return [] if value is None else [value.numpy()]


def check(
    model: nn.Module, path: Path, specs: Any, *calls: Any, atol: float = 2e-5, back: bool = True
) -> Any:
    """Export; compare with onnxruntime and with the file read back, for every call."""
    model.eval()
    ours.export(model, path, specs)
    running = session(path)
    again = ours.load(path) if back else None
    for call in calls:
        inputs = call if isinstance(call, dict) else {"input": call}
        named = {n: nv.tensor(a) for n, a in inputs.items()}
        expected = flat(model(**named) if isinstance(call, dict) else model(named["input"]))
        found = running.run(None, inputs)
        assert len(found) == len(expected)
        for value, want in zip(found, expected, strict=True):
            assert value.shape == want.shape
            np.testing.assert_allclose(value, want, rtol=1e-4, atol=atol)
        if again is not None:
            for value, want in zip(flat(again(**named)), expected, strict=True):
                np.testing.assert_allclose(value, want, rtol=1e-4, atol=atol)
    return again


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def trained(norm: nn.Module) -> nn.Module:
    """With running averages and weights that are not 0 and 1."""
    for name, value in norm.state_dict().items():
        if value.dtype == nv.float32:
            value.copy_(np.abs(numbers(len(name), *value.shape)) + 0.5)
    return norm


ACTIVATIONS = [
    *(nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.GELU(), nn.GELU("tanh"), nn.SiLU()),
    *(nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Softplus(2.0), nn.Hardtanh(-0.5, 2.0)),
    *(nn.Softmax(1), nn.Softmax(-1), nn.LogSoftmax(0), nn.Identity(), nn.Dropout(0.3)),
]


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activations(path: Path, layer: nn.Module) -> None:
    check(layer, path, ("n", "m"), numbers(0, 4, 6), 30 * numbers(1, 3, 2))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh",
                                  "sigmoid", "softplus", "hardtanh"])  # fmt: skip
def test_activations_of_linear(path: Path, name: str) -> None:
    check(nn.Linear(5, 4, activation=name), path, ("n", 5), numbers(0, 3, 5))


def test_dense_of_any_rank(path: Path) -> None:
    check(nn.Linear(5, 4), path, ("n", "t", 5), numbers(0, 3, 2, 5), numbers(1, 1, 6, 5))
    check(nn.Linear(5, 4, bias=False), path, ("n", 5), numbers(0, 3, 5))


CONVOLUTIONS = [
    (nn.Conv2d(3, 4, 3), (2, 3, 8, 9)),
    (nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2), (2, 4, 8, 9)),
    (nn.Conv2d(3, 4, 3, dilation=2, padding="same", bias=False), (1, 3, 8, 9)),
    (nn.Conv2d(3, 4, 4, padding="same"), (1, 3, 8, 9)),
    (nn.Conv2d(3, 4, 1, padding="valid", activation="relu"), (2, 3, 5, 5)),
    (nn.Conv1d(3, 4, 3, padding=1, stride=2), (2, 3, 11)),
    (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 5, 6)),
    (nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2), (2, 4, 5, 6)),
    (nn.MaxPool2d(2), (2, 3, 8, 9)),
    (nn.MaxPool2d(3, stride=2, padding=1), (2, 3, 8, 9)),
    (nn.MaxPool2d(2, dilation=2, stride=1), (2, 3, 8, 9)),
    (nn.MaxPool2d(3, stride=2, ceil_mode=True), (2, 3, 8, 8)),
    (nn.MaxPool1d(2), (2, 3, 9)),
    (nn.AvgPool2d(2), (2, 3, 8, 9)),
    (nn.AvgPool2d(3, stride=2, padding=1), (2, 3, 8, 9)),
    (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 3, 8, 9)),
    (nn.AvgPool1d(3, stride=2), (2, 3, 9)),
    (nn.AdaptiveAvgPool2d(1), (2, 3, 8, 9)),
    (nn.AdaptiveAvgPool2d((2, 3)), (2, 3, 8, 9)),
    (nn.AdaptiveMaxPool2d(1), (2, 3, 8, 9)),
    (nn.AdaptiveMaxPool2d((4, 3)), (2, 3, 8, 9)),
    (nn.AdaptiveAvgPool1d(3), (2, 3, 9)),
    (nn.AdaptiveMaxPool1d(1), (2, 3, 9)),
    (trained(nn.BatchNorm2d(3)), (2, 3, 4, 5)),
    (trained(nn.BatchNorm2d(3, affine=False, activation="relu")), (2, 3, 4, 5)),
    (trained(nn.BatchNorm1d(3)), (4, 3)),
    (trained(nn.BatchNorm1d(3)), (4, 3, 5)),
    (trained(nn.InstanceNorm2d(3, affine=True)), (2, 3, 4, 5)),
    (trained(nn.InstanceNorm1d(3)), (2, 3, 5)),
    (trained(nn.InstanceNorm2d(3, track_running_stats=True)), (2, 3, 4, 5)),
    (trained(nn.GroupNorm(2, 6)), (2, 6, 4, 5)),
    (nn.GroupNorm(3, 6, affine=False), (2, 6, 5)),
    (trained(nn.LayerNorm(5)), (2, 3, 5)),
    (trained(nn.LayerNorm((4, 5), bias=False)), (2, 3, 4, 5)),
    (nn.LayerNorm(5, elementwise_affine=False), (2, 5)),
    (trained(nn.RMSNorm(5)), (2, 3, 5)),
    (nn.RMSNorm((3, 5), eps=1e-3, elementwise_affine=False), (2, 3, 5)),
    (nn.Flatten(), (2, 3, 4, 5)),
    (nn.Flatten(2, 3), (2, 3, 4, 5)),
    (nn.Unflatten(1, (2, 3)), (2, 6, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=lambda v: str(v)[:60])
def test_images_and_norms(path: Path, layer: nn.Module, shape: tuple[int, ...]) -> None:
    """The batch may vary."""
    another = (shape[0] + 3, *shape[1:])
    check(layer, path, ("n", *shape[1:]), numbers(0, *shape), numbers(1, *another), atol=1e-4)


def test_image_sizes_that_vary(path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, activation="relu"), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    again = check(model, path, ("n", 1, "h", "w"), numbers(0, 2, 1, 8, 9), numbers(1, 1, 1, 5, 30))
    assert set(again.state_dict()) == set(model.state_dict())


def test_embedding(path: Path) -> None:
    model = nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 3))
    words = np.random.default_rng(0).integers(0, 7, (2, 6))
    check(model, path, Input(("n", "t"), "int64"), words, words[:1, :3])


# ---- recurrent layers ----------------------------------------------------------------------------

RECURRENT = [
    nn.RNN(3, 4),
    nn.RNN(3, 4, nonlinearity="relu", bidirectional=True),
    nn.GRU(3, 4),
    nn.GRU(3, 4, num_layers=2, bidirectional=True),
    nn.GRU(3, 4, reset_after=False, bias=False),
    nn.LSTM(3, 4),
    nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    nn.LSTM(3, 4, batch_first=False, bias=False),
    nn.LSTM(3, 4, peepholes=True, bidirectional=True),
]


class WithStates(nn.Module):
    """An LSTM whose states are two inputs."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Any, h: Any, c: Any, lengths: Any) -> Any:
        return self.lstm(x, (h, c), lengths=lengths)


@pytest.mark.parametrize("layer", RECURRENT, ids=repr)
def test_recurrent_layers(path: Path, layer: Any) -> None:
    """Batch and time vary; with and without lengths and initial states."""
    shape = ("n", "t", 3) if layer.batch_first else ("t", "n", 3)
    check(layer, path, shape, numbers(0, 2, 5, 3), numbers(1, 4, 9, 3))
    lengths = np.array([5, 2, 1, 4])
    x = numbers(2, 4, 5, 3) if layer.batch_first else numbers(2, 5, 4, 3)
    specs = {"x": shape, "lengths": Input(("n",), "int64")}
    check(layer, path, specs, {"x": x, "lengths": lengths})
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    state = numbers(3, rows, 4, 4)
    if isinstance(layer, nn.LSTM):
        call = {"x": x, "h": state, "c": state + 1, "lengths": lengths}
        specs = {"x": shape, "h": (rows, "n", 4), "c": (rows, "n", 4), "lengths": specs["lengths"]}
        check(WithStates(layer), path, specs, call)
    else:
        specs = {"x": shape, "state": (rows, "n", 4), "lengths": Input(("n",), "int64")}
        check(layer, path, specs, {"x": x, "state": state, "lengths": lengths})


SCANNED = [
    nn.LSTM(3, 4, proj_size=2),
    nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=3, peepholes=True),
    nn.LSTM(3, 4, zoneout=(0.3, 0.1)),
    nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=False, bias=False, zoneout=0.25),
]


@pytest.mark.parametrize("layer", SCANNED, ids=repr)
def test_recurrent_layers_that_onnx_lacks(path: Path, layer: nn.LSTM) -> None:
    """Written step by step; such a file is not read back."""
    shape = ("n", "t", 3) if layer.batch_first else ("t", "n", 3)
    check(layer, path, shape, numbers(0, 2, 5, 3), numbers(1, 4, 9, 3), back=False)
    onnx.checker.check_model(str(path), full_check=True)
    x = numbers(2, 4, 5, 3) if layer.batch_first else numbers(2, 5, 4, 3)
    lengths = np.array([5, 2, 0, 4])
    specs = {"x": shape, "lengths": Input(("n",), "int64")}
    check(layer, path, specs, {"x": x, "lengths": lengths}, back=False)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    states = {"h": numbers(3, rows, 4, layer.proj_size or 4), "c": numbers(4, rows, 4, 4)}
    specs |= {name: (rows, "n", state.shape[2]) for name, state in states.items()}
    call = {"x": x, **states, "lengths": lengths}
    check(WithStates(layer), path, {name: specs[name] for name in call}, call, back=False)
    with pytest.raises(ValueError, match="Scan"):
        ours.load(path)


@pytest.mark.parametrize("cell", [nn.RNNCell(3, 4), nn.GRUCell(3, 4), nn.LSTMCell(3, 4)], ids=repr)
def test_cells(path: Path, cell: nn.Module) -> None:
    check(cell, path, ("n", 3), numbers(0, 5, 3))


class Tagger(nn.Module):
    """Words to the class of the last state, with lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 5)
        self.rnn = nn.LSTM(5, 6, bidirectional=True)
        self.norm = nn.LayerNorm(12)
        self.out = nn.Linear(12, 3)

    def forward(self, words: Any, lengths: Any = None) -> Any:
        out, (h, _) = self.rnn(self.words(words), lengths=lengths)
        both = h.permute(1, 0, 2).flatten(1)
        return self.out(self.norm(both)), out.mean(dim=-1)


def test_a_model_of_ones_own(path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 9, (4, 6))
    specs = {"words": Input(("n", "t"), "int64"), "lengths": Input(("n",), "int64")}
    model = Tagger()
    check(model, path, specs, {"words": words, "lengths": np.array([6, 1, 3, 2])})
    assert model.training is False


# ---- attention -----------------------------------------------------------------------------------


def test_attention(path: Path) -> None:
    check(nn.MultiheadAttention(8, 2), path, ("n", "t", 8), numbers(0, 2, 5, 8))
    layer = nn.MultiheadAttention(8, 2, bias=False, kdim=6, vdim=4, batch_first=False)
    specs = {"query": ("t", "n", 8), "key": ("s", "n", 6), "value": ("s", "n", 4)}
    call = {"query": numbers(0, 3, 2, 8), "key": numbers(1, 5, 2, 6), "value": numbers(2, 5, 2, 4)}
    check(layer, path, specs, call)
    specs = {"query": ("n", "t", 8), "lengths": Input(("n",), "int64")}
    check(nn.MultiheadAttention(8, 4), path, specs,
          {"query": numbers(3, 3, 5, 8), "lengths": np.array([5, 1, 3])})  # fmt: skip
    specs = {"query": ("n", "t", 8), "key_padding_mask": Input(("n", "t"), "bool")}
    mask = np.array([[0, 0, 1], [0, 0, 0]], bool)
    check(nn.MultiheadAttention(8, 4), path, specs,
          {"query": numbers(3, 2, 3, 8), "key_padding_mask": mask})  # fmt: skip


@pytest.mark.parametrize(
    "layer", [nn.AdditiveAttention(4, 6, 5), nn.DotAttention(4, 6, scale=0.5)], ids=repr
)
@pytest.mark.parametrize("steps", [(), (3,)])
def test_attention_of_decoders(path: Path, layer: nn.Module, steps: tuple[int, ...]) -> None:
    specs = {"query": ("n", *(["t"] if steps else []), 4), "keys": ("n", "s", 6)}
    call = {"query": numbers(0, 2, *steps, 4), "keys": numbers(1, 2, 7, 6)}
    check(layer, path, specs, call)
    specs |= {"lengths": Input(("n",), "int64")}
    check(layer, path, specs, call | {"lengths": np.array([7, 2])})


def test_every_layer_is_written() -> None:
    from nervure.onnx._export import WRITERS

    layers = {getattr(nn, name) for name in nn.__all__}
    layers = {k for k in layers if isinstance(k, type) and issubclass(k, nn.Module)}
    others = {k.__name__ for k in layers - WRITERS.keys() if not k.__name__.endswith("Loss")}
    # Followed through their forward(), or without one.
    assert others == {
        "Module", "ModuleDict", "ModuleList", "Sequential", "TransformerDecoder",
        "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",
    }  # fmt: skip


def test_without_onnx_the_extra_is_named() -> None:
    code = (
        "import importlib.util as u; u.find_spec = lambda *a: None\n"
        "try:\n    import nervure.onnx\n"
        "except ImportError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'nervure[onnx]'" in done.stdout


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.places = nn.LearnedPositions(8, 20)

    def forward(self, x: Any) -> Any:
        y, weights = self.attention(self.places(x), is_causal=True, need_weights=True)
        return x + y, weights


def test_causal_attention_with_weights(path: Path) -> None:
    check(Causal(), path, ("n", "t", 8), numbers(0, 2, 5, 8), numbers(1, 1, 11, 8))


@pytest.mark.parametrize("positions", [nn.SinusoidalPositions(8, 30), nn.RotaryPositions(8, 30)])
def test_positions(path: Path, positions: nn.Module) -> None:
    check(positions, path, ("n", "t", 8), numbers(0, 2, 5, 8), numbers(1, 1, 30, 8))


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer(path: Path, norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=norm_first, activation="gelu")
    model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    check(model, path, ("n", "t", 8), numbers(0, 2, 5, 8), numbers(1, 3, 9, 8))
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, norm_first=norm_first), 2)
    specs = {"tgt": ("n", "t", 8), "memory": ("n", "s", 8)}
    check(decoder, path, specs, {"tgt": numbers(0, 2, 3, 8), "memory": numbers(1, 2, 6, 8)})


# ---- reading -------------------------------------------------------------------------------------


def test_what_is_read_can_be_trained(path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
    )
    ours.export(model, path, ("n", 1, 8, 8), metadata={"note": "kept"})
    again = ours.load(path)
    assert set(again.state_dict()) == set(model.state_dict())
    x, y = nv.tensor(numbers(0, 16, 1, 8, 8)), nv.tensor(np.arange(16) % 2)
    optimizer = nv.optim.Adam(again.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(again(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    model.load_state_dict(again.state_dict())
    np.testing.assert_allclose(model(x).numpy(), again(x).numpy(), atol=1e-5)


def test_a_recurrent_model_that_is_read_can_be_trained(path: Path) -> None:
    ours.export(nn.LSTM(3, 4, bidirectional=True), path, ("n", "t", 3))
    again = ours.load(path)
    out, _, _ = again(numbers(0, 2, 5, 3))
    (out * out).sum().backward()
    assert all(np.abs(p.grad.numpy()).sum() > 0 for p in again.parameters())


def test_models_of_torch(tmp_path: Path) -> None:
    """Read what another exporter wrote: uneven padding, constants, shapes computed in the graph."""
    h = onnx.helper
    f, i = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    nodes = [
        h.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        h.make_node("Shape", ["a"], ["s"]),
        h.make_node("Constant", [], ["zero"], value_ints=[0]),
        h.make_node("Gather", ["s", "zero"], ["n"]),
        h.make_node("Constant", [], ["rest"], value_ints=[-1]),
        h.make_node("Concat", ["n", "rest"], ["shape"], axis=0),
        h.make_node("Reshape", ["a", "shape"], ["b"]),
        h.make_node("ReduceSum", ["b", "rest"], ["c"], keepdims=1),
        h.make_node("Div", ["b", "c"], ["d"]),
        h.make_node("Clip", ["d", "low", "high"], ["e"]),
        h.make_node("Gemm", ["e", "v", "u"], ["y"], alpha=0.5, beta=2.0),
    ]
    weights = {
        "w": numbers(0, 2, 1, 2, 2), "v": numbers(1, 18, 3), "u": numbers(2, 1, 3),
        "low": np.float32(-3), "high": np.float32(3),
    }  # fmt: skip
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", f, ["n", 1, 3, 3])],
        [h.make_tensor_value_info("y", f, ["n", 3]), h.make_tensor_value_info("shape", i, [2])],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()],
    )
    path = tmp_path / "other.onnx"
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    x = np.abs(numbers(3, 4, 1, 3, 3))
    expected = session(path).run(None, {"x": x})
    for value, want in zip(ours.load(path)(x), expected, strict=True):
        np.testing.assert_allclose(value.numpy(), want, rtol=1e-4, atol=1e-5)


def test_info_and_convert(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    ours.export(model, path, ("batch", 3), output_names=["scores"], metadata={"note": "kept"})
    info = describe(path)
    assert info.format == "ONNX"
    assert info.parameters == 26
    assert info.metadata["input input"] == "float (batch, 3)"
    assert info.metadata["note"] == "kept"
    assert "2 Gemm" in info.metadata["nodes"]
    assert cli.main(["info", str(path)]) == 0
    assert "0.weight" in capsys.readouterr().out
    target = path.with_suffix(".safetensors")
    assert cli.main(["convert", str(path), str(target)]) == 0
    model.load_state_dict(nv.load(target))


# ---- errors --------------------------------------------------------------------------------------


class Strange(nn.Module):
    def forward(self, x: Any) -> Any:
        return nv.cat([x, x])


class Fixed(nn.Module):
    def forward(self, x: Any) -> Any:
        return 3


@pytest.mark.parametrize(
    ("model", "spec", "error", "message"),
    [
        (Strange(), ("n", 3), ValueError, "Strange: its forward"),
        (Fixed(), ("n", 3), ValueError, "must give tensors, got int"),
        (nn.LSTM(3, 4, layer_norm=True), ("n", "t", 3), ValueError, "has no layer_norm"),
        (nn.LSTMCell(3, 4, layer_norm=True), ("n", 3), ValueError, "has no layer_norm"),
        (nn.LSTM(3, 4), ("t", 3), ValueError, "with a batch"),
        (nn.Conv2d(1, 1, 1), (1, 3, 3), ValueError, "with a batch"),
        (nn.MaxPool2d(2, return_indices=True), ("n", 1, 4, 4), ValueError, "return_indices"),
        (nn.AvgPool2d(2, divisor_override=3), ("n", 1, 4, 4), ValueError, "divisor_override"),
        (nn.AdaptiveAvgPool2d(3), ("n", 1, 4, 4), ValueError, "multiple of output_size"),
        (nn.BatchNorm1d(3, track_running_stats=False), ("n", 3), ValueError, "running averages"),
        (nn.ReLU(), "x", TypeError, "must be a shape"),
        (nn.ReLU(), ("n", -1), ValueError, "must be positive or names"),
        (nn.ReLU(), Input(("n",), "float64"), ValueError, "must be float32, int64 or bool"),
    ],
)
def test_export_errors(path: Path, model: nn.Module, spec: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ours.export(model, path, spec)
    assert not path.exists()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (models.LeNet5(), (1, 28, 28)),
        (models.VGGSmall(widths=(4, 8)), (3, 32, 32)),
        (models.ResNet([1, 1], [4, 8]), (3, 8, 8)),
        (models.ResNet([1, 1], [4, 8], stem="imagenet"), (3, 32, 32)),
    ],
)
def test_models_of_the_library(path: Path, model: nn.Module, shape: tuple[int, ...]) -> None:
    check(model, path, ("n", *shape), numbers(0, 3, *shape), numbers(1, 1, *shape))


def test_more_export_errors(path: Path) -> None:
    with pytest.raises(TypeError, match="model must be a Module, got int"):
        ours.export(3, path, ("n",))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="metadata must map strings to strings"):
        ours.export(nn.ReLU(), path, ("n",), metadata={"a": 1})  # type: ignore[dict-item]
    for metadata in ("note", [("note", "kept")], 3):
        with pytest.raises(TypeError, match="metadata must map strings to strings"):
            ours.export(nn.ReLU(), path, ("n",), metadata=metadata)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="output_names"):
        ours.export(nn.ReLU(), path, ("n",), output_names=["a", "b"])
    with pytest.raises(ValueError, match="output_names"):
        ours.export(nn.ReLU(), path, ("n",), output_names=["input"])


def test_export_leaves_the_mode(path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    model[1].eval()
    ours.export(model, path, np.zeros((3, 2)))
    assert (model.training, model[1].training) == (True, False)


def test_calls_of_what_was_read(path: Path) -> None:
    ours.export(nn.ReLU(), path, ("n",))
    model = ours.load(path)
    assert model(input=[-1.0, 2.0]).numpy().tolist() == [0, 2]
    for call in (lambda: model(), lambda: model([1.0], [2.0]), lambda: model(x=[1.0])):
        with pytest.raises(TypeError, match="the model takes input"):
            call()


def damaged(change: Any, path: Path) -> None:
    ours.export(nn.Linear(2, 2), path, ("n", 2))
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.ClearField("raw_data")


def resized(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def renamed(model: Any) -> None:
    model.graph.node[0].input[1] = "missing"


def cleared(model: Any) -> None:
    model.ClearField("graph")


@pytest.mark.parametrize("change", [external, resized, renamed, cleared])
def test_hostile_models(path: Path, change: Any) -> None:
    damaged(change, path)
    with pytest.raises(nv.FormatError, match=r"^\[load\]"):
        ours.load(path)
    with pytest.raises(nv.FormatError, match=r"^\[load\]"):
        ours.load_weights(path)


def unknown(model: Any) -> None:
    model.graph.node[0].op_type = "Det"
    del model.graph.node[0].input[1:]
    del model.graph.node[0].attribute[:]


def old(model: Any) -> None:
    model.opset_import[0].version = 11


@pytest.mark.parametrize("change", [unknown, old])
def test_models_that_are_not_known(path: Path, change: Any) -> None:
    damaged(change, path)
    with pytest.raises(ValueError, match=r"^\[onnx\] (the operator Det|opset 11)"):
        ours.load(path)


def test_mutations(path: Path) -> None:
    """300 damaged files: a clean error each time, or a model."""
    ours.export(nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 2)), path, ("n", "t", 3))
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.choice((1, 4, 50))]
            else:
                data[at:at] = rng.randbytes(rng.choice((1, 4)))
        path.write_bytes(bytes(data))
        for read in (ours.load, ours.load_weights, describe):
            try:
                read(path)
            except ValueError:  # FormatError, or an operator that is not known
                pass
