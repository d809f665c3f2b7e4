# SPDX-License-Identifier: BSD-3-Clause
"""Layers, activations and losses as modules and as functions: formulas, defaults, errors."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn, reference
from nervure.nn import functional as F

ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[nv.Tensor], nv.Tensor]]] = {
    "relu": (lambda nn: nn.ReLU(), F.relu),
    "leaky_relu": (lambda nn: nn.LeakyReLU(), F.leaky_relu),
    "leaky_relu 0.3": (lambda nn: nn.LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3)),
    "elu": (lambda nn: nn.ELU(), F.elu),
    "elu 0.5": (lambda nn: nn.ELU(0.5), lambda x: F.elu(x, 0.5)),
    "gelu": (lambda nn: nn.GELU(), F.gelu),
    "gelu_tanh": (lambda nn: nn.GELU("tanh"), lambda x: F.gelu(x, "tanh")),
    "silu": (lambda nn: nn.SiLU(), F.silu),
    "tanh": (lambda nn: nn.Tanh(), F.tanh),
    "sigmoid": (lambda nn: nn.Sigmoid(), F.sigmoid),
    "softplus": (lambda nn: nn.Softplus(), F.softplus),
    "softplus 2 3": (lambda nn: nn.Softplus(2.0, 3.0), lambda x: F.softplus(x, 2.0, 3.0)),
    "hardtanh": (lambda nn: nn.Hardtanh(), F.hardtanh),
    "hardtanh -2 3": (lambda nn: nn.Hardtanh(-2.0, 3.0), lambda x: F.hardtanh(x, -2.0, 3.0)),
    "softmax": (lambda nn: nn.Softmax(dim=1), lambda x: F.softmax(x, 1)),
    "log_softmax": (lambda nn: nn.LogSoftmax(dim=-1), lambda x: F.log_softmax(x, -1)),
}
FUSED = [name for name in ACTIVATIONS if " " not in name and "softmax" not in name]


def randn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(actual: Any, expected: Any, tolerance: float = 3e-6) -> None:
    actual = np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def value_and_gradients(
    fn: Callable[..., Any], arrays: list[np.ndarray], dy: np.ndarray | None = None
) -> list[np.ndarray]:
    """The result, and the gradients of the arrays of floats."""
    inputs = [nv.tensor(a, requires_grad=a.dtype == np.float32) for a in arrays]
    y = fn(*inputs)
    y.backward(None if dy is None else nv.tensor(dy))
    return [y.numpy(), *(x.grad.numpy() for x in inputs if x.requires_grad)]


def torch_value_and_gradients(
    fn: Callable[..., Any], arrays: list[np.ndarray], dy: np.ndarray | None = None
) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    inputs = [torch.tensor(a, requires_grad=a.dtype == np.float32) for a in arrays]
    y = fn(*inputs)
    y.backward(None if dy is None else torch.from_numpy(dy))
    return [y.detach().numpy(), *(x.grad.numpy() for x in inputs if x.requires_grad)]


# ---- activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_module_is_the_function(name: str) -> None:
    module, function = ACTIVATIONS[name]
    x, dy = 4 * randn(7, 9), randn(7, 9, seed=1)
    as_module = value_and_gradients(module(nn), [x], dy)
    as_function = value_and_gradients(function, [x], dy)
    for a, b in zip(as_module, as_function, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(as_module[0], x)


@pytest.mark.torch
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    module, _ = ACTIVATIONS[name]
    x, dy = 4 * randn(3, 5, 2, 7), randn(3, 5, 2, 7, seed=1)
    x[0, 0, 0, :3] = [0.0, 1.0, -1.0]
    ours = value_and_gradients(module(nn), [x], dy)
    theirs = torch_value_and_gradients(module(torch.nn), [x], dy)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


def test_modules_take_no_inplace() -> None:
    for module in (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardtanh, nn.Dropout):
        with pytest.raises(TypeError, match="inplace"):
            module(inplace=True)


# ---- linear --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (6, 4), (2, 3, 4), (0, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_its_formula(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(4, 5, bias=bias)
    x = randn(*shape)
    weight = layer.weight.numpy().astype(np.float64)
    offset = layer.bias.numpy().astype(np.float64) if layer.bias is not None else 0.0
    assert_close(layer(nv.tensor(x)).numpy(), x @ weight.T + offset)
    assert layer.weight.shape == (5, 4)
    assert layer.weight.order == (1, 0)
    assert list(layer.state_dict()) == (["weight", "bias"] if bias else ["weight"])


@pytest.mark.parametrize("name", FUSED)
def test_fused_activation_is_the_module_after_the_product(name: str) -> None:
    plain, fused = nn.Linear(9, 17), nn.Linear(9, 17, activation=name)
    fused.load_state_dict(plain.state_dict())
    module = ACTIVATIONS[name][0](nn)
    x, dy = 3 * randn(33, 9), randn(33, 17, seed=1)
    results = []
    for model in (fused, nn.Sequential(plain, module)):
        model.zero_grad()
        input = nv.tensor(x, requires_grad=True)
        y = model(input)
        y.backward(nv.tensor(dy))
        results.append([y, input.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        assert_close(a.numpy(), b.numpy(), 1e-5)
    function = F.linear(nv.tensor(x), fused.weight, fused.bias, activation=name)
    np.testing.assert_array_equal(function.numpy(), results[0][0].numpy())


@pytest.mark.torch
def test_linear_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    arrays = [randn(8, 31), randn(15, 31, seed=1), randn(15, seed=2)]
    dy = randn(8, 15, seed=3)
    ours = value_and_gradients(F.linear, arrays, dy)
    theirs = torch_value_and_gradients(torch.nn.functional.linear, arrays, dy)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, 1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Linear(-1, 2), r"\[Linear\] sizes must not be negative"),
        (lambda: nn.Linear(2, 2, activation="swish"), r"activation must be None or one of relu.*"),
        (lambda: nn.Linear(2, 3)(nv.zeros(4, 5)), r"\[linear\]"),
        (lambda: nn.Dropout(1.5), r"\[Dropout\] p must be a probability in \[0, 1\], got 1.5"),
        (lambda: nn.Dropout(math.nan), r"\[Dropout\] p must be"),
        (lambda: F.dropout(nv.zeros(2), -0.1), r"\[dropout\] p must be"),
        (lambda: nn.GELU("erf"), r"\[GELU\] approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: nn.Hardtanh(1.0, 1.0), r"\[Hardtanh\] min_val must be below max_val"),
        (lambda: nn.MSELoss("avg"), r"\[MSELoss\] reduction must be one of mean, sum, none"),
        (lambda: nn.MSELoss("batchmean"), r"\[MSELoss\] reduction must be"),
        (lambda: nn.HuberLoss(delta=0.0), r"\[HuberLoss\] delta must be positive, got 0.0"),
        (lambda: nn.SmoothL1Loss(beta=-1.0), r"\[SmoothL1Loss\] beta must not be negative"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2.0), r"label_smoothing must be in \[0, 1\]"),
        (lambda: nn.Unflatten(0, ()), r"\[Unflatten\] unflattened_size must not be empty"),
        (lambda: nn.Unflatten(1, (2, 2))(nv.zeros(1, 6)), r"multiply to 6, got \(2, 2\)"),
        (lambda: nn.Unflatten(1, (4, -1))(nv.zeros(1, 6)), r"multiply to 6, got \(4, -1\)"),
        (lambda: nn.Unflatten(1, (-1, -1))(nv.zeros(1, 6)), r"multiply to 6, got \(-1, -1\)"),
        (lambda: F.normalize(nv.zeros(2, 2), p=0.0), r"\[normalize\] p must be positive"),
        (lambda: F.one_hot(nv.zeros(0, dtype=nv.int64)), r"num_classes must be given"),
        (lambda: F.mse_loss(nv.zeros(2), nv.zeros(3)), r"\[mse_loss\]"),
        (lambda: F.mse_loss(nv.zeros(2), nv.zeros(2), reduction="avg"), "reduction"),
        (lambda: nn.utils.parameters_to_vector([]), r"\[parameters_to_vector\] there are no"),
        (
            lambda: nn.utils.vector_to_parameters(nv.zeros(3), [nv.zeros(2, 2)]),
            r"\[vector_to_parameters\] vector must be \(4,\), got shape \(3,\)",
        ),
    ],
)
def test_values_that_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_types_and_indices_that_are_refused() -> None:
    for size in (2.5, "2", None):
        with pytest.raises(TypeError, match="integer"):
            nn.Linear(size, 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"\[Unflatten\] dim must be an int, got str"):
        nn.Unflatten("1", (2,))  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="dim 2 is out of range"):
        nn.Unflatten(2, (2,))(nv.zeros(2, 2))
    with pytest.raises(TypeError, match=r"\[one_hot\] expected int64 indices, got"):
        F.one_hot(nv.zeros(2))
    assert F.one_hot(np.array([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    for values in ([0, 3], [-1, 2]):
        with pytest.raises(IndexError, match=r"indices must be in \[0, 3\), got values from"):
            F.one_hot(nv.tensor(values), 3)
    with pytest.raises(TypeError):
        nn.Softmax()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="buffer 'weight' must be a Tensor"):
        nn.CrossEntropyLoss(weight=[1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        F.cross_entropy(nv.zeros(1, 3), nv.tensor([3]))


# ---- shape ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), (2, 60)), ((0,), (120,)), ((1, 2), (2, 12, 5)), ((-2, -1), (2, 3, 20))],
)
def test_flatten(arguments: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = randn(2, 3, 4, 5)
    y = nn.Flatten(*arguments)(nv.tensor(x))
    np.testing.assert_array_equal(y.numpy(), x.reshape(expected))


@pytest.mark.parametrize(
    ("dim", "sizes", "expected"),
    [
        (1, (2, 3), (4, 2, 3, 5)),
        (-1, (5, 1), (4, 6, 5, 1)),
        (1, (-1, 2), (4, 3, 2, 5)),
        (0, [2, -1], (2, 2, 6, 5)),
    ],
)
def test_unflatten(dim: int, sizes: Any, expected: tuple[int, ...]) -> None:
    x = randn(4, 6, 5)
    np.testing.assert_array_equal(
        nn.Unflatten(dim, sizes)(nv.tensor(x)).numpy(), x.reshape(expected)
    )


def test_unflatten_of_an_empty_batch() -> None:
    assert nn.Unflatten(1, (-1, 2))(nv.zeros(0, 6)).shape == (0, 3, 2)
    assert nn.Unflatten(0, (-1, 2))(nv.zeros(0, 6)).shape == (0, 2, 6)


def test_identity() -> None:
    x = nv.zeros(2)
    assert nn.Identity()(x) is x


# ---- dropout -------------------------------------------------------------------------------------


def test_dropout() -> None:
    nv.manual_seed(0)
    layer = nn.Dropout(0.25)
    x = nv.tensor(1.0 + np.abs(randn(200, 500)), requires_grad=True)
    y = layer(x)
    kept = y.numpy() != 0.0
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    assert_close(y.numpy()[kept], x.numpy()[kept] / 0.75)
    y.sum().backward()
    assert_close(x.grad.numpy(), kept / 0.75)
    assert not np.array_equal(layer(x).numpy() != 0.0, kept)
    layer.eval()
    assert layer(x) is x
    assert F.dropout(x, 0.25, training=False) is x


def test_dropout_of_nothing_and_of_everything() -> None:
    x = nv.ones(5)
    assert nn.Dropout(0.0)(x) is x
    assert nn.Dropout(1.0)(x).numpy().tolist() == [0.0] * 5


# ---- losses --------------------------------------------------------------------------------------

N, C = 6, 5
LOGITS = randn(N, C)
LABELS = np.array([0, 4, 2, 2, 1, 3])
SOME_IGNORED = np.array([0, -100, 2, -100, 1, 3])
WEIGHT = np.abs(randn(C, seed=1)) + 0.1
PROBABILITIES = np.exp(randn(N, C, seed=2)) / np.exp(randn(N, C, seed=2)).sum(1, keepdims=True)
UNIT = 1.0 / (1.0 + np.exp(-randn(N, C, seed=3)))
LOG_PROBABILITIES = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))

LOSSES: dict[str, tuple[str, dict[str, Any], str, list[np.ndarray]]] = {
    "cross entropy": ("CrossEntropyLoss", {}, "cross_entropy", [LOGITS, LABELS]),
    "cross entropy, weighted": (
        "CrossEntropyLoss",
        {"weight": WEIGHT},
        "cross_entropy",
        [LOGITS, SOME_IGNORED],
    ),
    "cross entropy, smoothed": (
        "CrossEntropyLoss",
        {"weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": 2},
        "cross_entropy",
        [LOGITS, LABELS],
    ),
    "cross entropy of probabilities": (
        "CrossEntropyLoss",
        {},
        "cross_entropy",
        [LOGITS, PROBABILITIES],
    ),
    "cross entropy of images": (
        "CrossEntropyLoss",
        {},
        "cross_entropy",
        [randn(2, C, 3, 2), np.arange(12).reshape(2, 3, 2) % C],
    ),
    "nll": ("NLLLoss", {}, "nll_loss", [LOG_PROBABILITIES, LABELS]),
    "nll, weighted": (
        "NLLLoss",
        {"weight": WEIGHT, "ignore_index": 4},
        "nll_loss",
        [LOG_PROBABILITIES, LABELS],
    ),
    "bce": ("BCELoss", {}, "binary_cross_entropy", [UNIT, PROBABILITIES]),
    "bce, weighted": ("BCELoss", {"weight": WEIGHT}, "binary_cross_entropy", [UNIT, PROBABILITIES]),
    "bce with logits": (
        "BCEWithLogitsLoss",
        {},
        "binary_cross_entropy_with_logits",
        [4 * LOGITS, PROBABILITIES],
    ),
    "bce with logits, weighted": (
        "BCEWithLogitsLoss",
        {"weight": WEIGHT, "pos_weight": WEIGHT[::-1].copy()},
        "binary_cross_entropy_with_logits",
        [LOGITS, PROBABILITIES],
    ),
    "mse": ("MSELoss", {}, "mse_loss", [LOGITS, UNIT]),
    "l1": ("L1Loss", {}, "l1_loss", [LOGITS, UNIT]),
    "huber": ("HuberLoss", {"delta": 0.7}, "huber_loss", [LOGITS, UNIT]),
    "smooth l1": ("SmoothL1Loss", {"beta": 0.4}, "smooth_l1_loss", [LOGITS, UNIT]),
    "smooth l1, beta 0": ("SmoothL1Loss", {"beta": 0.0}, "smooth_l1_loss", [LOGITS, UNIT]),
    "kl": ("KLDivLoss", {}, "kl_div", [LOG_PROBABILITIES, PROBABILITIES]),
    "kl, log target": (
        "KLDivLoss",
        {"log_target": True},
        "kl_div",
        [LOG_PROBABILITIES, np.log(PROBABILITIES)],
    ),
}
REDUCED = [(name, r) for name in LOSSES for r in ("mean", "sum", "none", "batchmean")]
REDUCED = [(name, r) for name, r in REDUCED if r != "batchmean" or name.startswith("kl")]


def loss_case(name: str) -> tuple[str, dict[str, Any], str, list[np.ndarray]]:
    kind, options, function, arrays = LOSSES[name]
    arrays = [a.astype(np.float32 if a.dtype.kind == "f" else np.int64) for a in arrays]
    return kind, options, function, arrays


def tensors(options: dict[str, Any], make: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    return {k: make(v.copy()) if isinstance(v, np.ndarray) else v for k, v in options.items()}


def gradient_of_loss(shape: tuple[int, ...]) -> np.ndarray | None:
    return randn(*shape, seed=9) if shape else None


@pytest.mark.parametrize(("name", "reduction"), REDUCED)
def test_loss_module_is_the_function_and_the_reference(name: str, reduction: str) -> None:
    kind, options, function, arrays = loss_case(name)
    module = getattr(nn, kind)(reduction=reduction, **tensors(options, nv.tensor))
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    expected = getattr(reference, function)(*wide, reduction=reduction, **options)
    dy = gradient_of_loss(expected.shape)
    ours = value_and_gradients(module, arrays, dy)
    assert_close(ours[0], expected, 1e-5)
    call = getattr(F, function)
    again = value_and_gradients(
        lambda *x: call(*x, reduction=reduction, **tensors(options, nv.tensor)), arrays, dy
    )
    for a, b in zip(ours, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize(("name", "reduction"), REDUCED)
def test_loss_is_that_of_pytorch(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options, _, arrays = loss_case(name)
    ours = getattr(nn, kind)(reduction=reduction, **tensors(options, nv.tensor))
    theirs = getattr(torch.nn, kind)(reduction=reduction, **tensors(options, torch.from_numpy))
    with torch.no_grad():
        shape = tuple(theirs(*map(torch.from_numpy, arrays)).shape)
    dy = gradient_of_loss(shape)
    result = value_and_gradients(ours, arrays, dy)
    expected = torch_value_and_gradients(theirs, arrays, dy)
    for a, b in zip(result, expected, strict=True):
        assert_close(a, b, 1e-5)


def test_weights_of_losses_are_buffers_as_in_pytorch() -> None:
    loss = nn.BCEWithLogitsLoss(weight=nv.ones(2), pos_weight=nv.ones(2))
    assert list(loss.state_dict()) == ["weight", "pos_weight"]
    assert not list(loss.parameters())
    assert not nn.CrossEntropyLoss().state_dict()


# ---- other functions -----------------------------------------------------------------------------


def test_one_hot() -> None:
    x = np.array([[0, 2], [1, 2]])
    for classes, size in ((-1, 3), (3, 3), (5, 5)):
        y = F.one_hot(nv.tensor(x), classes)
        assert y.dtype == nv.int64
        np.testing.assert_array_equal(y.numpy(), np.eye(size, dtype=np.int64)[x])
    assert F.one_hot(nv.zeros(0, 2, dtype=nv.int64), 4).shape == (0, 2, 4)


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("dim", [1, -1, 0])
def test_normalize(p: float, dim: int) -> None:
    x = randn(4, 3, 5)
    y = F.normalize(nv.tensor(x), p, dim).numpy()
    assert_close(y, x / np.linalg.norm(x.astype(np.float64), p, dim, keepdims=True))


@pytest.mark.torch
@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, math.inf])
def test_normalize_is_that_of_pytorch(p: float) -> None:
    torch = pytest.importorskip("torch")
    x, dy = randn(4, 6), randn(4, 6, seed=1)
    ours = value_and_gradients(lambda x: F.normalize(x, p), [x], dy)
    theirs = torch_value_and_gradients(lambda x: torch.nn.functional.normalize(x, p), [x], dy)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, 1e-5)


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, math.inf])
def test_normalize_of_zeros(p: float) -> None:
    y, gradient = value_and_gradients(
        lambda x: F.normalize(x, p, eps=0.5), [np.zeros((2, 3), np.float32)], np.ones((2, 3), "f4")
    )
    assert (y == 0.0).all()
    assert_close(gradient, np.full((2, 3), 2.0))


def test_defaults_of_functions_are_those_of_the_modules() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional
    for name, function in inspect.getmembers(F, inspect.isfunction):
        if function.__module__ != F.__name__ or name.startswith("_"):
            continue
        wanted = {"relu", "tanh", "sigmoid", "gelu", "softplus", "linear", "one_hot"}
        if name in wanted:  # built in, or without a signature of their own
            continue
        expected = inspect.signature(getattr(theirs, name)).parameters
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            if name in ("softmax", "log_softmax") and parameter.name == "dim":
                continue  # PyTorch guesses
            assert parameter.default == expected[parameter.name].default, (name, parameter.name)


# ---- utils ---------------------------------------------------------------------------------------


def model_with_gradients() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for i, p in enumerate(model.parameters()):
        p.grad = nv.tensor(randn(*p.shape, seed=i))
    model[1].bias.grad = None
    return model


def gradients(model: nn.Module) -> list[np.ndarray]:
    return [p.grad.numpy().copy() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_clip_grad_norm(norm_type: float, max_norm: float) -> None:
    model = model_with_gradients()
    before = gradients(model)
    flat = np.concatenate([g.ravel() for g in before]).astype(np.float64)
    norm = np.linalg.norm(flat, norm_type)
    result = nn.utils.clip_grad_norm_(model.parameters(), max_norm, norm_type)
    assert result == pytest.approx(norm, rel=1e-6)
    factor = min(1.0, max_norm / (norm + 1e-6))
    for g, old in zip(gradients(model), before, strict=True):
        assert_close(g, factor * old)


def test_clip_grad_of_one_tensor_and_of_none() -> None:
    p = nn.Parameter(nv.zeros(2))
    assert nn.utils.clip_grad_norm_(p, 1.0) == 0.0
    assert nn.utils.clip_grad_norm_([], 1.0) == 0.0
    p.grad = nv.tensor([3.0, 4.0])
    assert nn.utils.clip_grad_norm_(p, 1.0) == pytest.approx(5.0)
    nn.utils.clip_grad_value_(p, 0.7)
    assert_close(p.grad.numpy(), [0.6, 0.7])
    p.grad = nv.tensor([math.inf, 1.0])
    with pytest.raises(ValueError, match="norm of the gradients is inf"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_parameters_and_vectors() -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(model.parameters())
    expected = np.concatenate([model.weight.numpy().ravel(), model.bias.numpy()])
    np.testing.assert_array_equal(vector.numpy(), expected)
    nn.utils.vector_to_parameters(vector, other.parameters())
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert other.weight.requires_grad
    assert other.weight.order == (1, 0)
    (vector * vector).sum().backward()
    assert_close(model.weight.grad.numpy(), 2 * model.weight.numpy())
