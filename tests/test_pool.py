# SPDX-License-Identifier: BSD-3-Clause
"""Pooling: memory orders, what cannot be a row of the case table, the layers, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import difference
from conftest import ISAS, THREADS

import nervure as nv
from nervure import _core, kernels, nn, reference
from nervure.nn import functional as F

EPS = float(np.finfo(np.float32).eps)
LAST = (0, 2, 3, 1)


def images(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def channels_last(x: np.ndarray, **options: Any) -> nv.Tensor:
    t = _core.to_order(nv.tensor(x), (0, *range(2, x.ndim), 1))
    return t.requires_grad_() if options.get("requires_grad") else t


# ---- memory orders -------------------------------------------------------------------------------

POOLS = {
    "max": lambda x: F.max_pool2d(x, 2),
    "max3": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg": lambda x: F.avg_pool2d(x, 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (3, 2)),
}


@pytest.mark.parametrize("name", POOLS)
def test_results_and_gradients_lie_channels_last(rng: np.random.Generator, name: str) -> None:
    x = images(rng, 2, 5, 8, 7)
    for t in (nv.tensor(x, requires_grad=True), channels_last(x, requires_grad=True)):
        y = POOLS[name](t)
        assert y.order == LAST
        (y * y).sum().backward()
        np.testing.assert_array_equal(t.grad.shape, x.shape)
    single = nv.tensor(x[0])
    assert POOLS[name](single).order == (1, 2, 0)


def test_sequences_lie_channels_last(rng: np.random.Generator) -> None:
    x = images(rng, 2, 5, 9)
    assert F.max_pool1d(nv.tensor(x), 2).order == (0, 2, 1)
    assert F.avg_pool1d(nv.tensor(x[0]), 2).order == (1, 0)
    assert F.adaptive_avg_pool1d(nv.tensor(x), 1).shape == (2, 5, 1)


# ---- layers --------------------------------------------------------------------------------------


def test_layers_are_their_functions(rng: np.random.Generator) -> None:
    x, line = nv.tensor(images(rng, 2, 5, 9, 8)), nv.tensor(images(rng, 2, 5, 9))
    pairs = [
        (nn.MaxPool2d(3, 2, 1)(x), F.max_pool2d(x, 3, 2, 1)),
        (nn.MaxPool2d((3, 2), dilation=2)(x), F.max_pool2d(x, (3, 2), dilation=2)),
        (nn.MaxPool2d(2, ceil_mode=True)(x), F.max_pool2d(x, 2, ceil_mode=True)),
        (nn.AvgPool2d(3, 2, 1)(x), F.avg_pool2d(x, 3, 2, 1)),
        (
            nn.AvgPool2d(3, 2, 1, count_include_pad=False, divisor_override=None)(x),
            F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        ),
        (nn.AvgPool2d(2, divisor_override=3)(x), F.avg_pool2d(x, 2, divisor_override=3)),
        (nn.AdaptiveAvgPool2d((None, 3))(x), F.adaptive_avg_pool2d(x, (9, 3))),
        (nn.AdaptiveMaxPool2d(2)(x), F.adaptive_max_pool2d(x, (2, 2))),
        (nn.MaxPool1d(2)(line), F.max_pool1d(line, 2)),
        (nn.AvgPool1d(3, 1, 1)(line), F.avg_pool1d(line, 3, 1, 1)),
        (nn.AdaptiveAvgPool1d(4)(line), F.adaptive_avg_pool1d(line, 4)),
        (nn.AdaptiveMaxPool1d(4)(line), F.adaptive_max_pool1d(line, 4)),
    ]
    for y, expected in pairs:
        np.testing.assert_array_equal(y.numpy(), expected.numpy())
    assert F.adaptive_avg_pool2d(x, None).shape == x.shape


def test_indices_find_the_maxima(rng: np.random.Generator) -> None:
    x = images(rng, 3, 4, 9, 8)
    for y, i in (
        nn.MaxPool2d(3, 2, 1, return_indices=True)(nv.tensor(x)),
        nn.AdaptiveMaxPool2d((4, 3), return_indices=True)(nv.tensor(x)),
        F.max_pool2d(nv.tensor(x), (9, 8), return_indices=True),
    ):
        assert i.dtype == nv.int64
        found = np.take_along_axis(x.reshape(3, 4, -1), i.numpy().reshape(3, 4, -1), 2)
        np.testing.assert_array_equal(found, y.numpy().reshape(3, 4, -1))
    _, i = nn.MaxPool1d(2, return_indices=True)(nv.tensor([[1.0, 2.0, 4.0, 3.0]]))
    assert i.numpy().tolist() == [[1, 2]]
    _, i = nn.AdaptiveMaxPool1d(2, return_indices=True)(nv.tensor([[1.0, 2.0, 4.0, 3.0]]))
    assert i.numpy().tolist() == [[1, 2]]


def test_text_of_layers() -> None:
    assert repr(nn.MaxPool2d(2)) == (
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    )
    assert repr(nn.AvgPool2d((2, 3))).startswith("AvgPool2d(kernel_size=(2, 3), stride=(2, 3)")
    assert repr(nn.AdaptiveAvgPool2d(1)) == "AdaptiveAvgPool2d(output_size=1)"


def test_integers_and_arrays_are_taken() -> None:
    assert F.max_pool1d(nv.tensor([[1, 5, 2, 3]]), 2).numpy().tolist() == [[5.0, 3.0]]
    assert F.avg_pool1d(np.array([[1.0, 3.0]], np.float32), 2).numpy().tolist() == [[2.0]]


def test_a_window_of_nothing_is_minus_infinity() -> None:
    x = nv.tensor([[[3.0]]], requires_grad=True)
    y = F.max_pool1d(x, 2, stride=1, padding=2, dilation=3)
    assert y.numpy().tolist() == [[[-np.inf, -np.inf]]]
    y.sum().backward()
    assert x.grad.numpy().tolist() == [[[0.0]]]


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (3, 7, 6), (2, 3, 1, 9)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_random_windows_against_torch(shape: tuple[int, ...], ceil_mode: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    tried = 0
    for _ in range(60):
        k, s, d = (rng.integers(1, 4, 2) for _ in range(3))
        p = rng.integers(0, k // 2 + 1)
        window = [tuple(map(int, v)) for v in (k, s, p)]
        x = rng.standard_normal(shape).astype(np.float32)
        for ours, theirs, extra in (
            (F.max_pool2d, torch.nn.functional.max_pool2d, {"dilation": tuple(map(int, d))}),
            (F.avg_pool2d, torch.nn.functional.avg_pool2d, {"count_include_pad": bool(k[0] % 2)}),
        ):
            t, u = nv.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            try:
                e = theirs(u, *window, ceil_mode=ceil_mode, **extra)
            except RuntimeError:
                with pytest.raises(ValueError, match="_pool"):
                    ours(t, *window, ceil_mode=ceil_mode, **extra)
                continue
            y = ours(t, *window, ceil_mode=ceil_mode, **extra)
            assert y.shape == tuple(e.shape), (window, extra)
            np.testing.assert_allclose(y.numpy(), e.detach().numpy(), rtol=2e-6, atol=1e-6)
            if np.isinf(y.numpy()).any():  # a window of nothing, where PyTorch writes out of bounds
                continue
            dy = rng.standard_normal(y.shape).astype(np.float32)
            y.backward(nv.tensor(dy))
            e.backward(torch.tensor(dy))
            np.testing.assert_allclose(t.grad.numpy(), u.grad.numpy(), rtol=2e-6, atol=1e-6)
            tried += 1
    assert tried > 60


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
@pytest.mark.parametrize("size", [(3, 2), (2, 3), (5, 2)])
def test_gradient_of_padded_windows_side_by_side(
    rng: np.random.Generator, pool: Any, size: tuple[int, int]
) -> None:
    """The first row of windows begins in the padding; fewer rows than the window has are left."""
    padding = (size[0] // 2, 0)
    x = images(rng, 2, 3, 9, 8)
    t = nv.tensor(x, requires_grad=True)
    y = pool(t, size, size, padding)
    y.backward(nv.tensor(dy := images(rng, *y.shape)))
    for step in [(0, 0, 0, 0), (1, 2, 8, 7), (1, 0, 4, 3)]:
        up, down = x.copy(), x.copy()
        up[step] += 1e-3
        down[step] -= 1e-3
        slope = np.vdot(dy, pool(nv.tensor(up), size, size, padding).numpy() / 2e-3) - np.vdot(
            dy, pool(nv.tensor(down), size, size, padding).numpy() / 2e-3
        )
        assert t.grad.numpy()[step] == pytest.approx(float(slope), abs=5e-3)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.max_pool2d(x, 3, padding=2), r"\[max_pool\] padding must be from 0 to half"),
        (lambda x: F.max_pool2d(x, 0), r"\[max_pool\] kernel_size, stride and dilation"),
        (lambda x: F.max_pool2d(x, 2, 0), r"\[max_pool\] kernel_size, stride and dilation"),
        (lambda x: F.max_pool2d(x, 9), r"\[max_pool\] a window of 9 does not fit .* of 6"),
        (lambda x: F.max_pool2d(x, 1 << 40), r"\[max_pool\] .*below 2\^31"),
        (lambda x: F.max_pool2d(x, (1, 2, 3)), r"\[max_pool2d\] kernel_size must be an int or 2"),
        (lambda x: F.max_pool1d(x, 2), r"\[max_pool\] input must be \(N, C, L\) or \(C, L\)"),
        (lambda x: F.avg_pool2d(x[0, 0], 2), r"\[avg_pool\] input must be \(N, C, H, W\)"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), r"divisor_override must not be 0"),
        (lambda x: F.avg_pool2d(x, 2, padding=-1), r"padding must be from 0"),
        (lambda x: F.adaptive_avg_pool2d(x, 0), r"output sizes must be at least 1"),
        (lambda x: F.adaptive_avg_pool2d(x, (1 << 40, 1)), r"output sizes .*below 2\^31"),
        (lambda x: F.adaptive_max_pool2d(x[:0], (1, 1 << 62)), r"output sizes .*below 2\^31"),
        (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), r"output_size must be an int or None"),
        (lambda x: F.max_pool2d(nv.zeros(2, 3, 0, 4), 1), r"only the batch may be empty"),
        (lambda x: _core.max_pool(x, (2, 2), (1, 2, 3)), r"stride must be one number or 2"),
        (lambda x: _core.max_pool(x, (2, 2, 2)), r"windows have 1 or 2 dimensions"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(nv.zeros(2, 3, 6, 6))


def test_bare_kernels_refuse_windows_beyond_32_bits() -> None:
    x, window = np.ones((1, 1, 1, 1), np.float32), ((1 << 31) - 1, 1, (1 << 30) - 1)
    with pytest.raises(ValueError, match=r"\[max_pool2d_forward\] a window may have up to 2\^31"):
        kernels.max_pool2d_forward(x, *window)
    with pytest.raises(ValueError, match=r"\[avg_pool2d_forward\] a window may have up to 2\^31"):
        kernels.avg_pool2d_forward(x, *window)


def test_types_that_are_refused() -> None:
    with pytest.raises(TypeError):
        F.max_pool2d(nv.zeros(1, 1, 4, 4), 1.5)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        F.adaptive_avg_pool2d(nv.zeros(1, 1, 4, 4), 2.5)  # type: ignore[arg-type]


# ---- bare kernels --------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [1, 3, 16, 33])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 2), "ceil_mode": True},
        {"kernel_size": 17, "stride": 1, "padding": 8},
    ],
)
def test_bare_kernels(rng: np.random.Generator, isa: str, c: int, window: dict[str, Any]) -> None:
    x = images(rng, 2, 9, 10, c)
    spelled = {**window, "kernel_size": (window["kernel_size"],) * 2}
    if isinstance(window["kernel_size"], tuple):
        spelled = window
    planes = np.moveaxis(x.astype(np.float64), 3, 1)
    y, argmax = kernels.max_pool2d_forward(x, **window)
    assert argmax.dtype == (np.int32 if window["kernel_size"] == 17 else np.uint8)
    np.testing.assert_array_equal(np.moveaxis(y, 3, 1), reference.max_pool(planes, **spelled))
    dy = images(rng, *y.shape)
    back = np.moveaxis(dy.astype(np.float64), 3, 1)
    (dx,) = reference.max_pool_backward(back, planes, **spelled)
    ours = kernels.max_pool2d_backward(dy, argmax, x.shape[1:3], **window)
    assert not difference(np.moveaxis(ours, 3, 1), dx, 16 * EPS)

    mean = kernels.avg_pool2d_forward(x, **window, count_include_pad=False)
    options = {**spelled, "count_include_pad": False}
    expected = reference.avg_pool(planes, **options)
    assert not difference(np.moveaxis(mean, 3, 1), expected, 40 * EPS)
    (dx,) = reference.avg_pool_backward(back, planes, **options)
    out = np.full(x.shape, 7, np.float32)
    ours = kernels.avg_pool2d_backward(dy, x.shape[1:3], **window, count_include_pad=False, out=out)
    assert ours is out
    assert not difference(np.moveaxis(ours, 3, 1), dx, 40 * EPS)


def test_bare_kernels_refuse(rng: np.random.Generator) -> None:
    x = images(rng, 2, 6, 6, 3)
    y, argmax = kernels.max_pool2d_forward(x, 2)
    with pytest.raises(TypeError, match=r"\[max_pool2d_forward\] x must be float32"):
        kernels.max_pool2d_forward(x.astype(np.float64), 2)
    with pytest.raises(ValueError, match=r"\[max_pool2d_forward\] images must be"):
        kernels.max_pool2d_forward(x[0], 2)
    with pytest.raises(ValueError, match=r"\[max_pool2d_forward\] x must be C-contiguous"):
        kernels.max_pool2d_forward(np.moveaxis(x, 1, 2), 2)
    with pytest.raises(ValueError, match=r"\[max_pool2d_forward\] out must have shape"):
        kernels.max_pool2d_forward(x, 2, out=images(rng, 2, 3, 3, 4))
    with pytest.raises(TypeError, match=r"argmax must be uint8, got int32"):
        kernels.max_pool2d_forward(x, 2, argmax=argmax.astype(np.int32))
    memory = np.zeros(2 * 6 * 6 * 3, np.float32)
    inside = memory.view(np.uint8)[: argmax.size].reshape(argmax.shape)
    with pytest.raises(ValueError, match=r"argmax must not share memory with x"):
        kernels.max_pool2d_forward(memory.reshape(x.shape), 2, argmax=inside)
    with pytest.raises(ValueError, match=r"argmax must not share memory with out"):
        kernels.max_pool2d_forward(x, 2, out=memory[: y.size].reshape(y.shape), argmax=inside)
    odd = np.zeros(4 * 2 * 3 + 1, np.uint8)[1:].view(np.int32).reshape(2, 1, 1, 3)
    with pytest.raises(ValueError, match=r"argmax must be aligned"):
        kernels.max_pool2d_forward(images(rng, 2, 17, 17, 3), 17, argmax=odd)
    with pytest.raises(ValueError, match=r"argmax must have shape"):
        kernels.max_pool2d_backward(y, argmax[:1], (6, 6), 2)
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 3, 3, 3\)"):
        kernels.max_pool2d_backward(x, argmax, (6, 6), 2)
    with pytest.raises(ValueError, match=r"\[avg_pool2d_forward\] out must not share memory"):
        kernels.avg_pool2d_forward(x, 1, out=x)
    with pytest.raises(ValueError, match=r"\[avg_pool2d_backward\] kernel_size must be"):
        kernels.avg_pool2d_backward(y, (6, 6), (1, 2, 3))
    with pytest.raises(ValueError, match=r"\[avg_pool2d_backward\] dy must be \(N, P, Q, C\)"):
        kernels.avg_pool2d_backward(y[0], (6, 6), 2)


# ---- dropout of channels -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (3, 17, 9), (0, 3, 2, 2)])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout2d(rng: np.random.Generator, shape: tuple[int, ...], p: float) -> None:
    x_array, dy = images(rng, *shape), images(rng, *shape)
    results = []
    for isa in ISAS:
        _core.select_isa(isa)
        for threads in THREADS:
            _core.set_num_threads(threads)
            nv.manual_seed(5)
            x = channels_last(x_array, requires_grad=True)
            y = F.dropout2d(x, p)
            assert y.order == x.order
            y.backward(nv.tensor(dy))
            results.append((y.numpy().copy(), x.grad.numpy().copy()))
    mask = results[0][0].any(axis=tuple(range(2, len(shape))))
    expected = reference.dropout2d(x_array.astype(np.float64), mask, p)
    dx, _ = reference.dropout2d_backward(dy.astype(np.float64), x_array, mask, p)
    for y_array, gradient in results:
        assert not difference(y_array, expected, 2 * EPS)
        assert not difference(gradient, dx, 2 * EPS)


def test_dropout2d_layer(rng: np.random.Generator) -> None:
    layer, x = nn.Dropout2d(0.4), nv.tensor(np.ones((200, 50, 2, 2), np.float32))
    y = layer(x).numpy()
    kept = (y != 0).reshape(200, 50, 4)
    assert (kept.all(axis=2) == kept.any(axis=2)).all()
    assert abs(kept.mean() - 0.6) < 5 * np.sqrt(0.24 / 10_000)
    assert (layer(x).numpy() != y).any()
    assert layer.eval()(x) is x
    assert repr(layer) == "Dropout2d(p=0.4)"
    with pytest.raises(ValueError, match=r"\[Dropout2d\] p must be a probability"):
        nn.Dropout2d(1.5)
    with pytest.raises(ValueError, match=r"\[dropout2d\] p must be a probability"):
        F.dropout2d(x, -0.1)
    with pytest.raises(ValueError, match=r"\[dropout2d\] input must be"):
        F.dropout2d(nv.zeros(2, 3))
