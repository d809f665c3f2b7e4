# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation: running averages, numerics, memory orders, layers, and errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from comparison import difference
from conftest import ISAS, THREADS

import nervure as nv
from nervure import _core, kernels, nn, reference
from nervure.nn import container
from nervure.nn import functional as F

EPS = float(np.finfo(np.float32).eps)
LAST = (0, 2, 3, 1)


def floats(rng: np.random.Generator, *shape: int, mean: float = 0.0) -> np.ndarray:
    return (mean + rng.standard_normal(shape)).astype(np.float32)


# ---- running averages ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5, 3, 6), (7, 17), (3, 1, 9), (300, 33, 4, 5)])
@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0])
def test_running_averages(
    rng: np.random.Generator, isa: str, shape: tuple[int, ...], momentum: float
) -> None:
    c = shape[1]
    x, mean, var = floats(rng, *shape, mean=3.0), floats(rng, c), np.abs(floats(rng, c))
    expected = reference.running_statistics(x.astype(np.float64), mean, var, momentum)
    first: list[bytes] = []
    for threads in THREADS:
        _core.set_num_threads(threads)
        running = nv.tensor(mean), nv.tensor(var)
        F.batch_norm(nv.tensor(x), *running, training=True, momentum=momentum)
        for r, e in zip(running, expected, strict=True):
            assert not difference(r.numpy(), e, 20 * EPS)
        bits = [r.numpy().tobytes() for r in running]
        first = first or bits
        assert bits == first


def test_evaluation_and_empty_batches_leave_the_averages(rng: np.random.Generator) -> None:
    mean, var = nv.tensor([1.0, 2.0]), nv.tensor([3.0, 4.0])
    F.batch_norm(nv.tensor(floats(rng, 5, 2)), mean, var)
    y = F.batch_norm(nv.zeros(0, 2, 3, 3), mean, var, training=True)
    assert y.shape == (0, 2, 3, 3)
    assert mean.numpy().tolist() == [1.0, 2.0]
    assert var.numpy().tolist() == [3.0, 4.0]


