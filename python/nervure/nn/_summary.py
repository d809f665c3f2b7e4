# SPDX-License-Identifier: BSD-3-Clause
"""The table that ``Module.summary`` gives."""

from __future__ import annotations

from typing import Any

from nervure._core import Tensor
from nervure._grad_mode import no_grad
from nervure.nn._watch import evaluating, watched
from nervure.nn.module import Module


def summary(model: Module, inputs: tuple[Any, ...]) -> str:
    """Format one row per module: name by depth, type, output shape, own parameters."""
    shapes = _output_shapes(model, inputs) if inputs else {}
    rows = [("Layer", "Output shape", "Parameters")]
    counted: set[int] = set()
    for name, module in model.named_modules():
        depth = name.count(".") + 1 if name else 0
        label = f"{'  ' * depth}{name.rpartition('.')[2]} ({type(module).__name__})"
        count = 0
        for _, parameter in module._own_parameters():
            if id(parameter) not in counted:
                counted.add(id(parameter))
                count += parameter.numel()
        rows.append(
            (label if name else type(module).__name__, shapes.get(id(module), ""), _number(count))
        )
    if not inputs:
        rows = [(layer, "", count) for layer, _, count in rows]
    return "\n".join(_table(rows) + _totals(model))


def _output_shapes(model: Module, inputs: tuple[Any, ...]) -> dict[int, str]:
    shapes: dict[int, str] = {}

    def remember(module: Module, forward: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        shapes[id(module)] = _shape_text(output)
        return output

    with evaluating(model), no_grad(), watched(list(model.modules()), remember):
        model(*inputs)
    return shapes


def _shape_text(output: Any) -> str:
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    if isinstance(output, tuple | list):
        return ", ".join(_shape_text(item) for item in output)
    return type(output).__name__


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    layer, shape, count = (max(len(row[i]) for row in rows) for i in range(3))
    gap = 2 if shape else 0
    lines = [f"{a:<{layer}}  {b:<{shape}}{'':<{gap}}{c:>{count}}" for a, b, c in rows]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:], rule]


def _totals(model: Module) -> list[str]:
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return [
        f"Parameters: {total:,} ({4 * total / 1e6:,.2f} MB)",
        f"Trainable:  {trainable:,}",
        f"Frozen:     {total - trainable:,}",
    ]
