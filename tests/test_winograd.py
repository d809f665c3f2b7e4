# SPDX-License-Identifier: BSD-3-Clause
"""Winograd's convolution against sums in double precision: every edge of image, tile and vector."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nervure as nv
from nervure import _core
from nervure.nn import functional as F

# Of the largest result. F(4,3) has larger numbers in between, F(4,5) still larger ones; F(2,3) is
# as exact as plain sums.
TOLERANCE = {("accurate", 3): 2e-6, ("fast", 3): 1e-5, ("fast", 5): 2e-5}
CHANNELS = [(1, 1), (3, 5), (16, 16), (17, 31), (33, 15), (7, 64), (64, 70), (130, 40)]
SIZES = [(1, 1), (2, 3), (4, 4), (5, 9), (14, 13)]


@pytest.fixture(autouse=True)
def _settings():
    before = nv.get_conv_algorithm(), nv.get_conv_accuracy()
    nv.set_conv_algorithm("winograd")
    yield
    nv.set_conv_algorithm(before[0])
    nv.set_conv_accuracy(before[1])


def exact(x, w, dy, padding, dilation=(1, 1)):
    """y, dx and dw of a convolution in float64."""
    x, w, dy = (a.astype(np.float64) for a in (x, w, dy))
    pad_h, pad_w = padding
    padded = np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    height, width = dy.shape[2:]
    y, dpadded, dw = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(w)
    for r, s in itertools.product(*map(range, w.shape[2:])):
        i, j = r * dilation[0], s * dilation[1]
        window = (..., slice(i, i + height), slice(j, j + width))
        y += np.einsum("nchw,kc->nkhw", padded[window], w[:, :, r, s])
        dpadded[window] += np.einsum("nkhw,kc->nchw", dy, w[:, :, r, s])
        dw[:, :, r, s] = np.einsum("nkhw,nchw->kc", dy, padded[window])
    inside = (..., slice(pad_h, pad_h + x.shape[2]), slice(pad_w, pad_w + x.shape[3]))
    return y, dpadded[inside], dw


def convolve(x, w, bias, dy, padding, activation=None, dilation=(1, 1)):
    x, w = nv.tensor(x, requires_grad=True), nv.tensor(w, requires_grad=True)
    bias = None if bias is None else nv.tensor(bias)
    y = F.conv2d(x, w, bias, padding=padding, dilation=dilation, activation=activation)
    y.backward(nv.tensor(dy))
    return y.detach().numpy(), x.grad.numpy(), w.grad.numpy()


def out_size(size, padding, taps=3, dilation=(1, 1)):
    return [n + 2 * p - (taps - 1) * d for n, p, d in zip(size, padding, dilation, strict=True)]


def inputs(rng, images, channels, out_channels, size, padding, taps=3, dilation=(1, 1)):
    out = out_size(size, padding, taps, dilation)
    x = rng.standard_normal((images, channels, *size)).astype(np.float32)
    w = rng.standard_normal((out_channels, channels, taps, taps)).astype(np.float32)
    dy = rng.standard_normal((images, out_channels, *out)).astype(np.float32)
    return x, w, dy


def check(rng, shape, padding, taps, dilation, accuracy):
    images, channels, out_channels, size = shape
    x, w, dy = inputs(rng, images, channels, out_channels, size, padding, taps, dilation)
    found = convolve(x, w, None, dy, padding, dilation=dilation)
    wanted = exact(x, w, dy, padding, dilation)
    for name, got, want in zip(("y", "dx", "dw"), found, wanted, strict=True):
        error = np.abs(got - want).max() / max(1.0, np.abs(want).max())
        assert error < TOLERANCE[accuracy, taps], (name, shape, padding, taps, dilation)
    return found


@pytest.mark.parametrize("accuracy", ["accurate", "fast"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_against_sums_in_double_precision(rng, isa, channels, accuracy):
    nv.set_conv_accuracy(accuracy)
    for size, padding in itertools.product(SIZES, [(0, 0), (1, 1), (2, 2), (1, 0), (0, 2)]):
        if min(out_size(size, padding)) > 0:
            check(rng, (2, *channels, size), padding, 3, (1, 1), accuracy)


@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (16, 17), (33, 15), (7, 64), (66, 40)])
def test_five_taps(rng, isa, channels):
    nv.set_conv_accuracy("fast")
    paddings = [(0, 0), (1, 4), (2, 2), (3, 0), (4, 3)]
    for size, padding in itertools.product([(1, 2), (4, 5), (8, 9), (14, 11)], paddings):
        if min(out_size(size, padding, 5)) > 0:
            check(rng, (2, *channels, size), padding, 5, (1, 1), "fast")


@pytest.mark.parametrize(
    ("accuracy", "taps", "dilation"),
    [
        *(("accurate", 3, (2, 2)), ("fast", 3, (2, 2)), ("fast", 3, (1, 3)), ("fast", 3, (5, 2))),
        *(("fast", 5, (2, 2)), ("fast", 5, (3, 1)), ("fast", 3, (9, 40))),
    ],
)
def test_dilation(rng, isa, accuracy, taps, dilation):
    """Each class of pixels is an image of its own; of some, none or few pixels are there."""
    nv.set_conv_accuracy(accuracy)
    most = [(taps - 1) * d for d in dilation]
    same = tuple(m // 2 for m in most)
    for size, padding in itertools.product(
        [(1, 1), (2, 7), (8, 9), (17, 6)], [(0, 0), (0, same[1]), same, tuple(most)]
    ):
        if min(out_size(size, padding, taps, dilation)) > 0:
            check(rng, (2, 17, 20, size), padding, taps, dilation, accuracy)


@pytest.mark.parametrize(("taps", "dilation"), [(5, (1, 1)), (5, (2, 1)), (3, (2, 3))])
def test_other_kernels_with_any_number_of_threads(rng, isa, taps, dilation):
    nv.set_conv_accuracy("fast")
    padding = tuple((taps - 1) * d // 2 for d in dilation)
    for shape in ((9, 32, 40, (14, 15)), (2, 130, 72, (9, 9)), (1, 20, 200, (6, 7))):
        results = []
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            found = check(np.random.default_rng(4), shape, padding, taps, dilation, "fast")
            results.append([a.tobytes() for a in found])
        assert results[0] == results[1] == results[2], shape


@pytest.mark.parametrize(("taps", "dilation"), [(5, 1), (3, 2), (5, 2)])
def test_no_image(taps, dilation):
    x = nv.zeros(0, 17, 9, 8, requires_grad=True)
    w = nv.ones(18, 17, taps, taps, requires_grad=True)
    y = F.conv2d(x, w, padding=taps // 2 * dilation, dilation=dilation)
    assert y.shape == (0, 18, 9, 8)
    y.backward(nv.zeros(0, 18, 9, 8))
    assert x.grad.shape == x.shape
    assert not w.grad.numpy().any()


@pytest.mark.parametrize("accuracy", ["accurate", "fast"])
@pytest.mark.parametrize(
    "shape", [(33, 32, 64, (14, 14)), (3, 40, 40, (28, 28)), (1, 300, 280, (8, 8))]
)
def test_many_tiles_and_any_number_of_threads(rng, shape, accuracy):
    images, channels, out_channels, size = shape
    nv.set_conv_accuracy(accuracy)
    x, w, dy = inputs(rng, images, channels, out_channels, size, (1, 1))
    wanted = exact(x, w, dy, (1, 1))
    results = []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        results.append(convolve(x, w, None, dy, (1, 1)))
        for got, want in zip(results[-1], wanted, strict=True):
            assert np.abs(got - want).max() < TOLERANCE[accuracy, 3] * np.abs(want).max()
    for other in results[1:]:
        assert [a.tobytes() for a in other] == [a.tobytes() for a in results[0]]


@pytest.mark.parametrize("accuracy", ["accurate", "fast"])
def test_bias_and_rectifier(rng, isa, accuracy):
    nv.set_conv_accuracy(accuracy)
    x, w, dy = inputs(rng, 2, 20, 37, (9, 6), (1, 1))
    bias = rng.standard_normal(37).astype(np.float32)
    linear = exact(x, w, dy, (1, 1))[0] + bias[:, None, None].astype(np.float64)
    for activation, want in ((None, linear), ("relu", np.maximum(linear, 0))):
        got = convolve(x, w, bias, dy, (1, 1), activation)[0]
        assert np.abs(got - want).max() < TOLERANCE[accuracy, 3] * np.abs(want).max()


def test_accurate_is_more_accurate_than_fast(rng):
    x, w, dy = inputs(rng, 4, 128, 64, (16, 16), (1, 1))
    want = exact(x, w, dy, (1, 1))
    errors = {}
    for accuracy in ("accurate", "fast"):
        nv.set_conv_accuracy(accuracy)
        found = convolve(x, w, None, dy, (1, 1))
        errors[accuracy] = [
            np.abs(got - exactly).max() / np.abs(exactly).max()
            for got, exactly in zip(found, want, strict=True)
        ]
    assert max(errors["accurate"]) < 6e-7
    assert max(errors["fast"]) < 3e-6
    for accurate, fast in zip(errors["accurate"], errors["fast"], strict=True):
        assert accurate < fast


def test_accurate_computes_five_taps_directly(rng):
    x, w, dy = inputs(rng, 2, 20, 24, (12, 12), (2, 2), 5)
    found = {}
    for algorithm, accuracy in itertools.product(("winograd", "direct"), ("accurate", "fast")):
        nv.set_conv_algorithm(algorithm)
        nv.set_conv_accuracy(accuracy)
        found[algorithm, accuracy] = [a.tobytes() for a in convolve(x, w, None, dy, (2, 2))]
    assert found["winograd", "accurate"] == found["direct", "accurate"]
    assert found["winograd", "fast"] != found["direct", "fast"]
