# SPDX-License-Identifier: BSD-3-Clause
"""THE CASE TABLE: what every operation is tested, compared and measured with.

One row says how to call one operation on one set of inputs. The tests run each row forward and
backward, on every instruction set and with several thread counts, against `nervure.reference` and
against PyTorch; finite differences run over the same rows to prove the reference. The benchmarks
take operations, inputs and PyTorch equivalents from here too. A new operation is a few new rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from .arrays import Array
from .matmul import ACTIVATIONS

Rng: TypeAlias = np.random.Generator
Draw: TypeAlias = Callable[[Rng], Array]
Inputs: TypeAlias = Callable[[Rng], list[Array | None]]
Shape: TypeAlias = tuple[int, ...]

SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 32, 33)
"""Around the widths of the vectors: 4, 8 and 16 floats, unrolled up to twice."""

LARGE = 300_007
"""Elements of an array beyond a typical level-2 cache; a prime, so nothing divides it."""


def _as_they_come(*tensors: Any) -> tuple[Any, ...]:
    return tensors


@dataclass(frozen=True)
class Case:
    """One row: an operation, its inputs and parameters, and what is expected of the result.

    Parameters
    ----------
    name
        Unique, for messages and ``pytest -k``.
    op
        Name in ``nervure._core`` and ``nervure.reference``.
    inputs
        Draws the input arrays (float32, int64 or boolean; None for an absent optional one).
    args, kwargs
        Parameters after the tensors, the same for ``_core``, the reference and PyTorch.
    grads
        Which inputs get a gradient.
    c, K
        The relative error allowed is ``c eps sqrt(K)``, K the length of the longest reduction.
    relative
        Hold every element to that error, not only the array as a whole.
    orders
        Memory order of an input, by its position; row-major otherwise.
    arrange
        Places the tensors among the positional arguments, where they do not simply come first.
    torch
        The PyTorch equivalent, called with the module, then as the operation; None: there is none.
    smooth
        Whether finite differences can prove the gradient around these inputs.
    slow
        Large inputs.
    flops, bytes
        Work and memory traffic of a forward pass, from the input arrays; for the benchmarks.
    """

    name: str
    op: str
    inputs: Inputs
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    grads: tuple[int, ...] = ()
    c: float = 4.0
    K: int = 1
    relative: bool = False
    orders: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    arrange: Callable[..., tuple[Any, ...]] = _as_they_come
    torch: Callable[..., Any] | None = None
    smooth: bool = True
    slow: bool = False
    flops: Callable[[Sequence[Array]], float] | None = None
    bytes: Callable[[Sequence[Array]], float] | None = None

    def call(self, function: Callable[..., Any], tensors: Iterable[Any]) -> Any:
        """``function`` on the tensors (arrays, for the reference) with this row's parameters."""
        return function(*self.arrange(*tensors), *self.args, **self.kwargs)

    def call_backward(
        self, function: Callable[..., Any], dy: Any, arrays: Iterable[Any]
    ) -> tuple[Any, ...]:
        """``function``, a backward of the reference, on ``dy`` and the arrays."""
        return tuple(function(dy, *self.arrange(*arrays), *self.args, **self.kwargs))

    def rng(self) -> Rng:
        """A generator that depends on the name only."""
        return np.random.default_rng(list(self.name.encode()))


# ---- inputs -------------------------------------------------------------------------------------


def normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Draw:
    """Normal numbers."""
    return lambda rng: np.asarray(mean + scale * rng.standard_normal(shape), np.float32)


def uniform(low: float, high: float, *shape: int) -> Draw:
    """Uniform numbers in ``[low, high)``."""
    return lambda rng: np.asarray(rng.uniform(low, high, shape), np.float32)


def ties(*shape: int) -> Draw:
    """Whole numbers -2 to 2 as floats: equal elements, zeros, and bounds met exactly."""
    return lambda rng: np.asarray(rng.integers(-2, 3, shape), np.float32)


def integers(low: int, high: int, *shape: int) -> Draw:
    """int64 numbers in ``[low, high)``."""
    return lambda rng: np.asarray(rng.integers(low, high, shape), np.int64)


def booleans(*shape: int) -> Draw:
    """Booleans, even odds."""
    return lambda rng: np.asarray(rng.random(shape) < 0.5)


def distribution(*shape: int) -> Draw:
    """Positive numbers that add up to 1 along the dimension of classes."""

    def draw(rng: Rng) -> Array:
        x = rng.uniform(0.1, 1.0, shape)
        axis = 1 if len(shape) > 1 else 0
        return np.asarray(x / x.sum(axis=axis, keepdims=True), np.float32)

    return draw


def log_distribution(*shape: int) -> Draw:
    """Logarithms of such numbers."""
    p = distribution(*shape)
    return lambda rng: np.asarray(np.log(p(rng)), np.float32)


def constant(values: Any, dtype: Any = np.float32) -> Draw:
    """These very values."""
    return lambda rng: np.asarray(values, dtype)


def each(*draws: Draw | None) -> Inputs:
    """One input per draw."""
    return lambda rng: [None if draw is None else draw(rng) for draw in draws]


def torch_op(path: str) -> Callable[..., Any]:
    """The function at this path of the module it is called with."""

    def call(torch: Any, *args: Any, **kwargs: Any) -> Any:
        function = torch
        for part in path.split("."):
            function = getattr(function, part)
        return function(*args, **kwargs)

    return call


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) if value else "0d"
    return str(value)


def _name(op: str, *parts: Any, **kwargs: Any) -> str:
    shown = [_shown(p) for p in parts] + [f"{k}={_shown(v)}" for k, v in kwargs.items()]
    return "-".join([op, *shown])


# ---- binary -------------------------------------------------------------------------------------

BROADCASTS: tuple[tuple[Shape, Shape], ...] = (
    ((), ()),
    ((), (5,)),
    ((5,), ()),
    ((1,), (3, 1)),
    ((3, 1), (1, 4)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 3, 4)),
    ((2, 3, 4), (3, 1)),
    ((5, 4, 3), (5, 1, 3)),
    ((2, 1, 3, 1), (4, 1, 5)),
    ((17, 33), (33,)),
    ((17, 33), (17, 1)),
    ((1, 17), (33, 1)),
    ((2, 3, 5, 7), (3, 1, 1)),
    ((0, 3), (1, 3)),
    ((0,), (1,)),
    ((2, 0, 3), (3,)),
)


def _binary(op: str, a: Callable[..., Draw], b: Callable[..., Draw], **extra: Any) -> list[Case]:
    common: dict[str, Any] = {"grads": (0, 1), "torch": torch_op(op), **extra}

    def row(name: str, x: Draw, y: Draw, **more: Any) -> Case:
        return Case(name, op, each(x, y), **{**common, **more})

    rows = [row(_name(op, n), a(n), b(n)) for n in SIZES]
    rows += [row(_name(op, s, t), a(*s), b(*t), K=_stretch(s, t)) for s, t in BROADCASTS]
    rows += [
        row(_name(op, "order-left"), a(5, 9), b(5, 9), orders={0: (1, 0)}),
        row(_name(op, "order-right"), a(5, 9), b(5, 9), orders={1: (1, 0)}),
        row(_name(op, "order-both"), a(5, 9), b(5, 9), orders={0: (1, 0), 1: (1, 0)}),
        row(_name(op, "order-row"), a(5, 9), b(9), orders={0: (1, 0)}, K=5),
        row(_name(op, "order-column"), a(5, 9), b(5, 1), orders={0: (1, 0)}, K=9),
        row(_name(op, "order-3d"), a(4, 5, 6), b(4, 1, 6), orders={0: (2, 0, 1)}, K=5),
        row(
            _name(op, "channels-last"),
            a(2, 3, 5, 7),
            b(1, 3, 1, 1),
            orders={0: (0, 2, 3, 1)},
            K=70,
        ),
        row(
            _name(op, "channels-last-both"),
            a(2, 3, 5, 7),
            b(2, 3, 5, 7),
            orders={0: (0, 2, 3, 1), 1: (0, 2, 3, 1)},
        ),
        row(_name(op, "large"), a(LARGE), b(LARGE), slow=True),
        row(_name(op, "large-row"), a(1009, 301), b(301), K=1009, slow=True),
        row(_name(op, "large-column"), a(1009, 301), b(1009, 1), K=301, slow=True),
    ]
    return rows


