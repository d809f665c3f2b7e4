# SPDX-License-Identifier: BSD-3-Clause
"""Rows of single operations, all called from Python. Read ``registry.py`` first.

Peers get ``out=`` arrays wherever they take them: that is their fastest variant.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import nervure as nv
from nervure import nn, optim
from nervure.nn import functional as F

from .data import Floats, classes, floats
from .numpy_peers import (
    NumpyAdam,
    NumpyRmsprop,
    NumpySgd,
    cross_entropy_and_gradient,
    gelu_tanh,
    sigmoid,
    softmax,
)
from .registry import Contest, Peers, rows

SIZES = {"1e3": 1_000, "1e6": 1_000_000, "2.5e7": 25_000_000}

# ---- products ------------------------------------------------------------------------------------

# M, N, K of C (M, N) = A B; T: the factor is a transposed view.
SHAPES = [
    ("NN", 32, 32, 32),
    ("NN", 64, 64, 64),
    ("NN", 96, 96, 96),
    ("NN", 128, 128, 128),
    ("NN", 100, 100, 100),
    ("NN", 37, 53, 71),
    ("NN", 256, 256, 256),
    ("NN", 512, 512, 512),
    ("NT", 512, 512, 512),
    ("TN", 512, 512, 512),
    ("NN", 1000, 1000, 1000),
    ("NN", 1024, 1024, 1024),
    ("NT", 1024, 1024, 1024),
    ("NN", 2048, 2048, 2048),
    ("NN", 64, 12544, 288),
    ("NN", 128, 784, 576),
    ("NT", 2048, 256, 784),
    ("TN", 256, 784, 2048),
    ("NN", 32, 256, 784),
    ("NT", 32, 256, 784),
    ("NN", 64, 128, 256),
    ("NT", 64, 128, 256),
    ("NN", 32, 1024, 256),
    ("NT", 32, 1024, 256),
    ("TN", 784, 256, 32),
    ("NN", 64, 64, 4096),
    ("NT", 64, 64, 4096),
    ("TN", 64, 64, 4096),
    ("NN", 1, 1024, 1024),
    ("NT", 1, 1024, 1024),
]


@rows(
    "kernels",
    "matrix product",
    {f"gemm {layout} {m}x{n}x{k}": (layout, m, n, k) for layout, m, n, k in SHAPES},
    quick=["gemm NN 64x64x64", "gemm NN 512x512x512", "gemm NT 32x256x784"],
)
def gemm(peers: Peers, layout: str, m: int, n: int, k: int) -> Contest:
    """C = A B, MxNxK; T: that factor is the transposed view of a row-major array"""
    a = floats(k, m).T if layout[0] == "T" else floats(m, k)
    b = floats(n, k, seed=1).T if layout[1] == "T" else floats(k, n, seed=1)
    contest = Contest(flops=2.0 * m * n * k)
    contest.add("nervure", partial(nv.matmul, _same_layout(a), _same_layout(b)))
    contest.add("numpy", partial(np.matmul, a, b, out=np.empty((m, n), np.float32)))
    if torch := peers.torch:
        product = torch.empty(m, n)
        contest.add(
            "torch", partial(torch.mm, torch.from_numpy(a), torch.from_numpy(b), out=product)
        )
    return contest


def _same_layout(array: Floats) -> nv.Tensor:
    if array.flags.c_contiguous:
        return nv.tensor(array)
    return nv.tensor(array.T).transpose(0, 1)


@rows(
    "kernels",
    "matrix product",
    {
        f"linear {batch}x{inputs}->{outputs}": (batch, inputs, outputs)
        for batch, inputs, outputs in [
            (32, 10, 32),
            (64, 784, 256),
            (64, 256, 128),
            (32, 256, 1024),
            (2048, 784, 256),
        ]
    },
    quick=["linear 64x784->256"],
)
def linear(peers: Peers, batch: int, inputs: int, outputs: int) -> Contest:
    """y = x W^T + b forward, then the gradients of x, W and b from dy"""
    x, dy = floats(batch, inputs), floats(batch, outputs, seed=1)
    weight, bias = floats(outputs, inputs, seed=2), floats(outputs, seed=3)
    contest = Contest(flops=6.0 * batch * inputs * outputs)

    layer = nn.Linear(inputs, outputs)
    layer.load_state_dict({"weight": nv.tensor(weight), "bias": nv.tensor(bias)})
    contest.add("nervure", _layer_pass(layer, nv.tensor(x, requires_grad=True), nv.tensor(dy)))

    def numpy_pass() -> tuple[Floats, ...]:
        y = x @ weight.T
        np.add(y, bias, out=y)
        return y, dy @ weight, dy.T @ x, dy.sum(axis=0)

    contest.add("numpy", numpy_pass)
    if torch := peers.torch:
        torch_layer = torch.nn.Linear(inputs, outputs)
        torch_layer.load_state_dict(
            {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
        )
        leaf = torch.from_numpy(x).requires_grad_()
        contest.add("torch", _layer_pass(torch_layer, leaf, torch.from_numpy(dy)))
    return contest


def _layer_pass(layer: Any, x: Any, dy: Any) -> Callable[[], tuple[Any, ...]]:
    """Forward and backward of a Linear layer, the same calls in Nervure and torch."""
    weight, bias = layer.weight, layer.bias

    def call() -> tuple[Any, ...]:
        x.grad = weight.grad = bias.grad = None
        y = layer(x)
        y.backward(dy)
        return y, x.grad, weight.grad, bias.grad

    return call


# ---- element by element --------------------------------------------------------------------------

# name -> ours, NumPy's with out= (None: NumPy has no such function), torch's name
UNARY: dict[str, tuple[Callable[[nv.Tensor], nv.Tensor], Any, str]] = {
    "exp": (nv.Tensor.exp, np.exp, "exp"),
    "tanh": (nv.Tensor.tanh, np.tanh, "tanh"),
    "sigmoid": (nv.Tensor.sigmoid, sigmoid, "sigmoid"),
    "gelu": (F.gelu, None, "gelu"),
    "gelu_tanh": (partial(F.gelu, approximate="tanh"), gelu_tanh, "gelu_tanh"),
    "relu": (nv.Tensor.relu, lambda x, out: np.maximum(x, 0, out=out), "relu"),
}


@rows(
    "kernels",
    "element by element",
    {f"{name} {size}": (name, n) for name in UNARY for size, n in SIZES.items()},
    quick=["exp 1e6", "tanh 1e6", "gelu 1e6", "relu 1e6"],
)
def unary(peers: Peers, name: str, n: int) -> Contest:
    """{name} of that many floats, no gradient"""
    ours, numpy_function, torch_name = UNARY[name]
    x = floats(n)
    contest = Contest(bytes=8.0 * n)
    contest.add("nervure", partial(ours, nv.tensor(x)))
    if numpy_function:
        contest.add("numpy", partial(numpy_function, x, out=np.empty_like(x)))
    if torch := peers.torch:
        contest.add("torch", _torch_unary(torch, torch_name, torch.from_numpy(x)))
    return contest


def _torch_unary(torch: Any, name: str, x: Any) -> Callable[[], Any]:
    y = torch.empty_like(x)
    if name == "relu":
        return partial(torch.clamp_min, x, 0, out=y)
    if not name.startswith("gelu"):
        return partial(getattr(torch, name), x, out=y)
    approximate = "tanh" if name == "gelu_tanh" else "none"
    if x.numel() < 100_000:  # the call that takes out= costs more than an allocation
        return partial(torch.nn.functional.gelu, x, approximate=approximate)
    return partial(torch.ops.aten.gelu.out, x, approximate=approximate, out=y)


@rows(
    "kernels",
    "element by element",
    {f"{name} {size}": (name, n) for name in ("add", "mul") for size, n in SIZES.items()},
    quick=["add 1e6"],
)
def binary(peers: Peers, name: str, n: int) -> Contest:
    """a {name} b of that many floats each, no gradient"""
    a, b = floats(n), floats(n, seed=1)
    contest = Contest(bytes=12.0 * n)
    ours = operator.add if name == "add" else operator.mul
    contest.add("nervure", partial(ours, nv.tensor(a), nv.tensor(b)))
    numpy_function = np.add if name == "add" else np.multiply
    contest.add("numpy", partial(numpy_function, a, b, out=np.empty_like(a)))
    if torch := peers.torch:
        function = getattr(torch, name)
        inputs = torch.from_numpy(a), torch.from_numpy(b)
        contest.add("torch", partial(function, *inputs, out=torch.empty(n)))
    return contest


@rows(
    "kernels",
    "element by element",
    {f"dropout {size}": n for size, n in SIZES.items()},
    quick=["dropout 1e6"],
)
def dropout(peers: Peers, n: int) -> Contest:
    """inverted dropout with p = 0.5 of that many ones; compared: zero or doubled, half of each"""
    ones = np.ones(n, np.float32)
    rng = np.random.default_rng(0)
    contest = Contest(bytes=8.0 * n)

    def numpy_dropout() -> Floats:
        uniform = rng.random(n, np.float32)
        mask = (uniform < 0.5).astype(np.float32)
        mask *= 2
        return np.multiply(ones, mask, out=mask)

    x = nv.tensor(ones)
    contest.add("nervure", partial(F.dropout, x), lambda: _is_dropout(F.dropout(x)))
    contest.add("numpy", numpy_dropout, lambda: _is_dropout(numpy_dropout()))
    if torch := peers.torch:
        drop = partial(torch.nn.functional.dropout, torch.from_numpy(ones))
        contest.add("torch", drop, lambda: _is_dropout(drop()))
    return contest


def _is_dropout(result: Any) -> bool:
    """Whether ones came out as zeros and twos, and within 5 standard deviations half of each."""
    values = np.asarray(result)
    kept = values == 2
    binomial = 0.5 / np.sqrt(values.size)
    return bool(np.all(kept | (values == 0)) and abs(kept.mean() - 0.5) < 5 * binomial)


# ---- reductions ----------------------------------------------------------------------------------


@rows(
    "kernels",
    "reductions",
    {
        f"{name} {text}": (name, shape, axis)
        for name in ("sum", "mean")
        for text, shape, axis in [
            ("1e3", (1_000,), None),
            ("1e6", (1_000_000,), None),
            ("2.5e7", (25_000_000,), None),
            ("1000x1000 over rows", (1000, 1000), 0),
            ("1000x1000 over columns", (1000, 1000), 1),
        ]
    },
    quick=["sum 1e6", "sum 1000x1000 over rows"],
)
def reduction(peers: Peers, name: str, shape: tuple[int, ...], axis: int | None) -> Contest:
    """{name} of floats (positive ones), no gradient"""
    x = np.abs(floats(*shape))
    contest = Contest(bytes=4.0 * x.size)
    ours = partial(getattr(nv.Tensor, name), nv.tensor(x))
    contest.add("nervure", ours if axis is None else partial(ours, axis))
    contest.add("numpy", partial(getattr(x, name), axis=axis))
    if torch := peers.torch:
        method = getattr(torch.from_numpy(x), name)
        contest.add("torch", method if axis is None else partial(method, axis))
    return contest


# ---- softmax -------------------------------------------------------------------------------------

SOFTMAX_SHAPES = [(64, 10), (2048, 65), (1024, 1000), (512, 32000)]


@rows(
    "kernels",
    "softmax",
    {f"softmax {n}x{c}": (n, c) for n, c in SOFTMAX_SHAPES},
    quick=["softmax 1024x1000"],
)
def row_softmax(peers: Peers, n: int, c: int) -> Contest:
    """softmax of each row, no gradient"""
    x = floats(n, c)
    contest = Contest(bytes=8.0 * x.size)
    contest.add("nervure", partial(F.softmax, nv.tensor(x), 1))
    contest.add("numpy", partial(softmax, x, out=np.empty_like(x)))
    if torch := peers.torch:
        leaf = torch.from_numpy(x)
        contest.add("torch", partial(torch.softmax, leaf, 1, out=torch.empty_like(leaf)))
    return contest


@rows(
    "kernels",
    "softmax",
    {f"cross-entropy {n}x{c}": (n, c) for n, c in SOFTMAX_SHAPES},
    quick=["cross-entropy 64x10", "cross-entropy 1024x1000"],
)
def cross_entropy(peers: Peers, n: int, c: int) -> Contest:
    """mean softmax cross-entropy of (N, C) logits with class indices, and the logits' gradient"""
    x, target = floats(n, c), classes(c, n)
    contest = Contest(bytes=8.0 * x.size)
    logits = nv.tensor(x, requires_grad=True)
    contest.add("nervure", _loss_pass(F.cross_entropy, logits, nv.tensor(target)))
    contest.add("numpy", partial(cross_entropy_and_gradient, x, target, np.empty_like(x)))
    if torch := peers.torch:
        function = torch.nn.functional.cross_entropy
        leaf = torch.from_numpy(x).requires_grad_()
        contest.add("torch", _loss_pass(function, leaf, torch.from_numpy(target)))
    return contest