@pytest.mark.torch
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("kind", ["BatchNorm2d", "BatchNorm1d", "InstanceNorm2d", "InstanceNorm1d"])
def test_layers_like_torch(
    rng: np.random.Generator, kind: str, momentum: float | None, affine: bool, track: bool
) -> None:
    torch = pytest.importorskip("torch")
    if momentum is None and kind.startswith("Instance"):
        momentum = 0.3
    options = {"momentum": momentum, "affine": affine, "track_running_stats": track}
    ours, theirs = getattr(nn, kind)(5, **options), getattr(torch.nn, kind)(5, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    if affine:
        weights = {"weight": floats(rng, 5), "bias": floats(rng, 5)}
        ours.load_state_dict(weights, strict=False)
        theirs.load_state_dict({k: torch.tensor(v) for k, v in weights.items()}, strict=False)
    for step in range(5):
        if step == 3:
            ours.eval(), theirs.eval()
        x = floats(rng, *((4, 5, 3, 6) if kind.endswith("2d") else (4, 5, 6)), mean=float(step))
        t, u = nv.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, e = ours(t), theirs(u)
        np.testing.assert_allclose(y.numpy(), e.detach().numpy(), rtol=1e-5, atol=1e-5)
        dy = floats(rng, *x.shape)
        y.backward(nv.tensor(dy))
        e.backward(torch.tensor(dy))
        np.testing.assert_allclose(t.grad.numpy(), u.grad.numpy(), rtol=1e-4, atol=2e-5)
    for name, value in theirs.state_dict().items():
        actual = ours.state_dict()[name].numpy()
        assert actual.dtype == value.numpy().dtype
        np.testing.assert_allclose(actual, value.numpy(), rtol=1e-5, atol=1e-6)
    single = floats(rng, *x.shape[1:])
    if kind.startswith("Instance"):
        np.testing.assert_allclose(
            ours(nv.tensor(single)).numpy(),
            theirs(torch.tensor(single)).detach().numpy(),
            rtol=1e-5,
            atol=1e-5,
        )
    back = theirs.load_state_dict(
        {k: torch.tensor(v.numpy().copy()) for k, v in ours.state_dict().items()}
    )
    assert not back.missing_keys


def test_cumulative_average(rng: np.random.Generator) -> None:
    layer = nn.BatchNorm1d(3, momentum=None)
    batches = [floats(rng, 10, 3, mean=i) for i in range(4)]
    for x in batches:
        layer(nv.tensor(x))
    assert layer.num_batches_tracked is not None
    assert layer.num_batches_tracked.item() == 4
    assert layer.running_mean is not None
    expected = np.mean([x.mean(axis=0) for x in batches], axis=0)
    np.testing.assert_allclose(layer.running_mean.numpy(), expected, rtol=1e-5)
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.numpy().tolist() == [0.0, 0.0, 0.0]


# ---- numerics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4, -1e4])
def test_far_means(rng: np.random.Generator, isa: str, mean: float) -> None:
    """With a mean of 1e4, float32 holds three decimals of x; what they say must come out."""
    x = floats(rng, 40, 6, 7, 9, mean=mean)
    exact = x.astype(np.float64)
    dy = floats(rng, 40, 6, 7, 9)
    t = nv.tensor(x, requires_grad=True)
    y = F.batch_norm(t, None, None, training=True)
    assert not difference(y.numpy(), reference.batch_norm(exact, None, None, training=True), 1e-6)
    y.backward(nv.tensor(dy))
    dx = reference.batch_norm_backward(dy.astype(np.float64), exact, None, None, training=True)[0]
    assert not difference(t.grad.numpy(), dx, 1e-5)
    y = F.layer_norm(nv.tensor(x), (9,))
    assert not difference(y.numpy(), reference.layer_norm(exact, (9,)), 3e-6)
    y = F.group_norm(nv.tensor(x), 2)
    assert not difference(y.numpy(), reference.group_norm(exact, 2), 1e-6)


def test_an_outlier_does_not_spoil_the_variance(rng: np.random.Generator) -> None:
    x = floats(rng, 4000, 3)
    x[0] = 1e4
    y = F.batch_norm(nv.tensor(x), None, None, training=True)
    expected = reference.batch_norm(x.astype(np.float64), None, None, training=True)
    assert not difference(y.numpy(), expected, 5e-5)
    x[:8] = 0.0
    x[8:] += 1e3
    y = F.batch_norm(nv.tensor(x), None, None, training=True)
    expected = reference.batch_norm(x.astype(np.float64), None, None, training=True)
    assert not difference(y.numpy(), expected, 5e-5)


def test_constant_and_not_finite(rng: np.random.Generator) -> None:
    x = np.full((8, 3, 4, 4), 2.5, np.float32)
    assert (F.batch_norm(nv.tensor(x), None, None, training=True).numpy() == 0).all()
    assert (F.layer_norm(nv.tensor(x), (4,)).numpy() == 0).all()
    x[0, 1, 0, 0] = np.nan
    x[0, 2, 0, 0] = np.inf
    y = F.batch_norm(nv.tensor(x), None, None, training=True).numpy()
    assert (y[:, 0] == 0).all()
    assert np.isnan(y[:, 1:]).all()


# ---- the activation ------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_fused_relu_is_the_layer_and_relu(rng: np.random.Generator, training: bool) -> None:
    for isa in ISAS:
        _core.select_isa(isa)
        x, dy = floats(rng, 6, 33, 5, 4), floats(rng, 6, 33, 5, 4)
        fused, plain = nn.BatchNorm2d(33, activation="relu"), nn.BatchNorm2d(33)
        state = {"weight": floats(rng, 33), "bias": floats(rng, 33)}
        results = []
        for layer in (fused, plain):
            layer.load_state_dict(state, strict=False)
            layer.train(training)
            t = nv.tensor(x, requires_grad=True)
            y = layer(t) if layer is fused else nv.nn.functional.relu(layer(t))
            y.backward(nv.tensor(dy))
            assert layer.weight is not None
            assert layer.bias is not None
            results.append([a.numpy() for a in (y, t.grad, layer.weight.grad, layer.bias.grad)])
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)


# ---- channels-last throughout --------------------------------------------------------------------


