# SPDX-License-Identifier: BSD-3-Clause
"""The bare kernels on NumPy arrays: results, `out=`, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from nervure import kernels, reference


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def close(actual: np.ndarray, expected: np.ndarray, depth: int = 1) -> None:
    error = np.linalg.norm(actual.astype(np.float64) - expected)
    assert error <= 4 * np.finfo(np.float32).eps * np.sqrt(depth) * (
        np.linalg.norm(expected) + 1e-6
    )


@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 1, 1), (7, 33, 17), (64, 100, 31), (0, 3, 2), (3, 0, 2)]
)
@pytest.mark.parametrize("a_order", "CF")
@pytest.mark.parametrize("b_order", "CF")
def test_gemm(rng, isa, m, k, n, a_order, b_order) -> None:
    a, b, bias = floats(rng, m, k), floats(rng, k, n), floats(rng, n)
    product = a.astype(np.float64) @ b
    a, b = np.asarray(a, order=a_order), np.asarray(b, order=b_order)
    close(kernels.gemm(a, b), product, k + 1)
    out = np.empty((m, n), np.float32)
    assert kernels.gemm(a, b, out, bias=bias, activation="relu") is out
    close(out, np.maximum(product + bias, 0), k + 1)
    start = floats(rng, m, n)
    close(kernels.gemm(a, b, start.copy(), accumulate=True), product + start, k + 1)


def test_gemm_of_blocks(rng) -> None:
    whole = floats(rng, 40, 50)
    a, b = whole[3:20, 4:30], whole.T[10:36, :17]
    close(kernels.gemm(a, b), a.astype(np.float64) @ b, 26)


def test_gemm_refuses(rng) -> None:
    a, b = floats(rng, 4, 5), floats(rng, 5, 6)
    with pytest.raises(TypeError, match=r"\[gemm\] a must be float32"):
        kernels.gemm(a.astype(np.float64), b)
    with pytest.raises(ValueError, match=r"\[gemm\] a .*agree in K"):
        kernels.gemm(a, floats(rng, 4, 6))
    with pytest.raises(ValueError, match=r"\[gemm\] .*contiguous rows or columns"):
        kernels.gemm(floats(rng, 8, 10)[::2, ::2], b)
    with pytest.raises(ValueError, match=r"\[gemm\] out must have shape \(4, 6\)"):
        kernels.gemm(a, b, floats(rng, 6, 4))
    with pytest.raises(ValueError, match=r"\[gemm\] out must be C-contiguous"):
        kernels.gemm(a, b, np.asfortranarray(floats(rng, 4, 6)))
    read_only = np.zeros((4, 6), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match=r"\[gemm\] out is read-only"):
        kernels.gemm(a, b, read_only)
    square = floats(rng, 5, 5)
    with pytest.raises(ValueError, match=r"\[gemm\] out must not share memory"):
        kernels.gemm(square, square.copy(), square)
    with pytest.raises(ValueError, match=r"\[gemm\] activation must be"):
        kernels.gemm(a, b, activation="swish")
    with pytest.raises(ValueError, match=r"\[gemm\] accumulate needs out"):
        kernels.gemm(a, b, accumulate=True)


@pytest.mark.parametrize(
    "name",
    ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "hardtanh"],
)
def test_activations(rng, isa, name) -> None:
    x, dy = floats(rng, 5, 37), floats(rng, 5, 37)
    y = kernels.activation_forward(name, x)
    exact = x.astype(np.float64)
    close(y, getattr(reference, name)(exact), 4)
    saved = y if name in {"relu", "elu", "tanh", "sigmoid"} else x
    (dx,) = getattr(reference, f"{name}_backward")(dy.astype(np.float64), exact)
    close(kernels.activation_backward(name, dy, saved), dx, 16)
    assert kernels.activation_forward(name, x, x) is x  # in place
    np.testing.assert_array_equal(x, y)


def test_softmax_and_cross_entropy(rng, isa) -> None:
    x, dy = floats(rng, 9, 21), floats(rng, 9, 21)
    exact = np.exp(x.astype(np.float64))
    p = exact / exact.sum(1, keepdims=True)
    y = kernels.softmax_forward(x)
    close(y, p, 4)
    close(kernels.softmax_backward(dy, y), p * (dy - (dy * p).sum(1, keepdims=True)), 21)
    log_y = kernels.log_softmax_forward(x)
    close(log_y, np.log(p), 4)
    close(kernels.log_softmax_backward(dy, log_y), dy - p * dy.sum(1, keepdims=True), 21)
    target = rng.integers(0, 21, 9)
    loss, gradient = kernels.cross_entropy_forward(x, target)
    close(loss, -np.log(p[np.arange(9), target]), 4)
    p[np.arange(9), target] -= 1
    close(gradient, p, 4)


def test_cross_entropy_refuses_before_it_writes(rng) -> None:
    loss, gradient = np.full(3, 5, np.float32), np.full((3, 4), 5, np.float32)
    for target in ([0, 4, 1], [0, -1, 1]):
        with pytest.raises(IndexError, match=r"\[cross_entropy_forward\] target .* of row 1"):
            kernels.cross_entropy_forward(floats(rng, 3, 4), np.array(target), loss, gradient)
    assert (loss == 5).all()
    assert (gradient == 5).all()
    with pytest.raises(TypeError, match="target must be int64"):
        kernels.cross_entropy_forward(floats(rng, 3, 4), np.zeros(3, np.int32))


def test_steps_change_their_arrays(rng) -> None:
    start, gradient = floats(rng, 7, 5), floats(rng, 7, 5)
    p = start.copy()
    kernels.sgd_step(p, gradient, lr=0.1)
    close(p, start.astype(np.float64) - 0.1 * gradient)

    p, buffer = start.copy(), np.zeros_like(start)
    kernels.sgd_step(p, gradient, buffer, lr=0.1, momentum=0.9, first_step=True)
    kernels.sgd_step(p, gradient, buffer, lr=0.1, momentum=0.9)
    close(p, start.astype(np.float64) - 0.1 * gradient - 0.1 * 1.9 * gradient.astype(np.float64), 4)

    p, square = start.copy(), np.zeros_like(start)
    kernels.rmsprop_step(p, gradient, square, lr=0.01)
    g = gradient.astype(np.float64)
    close(square, 0.01 * g * g, 4)
    close(p, start - 0.01 * g / (np.sqrt(0.01 * g * g) + 1e-8), 4)

    p, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    kernels.adam_step(p, gradient, m, v, step=1, lr=0.01)
    close(m, 0.1 * g, 4)
    close(v, 0.001 * g * g, 64)
    close(p, start - 0.01 * g / (np.abs(g) + 1e-8), 16)


def test_steps_refuse(rng) -> None:
    p, g = floats(rng, 4), floats(rng, 4)
    with pytest.raises(ValueError, match=r"\[sgd_step\] gradient must have shape \(4,\)"):
        kernels.sgd_step(p, floats(rng, 5), lr=0.1)
    with pytest.raises(TypeError, match=r"\[sgd_step\] parameter must be float32"):
        kernels.sgd_step(p.astype(np.float64), g, lr=0.1)
    with pytest.raises(ValueError, match=r"\[adam_step\] step counts from 1"):
        kernels.adam_step(p, g, np.zeros_like(p), np.zeros_like(p), step=0)
    with pytest.raises(ValueError, match=r"\[sgd_step\] parameter must be C-contiguous"):
        kernels.sgd_step(floats(rng, 8)[::2], g, lr=0.1)


# ---- recurrent layers ----------------------------------------------------------------------------


def recurrent_weights(rng: np.random.Generator, gates: int, n: int, h: int) -> list[np.ndarray]:
    """Weights as the kernels take them: transposed."""
    shapes = [(n, gates * h), (h, gates * h), (gates * h,), (gates * h,)]
    return [floats(rng, *shape) * np.float32(0.3) for shape in shapes]


def in_torch_order(weights: list[np.ndarray]) -> list[np.ndarray]:
    return [w.astype(np.float64).T for w in weights]


@pytest.mark.parametrize("lengths", [None, (2, 0, 4, 4, 1)])
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru(rng, isa, lengths, reset_after) -> None:
    weights = recurrent_weights(rng, 3, 6, 9)
    x, h0, dy, dh_n = (floats(rng, *s) for s in ((5, 4, 6), (5, 9), (5, 4, 9), (5, 9)))
    y, h_n, saved = kernels.gru_forward(x, h0, *weights, lengths, reset_after=reset_after)
    wide = in_torch_order(weights)
    exact = [a.astype(np.float64) for a in (x, h0[None])]
    for actual, expected in zip(
        (y, h_n), reference.gru(*exact, wide, lengths, reset_after), strict=True
    ):
        close(actual, expected.reshape(actual.shape), 64)
    gradients = kernels.gru_backward(dy, dh_n, *weights[:2], saved)
    expected = reference.gru_backward((dy, dh_n[None]), *exact, wide, lengths, reset_after)
    for actual, e in zip(gradients, expected[:-1], strict=True):
        close(actual, e.T if e.ndim == 2 else e.reshape(actual.shape), 256)


@pytest.mark.parametrize("lengths", [None, (2, 0, 4, 4, 1)])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_rnn(rng, isa, lengths, nonlinearity) -> None:
    weights = recurrent_weights(rng, 1, 6, 9)
    x, dy = floats(rng, 5, 4, 6), floats(rng, 5, 4, 9)
    y, h_n, saved = kernels.rnn_forward(x, None, *weights, lengths, nonlinearity=nonlinearity)
    wide = in_torch_order(weights)
    exact = x.astype(np.float64), None
    for actual, expected in zip(
        (y, h_n), reference.rnn(*exact, wide, lengths, nonlinearity), strict=True
    ):
        close(actual, expected.reshape(actual.shape), 64)
    dx, dh0, dw_ih, dw_hh, db = kernels.rnn_backward(dy, None, *weights[:2], saved)
    zeros = np.zeros((1, 5, 9))
    expected = reference.rnn_backward((dy, zeros), *exact, wide, lengths, nonlinearity)
    for actual, e in zip((dx, dh0, dw_ih, dw_hh, db, db), expected[:-1], strict=True):
        close(actual, e.T if e.ndim == 2 else e.reshape(actual.shape), 256)


@pytest.mark.parametrize("lengths", [None, (2, 0, 4, 4, 1)])
@pytest.mark.parametrize("reverse", [False, True])
def test_lstm(rng, isa, lengths, reverse) -> None:
    weights = recurrent_weights(rng, 4, 6, 9)
    x, h0, c0, dy = (floats(rng, *s) for s in ((5, 4, 6), (5, 9), (5, 9), (5, 4, 9)))
    *results, saved = kernels.lstm_forward(x, h0, c0, *weights, lengths, reverse=reverse)
    wide = [*in_torch_order(weights), None, None]
    exact = [a.astype(np.float64) for a in (x, h0[None], c0[None])]
    if reverse:  # the other direction of a layer of two
        exact = [exact[0], *(np.concatenate([a, a]) for a in exact[1:])]
        wide = wide * 2
    pick = (
        (lambda a: a[..., 9:] if a.ndim == 3 and a.shape[2] == 18 else a[-1])
        if reverse
        else (lambda a: a)
    )
    for actual, expected in zip(results, reference.lstm(*exact, wide, lengths), strict=True):
        close(actual, pick(expected).reshape(actual.shape), 64)
    gradients = kernels.lstm_backward(dy, None, None, *weights[:2], saved)
    zeros = np.zeros_like(exact[1])
    wide_dy = np.concatenate([np.zeros_like(dy), dy], axis=2) if reverse else dy
    expected = reference.lstm_backward((wide_dy, zeros, zeros), *exact, wide, lengths)
    dx, dh0, dc0 = expected[0], expected[1][-1:], expected[2][-1:]
    matrices = [e for e in expected[3:-4] if e is not None][-4:]
    for actual, e in zip(gradients, (dx, dh0, dc0, *matrices[:3]), strict=True):
        close(actual, e.T if e.ndim == 2 else e.reshape(actual.shape), 256)


def test_recurrent_cells_are_single_steps(rng) -> None:
    weights = recurrent_weights(rng, 4, 6, 9)
    x, h, c, dh, dc = (floats(rng, *s) for s in ((5, 6), (5, 9), (5, 9), (5, 9), (5, 9)))
    new_h, new_c, saved = kernels.lstm_cell_forward(x, h, c, *weights)
    y, h_n, c_n, whole = kernels.lstm_forward(x[:, None], h, c, *weights)
    np.testing.assert_array_equal(new_h, y[:, 0])
    np.testing.assert_array_equal(new_h, h_n)
    np.testing.assert_array_equal(new_c, c_n)
    gradients = kernels.lstm_cell_backward(dh, dc, *weights[:2], saved)
    expected = kernels.lstm_backward(dh[:, None], None, dc, *weights[:2], whole)
    for a, e in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(a, e.reshape(a.shape))

    weights = recurrent_weights(rng, 3, 6, 9)
    new, saved = kernels.gru_cell_forward(x, h, *weights)
    exact, *_ = reference.gru(x.astype(np.float64)[:, None], h[None], in_torch_order(weights))
    close(new, exact[:, 0], 64)
    gradients = kernels.gru_cell_backward(dh, *weights[:2], saved)
    expected = reference.gru_backward(
        (dh[:, None], np.zeros((1, 5, 9))), x[:, None], h[None], in_torch_order(weights)
    )
    for a, e in zip(gradients, expected[:-1], strict=True):
        close(a, e.T if e.ndim == 2 and e.shape != a.shape else e.reshape(a.shape), 256)


def test_recurrent_kernels_refuse(rng) -> None:
    weights = recurrent_weights(rng, 4, 6, 9)
    x = floats(rng, 5, 4, 6)
    with pytest.raises(TypeError, match=r"\[lstm_forward\] x must be float32"):
        kernels.lstm_forward(x.astype(np.float64), None, None, *weights)
    with pytest.raises(ValueError, match=r"\[lstm_forward\] x must be \(batch, steps, features\)"):
        kernels.lstm_forward(x[0], None, None, *weights)
    with pytest.raises(ValueError, match=r"\[lstm_forward\] x must have shape"):
        kernels.lstm_forward(floats(rng, 5, 4, 7), None, None, *weights)
    with pytest.raises(ValueError, match=r"\[lstm_forward\] x must be C-contiguous"):
        kernels.lstm_forward(floats(rng, 4, 5, 6).transpose(1, 0, 2), None, None, *weights)
    with pytest.raises(ValueError, match=r"\[lstm_forward\] c0 must have shape \(5, 9\)"):
        kernels.lstm_forward(x, None, floats(rng, 5, 8), *weights)
    with pytest.raises(ValueError, match=r"\[lstm_forward\] weight_hh must have shape"):
        kernels.lstm_forward(x, None, None, weights[0], weights[0])
    with pytest.raises(ValueError, match=r"\[lstm_forward\] lengths must be in \[0, 4\]"):
        kernels.lstm_forward(x, None, None, *weights, [1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match=r"\[lstm_forward\] lengths must be 5 integers"):
        kernels.lstm_forward(x, None, None, *weights, [1, 2])
    with pytest.raises(ValueError, match=r"\[rnn_forward\] nonlinearity"):
        kernels.rnn_forward(x, None, *weights, nonlinearity="step")
    *_, saved = kernels.lstm_forward(x, None, None, *weights)
    with pytest.raises(ValueError, match=r"\[gru_backward\] saved must come from gru_forward"):
        kernels.gru_backward(floats(rng, 5, 4, 9), None, *weights[:2], saved)
    with pytest.raises(ValueError, match=r"\[lstm_backward\] dy must have 4 steps"):
        kernels.lstm_backward(floats(rng, 5, 3, 9), None, None, *weights[:2], saved)
    tampered = saved._replace(numbers=saved.numbers + 1)
    with pytest.raises(ValueError, match=r"\[lstm_backward\] the lengths do not belong"):
        kernels.lstm_backward(floats(rng, 5, 4, 9), None, None, *weights[:2], tampered)
