# SPDX-License-Identifier: BSD-3-Clause
"""Winograd's convolution against sums in double precision: every edge of image, tile and vector."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nervure as nv
from nervure import _core
from nervure.nn import functional as F

# Of the largest result. F(4,3) has larger numbers in between; F(2,3) is as exact as plain sums.
TOLERANCE = {"accurate": 2e-6, "fast": 1e-5}
CHANNELS = [(1, 1), (3, 5), (16, 16), (17, 31), (33, 15), (7, 64), (64, 70), (130, 40)]
SIZES = [(1, 1), (2, 3), (4, 4), (5, 9), (14, 13)]


@pytest.fixture(autouse=True)
def _settings():
    before = nv.get_conv_algorithm(), nv.get_conv_accuracy()
    nv.set_conv_algorithm("winograd")
    yield
    nv.set_conv_algorithm(before[0])
    nv.set_conv_accuracy(before[1])


def exact(x, w, dy, padding):
    """y, dx and dw of a 3x3 convolution in float64."""
    x, w, dy = (a.astype(np.float64) for a in (x, w, dy))
    pad_h, pad_w = padding
    padded = np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    height, width = dy.shape[2:]
    y, dpadded, dw = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(w)
    for r, s in itertools.product(range(3), range(3)):
        window = (..., slice(r, r + height), slice(s, s + width))
        y += np.einsum("nchw,kc->nkhw", padded[window], w[:, :, r, s])
        dpadded[window] += np.einsum("nkhw,kc->nchw", dy, w[:, :, r, s])
        dw[:, :, r, s] = np.einsum("nkhw,nchw->kc", dy, padded[window])
    inside = (..., slice(pad_h, pad_h + x.shape[2]), slice(pad_w, pad_w + x.shape[3]))
    return y, dpadded[inside], dw


def convolve(x, w, bias, dy, padding, activation=None):
    x, w = nv.tensor(x, requires_grad=True), nv.tensor(w, requires_grad=True)
    bias = None if bias is None else nv.tensor(bias)
    y = F.conv2d(x, w, bias, padding=padding, activation=activation)
    y.backward(nv.tensor(dy))
    return y.detach().numpy(), x.grad.numpy(), w.grad.numpy()


def inputs(rng, images, channels, out_channels, size, padding):
    out = [n + 2 * p - 2 for n, p in zip(size, padding, strict=True)]
    x = rng.standard_normal((images, channels, *size)).astype(np.float32)
    w = rng.standard_normal((out_channels, channels, 3, 3)).astype(np.float32)
    dy = rng.standard_normal((images, out_channels, *out)).astype(np.float32)
    return x, w, dy


@pytest.mark.parametrize("accuracy", ["accurate", "fast"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_against_sums_in_double_precision(rng, isa, channels, accuracy):
    nv.set_conv_accuracy(accuracy)
    for size, padding in itertools.product(SIZES, [(0, 0), (1, 1), (2, 2), (1, 0), (0, 2)]):
        if any(n + 2 * p < 3 for n, p in zip(size, padding, strict=True)):
            continue
        x, w, dy = inputs(rng, 2, *channels, size, padding)
        found = convolve(x, w, None, dy, padding)
        for name, got, want in zip(("y", "dx", "dw"), found, exact(x, w, dy, padding), strict=True):
            error = np.abs(got - want).max() / max(1.0, np.abs(want).max())
            assert error < TOLERANCE[accuracy], (name, size, padding)


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
            assert np.abs(got - want).max() < TOLERANCE[accuracy] * np.abs(want).max()
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
        assert np.abs(got - want).max() < TOLERANCE[accuracy] * np.abs(want).max()


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