def chain(c: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, c, 3, padding=1, bias=False),
        nn.BatchNorm2d(c),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(c, c, 3, padding=1, bias=False),
        nn.BatchNorm2d(c, activation="relu"),
        nn.AvgPool2d(2),
        nn.GroupNorm(2, c),
        nn.Dropout2d(0.1),
    )


def test_a_chain_never_leaves_channels_last(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain()
    orders: list[tuple[int, ...]] = []
    gradients: list[Any] = []

    def watch(module: nn.Module, args: tuple[Any, ...], y: nv.Tensor) -> None:
        orders.append(y.order)
        gradients.append(y)

    for module in model:
        module.register_forward_hook(watch)
    x = _core.to_order(nv.tensor(floats(rng, 4, 3, 8, 8)), LAST).requires_grad_()
    y = model(x)
    assert orders == [LAST] * len(model)
    y.backward(_core.to_order(nv.tensor(floats(rng, *y.shape)), LAST))
    assert x.grad.order == LAST


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Sequential:UserWarning")
def test_flatten_gives_the_features_in_the_order_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn
    theirs = t.Sequential(
        t.Conv2d(3, 6, 3, bias=False),
        t.BatchNorm2d(6),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Flatten(),
        t.Linear(6 * 5 * 4, 7),
        t.LayerNorm(7),
    )
    ours = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        nn.BatchNorm2d(6, activation="relu"),
        nn.Identity(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 5 * 4, 7),
        nn.LayerNorm(7),
    )
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = floats(rng, 4, 3, 12, 10)
    y, e = ours(nv.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), e.detach().numpy(), rtol=1e-4, atol=1e-5)
    y.sum().backward()
    (y * y).sum()
    e.sum().backward()
    weight = dict(ours.named_parameters())["0.weight"]
    np.testing.assert_allclose(
        weight.grad.numpy(), theirs[0].weight.grad.numpy(), rtol=1e-3, atol=1e-5
    )


# ---- the bias before -----------------------------------------------------------------------------


def test_a_bias_that_cancels_out_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_warned_of_bias", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        nn.Sequential(nn.Linear(3, 4, activation="relu"), nn.BatchNorm1d(4))
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4))
        nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    with pytest.warns(UserWarning, match=r"bias of module 1 \(Conv2d\) has no effect: BatchNorm2d"):
        nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    monkeypatch.setattr(container, "_warned_of_bias", False)
    model = nn.Sequential(nn.Linear(3, 4))
    with pytest.warns(UserWarning, match=r"create the layer with bias=False"):
        model.append(nn.BatchNorm1d(4))


# ---- layers --------------------------------------------------------------------------------------