def _loss_pass(function: Any, logits: Any, target: Any) -> Callable[[], tuple[Any, Any]]:
    def call() -> tuple[Any, Any]:
        logits.grad = None
        loss = function(logits, target)
        loss.backward()
        return loss, logits.grad

    return call


# ---- optimisers ----------------------------------------------------------------------------------

# name -> ours, NumPy's, torch's class and its fastest setting, bytes per element that a step moves
OPTIMIZERS: dict[str, tuple[Any, Any, str, dict[str, Any], float]] = {
    "Adam": (optim.Adam, NumpyAdam, "Adam", {"fused": True}, 28.0),
    "SGD momentum": (
        partial(optim.SGD, momentum=0.9),
        partial(NumpySgd, momentum=0.9),
        "SGD",
        {"momentum": 0.9, "fused": True},
        20.0,
    ),
    "RMSprop": (optim.RMSprop, NumpyRmsprop, "RMSprop", {"foreach": True}, 20.0),
}


@rows(
    "kernels",
    "optimisers",
    {f"{name} {size}": (name, n) for name in OPTIMIZERS for size, n in SIZES.items()},
    quick=["Adam 1e3", "Adam 1e6", "SGD momentum 1e6"],
)
def optimizer_step(peers: Peers, name: str, n: int) -> Contest:
    """one step over one tensor of that many parameters (torch: fused, RMSprop foreach)"""
    ours, numpy_class, torch_class, fastest, per_element = OPTIMIZERS[name]
    values, gradient = floats(n), floats(n, seed=1)
    contest = Contest(bytes=per_element * n)

    parameter = nn.Parameter(nv.tensor(values))
    parameter.grad = nv.tensor(gradient)
    step = ours([parameter], lr=1e-3).step
    contest.add("nervure", step, partial(_after_steps, step, parameter))

    array = values.copy()
    numpy_step = partial(numpy_class(n, lr=1e-3).step, array, gradient)
    contest.add("numpy", numpy_step, partial(_after_steps, numpy_step, array))

    if torch := peers.torch:
        leaf = torch.from_numpy(values.copy()).requires_grad_()
        leaf.grad = torch.from_numpy(gradient)
        torch_step = getattr(torch.optim, torch_class)([leaf], lr=1e-3, **fastest).step
        contest.add("torch", torch_step, partial(_after_steps, torch_step, leaf))
    return contest


