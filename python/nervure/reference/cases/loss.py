# SPDX-License-Identifier: BSD-3-Clause
"""Rows of losses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .table import (
    LARGE,
    SIZES,
    Case,
    Shape,
    constant,
    distribution,
    each,
    integers,
    log_distribution,
    name_of,
    normal,
    ties,
    torch_op,
    uniform,
)

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
            name_of(op, shape, kind, label, **kwargs),
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
                    name_of(op, "order", order, reduction),
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
                name_of(op, "ignored-all"),
                op,
                each(log_distribution(3, 5), constant([-100, -100, -100], np.int64), None),
                kwargs={"reduction": "sum"},
                grads=(0,),
                torch=_torch_cross_entropy if op == "cross_entropy" else _torch_nll,
            )
        )
        rows.append(
            Case(
                name_of(op, "ignored-default"),
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
            name_of("binary_cross_entropy", shape, weight, reduction, label),
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
            name_of(logits, shape, w, v, reduction, *more.pop("label", ())),
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
                name_of("binary_cross_entropy", "certain", reduction),
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
                name_of(logits, "far", reduction),
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

        rows += [row(name_of(op, n), (n,)) for n in SIZES]
        for option, reduction in itertools.product(choices, REDUCE):
            kwargs = {**option, "reduction": reduction}
            rows.append(row(name_of(op, (5, 9), **kwargs), (5, 9), kwargs=kwargs))
            rows.append(
                Case(
                    name_of(op, "ties", **kwargs),
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
                row(name_of(op, (), reduction), (), kwargs=kwargs),
                row(name_of(op, (0, 3), reduction), (0, 3), kwargs=kwargs, smooth=False),
                row(name_of(op, "order", reduction), (5, 9), kwargs=kwargs, orders={0: (1, 0)}),
                row(name_of(op, "order-t", reduction), (5, 9), kwargs=kwargs, orders={1: (1, 0)}),
                row(name_of(op, "large", reduction), (LARGE,), kwargs=kwargs),
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
                name_of("kl_div", shape, **kwargs),
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


def rows() -> list[Case]:
    """Every row of this file."""
    return [*_class_rows(), *_binary_loss_rows(), *_difference_rows(), *_kl_rows()]