@pytest.mark.torch
def test_other_layers_like_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = floats(rng, 3, 6, 4, 5)
    pairs = [
        (nn.LayerNorm(5), torch.nn.LayerNorm(5)),
        (nn.LayerNorm((4, 5), bias=False), torch.nn.LayerNorm((4, 5), bias=False)),
        (nn.LayerNorm([6, 4, 5], eps=1e-2), torch.nn.LayerNorm([6, 4, 5], eps=1e-2)),
        (
            nn.LayerNorm(5, elementwise_affine=False),
            torch.nn.LayerNorm(5, elementwise_affine=False),
        ),
        (nn.GroupNorm(3, 6), torch.nn.GroupNorm(3, 6)),
        (nn.GroupNorm(6, 6, affine=False), torch.nn.GroupNorm(6, 6, affine=False)),
        (nn.RMSNorm(5), torch.nn.RMSNorm(5)),
        (
            nn.RMSNorm((4, 5), eps=1e-3, elementwise_affine=False),
            torch.nn.RMSNorm((4, 5), eps=1e-3, elementwise_affine=False),
        ),
    ]
    for ours, theirs in pairs:
        assert list(ours.state_dict()) == list(theirs.state_dict())
        state = {k: floats(rng, *v.shape) for k, v in theirs.state_dict().items()}
        ours.load_state_dict(state)
        theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        y, e = ours(nv.tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(y.numpy(), e.detach().numpy(), rtol=1e-4, atol=1e-5)
        assert repr(ours) == repr(theirs) or "RMSNorm" in repr(ours) or "bias=" in repr(theirs)


def test_text_of_layers() -> None:
    assert repr(nn.BatchNorm2d(8)) == (
        "BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    )
    assert repr(nn.BatchNorm1d(8, activation="relu")).endswith("activation='relu')")
    assert repr(nn.GroupNorm(2, 8)) == "GroupNorm(2, 8, eps=1e-05, affine=True)"
    assert repr(nn.LayerNorm(8)) == "LayerNorm((8,), eps=1e-05, elementwise_affine=True)"
    assert repr(nn.RMSNorm(8)) == "RMSNorm((8,), eps=None, elementwise_affine=True)"


def test_layer_norm_keeps_memory_orders(rng: np.random.Generator) -> None:
    x = _core.to_order(nv.tensor(floats(rng, 2, 3, 4, 5)), LAST)
    assert F.layer_norm(x, (3, 4, 5)).order == LAST
    assert F.layer_norm(x, (5,)).order == (0, 1, 2, 3)


# ---- errors --------------------------------------------------------------------------------------


def test_running_averages_that_cannot_be_written_are_refused() -> None:
    """An array would be copied and the copy updated."""
    x, mean, var = nv.ones(4, 3, 5), np.zeros(3, np.float32), np.ones(3, np.float32)
    for normalise in (F.batch_norm, F.instance_norm):
        with pytest.raises(TypeError, match="running_mean"):
            normalise(x, mean, nv.ones(3))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="running_var"):
            normalise(x, nv.zeros(3), var)  # type: ignore[arg-type]


X = (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.BatchNorm2d(3)(nv.zeros(2, 3)), r"\[BatchNorm2d\] expected \(N, C, H, W\)"),
        (lambda: nn.BatchNorm1d(3)(nv.zeros(*X)), r"\[BatchNorm1d\] expected \(N, C\) or"),
        (lambda: nn.BatchNorm2d(4)(nv.zeros(*X)), r"\[batch_norm\] weight must be \(3,\)"),
        (lambda: nn.BatchNorm2d(0), r"num_features must be at least 1"),
        (lambda: nn.BatchNorm2d(3, activation="tanh"), r'activation must be None or "relu"'),
        (lambda: nn.BatchNorm1d(3)(nv.zeros(1, 3)), r"more than 1 value per channel"),
        (lambda: nn.BatchNorm2d(3)(nv.zeros(1, 3, 1, 1)), r"more than 1 value per channel"),
        (lambda: F.batch_norm(nv.zeros(*X), None, None), r"running_mean and running_var are"),
        (
            lambda: F.batch_norm(nv.zeros(*X), nv.zeros(3), nv.zeros(2)),
            r"running_var must be \(3,\), got \(2,\)",
        ),
        (
            lambda: F.batch_norm(nv.zeros(*X), None, None, training=True, activation="gelu"),
            r'activation must be "" or "relu"',
        ),
        (lambda: F.batch_norm(nv.zeros(3), None, None, training=True), r"must be \(N, C, ...\)"),
        (lambda: nn.InstanceNorm2d(3)(nv.zeros(2, 3, 1, 1)), r"more than 1 spatial element"),
        (lambda: nn.InstanceNorm2d(4)(nv.zeros(*X)), r"expected 4 channels"),
        (lambda: nn.InstanceNorm1d(3)(nv.zeros(*X)), r"\[InstanceNorm1d\] expected \(N, C, L\)"),
        (lambda: F.instance_norm(nv.zeros(*X), use_input_stats=False), r"are needed"),
        (lambda: nn.GroupNorm(2, 3), r"num_groups must divide num_channels"),
        (lambda: nn.GroupNorm(1, 4)(nv.zeros(*X)), r"\[GroupNorm\] expected \(N, 4, ...\)"),
        (lambda: F.group_norm(nv.zeros(*X), 2), r"multiple of num_groups"),
        (lambda: F.group_norm(nv.zeros(*X), 0), r"num_groups must be at least 1"),
        (lambda: nn.LayerNorm(5)(nv.zeros(*X)), r"\[layer_norm\] the last dimensions"),
        (lambda: nn.LayerNorm(()), r"normalized_shape must have at least one size"),
        (lambda: nn.RMSNorm(-1), r"normalized_shape must have at least one size"),
        (lambda: F.layer_norm(nv.zeros(*X), ()), r"normalized_shape must have at least one"),
        (lambda: F.layer_norm(nv.zeros(*X), (2, 2, 3, 4, 4)), r"the last dimensions"),
        (
            lambda: F.layer_norm(nv.zeros(*X), (4,), nv.ones(3)),
            r"weight must have norm",
        ),
        (lambda: F.rms_norm(nv.zeros(*X), (4,), nv.ones(3)), r"\[rms_norm\] weight must have"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_no_channels() -> None:
    x = nv.zeros(4, 0, 2, 2)
    for training in (False, True):
        y = F.batch_norm(x, nv.zeros(0), nv.zeros(0), training=training)
        assert y.shape == (4, 0, 2, 2)
    assert F.instance_norm(x, nv.zeros(0), nv.zeros(0), use_input_stats=False).shape == x.shape


# ---- bare kernels --------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [1, 3, 15, 16, 33, 100])
@pytest.mark.parametrize("relu", [False, True])
def test_bare_batch_norm(rng: np.random.Generator, isa: str, c: int, relu: bool) -> None:
    x, dy = floats(rng, 3, 5, 7, c, mean=2.0), floats(rng, 3, 5, 7, c)
    weight, bias = floats(rng, c), floats(rng, c)
    planes, back = (np.moveaxis(a.astype(np.float64), 3, 1) for a in (x, dy))
    options: dict[str, Any] = {"training": True, "activation": "relu" if relu else ""}
    arguments = planes, None, None, weight, bias
    y, statistics = kernels.batch_norm_forward(x, weight, bias, relu=relu)
    assert not difference(
        np.moveaxis(y, 3, 1), reference.batch_norm(*arguments, **options), 40 * EPS
    )
    np.testing.assert_allclose(statistics[0], x.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(statistics[3], x.var(axis=(0, 1, 2)), rtol=1e-4)
    gradients = kernels.batch_norm_backward(dy, x, statistics, weight, bias, relu)
    dx, _, _, dweight, dbias = reference.batch_norm_backward(back, *arguments, **options)
    assert not difference(np.moveaxis(gradients[0], 3, 1), dx, 80 * EPS)
    assert not difference(gradients[1], dweight, 80 * EPS)
    assert not difference(gradients[2], dbias, 80 * EPS)
    again = kernels.batch_norm_backward(dy, x, statistics, weight, bias, relu, out=dy)[0]
    np.testing.assert_array_equal(again, gradients[0])


def test_bare_layer_norm(rng: np.random.Generator, isa: str) -> None:
    x, dy, weight, bias = floats(rng, 3, 5, 33), floats(rng, 3, 5, 33), *floats(rng, 2, 33)
    y, statistics = kernels.layer_norm_forward(x, weight, bias)
    exact = x.astype(np.float64), (33,), weight, bias
    assert not difference(y, reference.layer_norm(*exact), 40 * EPS)
    ours = kernels.layer_norm_backward(dy, x, statistics, weight)
    expected = reference.layer_norm_backward(dy.astype(np.float64), *exact)
    for a, e in zip(ours, expected, strict=True):
        assert not difference(a, e, 40 * EPS)


def test_bare_kernels_refuse(rng: np.random.Generator) -> None:
    x = floats(rng, 4, 5)
    with pytest.raises(TypeError, match=r"\[batch_norm_forward\] x must be float32"):
        kernels.batch_norm_forward(x.astype(np.float64))
    with pytest.raises(ValueError, match=r"\[batch_norm_forward\] weight must have shape \(5,\)"):
        kernels.batch_norm_forward(x, floats(rng, 4))
    with pytest.raises(ValueError, match=r"more than 1 value per channel"):
        kernels.batch_norm_forward(x[:1])
    with pytest.raises(ValueError, match=r"statistics must have shape \(4, 5\)"):
        kernels.batch_norm_backward(x, x, floats(rng, 3, 5))
    with pytest.raises(ValueError, match=r"at least two dimensions"):
        kernels.layer_norm_forward(floats(rng, 0, 5))
    with pytest.raises(ValueError, match=r"statistics must have shape \(4, 3\)"):
        kernels.layer_norm_backward(x, x, floats(rng, 4, 4))