def _after_steps(step: Callable[[], object], parameter: Any) -> Any:
    for _ in range(3):
        step()
    return parameter


# ---- overheads -----------------------------------------------------------------------------------


@rows(
    "kernels",
    "overhead of one operation",
    {"a + b 4x4": False, "a + b 4x4, gradient recorded": True},
    quick=["a + b 4x4, gradient recorded"],
)
def small_addition(peers: Peers, requires_grad: bool) -> Contest:
    """a + b of two 4x4 matrices"""
    a, b = floats(4, 4), floats(4, 4, seed=1)
    contest = Contest()
    ours = [nv.tensor(x, requires_grad=requires_grad) for x in (a, b)]
    contest.add("nervure", partial(operator.add, *ours))
    if not requires_grad:
        contest.add("numpy", partial(operator.add, a, b))
    if torch := peers.torch:
        theirs = [torch.from_numpy(x).requires_grad_(requires_grad) for x in (a, b)]
        contest.add("torch", partial(operator.add, *theirs))
    return contest


@rows(
    "kernels",
    "overhead of one operation",
    {"backward of a + b 4x4, per node": 100},
    quick=["backward of a + b 4x4, per node"],
)
def backward_node(peers: Peers, nodes: int) -> Contest:
    """backward through a chain of 100 additions of 4x4 matrices, divided by 100"""
    x, b, dy = floats(4, 4), floats(4, 4, seed=1), floats(4, 4, seed=2)
    contest = Contest(per=nodes)
    ours = nv.tensor(x, requires_grad=True), nv.tensor(b), nv.tensor(dy)
    contest.add("nervure", _backward_of_chain(nodes, *ours))
    if torch := peers.torch:
        from_numpy = torch.from_numpy
        theirs = from_numpy(x).requires_grad_(), from_numpy(b), from_numpy(dy)
        contest.add("torch", _backward_of_chain(nodes, *theirs))
    return contest


def _backward_of_chain(nodes: int, x: Any, b: Any, dy: Any) -> Callable[[], Any]:
    y = x
    for _ in range(nodes):
        y = y + b

    def call() -> Any:
        x.grad = None
        y.backward(dy, retain_graph=True)
        return x.grad

    return call
