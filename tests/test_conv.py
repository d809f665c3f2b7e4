# SPDX-License-Identifier: BSD-3-Clause
"""Convolutional layers, the choice of algorithm, and what the case table cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from comparison import EPS, difference
from conftest import ISAS, THREADS

import nervure as nv
from nervure import _core, kernels, nn, reference
from nervure.nn import functional as F

ALGORITHMS = ("auto", "im2col", "direct", "winograd")


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    algorithm, accuracy = nv.get_conv_algorithm(), nv.get_conv_accuracy()
    yield
    nv.set_conv_algorithm(algorithm)
    nv.set_conv_accuracy(accuracy)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float64) for a in arrays]


def test_a_long_line_whose_last_piece_is_one_pixel(isa: str) -> None:
    """Lines are cut into pieces of 512 pixels, rounded up: 511 of them and a pixel."""
    rng = np.random.default_rng(3)
    x, w = _normal(rng, 1, 1, 511 * 512 + 3), _normal(rng, 2, 1, 3)
    y = F.conv1d(nv.tensor(x), nv.tensor(w)).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(x[0, 0].astype(np.float64), 3)
    np.testing.assert_allclose(y[0].T, windows @ w[:, 0].T, rtol=1e-5, atol=1e-5)


# ---- algorithms ----------------------------------------------------------------------------------

# x, weight, parameters: what each algorithm takes, and what it must leave to another.
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 1, 9, 8), (6, 1, 5, 5), {"padding": 2}),
    ((2, 3, 9, 8), (33, 3, 3, 3), {"padding": 1}),
    ((3, 16, 8, 9), (17, 16, 3, 3), {"padding": 1}),
    ((2, 17, 11, 7), (16, 17, 3, 3), {}),
    ((2, 33, 5, 6), (31, 33, 3, 3), {"padding": 2}),
    ((1, 40, 1, 1), (20, 40, 3, 3), {"padding": 1}),
    ((2, 40, 13, 10), (70, 40, 3, 3), {"padding": (0, 1), "activation": "gelu"}),
    ((2, 20, 9, 8), (20, 20, 3, 3), {"padding": 3}),
    ((2, 17, 9, 8), (18, 17, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 17, 9, 8), (18, 17, 3, 3), {"padding": 2, "dilation": 2}),
    ((2, 17, 9, 8), (18, 17, 1, 1), {}),
    ((2, 17, 9, 8), (18, 17, 1, 1), {"stride": 3}),
    ((2, 18, 9, 8), (12, 9, 3, 3), {"padding": 1, "groups": 2}),
    ((2, 18, 9, 8), (18, 1, 3, 3), {"padding": 1, "groups": 18}),
    ((0, 18, 9, 8), (18, 18, 3, 3), {"padding": 1}),
)


def _pass(arrays: list[np.ndarray], dy: np.ndarray, parameters: dict[str, Any]) -> list[np.ndarray]:
    x, w, b = (_core.tensor(a, requires_grad=True) for a in arrays)
    y = _core.conv2d(x, w, b, **parameters)
    y.backward(_core.tensor(dy))
    return [t.numpy().copy() for t in (y, x.grad, w.grad, b.grad)]


def _compare(
    rng: np.random.Generator,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    parameters: dict[str, Any],
    slack: float,
) -> None:
    """Against the reference, on all instruction sets, with the same bits for any threads."""
    arrays = [_normal(rng, *x_shape), _normal(rng, *w_shape), _normal(rng, w_shape[0])]
    wide = _wide(*arrays)
    y = reference.conv2d(*wide, **parameters)
    dy = _normal(rng, *y.shape)
    expected = [y, *reference.conv2d_backward(dy.astype(np.float64), *wide, **parameters)]
    depth = max(math.prod(w_shape[1:]), dy[:, 0].size, 4)
    tolerance = slack * EPS * math.sqrt(depth)
    for isa in ISAS:
        _core.select_isa(isa)
        bits = []
        for threads in THREADS:
            _core.set_num_threads(threads)
            actual = _pass(arrays, dy, parameters)
            bits.append([a.tobytes() for a in actual])
        assert bits[0] == bits[1] == bits[2], f"{x_shape} {w_shape} {isa}: threads matter"
        for what, a, e in zip(("y", "dx", "dw", "db"), actual, expected, strict=True):
            assert e is not None
            text = difference(a, e, tolerance, floor=4 * EPS)
            assert not text, f"{what} of {x_shape} {w_shape} {parameters} on {isa}: {text}"


@pytest.mark.parametrize("accuracy", ["accurate", "fast"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_computes_every_shape(algorithm: str, accuracy: str) -> None:
    nv.set_conv_algorithm(algorithm)
    nv.set_conv_accuracy(accuracy)
    rng = np.random.default_rng(1)
    for x_shape, w_shape, parameters in SHAPES:
        # The transforms of the larger tile lose up to about one digit.
        _compare(rng, x_shape, w_shape, parameters, 40 if accuracy == "fast" else 4)


# Few pixels and many weights: one product for each tap.
FEW_PIXELS: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((3, 170, 4, 5), (172, 170, 3, 3), {"padding": 1}),
    ((2, 129, 7, 8), (257, 129, 3, 3), {"padding": 1, "stride": 2, "activation": "gelu"}),
    ((1, 175, 6, 9), (170, 175, 3, 3), {"padding": (0, 3), "dilation": (1, 2)}),
    ((1, 190, 1, 1), (160, 190, 3, 3), {"padding": 1}),
    ((2, 260, 1, 9), (257, 260, 1, 5), {"padding": (0, 2)}),
    ((5, 511, 3, 2), (530, 511, 1, 1), {"stride": 2}),
)


@pytest.mark.parametrize(("x_shape", "w_shape", "parameters"), FEW_PIXELS)
def test_few_pixels_with_many_weights(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], parameters: dict[str, Any]
) -> None:
    _compare(np.random.default_rng(5), x_shape, w_shape, parameters, 4)


# Gradients of weights whose taps slide along a row: three or five, under few output channels.
SLIDING: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((3, 1, 9, 9), (6, 1, 5, 5), {"padding": 2}),
    ((2, 7, 5, 5), (16, 7, 5, 5), {}),  # a single pixel: fewer than taps
    ((2, 5, 6, 7), (15, 5, 3, 5), {"padding": (0, 1), "stride": (2, 1)}),  # as many pixels as taps
    ((2, 3, 7, 5), (17, 3, 3, 3), {"padding": (2, 0), "dilation": (2, 1)}),
    ((9, 11, 4, 3), (32, 11, 2, 3), {"padding": 1}),
    ((2, 12, 6, 33), (33, 12, 1, 3), {}),
    ((3, 48, 5, 9), (48, 16, 3, 3), {"padding": 1, "groups": 3}),
    ((2, 27, 5, 9), (21, 9, 3, 3), {"padding": (1, 2), "groups": 3}),
)


@pytest.mark.parametrize(("x_shape", "w_shape", "parameters"), SLIDING)
def test_taps_that_slide_along_a_row(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], parameters: dict[str, Any]
) -> None:
    nv.set_conv_algorithm("direct")
    _compare(np.random.default_rng(7), x_shape, w_shape, parameters, 4)


# Lines of few channels whose outputs are large enough to be fetched ahead.
LINES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((5, 3, 32, 32), (33, 3, 3, 3), {"padding": 1, "activation": "relu"}),
    ((3, 3, 61, 63), (64, 3, 5, 7), {"padding": 3, "stride": 2, "activation": "gelu"}),
    ((1, 100, 96, 96), (120, 100, 1, 1), {"activation": "relu"}),  # and inputs
)


@pytest.mark.parametrize(("x_shape", "w_shape", "parameters"), LINES)
def test_lines_of_large_outputs(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], parameters: dict[str, Any]
) -> None:
    _compare(np.random.default_rng(8), x_shape, w_shape, parameters, 4)


def test_a_gradient_of_somebody_else_stays() -> None:
    """The derivative of a fused activation may be written over dy only where nobody sees it."""
    rng = np.random.default_rng(6)
    x = nv.tensor(_normal(rng, 2, 3, 5, 5))
    w = nv.tensor(_normal(rng, 4, 3, 3, 3), requires_grad=True)
    dy = _normal(rng, 2, 4, 3, 3)
    given = nv.tensor(dy)
    F.conv2d(x, w, activation="relu").backward(given)
    assert np.array_equal(given.numpy(), dy)
    once = w.grad.numpy().copy()
    w.grad = None
    y = F.conv2d(x, w, activation="relu")
    (y + y * 1.0).backward(given)
    assert np.array_equal(given.numpy(), dy)
    np.testing.assert_allclose(w.grad.numpy(), 2 * once, rtol=1e-5, atol=1e-5)


def test_algorithms_differ_in_their_rounding() -> None:
    """The setting reaches the kernels: each algorithm rounds in its own way."""
    rng = np.random.default_rng(2)
    x, w = nv.tensor(_normal(rng, 2, 128, 16, 16)), nv.tensor(_normal(rng, 64, 128, 3, 3))
    results = {}
    nv.set_conv_accuracy("accurate")
    for algorithm in ALGORITHMS[1:]:
        nv.set_conv_algorithm(algorithm)
        results[algorithm] = F.conv2d(x, w, padding=1).numpy().tobytes()
    nv.set_conv_accuracy("fast")
    results["fast"] = F.conv2d(x, w, padding=1).numpy().tobytes()
    nv.set_conv_algorithm("auto")
    assert F.conv2d(x, w, padding=1).numpy().tobytes() == results["fast"]
    nv.set_conv_accuracy("accurate")
    assert F.conv2d(x, w, padding=1).numpy().tobytes() == results["winograd"]
    assert len(set(results.values())) == len(results)


def test_backward_uses_the_algorithm_of_its_forward() -> None:
    rng = np.random.default_rng(3)
    arrays = [_normal(rng, 2, 32, 9, 9), _normal(rng, 32, 32, 3, 3)]
    gradients = []
    for later in ("direct", "im2col"):
        x, w = (nv.tensor(a, requires_grad=True) for a in arrays)
        nv.set_conv_algorithm("direct")
        y = F.conv2d(x, w)
        nv.set_conv_algorithm(later)
        y.sum().backward()
        gradients.append((x.grad.numpy().tobytes(), w.grad.numpy().tobytes()))
    assert gradients[0] == gradients[1]


def test_settings() -> None:
    assert (nv.get_conv_algorithm(), nv.get_conv_accuracy()) == ("auto", "fast")
    for algorithm in ALGORITHMS:
        nv.set_conv_algorithm(algorithm)
        assert nv.get_conv_algorithm() == algorithm
    for accuracy in ("fast", "accurate"):
        nv.set_conv_accuracy(accuracy)
        assert nv.get_conv_accuracy() == accuracy
    for bad in ("", "fft"):
        with pytest.raises(ValueError, match=r"^\[set_conv_algorithm\] algorithm must be"):
            nv.set_conv_algorithm(bad)
        with pytest.raises(ValueError, match=r"^\[set_conv_accuracy\] accuracy must be"):
            nv.set_conv_accuracy(bad)
    assert nv.get_conv_algorithm() == "winograd"


# ---- memory orders -------------------------------------------------------------------------------


def test_results_lie_channels_last() -> None:
    x = nv.randn(2, 3, 6, 5)
    y = F.conv2d(x, nv.randn(4, 3, 3, 3))
    assert y.shape == (2, 4, 4, 3)
    assert y.order == (0, 2, 3, 1)
    assert F.conv2d(nv.randn(3, 6, 5), nv.randn(4, 3, 3, 3)).order == (1, 2, 0)
    assert F.conv1d(nv.randn(2, 3, 6), nv.randn(4, 3, 3)).order == (0, 2, 1)
    assert F.conv1d(nv.randn(3, 6), nv.randn(4, 3, 3)).order == (1, 0)
    assert F.conv_transpose2d(x, nv.randn(3, 4, 3, 3)).order == (0, 2, 3, 1)


def test_integers_are_converted() -> None:
    x = np.random.default_rng(4).integers(-3, 4, (2, 3, 5, 5))
    w = nv.randn(4, 3, 3, 3)
    np.testing.assert_array_equal(
        F.conv2d(nv.tensor(x), w).numpy(), F.conv2d(nv.tensor(x.astype(np.float32)), w).numpy()
    )


def test_not_a_number_stays_where_it_belongs() -> None:
    for algorithm in ("direct", "im2col"):
        nv.set_conv_algorithm(algorithm)
        x = np.zeros((1, 1, 7, 7), np.float32)
        x[0, 0, 3, 3] = np.nan
        y = F.conv2d(nv.tensor(x), nv.ones(2, 1, 3, 3), padding=1, activation="relu").numpy()
        expected = np.zeros((7, 7), bool)
        expected[2:5, 2:5] = True
        np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(expected, y.shape))


# ---- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(3, 8, 3), "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"),
        (
            nn.Conv2d(4, 8, (3, 5), 2, (1, 2), (1, 2), 2, False),
            "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 2), dilation=(1, 2), "
            "groups=2, bias=False)",
        ),
        (
            nn.Conv2d(3, 8, 3, padding="same", activation="relu"),
            "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding='same', activation='relu')",
        ),
        (
            nn.Conv1d(3, 8, 5, padding=2),
            "Conv1d(3, 8, kernel_size=(5,), stride=(1,), padding=(2,))",
        ),
        (
            nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1),
            "ConvTranspose2d(8, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), "
            "output_padding=(1, 1))",
        ),
    ],
)
def test_text(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text


def test_initial_values() -> None:
    nv.manual_seed(1)
    layer = nn.Conv2d(16, 64, 3)
    bound = 1.0 / math.sqrt(16 * 9)
    for values in (layer.weight.numpy(), layer.bias.numpy()):
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.9 * bound
        assert abs(values.mean()) < 0.2 * bound
    assert layer.weight.order == (2, 3, 1, 0)
    assert nn.Conv1d(3, 4, 5).weight.order == (2, 1, 0)
    transposed = nn.ConvTranspose2d(6, 4, 3, groups=2)
    assert transposed.weight.shape == (6, 2, 3, 3)
    assert np.abs(transposed.bias.numpy()).max() <= 1.0 / math.sqrt(2 * 9)


def _torch_pairs() -> list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]]:
    return [
        ("Conv2d", (3, 8, 3), {"padding": 1}, (2, 3, 9, 8)),
        ("Conv2d", (16, 20, 3), {"padding": "same", "bias": False}, (2, 16, 9, 8)),
        ("Conv2d", (4, 8, (3, 5)), {"stride": 2, "padding": (1, 2), "groups": 2}, (2, 4, 9, 8)),
        ("Conv2d", (8, 8, 3), {"groups": 8, "dilation": 2}, (8, 9, 8)),
        ("Conv1d", (3, 8, 5), {"padding": 2, "stride": 2}, (2, 3, 17)),
        (
            "ConvTranspose2d",
            (6, 8, 4),
            {"stride": 2, "padding": 1, "groups": 2, "output_padding": 1},
            (2, 6, 5, 4),
        ),
    ]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shape"), _torch_pairs(), ids=lambda v: str(v).replace(" ", "")
)
def test_layers_with_weights_of_pytorch(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], shape: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    ours = getattr(nn, name)(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    order = ours.weight.order
    assert order == (*range(2, len(order)), 1, 0)
    x = _normal(np.random.default_rng(5), *shape)
    ours_x, theirs_x = nv.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = ours(ours_x), theirs(theirs_x)
    y.square().sum().backward()
    t.square().sum().backward()
    pairs = [(y, t), (ours_x.grad, theirs_x.grad)]
    pairs += [(p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)]
    for a, e in pairs:
        assert not difference(a.numpy(), e.detach().numpy().astype(np.float64), 1e-5)
    back = {k: v.numpy() for k, v in ours.state_dict().items()}
    for k, v in theirs.state_dict().items():
        np.testing.assert_array_equal(back[k], v.numpy())


@pytest.mark.parametrize("layer", [nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d])
def test_layers_refuse(layer: Any) -> None:
    name = layer.__name__
    for args, kwargs, error, text in (
        ((0, 4, 3), {}, ValueError, "in_channels must be at least 1, got 0"),
        ((4, 0, 3), {}, ValueError, "out_channels must be at least 1"),
        ((4, 4, 0), {}, ValueError, "kernel_size must be at least 1"),
        ((4, 4, 3), {"stride": 0}, ValueError, "stride must be at least 1"),
        ((4, 4, 3), {"padding": -1}, ValueError, "padding must be at least 0"),
        ((4, 4, 3), {"dilation": 0}, ValueError, "dilation must be at least 1"),
        ((4, 4, 3), {"groups": 3}, ValueError, "must be multiples of groups = 3"),
        ((4, 4, (3, 3, 3)), {}, ValueError, "kernel_size must be an integer or"),
        ((4, 4, 3), {"padding_mode": "reflect"}, ValueError, "padding_mode must be 'zeros'"),
        ((4, 4, 3), {"activation": "swish"}, ValueError, "activation must be None or one of"),
        ((4, 4, 3), {"padding": "full"}, ValueError, "padding must be"),
    ):
        with pytest.raises(error, match=rf"^\[{name}\].*{text}"):
            layer(*args, **kwargs)
    with pytest.raises(TypeError):
        layer(4, 4.5, 3)
    with pytest.raises(TypeError):
        layer(4, 4, 2.5)


def test_layers_refuse_paddings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^\[Conv2d\] padding='same' needs stride 1"):
        nn.Conv2d(3, 4, 3, stride=2, padding="same")
    with pytest.raises(ValueError, match=r"^\[ConvTranspose2d\] padding must be numbers"):
        nn.ConvTranspose2d(3, 4, 3, padding="same")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^\[ConvTranspose2d\] output_padding must be smaller"):
        nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=2)


def test_fused_activation_is_the_activation() -> None:
    nv.manual_seed(3)
    fused = nn.Conv2d(5, 6, 3, padding=1, activation="silu")
    plain = nn.Conv2d(5, 6, 3, padding=1)
    plain.load_state_dict(fused.state_dict())
    x = nv.randn(2, 5, 7, 6)
    np.testing.assert_allclose(fused(x).numpy(), nn.SiLU()(plain(x)).numpy(), rtol=1e-6, atol=1e-7)


def test_gradients_accumulate_over_shared_layers() -> None:
    nv.manual_seed(4)
    layer = nn.Conv2d(4, 4, 3, padding=1)
    x = nv.randn(2, 4, 5, 5)
    layer(layer(x)).sum().backward()
    both = layer.weight.grad.numpy().copy()
    inner = layer(x).detach()
    layer.weight.grad = layer.bias.grad = None
    layer(inner).sum().backward()
    outer_only = layer.weight.grad.numpy()
    assert np.abs(both - outer_only).max() > 1e-3


# ---- the bare kernels ----------------------------------------------------------------------------


def test_bare_kernels(isa: str) -> None:
    rng = np.random.default_rng(6)
    x, w, b = _normal(rng, 2, 9, 8, 6), _normal(rng, 3, 2, 3, 10), _normal(rng, 10)
    window: dict[str, Any] = {"stride": (2, 1), "padding": 1, "dilation": (1, 2)}
    options = {**window, "groups": 2}
    nchw, oihw = x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1)
    z = reference.conv2d(*_wide(nchw, oihw, b), **options)
    y = kernels.conv2d_forward(x, w, b, **options)
    assert not difference(y, z.transpose(0, 2, 3, 1), 1e-6)
    out = np.empty_like(y)
    assert kernels.conv2d_forward(x, w, b, out, activation="relu", **options) is out
    np.testing.assert_array_equal(out, np.maximum(y, 0))

    dy = _normal(rng, *y.shape)
    wide_dy = dy.transpose(0, 3, 1, 2).astype(np.float64)
    dx, dw, _ = reference.conv2d_backward(wide_dy, *_wide(nchw, oihw, b), **options)
    actual = kernels.conv2d_backward_data(dy, w, (9, 8), **options)
    assert not difference(actual, dx.transpose(0, 2, 3, 1), 2e-6)
    actual = kernels.conv2d_backward_weight(x, dy, (3, 2), **options)
    assert not difference(actual, dw.transpose(2, 3, 1, 0), 2e-6)

    columns = kernels.im2col(x, (3, 2), **window)
    plain = reference.conv2d(*_wide(nchw, _normal(rng, 10, 6, 3, 2)), **window)
    n, k, p, q = plain.shape
    assert columns.shape == (n, p, q, 3, 2, 6)
    kernel = _normal(rng, 3, 2, 6, 10)
    product = columns.reshape(n * p * q, -1).astype(np.float64) @ kernel.reshape(-1, k)
    direct = kernels.conv2d_forward(x, kernel, **window)
    assert not difference(direct.reshape(-1, k), product, 1e-6)
    # col2im is the transpose of im2col: <im2col(x), c> = <x, col2im(c)>.
    other = _normal(rng, *columns.shape)
    spread = kernels.col2im(other, (9, 8), **window)
    assert float(np.vdot(columns, other)) == pytest.approx(float(np.vdot(x, spread)), rel=1e-4)


def test_bare_kernels_refuse() -> None:
    rng = np.random.default_rng(7)
    x, w = _normal(rng, 2, 5, 5, 4), _normal(rng, 3, 3, 4, 6)
    y = kernels.conv2d_forward(x, w)
    with pytest.raises(TypeError, match=r"\[conv2d_forward\] x must be float32, got float64"):
        kernels.conv2d_forward(x.astype(np.float64), w)
    with pytest.raises(ValueError, match=r"\[conv2d_forward\] images must be \(N, H, W, C\)"):
        kernels.conv2d_forward(x[0], w)
    with pytest.raises(ValueError, match=r"with C / groups = 4"):
        kernels.conv2d_forward(x, _normal(rng, 3, 3, 5, 6))
    with pytest.raises(ValueError, match=r"multiples of groups"):
        kernels.conv2d_forward(x, w, groups=3)
    with pytest.raises(ValueError, match=r"stride, dilation and groups must be at least 1"):
        kernels.conv2d_forward(x, w, stride=0)
    with pytest.raises(ValueError, match=r"stride, padding and dilation must be 2\^30 at most"):
        kernels.conv2d_backward_data(y[:, :1, :1].copy(), w, 5, stride=1 << 62, padding=1)
    with pytest.raises(ValueError, match=r"kernels must have 2\^30 rows and columns at most"):
        kernels.im2col(x, ((1 << 62) + 1, 1), np.empty(1, np.float32), dilation=4)
    with pytest.raises(ValueError, match=r"does not fit into the padded input of 2"):
        kernels.conv2d_forward(x[:, :2].copy(), w)
    with pytest.raises(ValueError, match=r"x must be C-contiguous"):
        kernels.conv2d_forward(x[:, ::-1], w)
    with pytest.raises(ValueError, match=r"bias must have shape \(6,\)"):
        kernels.conv2d_forward(x, w, _normal(rng, 5))
    with pytest.raises(ValueError, match=r"out must have shape"):
        kernels.conv2d_forward(x, w, out=np.empty((2, 4, 3, 6), np.float32))
    with pytest.raises(ValueError, match=r"must be an integer or two of them"):
        kernels.conv2d_forward(x, w, padding=(1, 2, 3))
    with pytest.raises(ValueError, match=r"\[conv2d_backward_data\] dy must have shape"):
        kernels.conv2d_backward_data(y, w, 6)
    with pytest.raises(ValueError, match=r"\[conv2d_backward_weight\] dy must have shape"):
        kernels.conv2d_backward_weight(x, y[:, :2].copy(), 3)
    same = _normal(rng, 1, 4, 4, 3)
    with pytest.raises(ValueError, match=r"must not share memory"):
        kernels.conv2d_forward(same, np.ones((1, 1, 3, 3), np.float32), out=same)
    memory = np.zeros(2 * 3 * 3 * 6, np.float32)
    with pytest.raises(ValueError, match=r"out must not share memory with bias"):
        kernels.conv2d_forward(x, w, memory[:6], out=memory.reshape(2, 3, 3, 6))
    with pytest.raises(ValueError, match=r"\[col2im\] columns must be"):
        kernels.col2im(y, 5)
    with pytest.raises(ValueError, match=r"\[im2col\] images must be"):
        kernels.im2col(x[0], 3)


# ---- working memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize(
    "window", [{"dilation": 400, "padding": 400}, {"stride": 800, "padding": 400}]
)
def test_taps_far_apart_need_little_memory(algorithm: str, window: dict[str, int]) -> None:
    """A copy of all pixels between them would take some 40 MB."""
    rng = np.random.default_rng(8)
    x, w = _normal(rng, 1, 16, 5, 5), _normal(rng, 16, 16, 3, 3)
    nv.set_conv_algorithm(algorithm)
    t, u = nv.tensor(x, requires_grad=True), nv.tensor(w, requires_grad=True)
    nv.trim_memory()
    y = F.conv2d(t, u, **window)
    y.backward(nv.tensor(dy := _normal(rng, *y.shape)))
    stats = nv.memory_stats()
    assert stats["live_bytes"] + stats["cached_bytes"] < 16 << 20
    expected = reference.conv2d(*_wide(x, w), None, **window)
    dx, dw, _ = reference.conv2d_backward(_wide(dy)[0], *_wide(x, w), **window)
    for ours, theirs in ((y, expected), (t.grad, dx), (u.grad, dw)):
        assert not difference(ours.numpy(), theirs, 200 * EPS)


def test_long_kernels_of_one_channel_need_little_memory() -> None:
    x = nv.zeros(1, 1, 100_000).requires_grad_()
    nv.trim_memory()
    before = nv.memory_stats()["live_bytes"]
    F.conv1d(x, nv.zeros(8, 1, 256)).sum().backward()
    stats = nv.memory_stats()
    assert stats["live_bytes"] + stats["cached_bytes"] - before < 32 << 20


# ---- training ------------------------------------------------------------------------------------


def _stripes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images of stripes in one of four directions."""
    target = rng.integers(0, 4, count)
    i, j = np.mgrid[0:12, 0:12]
    waves = np.stack([np.sin(1.3 * a) for a in (i, j, 0.7 * (i + j), 0.7 * (i - j))])
    return (waves[target] + rng.normal(0, 1.0, (count, 12, 12))).astype(np.float32)[:, None], target


@pytest.mark.parametrize("accuracy", ["accurate", "fast"])
def test_training_converges(accuracy: str) -> None:
    nv.set_conv_accuracy(accuracy)
    nv.manual_seed(0)
    x, target = _stripes(np.random.default_rng(8), 512)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, activation="relu"),
        nn.Conv2d(16, 16, 3, padding=1, activation="relu"),
        nn.Conv2d(16, 16, 3, stride=2, activation="relu"),
        nn.Flatten(),
        nn.Linear(16 * 25, 4),
    )
    optimizer = nv.optim.Adam(model.parameters(), lr=2e-3)
    inputs, classes = nv.tensor(x), nv.tensor(target)
    for _ in range(3):
        for i in range(0, 512, 64):
            loss = F.cross_entropy(model(inputs[i : i + 64]), classes[i : i + 64])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    fresh, fresh_target = _stripes(np.random.default_rng(9), 256)
    with nv.no_grad():
        right = model(nv.tensor(fresh)).numpy().argmax(1) == fresh_target
    assert right.mean() > 0.95
