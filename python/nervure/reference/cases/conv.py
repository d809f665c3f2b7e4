# SPDX-License-Identifier: BSD-3-Clause
"""Rows of convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..arrays import Array
from ..conv import conv1d, conv2d
from ..matmul import ACTIVATIONS
from .table import Case, Draw, Shape, each, name_of, normal

CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
LAID = {3: (2, 1, 0), 4: (2, 3, 1, 0)}


def _activated(torch: Any, y: Any, activation: str) -> Any:
    if activation == "gelu_tanh":
        return torch.nn.functional.gelu(y, approximate="tanh")
    if activation in ("tanh", "sigmoid"):
        return getattr(torch, activation)(y)
    return getattr(torch.nn.functional, activation)(y) if activation else y


def _torch(op: str) -> Callable[..., Any]:
    def call(
        torch: Any, x: Any, w: Any, b: Any = None, activation: str = "", **parameters: Any
    ) -> Any:
        if op == "conv_transpose2d":
            parameters = {"output_padding": 0, "groups": 1, "dilation": 1, **parameters}
        return _activated(torch, getattr(torch, op)(x, w, b, **parameters), activation)

    return call


def _flops(op: str, parameters: Mapping[str, Any]) -> Callable[[Sequence[Array]], float]:
    function = {"conv2d": conv2d, "conv1d": conv1d}.get(op)

    def count(arrays: Sequence[Array]) -> float:
        x, w = arrays[0], arrays[1]
        per_pixel = 2.0 * float(w[0].size)
        outputs = x if function is None else function(x, w, None, **parameters)
        return per_pixel * float(outputs.size)

    return count


def _case(
    op: str,
    x: Shape,
    weight: Shape,
    *,
    bias: bool = True,
    laid: bool = True,
    slow: bool = False,
    **parameters: Any,
) -> Case:
    """A row with inputs as layers have them (`laid`), or row-major."""
    groups = parameters.get("groups", 1)
    outputs = weight[1] * groups if op == "conv_transpose2d" else weight[0]
    depth = math.prod(weight[1:]) if op != "conv_transpose2d" else math.prod(weight) // groups
    draws: list[Draw | None] = [
        normal(*x),
        normal(*weight, scale=1.0 / math.sqrt(max(1, depth))),
        normal(outputs) if bias else None,
    ]
    orders = {1: LAID[len(weight)]}
    if len(x) in CHANNELS_LAST and len(x) == len(weight):
        orders[0] = CHANNELS_LAST[len(x)]
    name = name_of(op, x, weight, "bias" if bias else "plain", **parameters)
    return Case(
        name if laid else f"{name}-rows",
        op,
        each(*draws),
        kwargs=parameters,
        grads=(0, 1, 2) if bias else (0, 1),
        # The longest sums: over the kernel, and for the gradient of the weight over all pixels.
        K=max(4, depth, math.prod(x)),
        orders=orders if laid else {},
        smooth=parameters.get("activation", "") not in ("relu", "leaky_relu", "hardtanh"),
        slow=slow,
        torch=_torch(op),
        flops=_flops(op, parameters),
    )


def _image_rows() -> list[Case]:
    """Two dimensions: geometries, then channels."""
    rows = [
        _case("conv2d", (2, 3, 7, 6), (4, 3, 3, 3), **parameters)
        for parameters in (
            {},
            {"padding": 1},
            {"padding": (2, 0)},
            {"padding": 3},
            {"padding": "same"},
            {"padding": "valid"},
            {"padding": "same", "dilation": (1, 2)},
            {"stride": 2},
            {"stride": (1, 3), "padding": 1},
            {"stride": (3, 2), "padding": (1, 2)},
            {"dilation": 2, "padding": 2},
            {"dilation": (1, 2), "stride": 2, "padding": 2},
            {"dilation": 3, "stride": 2, "padding": (3, 4)},
        )
    ]
    rows += [
        _case("conv2d", (2, 3, 5, 4), (5, 3, 2, 4), padding="same"),
        _case("conv2d", (2, 3, 5, 4), (5, 3, 1, 2), stride=3),
        _case("conv2d", (1, 2, 2, 2), (3, 2, 5, 5), padding=2),  # a kernel larger than the image
        _case("conv2d", (1, 2, 1, 1), (3, 2, 3, 3), padding=1),
        _case("conv2d", (3, 2, 1, 1), (4, 2, 1, 1)),
        _case("conv2d", (2, 2, 3, 4), (4, 2, 1, 1), padding=2),  # pixels that see only zeros
        _case("conv2d", (2, 5, 6, 5), (7, 5, 1, 1), stride=2),
        _case("conv2d", (2, 5, 6, 5), (7, 5, 1, 1), bias=False),
        _case("conv2d", (0, 3, 5, 5), (4, 3, 3, 3), padding=1),
        _case("conv2d", (0, 16, 5, 5), (16, 16, 3, 3), padding=1),
        _case("conv2d", (3, 6, 5), (4, 3, 3, 3), padding=1),  # no batch
        _case("conv2d", (2, 3, 6, 5), (4, 3, 3, 3), padding=1, laid=False),
        _case("conv2d", (2, 3, 6, 5), (4, 3, 3, 3), bias=False, padding=1),
    ]
    for channels, outputs in (
        *((1, 1), (1, 6), (1, 32), (3, 7), (3, 33), (6, 16), (15, 17), (16, 16), (17, 15)),
        *((16, 33), (31, 32), (33, 31), (40, 70)),
    ):
        rows.append(_case("conv2d", (2, channels, 6, 7), (outputs, channels, 3, 3), padding=1))
        rows.append(_case("conv2d", (2, channels, 7, 5), (outputs, channels, 3, 3), stride=2))
    for channels, outputs, size in ((1, 6, 5), (6, 16, 5), (3, 20, 7), (17, 18, 5)):
        x, weight = (2, channels, 9, 8), (outputs, channels, size, size)
        rows.append(_case("conv2d", x, weight, padding=size // 2))
        rows.append(_case("conv2d", x, weight, stride=2, padding=3))
    rows += [_case("conv2d", (2, c, 5, 6), (k, c, 1, 1)) for c, k in ((1, 1), (7, 33), (33, 16))]
    # 5x5 and dilated 3x3 in tiles, from channels that leave lanes empty
    for channels, outputs, size, parameters in (
        *((20, 24, 5, {"padding": 2}), (17, 33, 5, {"padding": (0, 4)}), (33, 5, 5, {})),
        *((20, 17, 3, {"padding": 2, "dilation": 2}), (17, 20, 3, {"dilation": (2, 3)})),
        *((33, 20, 3, {"padding": (4, 1), "dilation": (2, 1)}),),
        *((16, 20, 5, {"padding": (4, 2), "dilation": (2, 1), "activation": "tanh"}),),
    ):
        x, weight = (2, channels, 9, 11), (outputs, channels, size, size)
        rows.append(_case("conv2d", x, weight, **parameters))
    # Lines of pixels under few weights: tiles of 8, 11 or 14 pixels, or 4 to 6; the last overlaps
    for channels, outputs, width, size in (
        *((1, 33, 14, 3), (2, 17, 11, 3), (1, 6, 28, 5), (3, 16, 8, 3), (3, 70, 23, 3)),
        *((1, 31, 5, 3), (1, 9, 6, 1), (5, 48, 32, 5)),
    ):
        x, weight = (2, channels, 4, width), (outputs, channels, size, size)
        rows.append(_case("conv2d", x, weight, padding=size // 2, activation="relu"))
    rows += [
        _case("conv2d", (2, 3, 6, 27), (35, 3, 3, 3), padding=1, stride=2, activation="tanh"),
        _case("conv2d", (2, 3, 5, 32), (18, 3, 3, 3), padding=2, dilation=2, bias=False),
    ]
    return rows


def _group_rows() -> list[Case]:
    rows = [
        _case("conv2d", (2, 4, 6, 5), (6, 2, 3, 3), groups=2, padding=1),
        _case("conv2d", (2, 6, 6, 5), (9, 2, 3, 3), groups=3, stride=2, padding=1),
        _case("conv2d", (2, 34, 5, 5), (34, 17, 3, 3), groups=2, padding=1),
        _case("conv2d", (2, 4, 5, 4), (6, 2, 1, 1), groups=2),
        _case("conv2d", (2, 3, 6, 5), (6, 1, 3, 3), groups=3, padding=1),  # two outputs per input
        # One vector of outputs to a group: dW in tiles of 16 or 12 rows, and 8 or 4.
        _case("conv2d", (2, 32, 5, 14), (32, 16, 3, 3), groups=2, padding=1),
        _case("conv2d", (2, 48, 5, 6), (32, 24, 3, 3), groups=2, stride=2),
        _case("conv2d", (2, 24, 5, 6), (16, 12, 3, 3), groups=2, padding=1),
        _case("conv2d", (1, 40, 4, 5), (40, 8, 1, 3), groups=5, padding=1),
        _case("conv2d", (2, 17, 2, 9), (17, 1, 3, 3), groups=17, stride=3, padding=1),
        _case("conv2d", (2, 18, 5, 4), (18, 1, 1, 1), groups=18, stride=2),  # no tap for most of dx
    ]
    for channels in (1, 3, 8, 15, 16, 17, 33, 70):
        x, weight = (2, channels, 7, 9), (channels, 1, 3, 3)
        rows.append(_case("conv2d", x, weight, groups=channels, padding=1))
        rows.append(_case("conv2d", x, weight, groups=channels, stride=2, padding=1))
    x, weight = (2, 19, 8, 9), (19, 1, 5, 5)
    rows += [
        _case("conv2d", x, weight, groups=19, padding="same"),
        _case("conv2d", x, weight, groups=19, bias=False, padding=(3, 0)),
        _case("conv2d", x, weight, groups=19, padding=4, dilation=2),
        _case("conv2d", x, weight, groups=19, padding=4, dilation=(1, 2), stride=(2, 1)),
        _case("conv2d", (2, 19, 3, 2), (19, 1, 3, 3), groups=19, padding=2, activation="relu"),
        _case("conv2d", (0, 19, 8, 9), (19, 1, 3, 3), groups=19),
        _case("conv2d", (19, 8, 9), (19, 1, 2, 3), groups=19, activation="gelu"),
    ]
    return rows


def _activation_rows() -> list[Case]:
    rows = []
    for activation in ACTIVATIONS:
        common: dict[str, Any] = {"padding": 1, "activation": activation}
        rows.append(_case("conv2d", (2, 3, 5, 4), (5, 3, 3, 3), **common))
        rows.append(_case("conv2d", (2, 17, 5, 4), (18, 17, 3, 3), bias=False, **common))
        rows.append(_case("conv2d", (2, 5, 4, 3), (9, 5, 1, 1), activation=activation))
    return rows


def _large_rows() -> list[Case]:
    """Several chunks of work, several blocks of channels."""
    return [
        _case("conv2d", x, weight, slow=True, **parameters)
        for x, weight, parameters in (
            ((5, 32, 28, 28), (64, 32, 3, 3), {"padding": 1}),
            ((3, 128, 16, 16), (128, 128, 3, 3), {"padding": 1, "activation": "relu"}),
            ((2, 130, 15, 17), (150, 130, 3, 3), {"padding": 1}),
            ((9, 1, 28, 28), (32, 1, 3, 3), {"padding": 1, "activation": "relu"}),
            ((9, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
            ((3, 3, 32, 32), (64, 3, 3, 3), {"padding": 1}),
            ((2, 3, 65, 63), (64, 3, 7, 7), {"padding": 3, "stride": 2}),
            ((5, 6, 14, 14), (16, 6, 5, 5), {}),
            ((3, 64, 28, 28), (128, 64, 1, 1), {}),
            ((3, 64, 29, 28), (128, 64, 1, 1), {"stride": 2}),
            ((3, 64, 29, 28), (96, 64, 3, 3), {"stride": 2, "padding": 1}),
            ((3, 48, 20, 20), (64, 48, 3, 3), {"dilation": 2, "padding": 2}),
            ((3, 48, 20, 20), (64, 48, 5, 5), {"padding": 2}),
            ((40, 64, 4, 3), (80, 64, 3, 3), {"padding": 1}),
            ((3, 64, 20, 20), (96, 32, 3, 3), {"padding": 1, "groups": 2}),
            ((3, 128, 28, 28), (128, 1, 3, 3), {"padding": 1, "groups": 128}),
            ((3, 100, 57, 56), (100, 1, 3, 3), {"padding": 1, "groups": 100, "stride": 2}),
        )
    ]


def _line_rows() -> list[Case]:
    """One dimension."""
    rows = [
        _case("conv1d", (2, 3, 11), (4, 3, 3), **parameters)
        for parameters in (
            {},
            {"padding": 1},
            {"padding": "same"},
            {"padding": "valid", "stride": 2},
            {"stride": (3,), "padding": (2,)},
            {"dilation": 4, "padding": 4},
            {"padding": "same", "dilation": 2, "activation": "tanh"},
        )
    ]
    rows += [
        _case("conv1d", (2, 17, 20), (33, 17, 5), padding=2),
        _case("conv1d", (2, 17, 20), (17, 1, 4), groups=17, padding="same"),
        _case("conv1d", (2, 4, 9), (6, 2, 3), groups=2, bias=False),
        _case("conv1d", (3, 9), (5, 3, 3), padding=1),
        _case("conv1d", (2, 3, 9), (5, 3, 1)),
        _case("conv1d", (0, 3, 9), (5, 3, 3)),
        _case("conv1d", (2, 3, 9), (5, 3, 3), laid=False),
        _case("conv1d", (5, 64, 200), (64, 64, 3), padding=1, slow=True),
        _case("conv1d", (2, 5, 2500), (17, 5, 9), padding=4, slow=True),
        _case("conv1d", (1, 2, 5001), (3, 2, 5), stride=2, dilation=3, padding=7, slow=True),
    ]
    return rows


def _transposed_rows() -> list[Case]:
    op = "conv_transpose2d"
    rows = [
        _case(op, (2, 3, 4, 5), (3, 4, 3, 3), **parameters)
        for parameters in (
            {},
            {"padding": 1},
            {"stride": 2},
            {"stride": 2, "padding": 1, "output_padding": 1},
            {"stride": (3, 2), "padding": (0, 2), "output_padding": (2, 0)},
            {"stride": 3, "output_padding": 2},
            {"dilation": 2, "padding": 3, "output_padding": 1},
            {"dilation": (2, 1), "stride": (1, 2), "activation": "silu"},
            {"stride": 2, "padding": 1, "activation": "relu"},
        )
    ]
    rows += [
        _case(op, (2, 4, 4, 3), (4, 3, 3, 3), groups=2, stride=2, padding=1),
        _case(op, (2, 17, 4, 3), (17, 1, 3, 3), groups=17, stride=2, padding=1),
        _case(op, (2, 17, 4, 3), (17, 18, 4, 4), stride=2, padding=1),
        _case(op, (2, 20, 5, 6), (20, 33, 3, 3), padding=1),
        _case(op, (2, 5, 4, 3), (5, 7, 1, 1), activation="tanh"),
        _case(op, (2, 5, 4, 3), (5, 7, 2, 2), stride=2, bias=False),
        _case(op, (2, 5, 4, 3), (5, 7, 1, 2), stride=3, padding=0),  # gaps that get the bias only
        _case(op, (3, 4, 5), (3, 4, 3, 3)),
        _case(op, (0, 3, 4, 5), (3, 4, 3, 3)),
        _case(op, (2, 3, 4, 5), (3, 4, 3, 3), laid=False),
        _case(op, (3, 64, 14, 14), (64, 32, 4, 4), stride=2, padding=1, slow=True),
    ]
    return rows


def rows() -> list[Case]:
    """Every row of this file."""
    return [
        *_image_rows(),
        *_group_rows(),
        *_activation_rows(),
        *_large_rows(),
        *_line_rows(),
        *_transposed_rows(),
    ]
