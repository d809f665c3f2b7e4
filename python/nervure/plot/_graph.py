# SPDX-License-Identifier: BSD-3-Clause
"""A model as a tree of modules, with shapes and parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nervure.data._arrays import leaves
from nervure.plot._figure import GREY, StrPath, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nervure.nn import Module

ROW, INDENT, BOX = 0.31, 0.26, 4.7  # inches
SHAPE, COUNT, BAR, END = 4.85, 7.35, 7.5, 8.5  # where the columns lie; COUNT is a right edge

# Colour of the modules whose class's name has one of these words in it, the first that fits.
FAMILIES = (
    (("Conv",), "#4c78a8"),
    (("Norm",), "#72b7b2"),
    (("RNN", "LSTM", "GRU"), "#54a24b"),
    (("Attention", "Transformer"), "#b279a2"),
    (("Embedding", "Positions"), "#eeca3b"),
    (("Pool", "Flatten", "Dropout", "Depth", "Identity"), "#9d9da1"),
    (("Linear", "Bilinear"), "#f58518"),
    (("ReLU", "ELU", "LU", "Tanh", "Sigmoid", "Softmax", "Softplus"), "#e45756"),
)


@dataclass
class Row:
    """A module in the tree."""

    depth: int
    name: str
    kind: str
    detail: str
    shape: str
    parameters: int
    frozen: bool


def model_graph(
    model: Module, inputs: Any = None, path: StrPath | None = None, *, depth: int | None = None
) -> Figure:
    """The modules of a model as a tree, with output shapes and numbers of parameters.

    Parameters
    ----------
    model
        Any module.
    inputs
        An input, or a tuple or dict of them, for one call in evaluation mode that tells the shapes;
        without, they are left out.
    path
        Where to write the picture.
    depth
        Modules further down are not shown; their parameters count for the ones above. By default
        all are shown.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    run, batch = None, None
    if inputs is not None:
        run, batch = (lambda: _called(model, inputs)), len(leaves(inputs)[0])
    return save(draw_graph(model, run, batch, depth), path)


def draw_graph(
    model: Module, run: Callable[[], Any] | None, batch: int | None, depth: int | None
) -> Figure:
    """Figure of a model that ``run`` runs with a batch of this size."""
    rows = _rows(model, {} if run is None else _shapes(model, run, batch), depth)
    figure = new_figure("model_graph", END + 0.3, ROW * (len(rows) + 2) + 0.2)
    axes = figure.subplots()
    axes.set_xlim(-0.1, END + 0.1)
    axes.set_ylim(ROW * (len(rows) + 0.8), -1.2 * ROW)
    axes.set_axis_off()
    _headings(axes, any(row.shape for row in rows))
    largest = max((row.parameters for row in rows), default=0)
    for i, row in enumerate(rows):
        _connect(axes, rows, i)
        _draw(axes, row, i * ROW, largest)
    total = sum(p.numel() for p in model.parameters())
    axes.text(COUNT, ROW * (len(rows) + 0.2), f"{total:,}", ha="right", va="center", weight="bold")
    axes.text(0, ROW * (len(rows) + 0.2), "all parameters", va="center", weight="bold", fontsize=9)
    return figure


def _rows(model: Module, shapes: dict[int, str], depth: int | None) -> list[Row]:
    rows: list[Row] = []
    counted: set[int] = set()
    at: dict[str, Row] = {}
    for path, module in model.named_modules():
        level = path.count(".") + 1 if path else 0
        own = [p for _, p in module._own_parameters() if id(p) not in counted]
        counted.update(map(id, own))
        count = sum(p.numel() for p in own)
        if depth is not None and level > depth:
            at[path.rsplit(".", level - depth)[0] if depth else ""].parameters += count
            continue
        row = Row(
            level,
            path.rpartition(".")[2] or "model",
            type(module).__name__,
            module.extra_repr(),
            shapes.get(id(module), ""),
            count,
            bool(own) and not any(p.requires_grad for p in own),
        )
        at[path] = row
        rows.append(row)
    return rows


def _shapes(model: Module, run: Callable[[], Any], batch: int | None) -> dict[int, str]:
    from nervure._grad_mode import no_grad
    from nervure.nn._watch import evaluating, watched

    shapes: dict[int, str] = {}

    def remember(module: Module, forward: Any, args: Any, kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        first = output[0] if isinstance(output, tuple) and output else output
        if hasattr(first, "shape"):
            sizes = list(map(str, first.shape))
            if first.shape and first.shape[0] == batch:
                sizes[0] = "N"  # whatever the batch was
            shapes[id(module)] = " \N{MULTIPLICATION SIGN} ".join(sizes)
        return output

    with evaluating(model), no_grad(), watched(list(model.modules()), remember):
        run()
    return shapes


def _called(model: Any, inputs: Any) -> Any:
    from nervure.diagnostics._inside import run_model

    if isinstance(inputs, dict):
        return run_model(model, (), inputs)
    return run_model(model, inputs if isinstance(inputs, tuple) else (inputs,), {})


def _headings(axes: Axes, shapes: bool) -> None:
    for x, text, side in ((0.0, "module", "left"), (SHAPE, "output", "left")):
        if text == "module" or shapes:
            axes.text(x, -0.8 * ROW, text, ha=side, va="center", fontsize=8, color=GREY)
    axes.text(COUNT, -0.8 * ROW, "parameters", ha="right", va="center", fontsize=8, color=GREY)


def _connect(axes: Axes, rows: list[Row], i: int) -> None:
    """A line down from a module to its last child, and one to each of them."""
    x = rows[i].depth * INDENT + 0.12
    children = []
    for j in range(i + 1, len(rows)):
        if rows[j].depth <= rows[i].depth:
            break
        if rows[j].depth == rows[i].depth + 1:
            children.append(j * ROW)
    if children:
        axes.plot([x, x], [i * ROW + 0.12, children[-1]], color=GREY, linewidth=0.7, zorder=0)
    for y in children:
        axes.plot([x, x + INDENT - 0.12], [y, y], color=GREY, linewidth=0.7, zorder=0)


def _draw(axes: Axes, row: Row, y: float, largest: int) -> None:
    from matplotlib.patches import Rectangle

    colour = next(
        (c for words, c in FAMILIES if any(word in row.kind for word in words)), "#8a8f98"
    )
    x = row.depth * INDENT
    half = 0.4 * ROW
    axes.add_patch(
        Rectangle((x, y - half), BOX - x, 2 * half, facecolor=colour, alpha=0.16, linewidth=0)
    )
    axes.add_patch(Rectangle((x, y - half), 0.06, 2 * half, facecolor=colour, linewidth=0))
    name = axes.text(x + 0.14, y, plain(row.name, 24), va="center", fontsize=9, weight="bold")
    beside: dict[str, Any] = {
        "va": "center",
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    kind = axes.annotate(plain(row.kind, 32), (1, 0.5), (6, 0), xycoords=name, fontsize=9, **beside)
    room = 56 - len(row.name) - len(row.kind) - 3 * row.depth
    detail = "frozen" if row.frozen else row.detail
    if detail and room > 6:
        axes.annotate(
            plain(detail, room), (1, 0.5), (6, 0), xycoords=kind, fontsize=7, color=GREY, **beside
        )
    axes.text(SHAPE, y, plain(row.shape, 28), va="center", fontsize=8.5)
    if row.parameters:
        axes.text(COUNT, y, f"{row.parameters:,}", ha="right", va="center", fontsize=8.5)
        width = (END - BAR) * row.parameters / largest
        axes.add_patch(Rectangle((BAR, y - 0.5 * half), width, half, facecolor=colour, linewidth=0))