def _stretch(s: Shape, t: Shape) -> int:
    """How many elements a gradient adds up at most."""
    n = math.prod(np.broadcast_shapes(s, t))
    return max(1, n // max(1, min(math.prod(s), math.prod(t))))


def _positive(*shape: int) -> Draw:
    return uniform(0.3, 3.0, *shape)


def _arithmetic_rows() -> list[Case]:
    rows = []
    for op in ("add", "sub", "mul", "maximum", "minimum"):
        rows += _binary(op, normal, normal)
        rows.append(
            Case(
                _name(op, "ties"),
                op,
                each(ties(33), ties(33)),
                grads=(0, 1),
                torch=torch_op(op),
                smooth=op not in ("maximum", "minimum"),
            )
        )
    rows += _binary("div", normal, _positive)
    rows += _binary("pow", _positive, normal, c=8.0)
    for op in ("add", "sub", "mul", "div"):
        for kind, draw in (("int64", integers(1, 9, 4, 5)), ("bool", constant([[True]], bool))):
            inputs = each(normal(4, 5), draw)
            torch = None if (op, kind) == ("sub", "bool") else torch_op(op)
            rows.append(Case(_name(op, kind), op, inputs, grads=(0,), torch=torch))
    for exponent in (2.0, 3.0, -1.0, -2.0, 1.0, 0.0):
        inputs = each(normal(33, mean=1.0), constant(exponent))
        name = _name("pow", "exponent", exponent)
        rows.append(Case(name, "pow", inputs, grads=(0,), c=8.0, torch=torch_op("pow")))
    for exponent in (0.5, -0.5, 1.5):
        inputs = each(_positive(33), constant(exponent))
        name = _name("pow", "exponent", exponent)
        rows.append(Case(name, "pow", inputs, grads=(0, 1), c=8.0, K=33, torch=torch_op("pow")))
    rows.append(
        Case(
            "pow-zero-base",
            "pow",
            each(constant([0.0, 0.0, 0.0, 2.0]), constant([2.0, 1.0, 0.0, 0.0])),
            grads=(0, 1),
            torch=torch_op("pow"),
            smooth=False,
        )
    )
    return rows


def _comparison_rows() -> list[Case]:
    rows = []
    exact = constant([2**53, 2**53 + 1, -(2**62) - 1, 5], np.int64)
    shifted = constant([2**53 + 1, 2**53 + 1, -(2**62), 4], np.int64)
    odd = constant([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, np.nan])
    even = constant([-0.0, 1.0, np.nan, np.inf, np.inf, 1.0, 0.0])
    for op in ("eq", "ne", "lt", "le", "gt", "ge"):
        t = torch_op(op)
        rows += [Case(_name(op, n), op, each(ties(n), ties(n)), torch=t) for n in SIZES]
        rows += [
            Case(_name(op, a, b), op, each(ties(*a), ties(*b)), torch=t) for a, b in BROADCASTS
        ]
        rows += [
            Case(_name(op, "int64"), op, each(exact, shifted), torch=t),
            Case(_name(op, "mixed"), op, each(integers(-2, 3, 33), ties(33)), torch=t),
            Case(_name(op, "special"), op, each(odd, even), torch=t),
            Case(_name(op, "order"), op, each(ties(5, 9), ties(9)), orders={0: (1, 0)}, torch=t),
            Case(_name(op, "large"), op, each(ties(LARGE), ties(LARGE)), slow=True, torch=t),
        ]
    for op in ("logical_and", "logical_or"):
        t = torch_op(op)
        rows += [Case(_name(op, n), op, each(booleans(n), booleans(n)), torch=t) for n in SIZES]
        rows += [
            Case(_name(op, "rows"), op, each(booleans(5, 9), booleans(5, 1)), torch=t),
            Case(
                _name(op, "order"),
                op,
                each(booleans(5, 9), booleans(5, 9)),
                orders={0: (1, 0)},
                torch=t,
            ),
        ]
    t = torch_op("logical_not")
    rows += [
        Case(_name("logical_not", n), "logical_not", each(booleans(n)), torch=t) for n in SIZES
    ]
    rows.append(
        Case("logical_not-order", "logical_not", each(booleans(5, 9)), orders={0: (1, 0)}, torch=t)
    )
    return rows


def _choice_rows() -> list[Case]:
    rows = []
    shapes: list[tuple[Shape, Shape, Shape]] = [((n,), (n,), (n,)) for n in SIZES]
    shapes += [
        ((5, 1), (1, 9), (5, 9)),
        ((9,), (5, 9), ()),
        ((5, 9), (), ()),
        ((), (5, 9), (9,)),
        ((2, 3, 4), (3, 1), (4,)),
        ((0, 3), (3,), (0, 3)),
        ((1009, 301), (1009, 301), (301,)),
    ]
    for mask, a, b in shapes:
        inputs = each(booleans(*mask), normal(*a), normal(*b))
        n = math.prod(np.broadcast_shapes(mask, a, b))
        rows.append(
            Case(
                _name("where", mask, a, b),
                "where",
                inputs,
                grads=(1, 2),
                K=max(1, n // max(1, min(math.prod(a), math.prod(b)))),
                torch=torch_op("where"),
                slow=n > 10_000,
            )
        )
    for order in ({0: (1, 0)}, {1: (1, 0)}, {1: (1, 0), 2: (1, 0)}, {0: (1, 0), 1: (1, 0)}):
        rows.append(
            Case(
                _name("where", "order", list(order)),
                "where",
                each(booleans(5, 9), normal(5, 9), normal(5, 9)),
                grads=(1, 2),
                orders=order,
                torch=torch_op("where"),
            )
        )
    for x, mask in [((n,), (n,)) for n in SIZES] + [
        ((5, 9), (9,)),
        ((5, 9), (5, 1)),
        ((2, 3, 4), (2, 1, 4)),
        ((0, 4), (4,)),
    ]:
        for value in (-1e9,) if len(x) == 1 else (0.5, -math.inf):
            rows.append(
                Case(
                    _name("masked_fill", x, mask, value),
                    "masked_fill",
                    each(normal(*x), booleans(*mask)),
                    (value,),
                    grads=(0,),
                    smooth=math.isfinite(value) and abs(value) < 1e6,
                    torch=torch_op("masked_fill"),
                )
            )
    rows.append(
        Case(
            "masked_fill-order",
            "masked_fill",
            each(normal(5, 9), booleans(5, 9)),
            kwargs={"value": 2.0},
            grads=(0,),
            orders={0: (1, 0)},
            torch=torch_op("masked_fill"),
        )
    )
    return rows


# ---- unary --------------------------------------------------------------------------------------


def _unary(
    op: str,
    path: str,
    draw: Callable[..., Draw] = normal,
    options: Sequence[Mapping[str, Any]] = ({},),
    wide: tuple[float, float] | None = None,
    kinks: bool = False,
    **extra: Any,
) -> list[Case]:
    common: dict[str, Any] = {"grads": (0,), "torch": torch_op(path), **extra}

    def row(name: str, x: Draw, **more: Any) -> Case:
        return Case(name, op, each(x), **{**common, **more})

    first, *others = options
    rows = [row(_name(op, n), draw(n), kwargs=first) for n in SIZES]
    rows += [row(_name(op, s), draw(*s), kwargs=first) for s in ((), (0,), (0, 3), (3, 0))]
    rows += [
        row(_name(op, "order"), draw(5, 9), kwargs=first, orders={0: (1, 0)}),
        row(_name(op, "order-3d"), draw(3, 5, 7), kwargs=first, orders={0: (1, 2, 0)}),
        row(_name(op, "channels-last"), draw(2, 3, 5, 7), kwargs=first, orders={0: (0, 2, 3, 1)}),
        row(_name(op, "large"), draw(LARGE), kwargs=first, slow=True),
    ]
    for option in options:
        if option in others:
            rows.append(row(_name(op, **option), draw(5, 9), kwargs=option))
        if wide:
            name = _name(op, "wide", **option)
            rows.append(row(name, uniform(*wide, 997), kwargs=option, smooth=False))
        if kinks:
            rows.append(row(_name(op, "ties", **option), ties(33), kwargs=option, smooth=False))
    return rows


def _unary_rows() -> list[Case]:
    f = "nn.functional."
    wide = (-90.0, 90.0)
    bounds = ({"low": -0.5, "high": 0.7}, {"low": 0.1}, {"high": -0.1}, {"low": 1.0, "high": -1.0})
    rows = [
        *_unary("neg", "neg"),
        *_unary("abs", "abs", kinks=True),
        *_unary("exp", "exp", wide=(-85.0, 88.0), relative=True),
        *_unary("log", "log", _positive, wide=(1e-30, 1e30)),
        *_unary("sqrt", "sqrt", _positive, wide=(1e-30, 1e30), relative=True),
        *_unary("square", "square", relative=True),
        *_unary("reciprocal", "reciprocal", _positive, wide=(1e-12, 1e12), relative=True),
        *_unary("sin", "sin", wide=(-1000.0, 1000.0)),
        *_unary("cos", "cos", wide=(-1000.0, 1000.0)),
        *_unary("relu", f + "relu", kinks=True),
        *_unary("silu", f + "silu", wide=wide),
        *_unary("tanh", "tanh", wide=wide, relative=False),
        *_unary("sigmoid", "sigmoid", wide=wide),
        *_unary(
            "leaky_relu",
            f + "leaky_relu",
            options=({}, {"negative_slope": 0.3}, {"negative_slope": 0.0}),
            kinks=True,
        ),
        *_unary("elu", f + "elu", options=({}, {"alpha": 0.7}), wide=wide, kinks=True),
        *_unary(
            "gelu",
            f + "gelu",
            options=({}, {"approximate": "tanh"}, {"approximate": "none"}),
            wide=(-12.0, 12.0),
            c=8.0,  # 1 + erf loses up to a bit below 0, and is multiplied once more
        ),
        *_unary(
            "softplus",
            f + "softplus",
            options=({}, {"beta": 2.0, "threshold": 3.0}, {"beta": 0.5}),
            wide=wide,
        ),
        *_unary(
            "hardtanh",
            f + "hardtanh",
            options=({}, {"min_val": -2.0, "max_val": 0.5}),
            kinks=True,
        ),
    ]
    clip = [
        replaced
        for case in _unary("clip", "clip", options=({}, *bounds), kinks=True)
        for replaced in [_with_torch(case, _torch_clip)]
        if case.kwargs
    ]
    clip += [
        _with_torch(case, _torch_clip)
        for case in _unary("clip", "clip", options=({"low": -1.0, "high": 1.0},), kinks=True)
    ]
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 100.0, -100.0, 1e30, -1e30]
    for op, path in (
        ("neg", "neg"),
        ("abs", "abs"),
        ("exp", "exp"),
        ("log", "log"),
        ("sqrt", "sqrt"),
        ("square", "square"),
        ("reciprocal", "reciprocal"),
        ("relu", f + "relu"),
        ("tanh", "tanh"),
        ("sigmoid", "sigmoid"),
        ("softplus", f + "softplus"),
        ("elu", f + "elu"),
        ("hardtanh", f + "hardtanh"),
        ("leaky_relu", f + "leaky_relu"),
        ("isnan", "isnan"),
        ("isfinite", "isfinite"),
    ):
        name = _name(op, "special")
        rows.append(Case(name, op, each(constant(special)), torch=torch_op(path), relative=True))
    for op in ("isnan", "isfinite"):
        rows += [Case(_name(op, n), op, each(normal(n)), torch=torch_op(op)) for n in SIZES]
        rows.append(Case(_name(op, "int64"), op, each(integers(-3, 3, 5)), torch=torch_op(op)))
    for op in ("exp", "relu", "square"):
        inputs = each(integers(-3, 3, 4, 5))
        rows.append(Case(_name(op, "int64"), op, inputs, torch=_torch_of_float(op)))
    return rows + clip


def _torch_clip(torch: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    return torch.clamp(x, low, high)


def _torch_of_float(path: str) -> Callable[..., Any]:
    inner = torch_op(path)
    return lambda torch, x: inner(torch, x.double())


def _with_torch(case: Case, torch: Callable[..., Any]) -> Case:
    return replace(case, torch=torch)


# ---- reductions ---------------------------------------------------------------------------------

REDUCTIONS: tuple[tuple[Shape, Any], ...] = (
    ((), None),
    ((5, 7), None),
    ((5, 7), 0),
    ((5, 7), 1),
    ((5, 7), -1),
    ((3, 4, 5), 0),
    ((3, 4, 5), 1),
    ((3, 4, 5), 2),
    ((3, 4, 5), (0, 1)),
    ((3, 4, 5), (0, 2)),
    ((3, 4, 5), (1, 2)),
    ((3, 4, 5), (2, 0)),
    ((3, 4, 5), (0, 1, 2)),
    ((2, 3, 4, 5), (0, 2, 3)),
    ((2, 3, 4, 5), (1, -1)),
    ((17, 33), 0),
    ((17, 33), 1),
    ((33, 17), 0),
    ((33, 16), 1),
    ((3, 0), 0),
    ((2, 1, 3), 1),
)

LARGE_REDUCTIONS: tuple[tuple[Shape, Any], ...] = (
    ((1009, 301), None),
    ((1009, 301), 0),
    ((2, 150_001), 1),
    ((67, 71, 73), 1),
    ((67, 71, 73), (0, 2)),
)


def _torch_reduce(path: str) -> Callable[..., Any]:
    inner = torch_op(path)

    def call(torch: Any, x: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
        dim = tuple(range(x.ndim)) if dim is None else dim
        return inner(torch, x, dim=dim, keepdim=keepdim, **kwargs)

    return call


def _reduced(shape: Shape, dim: Any) -> int:
    if dim is None:
        return max(1, math.prod(shape))
    dims = (dim,) if isinstance(dim, int) else dim
    return max(1, math.prod(shape[d] for d in dims))


def _reduce(
    op: str,
    draw: Callable[..., Draw],
    options: Sequence[Mapping[str, Any]] = ({},),
    smooth: bool = True,
    empty: bool = False,
    torch: Callable[..., Any] | None = None,
    **extra: Any,
) -> list[Case]:
    torch = torch or _torch_reduce(op)
    common: dict[str, Any] = {"grads": (0,), "torch": torch, "smooth": smooth, **extra}

    def row(name: str, shape: Shape, dim: Any, **more: Any) -> Case:
        kwargs = {"dim": dim, **more.pop("kwargs", {})}
        return Case(
            name,
            op,
            each(draw(*shape)),
            kwargs=kwargs,
            **{**common, "K": _reduced(shape, dim), **more},
        )

    rows = [row(_name(op, n), (n,), None) for n in SIZES]
    rows += [row(_name(op, "last", n), (3, n), -1) for n in SIZES]
    rows += [row(_name(op, "first", n), (5, n), 0) for n in SIZES]
    for keepdim in (False, True):
        for shape, dim in REDUCTIONS:
            name = _name(op, shape, dim=dim, keepdim=keepdim)
            rows.append(row(name, shape, dim, kwargs={"keepdim": keepdim}))
    rows += [row(_name(op, "large", s, dim=d), s, d, slow=True) for s, d in LARGE_REDUCTIONS]
    for order, dim in itertools.product(((2, 0, 1), (1, 2, 0), (0, 2, 1)), (None, 0, 1, 2, (0, 2))):
        name = _name(op, "order", order, dim=dim)
        rows.append(row(name, (3, 4, 5), dim, orders={0: order}))
    name = _name(op, "channels-last")
    rows.append(row(name, (2, 3, 5, 7), (0, 2, 3), orders={0: (0, 2, 3, 1)}))
    for option in options[1:]:
        for dim in (None, 1, (0, 2)):
            name = _name(op, dim=dim, **option)
            rows.append(row(name, (3, 4, 5), dim, kwargs=option))
    if empty:
        rows += [
            row(_name(op, "empty", s, dim=d), s, d, smooth=False)
            for s, d in (((0,), None), ((0, 3), 0), ((3, 0), 1), ((0, 3), None))
        ]
    return rows


def _shifted(*shape: int) -> Draw:
    """Of one sign mostly, so that a sum is not small by accident."""
    return normal(*shape, mean=0.7)


def _indexed(
    op: str, dims: Sequence[Any], draw: Callable[..., Draw], kind: str, **extra: Any
) -> list[Case]:
    places: list[tuple[Shape, Any]] = [
        (shape, dim)
        for shape in (*((n,) for n in SIZES), (5, 7), (3, 4, 5), (17, 33))
        for dim in dims
        if dim is None or -len(shape) <= dim < len(shape)
    ]
    rows = [
        Case(
            _name(op, kind, shape, dim, keepdim),
            op,
            each(draw(*shape)),
            kwargs={"dim": dim, "keepdim": keepdim},
            torch=torch_op(op),
            **extra,
        )
        for shape, dim in places
        for keepdim in (False, True)
    ]
    large: tuple[tuple[Shape, int], ...] = (((1009, 301), 0), ((2, 150_001), 1))
    rows += [
        Case(
            _name(op, kind, shape, dim),
            op,
            each(draw(*shape)),
            kwargs={"dim": dim},
            torch=torch_op(op),
            slow=True,
            **extra,
        )
        for shape, dim in large
    ]
    rows.append(
        Case(
            _name(op, kind, "order"),
            op,
            each(draw(3, 4, 5)),
            kwargs={"dim": 1},
            orders={0: (2, 0, 1)},
            torch=torch_op(op),
            **extra,
        )
    )
    return rows


def _reduce_rows() -> list[Case]:
    rows = [
        *_reduce("sum", _shifted, empty=True),
        *_reduce("mean", _shifted, empty=True),
        *[
            case
            for case in _reduce(
                "var", normal, options=({}, {"correction": 0}, {"correction": 2}), c=8.0
            )
            if case.K > 1
        ],
        *_reduce("amax", normal),
        *_reduce("amin", normal),
        *_reduce("logsumexp", normal, empty=False, c=8.0),
    ]
    for op in ("amax", "amin"):
        for dim in (None, 0, 1, (0, 1)):
            rows.append(
                Case(
                    _name(op, "ties", dim=dim),
                    op,
                    each(ties(5, 17)),
                    kwargs={"dim": dim},
                    grads=(0,),
                    smooth=False,
                    torch=_torch_reduce(op),
                )
            )
    for op in ("max", "min"):
        rows += _indexed(op, (0, 1, -1), normal, kind="any", grads=(0,))
        rows += _indexed(op, (0, 1), ties, kind="ties", smooth=False)
    for op in ("argmax", "argmin"):
        rows += _indexed(op, (None, 0, 1, -1), normal, kind="any")
        rows += _indexed(op, (None, 0, 1), ties, kind="ties")
    nan = constant([[1.0, np.nan, 3.0, np.nan], [4.0, 2.0, np.inf, -np.inf]])
    for op in ("amax", "amin"):
        rows.append(
            Case(_name(op, "nan"), op, each(nan), kwargs={"dim": 1}, torch=_torch_reduce(op))
        )
    for op in ("argmax", "argmin", "max", "min"):
        rows.append(Case(_name(op, "nan"), op, each(nan), kwargs={"dim": 1}, torch=torch_op(op)))
    hard = constant([[1e4, 1e4], [-1e4, -1e4], [-np.inf, -np.inf], [-np.inf, 3.0], [np.inf, 0.0]])
    rows.append(
        Case(
            "logsumexp-special",
            "logsumexp",
            each(hard),
            kwargs={"dim": 1},
            torch=_torch_reduce("logsumexp"),
        )
    )
    for op in ("sum", "mean", "amax"):
        for kind, draw in (("int64", integers(-5, 5, 4, 5)), ("bool", booleans(4, 5))):
            rows.append(
                Case(
                    _name(op, kind),
                    op,
                    each(draw),
                    kwargs={"dim": 1},
                    torch=lambda torch, x, dim, op=op: getattr(torch, op)(x.double(), dim=dim),
                )
            )
    return rows


# ---- shapes -------------------------------------------------------------------------------------


def _shape_case(op: str, *args: Any, shape: Shape, label: str = "", **more: Any) -> Case:
    name = _name(op, shape, *args, *([label] if label else []))
    extra = {"grads": (0,), "torch": torch_op(op), **more}
    return Case(name, op, each(normal(*shape)), args, **extra)


def _torch_order(torch: Any, x: Any, order: Any = None) -> Any:
    return x.clone()


def _torch_split(torch: Any, x: Any, sizes: Any, dim: int = 0) -> Any:
    return torch.split(x, list(sizes), dim)


def _torch_expand(torch: Any, x: Any, shape: Any) -> Any:
    return x.expand(shape)


def _shape_rows() -> list[Case]:
    s = _shape_case
    rows = [
        s("reshape", (12,), shape=(3, 4)),
        s("reshape", (2, -1), shape=(3, 4)),
        s("reshape", (4, 3), shape=(3, 4), orders={0: (1, 0)}, label="order"),
        s("reshape", (3, 2, 2), shape=(3, 4), orders={0: (1, 0)}, label="order-split"),
        s("reshape", (-1, 5), shape=(3, 4, 5), orders={0: (1, 0, 2)}, label="order-merge"),
        s("reshape", (), shape=(1, 1)),
        s("reshape", (1,), shape=()),
        s("reshape", (0, 7), shape=(3, 0)),
        s("reshape", (-1,), shape=(0,)),
        s("permute", (1, 0), shape=(7, 9)),
        s("permute", (2, 0, 1), shape=(3, 4, 5)),
        s("permute", (0, -1, 1), shape=(3, 4, 5)),
        s("permute", (2, 0, 1), shape=(3, 4, 5), orders={0: (1, 2, 0)}, label="order"),
        s("permute", (), shape=()),
        s("transpose", 0, 1, shape=(7, 9)),
        s("transpose", -1, 0, shape=(3, 4, 5)),
        s("transpose", 1, 1, shape=(3, 4)),
        s("squeeze", shape=(1, 3, 1, 2), label="all"),
        s("squeeze", 0, shape=(1, 3, 1)),
        s("squeeze", -1, shape=(1, 3, 1)),
        s("squeeze", 1, shape=(1, 3, 1)),
        s("squeeze", shape=(1, 1), label="all-ones"),
        s("unsqueeze", 0, shape=(3, 4)),
        s("unsqueeze", 1, shape=(3, 4)),
        s("unsqueeze", -1, shape=(3, 4)),
        s("unsqueeze", 0, shape=()),
        s("unsqueeze", 1, shape=(3, 4), orders={0: (1, 0)}, label="order"),
        s("flatten", shape=(2, 3, 4), label="all"),
        s("flatten", 1, shape=(2, 3, 4)),
        s("flatten", 0, 1, shape=(2, 3, 4)),
        s("flatten", 1, -1, shape=(2, 3, 4, 5), orders={0: (0, 2, 3, 1)}, label="channels-last"),
        s("flatten", shape=(), label="scalar"),
        s("expand", (5, 3), shape=(3,), K=5, torch=_torch_expand),
        s("expand", (4, -1), shape=(1, 3), K=4, torch=_torch_expand),
        s("expand", (2, 4, 3), shape=(4, 1), K=6, torch=_torch_expand),
        s("expand", (2, 3), shape=(), K=6, torch=_torch_expand),
        s("expand", (0, 3), shape=(1, 3), torch=_torch_expand),
        s("flip", (0,), shape=(7, 9)),
        s("flip", (1,), shape=(7, 17)),
        s("flip", (0, -1), shape=(3, 4, 5)),
        s("flip", (0, 1), shape=(5, 9), orders={0: (1, 0)}, label="order"),
        s("flip", (0,), shape=(0, 3)),
        s("flip", (1,), shape=(1009, 301), slow=True, label="large"),
        s("clone", shape=(5, 9)),
        s("clone", shape=(5, 9), orders={0: (1, 0)}, label="order"),
        s("row_major", shape=(5, 9), orders={0: (1, 0)}, torch=_torch_order),
        s("row_major", shape=(2, 3, 5, 7), orders={0: (0, 2, 3, 1)}, torch=_torch_order),
        s("row_major", shape=(257, 1009), orders={0: (1, 0)}, torch=_torch_order, slow=True),
        s("to_order", (1, 0), shape=(5, 9), torch=_torch_order),
        s("to_order", (0, 2, 3, 1), shape=(2, 3, 5, 7), torch=_torch_order),
        s("to_order", (2, 0, 1), shape=(3, 4, 5), orders={0: (1, 2, 0)}, torch=_torch_order),
        s("to_order", (1, 0), shape=(257, 1009), torch=_torch_order, slow=True),
    ]
    rows += [s("to_order", (1, 0), shape=(n, 17), torch=_torch_order) for n in SIZES]
    joins: list[tuple[tuple[Shape, ...], int, dict[int, tuple[int, ...]]]] = [
        (((3,), (4,), (1,)), 0, {}),
        (((2, 3), (4, 3)), 0, {}),
        (((2, 3), (2, 5), (2, 1)), 1, {}),
        (((2, 3), (2, 5)), -1, {0: (1, 0)}),
        (((2, 3), (2, 5)), 1, {0: (1, 0), 1: (1, 0)}),
        (((2, 3, 4), (2, 1, 4)), 1, {}),
        (((2, 0), (2, 3)), 1, {}),
        (((5, 9),), 0, {}),
        (((257, 301), (257, 700)), 1, {}),
    ]
    for shapes, dim, orders in joins:
        rows.append(
            Case(
                _name("cat", *shapes, dim, len(orders)),
                "cat",
                each(*(normal(*shape) for shape in shapes)),
                kwargs={"dim": dim},
                grads=tuple(range(len(shapes))),
                orders=orders,
                arrange=lambda *tensors: (list(tensors),),
                torch=torch_op("cat"),
                slow=math.prod(shapes[0]) > 10_000,
            )
        )
    stacks: list[tuple[Shape, int]] = [
        ((), 0),
        ((3,), 0),
        ((3,), 1),
        ((2, 3), -1),
        ((2, 3), 1),
        ((0, 3), 0),
    ]
    for shape, dim in stacks:
        rows.append(
            Case(
                _name("stack", shape, dim),
                "stack",
                each(*(normal(*shape) for _ in range(3))),
                (dim,),
                grads=(0, 1, 2),
                arrange=lambda *tensors: (list(tensors),),
                torch=torch_op("stack"),
            )
        )
    for sizes, shape, dim in (
        ((2, 3), (5, 4), 0),
        ((1, 0, 3), (4, 4), 1),
        ((4,), (4, 3), 0),
        ((3, 2, 2), (2, 7, 3), -2),
        ((100, 201), (1009, 301), 1),
    ):
        slow = math.prod(shape) > 10_000
        rows.append(s("split", sizes, dim, shape=shape, torch=_torch_split, slow=slow))
    for chunks, shape, dim in ((2, (5, 4), 0), (3, (7, 2), 0), (4, (3, 6), 1), (5, (6,), 0)):
        rows.append(s("chunk", chunks, dim, shape=shape))
    for order in ((1, 0),):
        rows.append(s("chunk", 2, 1, shape=(5, 9), orders={0: order}, label="order"))
        rows.append(
            s(
                "split",
                (4, 5),
                1,
                shape=(5, 9),
                orders={0: order},
                torch=_torch_split,
                label="order",
            )
        )
    return rows


# ---- indices ------------------------------------------------------------------------------------


def _torch_slice(torch: Any, x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, stop, step)
    return x[tuple(index)]


def _second(parameter: Any) -> Callable[..., tuple[Any, ...]]:
    """Tensors around a parameter: op(x, parameter, indices)."""
    return lambda x, indices: (x, parameter, indices)


def _index_rows() -> list[Case]:
    s = _shape_case
    rows = [
        s("slice", 0, 1, 4, 1, shape=(7,), torch=_torch_slice),
        s("slice", 0, 1, 7, 2, shape=(7, 3), torch=_torch_slice),
        s("slice", 1, 2, 9, 3, shape=(5, 9), torch=_torch_slice),
        s("slice", -1, 0, 4, 1, shape=(3, 4, 5), torch=_torch_slice),
        s("slice", 1, 1, 3, 1, shape=(3, 4, 5), torch=_torch_slice),
        s("slice", 0, 3, 3, 1, shape=(7, 3), torch=_torch_slice),
        s("slice", 1, 2, 8, 2, shape=(5, 9), orders={0: (1, 0)}, torch=_torch_slice, label="order"),
        s("slice", 1, 100, 250, 1, shape=(1009, 301), torch=_torch_slice, slow=True),
        s("select", 0, 2, shape=(5, 9)),
        s("select", 1, 0, shape=(5, 9)),
        s("select", -1, -1, shape=(3, 4, 5)),
        s("select", 1, 3, shape=(3, 4, 5), orders={0: (2, 0, 1)}, label="order"),
        s("select", 0, 3, shape=(7,)),
    ]
    picks: list[tuple[Shape, int, int]] = [((9, 5), 0, 13), ((5, 9), 1, 4), ((3, 4, 5), -1, 7)]
    picks += [((3, 4, 5), 1, 2), ((9, 5), 0, 0), ((9,), 0, 33), ((301, 1009), 1, 777)]
    for shape, dim, n in picks:
        rows.append(
            Case(
                _name("index_select", shape, dim, n),
                "index_select",
                each(normal(*shape), integers(0, shape[dim], n)),
                arrange=_second(dim),
                grads=(0,),
                K=n or 1,
                torch=torch_op("index_select"),
                slow=math.prod(shape) > 10_000,
            )
        )
    lookups: list[tuple[Shape, Shape]] = [
        ((9, 5), (13,)),
        ((9, 5), (3, 4)),
        ((9, 5), ()),
        ((9,), (2, 3)),
        ((4, 3, 2), (5,)),
        ((9, 5), (0,)),
        ((1, 17), (33,)),
        ((1009, 301), (2003,)),
    ]
    for shape, indices in lookups:
        rows.append(
            Case(
                _name("take_rows", shape, indices),
                "take_rows",
                each(normal(*shape), integers(0, shape[0], *indices)),
                grads=(0,),
                K=max(1, math.prod(indices)),
                torch=lambda torch, x, indices: x[indices],
                slow=math.prod(shape) > 10_000,
            )
        )
    masks: list[tuple[Shape, Shape]] = [
        ((9,), (9,)),
        ((5, 9), (5,)),
        ((5, 9), (5, 9)),
        ((3, 4, 5), (3, 4)),
        ((0, 3), (0,)),
        ((1009, 301), (1009,)),
    ]
    for shape, mask in masks:
        rows.append(
            Case(
                _name("masked_select", shape, mask),
                "masked_select",
                each(normal(*shape), booleans(*mask)),
                grads=(0,),
                torch=lambda torch, x, mask: x[mask],
                slow=math.prod(shape) > 10_000,
            )
        )
    tables: list[tuple[Shape, int, Shape]] = [
        ((9,), 0, (5,)),
        ((5, 9), 0, (3, 9)),
        ((5, 9), 1, (5, 4)),
        ((5, 9), 1, (2, 20)),
        ((3, 4, 5), -1, (3, 4, 2)),
        ((3, 4, 5), 1, (2, 7, 5)),
        ((5, 9), 1, (5, 0)),
        ((1009, 301), 1, (1009, 3)),
    ]
    for shape, dim, indices in tables:
        rows.append(
            Case(
                _name("gather", shape, dim, indices),
                "gather",
                each(normal(*shape), integers(0, shape[dim], *indices)),
                arrange=_second(dim),
                grads=(0,),
                K=max(1, math.prod(indices)),
                torch=torch_op("gather"),
                slow=math.prod(shape) > 10_000,
            )
        )
    rows.append(
        Case(
            "gather-order",
            "gather",
            each(normal(5, 9), integers(0, 9, 5, 3)),
            arrange=_second(1),
            grads=(0,),
            orders={0: (1, 0), 1: (1, 0)},
            torch=torch_op("gather"),
        )
    )
    return rows


# ---- products -----------------------------------------------------------------------------------


def _matmul_flops(arrays: Sequence[Array]) -> float:
    a, b = arrays[0], arrays[1]
    columns = b.shape[-1] if b.ndim > 1 else 1
    batches = math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    rows = a.shape[-2] if a.ndim > 1 else 1
    return float(2 * batches * rows * columns * a.shape[-1])


def _linear_flops(arrays: Sequence[Array]) -> float:
    return float(2 * arrays[0].size * arrays[1].shape[0])


def _matmul_rows() -> list[Case]:
    shapes: list[tuple[Shape, Shape]] = [((n, n), (n, n)) for n in SIZES]
    shapes += [((m, 5), (5, n)) for m, n in itertools.product((1, 3, 16, 17), (1, 7, 16, 33))]
    shapes += [
        ((1, 17), (17, 33)),
        ((33, 17), (17, 1)),
        ((33, 1), (1, 17)),
        ((13, 50), (50, 65)),
        ((5,), (5,)),
        ((33,), (33, 17)),
        ((17, 33), (33,)),
        ((5,), (2, 5, 3)),
        ((2, 3, 5), (5,)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((1, 3, 4), (6, 4, 2)),
        ((0, 3), (3, 4)),
        ((3, 0), (0, 4)),
        ((3, 4), (4, 0)),
        ((0, 3, 4), (0, 4, 2)),
        ((0,), (0,)),
        ((64, 784), (784, 128)),
        ((8, 20_011), (20_011, 9)),
        ((257, 300), (300, 259)),
        ((700, 513), (513, 600)),
        ((2000, 7), (7, 301)),
    ]
    common: dict[str, Any] = {"grads": (0, 1), "torch": torch_op("matmul"), "flops": _matmul_flops}
    rows = []
    for a, b in shapes:
        k = max(1, *a, *b) if a and b else 1
        slow = math.prod(a) > 20_000 or math.prod(b) > 20_000
        inputs = each(normal(*a), normal(*b))
        rows.append(Case(_name("matmul", a, b), "matmul", inputs, K=k, slow=slow, **common))
    both: list[dict[int, tuple[int, ...]]] = [{0: (1, 0)}, {1: (1, 0)}, {0: (1, 0), 1: (1, 0)}]
    for (a, b), orders in itertools.product(
        [((7, 9), (9, 5)), ((17, 33), (33, 31)), ((1, 33), (33, 17)), ((130, 70), (70, 90))], both
    ):
        name = _name("matmul", "order", a, b, list(orders))
        inputs = each(normal(*a), normal(*b))
        rows.append(Case(name, "matmul", inputs, K=max(*a, *b), orders=orders, **common))
    for order in ((0, 2, 1), (1, 0, 2), (2, 1, 0)):
        for position in (0, 1):
            rows.append(
                Case(
                    _name("matmul", "order", order, position),
                    "matmul",
                    each(normal(3, 4, 5), normal(3, 5, 6)),
                    K=6,
                    orders={position: order},
                    **common,
                )
            )
    return rows


def _torch_linear(torch: Any, x: Any, w: Any, b: Any = None, activation: str = "") -> Any:
    y = torch.nn.functional.linear(x, w, b)
    if activation == "gelu_tanh":
        return torch.nn.functional.gelu(y, approximate="tanh")
    if activation in ("tanh", "sigmoid"):
        return getattr(torch, activation)(y)
    return getattr(torch.nn.functional, activation)(y) if activation else y


def _linear_rows() -> list[Case]:
    common: dict[str, Any] = {"torch": _torch_linear, "flops": _linear_flops}
    rows = []

    def row(
        x: Shape, out: int, bias: bool, activation: str, laid: bool, slow: bool = False
    ) -> None:
        inputs = each(
            normal(*x),
            normal(out, x[-1], scale=1.0 / math.sqrt(max(1, x[-1]))),
            normal(out) if bias else None,
        )
        name = _name("linear", x, out, "bias" if bias else "plain", activation or "none")
        rows.append(
            Case(
                name + ("-laid" if laid else ""),
                "linear",
                inputs,
                kwargs={"activation": activation},
                grads=(0, 1, 2) if bias else (0, 1),
                K=max(1, *x, out),
                orders={1: (1, 0)} if laid else {},
                slow=slow,
                **common,
            )
        )

    for n in SIZES:
        row((3, n), n, True, "", True)
    for n in (1, 8, 17):
        row((n, 5), 33, True, "relu", True)
    for activation in ("", *ACTIVATIONS):
        for bias in (False, True):
            row((5, 7), 9, bias, activation, True)
        row((2, 3, 17), 33, True, activation, False)
        row((130, 65), 70, True, activation, True, slow=True)
    for x in ((7,), (2, 3, 7), (0, 7), (2, 2, 3, 5)):
        for bias in (False, True):
            row(x, 4, bias, "", True)
    row((64, 784), 256, True, "relu", True, slow=True)
    row((1, 784), 256, True, "tanh", True, slow=True)
    row((512, 33), 10, True, "", True, slow=True)
    rows.append(
        Case(
            "linear-order-x",
            "linear",
            each(normal(9, 7), normal(5, 7), normal(5)),
            grads=(0, 1, 2),
            K=9,
            orders={0: (1, 0), 1: (1, 0)},
            **common,
        )
    )
    return rows


# ---- softmax ------------------------------------------------------------------------------------


def _softmax_rows() -> list[Case]:
    rows = []
    places: list[tuple[Shape, int]] = [((3, n), -1) for n in SIZES]
    places += [((n, 5), 0) for n in SIZES]
    places += [
        ((5,), 0),
        ((), 0),
        ((), -1),
        ((2, 3, 4), 1),
        ((2, 3, 4), 0),
        ((2, 3, 4), -1),
        ((0, 5), 1),
        ((0, 5), 0),
        ((512, 601), 1),
        ((601, 512), 0),
        ((3, 100_003), 1),
        ((50, 10, 601), 1),
    ]
    for op in ("softmax", "log_softmax"):
        common: dict[str, Any] = {"grads": (0,), "torch": torch_op(op)}
        for shape, dim in places:
            rows.append(
                Case(
                    _name(op, shape, dim=dim),
                    op,
                    each(normal(*shape)),
                    kwargs={"dim": dim},
                    K=max(1, shape[dim] if shape else 1),
                    slow=math.prod(shape) > 10_000,
                    **common,
                )
            )
        for order, dim in itertools.product(((2, 0, 1), (1, 2, 0), (0, 2, 1)), (0, 1, 2)):
            rows.append(
                Case(
                    _name(op, "order", order, dim=dim),
                    op,
                    each(normal(3, 4, 5)),
                    kwargs={"dim": dim},
                    K=5,
                    orders={0: order},
                    **common,
                )
            )
        rows += [
            Case(_name(op, "spread"), op, each(normal(5, 33, scale=50.0)), (1,), K=33, **common),
            Case(
                _name(op, "offset"),
                op,
                each(normal(5, 33, mean=1e4)),
                (1,),
                K=33,
                smooth=False,
                **common,
            ),
            Case(
                _name(op, "masked"),
                op,
                each(constant([[0.0, -np.inf, 1.0], [-np.inf, 2.0, -np.inf]])),
                (1,),
                torch=torch_op(op),
            ),
        ]
    return rows


# ---- losses -------------------------------------------------------------------------------------

REDUCE = ("mean", "sum", "none")


def _torch_cross_entropy(torch: Any, *args: Any, **kwargs: Any) -> Any:
    names = ("input", "target", "weight", "ignore_index", "label_smoothing", "reduction")
    return torch.nn.functional.cross_entropy(**dict(zip(names, args, strict=False)), **kwargs)


def _torch_nll(torch: Any, *args: Any, **kwargs: Any) -> Any:
    names = ("input", "target", "weight")
    return torch.nn.functional.nll_loss(**dict(zip(names, args, strict=True)), **kwargs)


def _torch_bce(torch: Any, p: Any, target: Any, weight: Any = None, **kwargs: Any) -> Any:
    return torch.nn.functional.binary_cross_entropy(p, target, weight=weight, **kwargs)


def _torch_bce_logits(torch: Any, x: Any, t: Any, w: Any = None, v: Any = None, **kw: Any) -> Any:
    return torch.nn.functional.binary_cross_entropy_with_logits(x, t, weight=w, pos_weight=v, **kw)


def _class_rows() -> list[Case]:
    rows = []
    shapes: list[Shape] = [(4, n) for n in SIZES if n > 1]
    shapes += [(1, 5), (17, 10), (4, 3, 5), (2, 3, 4, 5)]

    def row(op: str, shape: Shape, kind: str, weighted: bool, **kwargs: Any) -> Case:
        n_classes = shape[1] if len(shape) > 1 else shape[0]
        rest = (shape[0], *shape[2:]) if len(shape) > 1 else ()
        x = normal(*shape) if op == "cross_entropy" else log_distribution(*shape)
        target = distribution(*shape) if kind == "probabilities" else integers(0, n_classes, *rest)
        weight = uniform(0.5, 2.0, n_classes) if weighted else None
        label = "weight" if weighted else "plain"
        return Case(
            _name(op, shape, kind, label, **kwargs),
            op,
            each(x, target, weight),
            kwargs=kwargs,
            grads=(0,),
            K=max(1, math.prod(shape)),
            slow=math.prod(shape) > 10_000,
            torch=_torch_cross_entropy if op == "cross_entropy" else _torch_nll,
        )

    for shape in shapes:
        rows.append(row("cross_entropy", shape, "classes", False))
        rows.append(row("cross_entropy", shape, "probabilities", False))
        rows.append(row("nll_loss", shape, "classes", False))
    for shape, weighted, reduction in itertools.product(((5, 7), (2, 3, 4)), (False, True), REDUCE):
        for kind in ("classes", "probabilities"):
            for smoothing in (0.0, 0.1):
                options = {"label_smoothing": smoothing, "reduction": reduction}
                rows.append(row("cross_entropy", shape, kind, weighted, **options))
        for ignored, smoothing in itertools.product((0, 2), (0.0, 0.2)):
            options = {
                "ignore_index": ignored,
                "label_smoothing": smoothing,
                "reduction": reduction,
            }
            rows.append(row("cross_entropy", shape, "classes", weighted, **options))
        rows.append(row("nll_loss", shape, "classes", weighted, reduction=reduction))
        rows.append(
            row("nll_loss", shape, "classes", weighted, ignore_index=1, reduction=reduction)
        )
    for reduction in REDUCE:
        for op in ("cross_entropy", "nll_loss"):
            rows.append(row(op, (2003, 151), "classes", True, reduction=reduction))
            rows.append(row(op, (3, 5, 101, 103), "classes", True, reduction=reduction))
        options = {"label_smoothing": 0.1, "reduction": reduction}
        rows.append(row("cross_entropy", (2003, 151), "probabilities", True, **options))
        rows.append(row("cross_entropy", (2003, 10), "classes", False, **options))
    for reduction in ("sum", "none", "mean"):
        rows.append(row("cross_entropy", (0, 5), "classes", False, reduction=reduction))
        rows.append(row("nll_loss", (0, 5), "classes", False, reduction=reduction))
    for op in ("cross_entropy", "nll_loss"):
        for order, reduction in itertools.product(((1, 0), (0, 1)), REDUCE):
            rows.append(
                Case(
                    _name(op, "order", order, reduction),
                    op,
                    each(log_distribution(9, 5), integers(0, 5, 9), None),
                    kwargs={"reduction": reduction},
                    grads=(0,),
                    K=45,
                    orders={0: order},
                    torch=_torch_cross_entropy if op == "cross_entropy" else _torch_nll,
                )
            )
        rows.append(
            Case(
                _name(op, "ignored-all"),
                op,
                each(log_distribution(3, 5), constant([-100, -100, -100], np.int64), None),
                kwargs={"reduction": "sum"},
                grads=(0,),
                torch=_torch_cross_entropy if op == "cross_entropy" else _torch_nll,
            )
        )
        rows.append(
            Case(
                _name(op, "ignored-default"),
                op,
                each(log_distribution(4, 5), constant([1, -100, 4, -100], np.int64), None),
                grads=(0,),
                torch=_torch_cross_entropy if op == "cross_entropy" else _torch_nll,
            )
        )
    for op in ("cross_entropy", "nll_loss"):
        for reduction in REDUCE:
            rows.append(row(op, (7,), "classes", True, reduction=reduction))
    options = {"label_smoothing": 0.2}
    rows.append(row("cross_entropy", (7,), "classes", False, **options))
    rows.append(
        Case(
            "cross_entropy-spread",
            "cross_entropy",
            each(normal(9, 33, scale=60.0), integers(0, 33, 9), None),
            grads=(0,),
            K=33,
            torch=_torch_cross_entropy,
        )
    )
    return rows


def _binary_loss_rows() -> list[Case]:
    rows = []
    logits = "binary_cross_entropy_with_logits"

    def bce(
        shape: Shape, weight: Shape | None, reduction: str, label: str = "", **more: Any
    ) -> Case:
        w = None if weight is None else uniform(0.5, 2.0, *weight)
        return Case(
            _name("binary_cross_entropy", shape, weight, reduction, label),
            "binary_cross_entropy",
            each(uniform(0.05, 0.95, *shape), uniform(0.0, 1.0, *shape), w),
            kwargs={"reduction": reduction},
            **{
                "grads": (0,),
                "K": max(1, math.prod(shape)),
                "torch": _torch_bce,
                "slow": math.prod(shape) > 10_000,
                **more,
            },
        )

    def with_logits(
        shape: Shape, w: Shape | None, v: Shape | None, reduction: str, **more: Any
    ) -> Case:
        draws = [None if s is None else uniform(0.5, 2.0, *s) for s in (w, v)]
        return Case(
            _name(logits, shape, w, v, reduction, *more.pop("label", ())),
            logits,
            each(normal(*shape, scale=3.0), uniform(0.0, 1.0, *shape), *draws),
            kwargs={"reduction": reduction},
            **{
                "grads": (0,),
                "K": max(1, math.prod(shape)),
                "torch": _torch_bce_logits,
                "slow": math.prod(shape) > 10_000,
                **more,
            },
        )

    for n in SIZES:
        rows.append(bce((n,), None, "mean"))
        rows.append(with_logits((n,), None, None, "mean"))
    for reduction in REDUCE:
        for weight in (None, (5, 7), (7,), (5, 1)):
            rows.append(bce((5, 7), weight, reduction))
            for positive in (None, (7,), (1,)):
                rows.append(with_logits((5, 7), weight, positive, reduction))
        rows += [
            bce((), None, reduction),
            bce((0, 3), None, reduction, smooth=False),
            bce((5, 9), None, reduction, "order", orders={0: (1, 0)}),
            bce((1009, 301), (301,), reduction),
            with_logits((), None, None, reduction),
            with_logits((0, 3), None, None, reduction, smooth=False),
            with_logits((5, 9), None, None, reduction, orders={0: (1, 0)}, label=("order",)),
            with_logits((5, 9), None, (9,), reduction, orders={1: (1, 0)}, label=("order-t",)),
            with_logits((1009, 301), None, (301,), reduction),
        ]
        hard = each(constant([0.0, 1.0, 0.0, 1.0]), constant([0.0, 1.0, 1.0, 0.0]), None)
        rows.append(
            Case(
                _name("binary_cross_entropy", "certain", reduction),
                "binary_cross_entropy",
                hard,
                kwargs={"reduction": reduction},
                grads=(0,),
                smooth=False,
                torch=_torch_bce,
            )
        )
        far = each(
            constant([90.0, -90.0, 90.0, -90.0, 1e4, -1e4]),
            constant([0.0, 1.0, 1.0, 0.0, 0.5, 0.5]),
            None,
            None,
        )
        rows.append(
            Case(
                _name(logits, "far", reduction),
                logits,
                far,
                kwargs={"reduction": reduction},
                grads=(0,),
                smooth=False,
                torch=_torch_bce_logits,
            )
        )
    return rows


def _difference_rows() -> list[Case]:
    rows = []
    f = "nn.functional."
    options: dict[str, list[dict[str, Any]]] = {
        "mse_loss": [{}],
        "l1_loss": [{}],
        "huber_loss": [{}, {"delta": 0.5}, {"delta": 3.0}],
        "smooth_l1_loss": [{}, {"beta": 0.5}, {"beta": 3.0}, {"beta": 0.0}],
    }
    for op, choices in options.items():
        common: dict[str, Any] = {"grads": (0, 1), "torch": torch_op(f + op)}

        def row(name: str, shape: Shape, op: str = op, common: Any = common, **more: Any) -> Case:
            inputs = each(normal(*shape), normal(*shape))
            k = max(1, math.prod(shape))
            slow = k > 10_000
            return Case(name, op, inputs, **{**common, "K": k, "slow": slow, **more})

        rows += [row(_name(op, n), (n,)) for n in SIZES]
        for option, reduction in itertools.product(choices, REDUCE):
            kwargs = {**option, "reduction": reduction}
            rows.append(row(_name(op, (5, 9), **kwargs), (5, 9), kwargs=kwargs))
            rows.append(
                Case(
                    _name(op, "ties", **kwargs),
                    op,
                    each(ties(33), ties(33)),
                    kwargs=kwargs,
                    smooth=False,
                    **common,
                )
            )
        for reduction in REDUCE:
            kwargs = {"reduction": reduction}
            rows += [
                row(_name(op, (), reduction), (), kwargs=kwargs),
                row(_name(op, (0, 3), reduction), (0, 3), kwargs=kwargs, smooth=False),
                row(_name(op, "order", reduction), (5, 9), kwargs=kwargs, orders={0: (1, 0)}),
                row(_name(op, "order-t", reduction), (5, 9), kwargs=kwargs, orders={1: (1, 0)}),
                row(_name(op, "large", reduction), (LARGE,), kwargs=kwargs),
            ]
    return rows


def _torch_kl(torch: Any, x: Any, target: Any, **kwargs: Any) -> Any:
    return torch.nn.functional.kl_div(x, target, **kwargs)


def _kl_rows() -> list[Case]:
    rows = []
    shapes: list[Shape] = [(3, n) for n in SIZES] + [(2, 3, 4), (1009, 301)]
    for shape, log_target, reduction in itertools.product(
        shapes, (False, True), (*REDUCE, "batchmean")
    ):
        if len(shape) == 2 and shape[1] < 33 and reduction != "mean":
            continue
        target = log_distribution(*shape) if log_target else distribution(*shape)
        kwargs = {"log_target": log_target, "reduction": reduction}
        rows.append(
            Case(
                _name("kl_div", shape, **kwargs),
                "kl_div",
                each(log_distribution(*shape), target),
                kwargs=kwargs,
                grads=(0,),
                # A divergence of similar distributions is a small difference of large terms.
                c=16.0,
                K=math.prod(shape),
                slow=math.prod(shape) > 10_000,
                torch=_torch_kl,
            )
        )
    rows.append(
        Case(
            "kl_div-zeros",
            "kl_div",
            each(log_distribution(2, 4), constant([[0.0, 0.5, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]])),
            kwargs={"reduction": "none"},
            grads=(0,),
            smooth=False,
            torch=_torch_kl,
        )
    )
    return rows


# ---- optimisers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepCase:
    """One optimiser with one set of options.

    ``op`` is the function of ``nervure._core`` and of the reference, ``states`` how many arrays of
    state it has, ``options`` those that stay the same from step to step. ``torch`` makes the
    PyTorch optimiser from the module and the parameters; None where it has no equivalent.
    """

    name: str
    op: str
    states: int
    options: Mapping[str, Any]
    torch: Callable[..., Any] | None = None

    def used(self) -> tuple[bool, ...]:
        """Which of the states these options need; the kernel takes an empty list for the others."""
        if self.op == "sgd_step":
            return (bool(self.options["momentum"]),)
        if self.op == "rmsprop_step":
            return (True, bool(self.options["momentum"]), bool(self.options["centered"]))
        if self.op == "adam_step":
            return (True, True, bool(self.options["amsgrad"]))
        return (True,) * self.states

    def changing(self, step: int) -> dict[str, Any]:
        """The options that depend on the step, which counts from 1."""
        if self.op == "sgd_step":
            return {"first_step": step == 1}
        if self.op == "rmsprop_step":
            return {}
        if self.op != "nadam_step":
            return {"step": step}
        beta1, decay = self.options["beta1"], self.options["momentum_decay"]
        mu = [beta1 * (1.0 - 0.5 * 0.96 ** (t * decay)) for t in range(1, step)]
        return {"step": step, "mu_product": math.prod(mu)}


_STEP_DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd_step": {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False},
    "rmsprop_step": {
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
    },
    "adagrad_step": {"lr_decay": 0.0, "weight_decay": 0.0, "eps": 1e-10},
    "adam_step": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
        "amsgrad": False,
    },
    "nadam_step": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
    },
}

_STEP_CHOICES: dict[str, tuple[dict[str, Any], ...]] = {
    "sgd_step": (
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "maximize": True},
        {"l1": 0.5},
        {"momentum": 0.9, "l1": 0.5},
    ),
    "rmsprop_step": (
        {},
        {"alpha": 0.9, "eps": 1e-3},
        {"centered": True},
        {"momentum": 0.9},
        {"centered": True, "momentum": 0.9, "weight_decay": 0.1},
        {"maximize": True},
        {"l1": 0.5},
    ),
    "adagrad_step": (
        {},
        {"lr_decay": 0.1},
        {"weight_decay": 0.1, "eps": 1e-3},
        {"maximize": True},
        {"l1": 0.5},
    ),
    "adam_step": (
        {},
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"amsgrad": True},
        {"amsgrad": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"maximize": True},
        {"l1": 0.5},
    ),
    "nadam_step": (
        {},
        {"momentum_decay": 0.1},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"maximize": True},
        {"l1": 0.5},
    ),
}

