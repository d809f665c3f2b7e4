# SPDX-License-Identifier: BSD-3-Clause
"""Sections about the model: graph, weights, filters, gradients, attention, activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nervure import _core, nn, plot
from nervure._core import Tensor
from nervure.data._arrays import leaves
from nervure.diagnostics import gradient_flow, parameter_gradients
from nervure.diagnostics._inside import attention_of, outputs_of
from nervure.diagnostics._through_time import RECURRENT
from nervure.plot._graph import draw_graph
from nervure.report._page import Page
from nervure.train._batch import Batch, call, prediction_of

if TYPE_CHECKING:
    from nervure.train import Trainer

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
# More than these would make a page that nobody reads to the end.
MOST_ROWS, MOST_HISTOGRAMS, MOST_LAYERS, MOST_FILTERS, MOST_STEPS = 120, 24, 10, 3, 2000

T = TypeVar("T")


def model(page: Page, module: nn.Module, x: Any) -> None:
    """The tree of modules."""
    page.section("Model")
    depth = _depth(module)
    run = None if x is None else lambda: call(module, x)
    batch = None if x is None else int(leaves(x)[0].shape[0])
    total = sum(p.numel() for p in module.parameters())
    caption = "Modules in the order of the model's definition; bars compare numbers of parameters."
    if depth is not None:
        caption += f" Modules deeper than {depth} are counted with those around them."
    page.figure(
        draw_graph(module, run, batch, depth),
        f"Tree of the modules of {type(module).__name__}, with output shapes and numbers of "
        f"parameters, {total:,} in all.",
        caption,
    )


def _depth(module: nn.Module) -> int | None:
    """How deep the tree may go to be short enough; None if all of it is."""
    levels = [name.count(".") + 1 if name else 0 for name, _ in module.named_modules()]
    if len(levels) <= MOST_ROWS:
        return None
    rows = np.cumsum(np.bincount(levels))
    return max(int(np.searchsorted(rows, MOST_ROWS, side="right")) - 1, 0)


def weights(page: Page, module: nn.Module) -> None:
    """Histograms of the parameters."""
    arrays = {name: p.detach().numpy() for name, p in module.named_parameters()}
    if not arrays:
        return
    page.section("Weights")
    shown = _largest(arrays, MOST_HISTOGRAMS)
    page.figure(
        plot.weight_histograms(shown),
        "Histograms of the values of " + ", ".join(shown),
        f"Mean and standard deviation of {_count(shown, arrays, 'parameter', 'largest')}.",
    )


def filters(page: Page, module: nn.Module) -> None:
    """Weights of the first convolutions that have more than one tap."""
    found = {
        name or type(m).__name__: m
        for name, m in module.named_modules()
        if isinstance(m, CONVOLUTIONS) and np.prod(m.weight.shape[2:]) > 1
    }
    if not found:
        return
    page.section("Learned filters")
    shown = dict(list(found.items())[:MOST_FILTERS])
    for name, convolution in shown.items():
        size = "\N{MULTIPLICATION SIGN}".join(map(str, convolution.weight.shape))
        page.figure(
            plot.learned_filters(convolution, title=name),
            f"Filters of {name}, a {type(convolution).__name__} with weights {size}.",
        )
    if len(shown) < len(found):
        page.text(f"{_count(shown, found, 'convolution', 'first')}.".capitalize(), "note")


def gradients(page: Page, trainer: Trainer, batch: Batch) -> None:
    """Gradients of the loss of a few samples: by layer, and through time."""

    def loss() -> Tensor:
        output = prediction_of(call(trainer.model, batch.x))
        value = trainer._objective(output, batch.y, batch.weight)
        return value + trainer._penalty() if trainer._penalty else value

    arrays = parameter_gradients(trainer.model, loss)
    if not arrays:
        return
    page.section("Gradients")
    page.figure(
        plot.gradient_norms(_spread(arrays, 2 * MOST_HISTOGRAMS)),
        "Root mean square and largest element of the gradient of each parameter.",
        f"Of the loss of {batch.size} validation samples, in evaluation mode. From the first layer "
        "at the top to the last; what shrinks towards the top vanishes on its way back.",
    )
    shown = _largest(arrays, MOST_HISTOGRAMS)
    page.figure(
        plot.gradient_histograms(shown),
        "Histograms of the gradients of " + ", ".join(shown),
        f"Mean and standard deviation of the gradients of "
        f"{_count(shown, arrays, 'parameter', 'largest')}.",
    )
    _through_time(page, trainer.model, loss, batch)


def _through_time(page: Page, module: nn.Module, loss: Any, batch: Batch) -> None:
    ran: dict[str, nn.Module] = {
        name: m for name, m in module.named_modules() if isinstance(m, RECURRENT)
    }
    outputs = outputs_of(module, ran, lambda: call(module, batch.x)) if ran else {}
    steps = sum(array.shape[1] for array in outputs.values() if array.ndim == 3)
    if not 0 < steps <= MOST_STEPS:  # they are gone through one by one
        return
    recording = _core.grad_enabled()
    _core.set_grad_enabled(True)
    try:
        flow = gradient_flow(module, loss)
    finally:
        _core.set_grad_enabled(recording)
    page.figure(
        plot.gradient_flow(flow),
        "Norm of the gradient with respect to the hidden state of each time step of "
        + ", ".join(flow.hidden),
        "How strongly the loss depends on the hidden state of each time step.",
    )


def attention(page: Page, module: nn.Module, x: Any, tokens: Sequence[object] | None) -> None:
    """Weights of all attentions for the first sample."""
    found = attention_of(module, lambda: call(module, x))
    found = {name: array for name, array in found.items() if array.size}
    if not found:
        return
    page.section("Attention")
    shown = _spread(found, MOST_LAYERS)
    page.figure(
        plot.attention_maps(shown, rows=tokens, columns=tokens),
        "Attention weights of the first sample in " + ", ".join(shown),
        f"First sample, {_count(shown, found, 'layer', '')}. Rows look at columns; the brighter, "
        "the more weight.",
    )


def activations(page: Page, module: nn.Module, x: Any) -> None:
    """Outputs of layers for the first sample."""
    leaves = {
        name: m
        for name, m in module.named_modules()
        if not list(m.children()) and not type(m).__name__.startswith(_UNCHANGED)
    }
    outputs = outputs_of(module, leaves, lambda: call(module, x))
    found = {name: a for name, a in outputs.items() if 2 <= a.ndim <= 4 and a.size}
    if not found:
        return
    page.section("Activations")
    shown = _spread(found, MOST_LAYERS)
    page.figure(
        plot.activations(shown),
        "Outputs for the first sample of " + ", ".join(shown),
        f"First sample, {_count(shown, found, 'layer', '')}. The brighter, the greater.",
    )


_UNCHANGED = ("Dropout", "Identity", "Flatten", "StochasticDepth")  # show what came in


def _count(shown: dict[str, Any], there_are: dict[str, Any], what: str, which: str) -> str:
    """Words: all 3 layers, or the 3 first of 20 layers."""
    many = len(there_are)
    if len(shown) == many:
        return f"the one {what}" if many == 1 else f"all {many} {what}s"
    return " ".join(f"the {len(shown)} {which} of {many} {what}s".split())


def _largest(arrays: dict[str, NDArray[Any]], most: int) -> dict[str, NDArray[Any]]:
    """The arrays with the most elements, in their order."""
    sizes = sorted((array.size for array in arrays.values()), reverse=True)
    limit = sizes[min(most, len(sizes)) - 1]
    large = [name for name, array in arrays.items() if array.size > limit]
    equal = [name for name, array in arrays.items() if array.size == limit]
    kept = {*large, *equal[: most - len(large)]}
    return {name: array for name, array in arrays.items() if name in kept}


def _spread(items: dict[str, T], most: int) -> dict[str, T]:
    """At most so many, evenly from the first to the last."""
    if len(items) <= most:
        return items
    names = list(items)
    places = np.unique(np.linspace(0, len(names) - 1, most).round().astype(int))
    return {names[i]: items[names[i]] for i in places}