_STEP_STATES = {
    "sgd_step": 1,
    "rmsprop_step": 3,
    "adagrad_step": 1,
    "adam_step": 3,
    "nadam_step": 2,
}


def _torch_optimizer(op: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    def make(torch: Any, parameters: Any) -> Any:
        kwargs = {k: v for k, v in options.items() if k != "l1"}
        decoupled = kwargs.pop("decoupled_weight_decay", False)
        if "beta1" in kwargs:
            kwargs["betas"] = (kwargs.pop("beta1"), kwargs.pop("beta2"))
        name = {
            "sgd_step": "SGD",
            "rmsprop_step": "RMSprop",
            "adagrad_step": "Adagrad",
            "adam_step": "AdamW" if decoupled else "Adam",
            "nadam_step": "NAdam",
        }[op]
        if name == "NAdam":
            kwargs["decoupled_weight_decay"] = decoupled
        return getattr(torch.optim, name)(parameters, **kwargs)

    return make


def _step_rows() -> list[StepCase]:
    rows = []
    for op, choices in _STEP_CHOICES.items():
        for choice in choices:
            base = {"lr": 0.03, "l1": 0.0, "maximize": False}
            options = {**base, **_STEP_DEFAULTS[op], **choice}
            torch = None if options["l1"] else _torch_optimizer(op, options)
            rows.append(StepCase(_name(op, **choice), op, _STEP_STATES[op], options, torch))
    return rows


# ---- the table ----------------------------------------------------------------------------------

CASES: tuple[Case, ...] = (
    *_arithmetic_rows(),
    *_comparison_rows(),
    *_choice_rows(),
    *_unary_rows(),
    *_reduce_rows(),
    *_shape_rows(),
    *_index_rows(),
    *_matmul_rows(),
    *_linear_rows(),
    *_softmax_rows(),
    *_class_rows(),
    *_binary_loss_rows(),
    *_difference_rows(),
    *_kl_rows(),
)

STEPS: tuple[StepCase, ...] = tuple(_step_rows())


def ops() -> tuple[str, ...]:
    """Names of the operations in the table, in its order."""
    return tuple(dict.fromkeys(case.op for case in CASES))


def cases_of(op: str) -> tuple[Case, ...]:
    """The rows of one operation."""
    return tuple(case for case in CASES if case.op == op)
