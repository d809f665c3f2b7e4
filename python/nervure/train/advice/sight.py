# SPDX-License-Identifier: BSD-3-Clause
"""What is seen of one update: outputs of layers, gradients, the loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nervure import _core, nn
from nervure._core import Tensor
from nervure._grad_mode import no_grad
from nervure.train._batch import Batch
from nervure.train._objective import Objective

Named = tuple[str, Any]


class Layer(NamedTuple):
    """One call of a module."""

    name: str
    module: Any
    input: Any
    output: Any

    @property
    def label(self) -> str:
        """What messages call it."""
        kind = type(self.module).__name__
        return f"{kind} {self.name!r}" if self.name else kind


class Influence(NamedTuple):
    """Of a parameter with a gradient: the norms of its values and of its gradient."""

    name: str
    parameter: Tensor
    weight: float
    gradient: float

    @property
    def product(self) -> float:
        """How much the loss changes, at most, when all values change by their own size."""
        return self.weight * self.gradient


@dataclass
class Sight:
    """One update: after the gradients are there, before anything is clipped or changed."""

    step: int
    loss: float
    objective: Objective
    parameters: list[Named]
    batch: Batch | None = None
    output: Any = None
    layers: list[Layer] = field(default_factory=list)

    @cached_property
    def influences(self) -> list[Influence]:
        """Of all parameters that have a gradient."""
        return [
            Influence(name, p, norm(p), gradient_norm(p))
            for name, p in self.parameters
            if _core.has_gradient(p)
        ]

    @cached_property
    def loss_of_zeros(self) -> float | None:
        """The loss of outputs that are all 0: its natural size, whatever units it has.

        It is log(classes) for cross-entropy and the mean square of the targets for MSE. None for
        losses that may have no value there.
        """
        known = self.objective.kind in ("logits", "binary_logits") or isinstance(
            self.objective.loss, (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss)
        )
        if not known or self.batch is None or not isinstance(self.output, Tensor):
            return None
        with no_grad():
            zeros = _core.full(tuple(self.output.shape), 0.0)
            value = float(self.objective(zeros, self.batch.y, None))
        return value if math.isfinite(value) else None

    @property
    def last(self) -> Layer | None:
        """The layer whose output, perhaps in another shape, is that of the model."""
        if not self.layers or not isinstance(self.output, Tensor):
            return None
        layer = self.layers[-1]
        given = layer.output
        same = isinstance(given, Tensor) and given.numel() == self.output.numel()
        return layer if same else None


@contextmanager
def watched(modules: Iterable[Named], layers: list[Layer]) -> Iterator[None]:
    """Append every call of the modules to ``layers`` inside the block."""
    with ExitStack() as stack:
        for name, module in modules:

            def note(module: Any, args: Any, output: Any, name: str = name) -> None:
                layers.append(Layer(name, module, args[0] if args else None, output))

            stack.enter_context(module.register_forward_hook(note))
        yield


# From 10 000 elements on OpenBLAS takes threads, which would go on spinning beside ours.
BLOCK = 8192


def norm(t: Tensor) -> float:
    """Euclidean norm; infinite where squares overflow."""
    values: NDArray[Any] = t.detach().numpy().ravel(order="K")
    blocks = (values[i : i + BLOCK] for i in range(0, values.size, BLOCK))
    with np.errstate(all="ignore"):
        return math.sqrt(sum(float(np.dot(block, block)) for block in blocks))


def gradient_norm(parameter: Tensor) -> float:
    """Norm of a gradient, which stays as it is: reading ``grad`` fills a row-sparse one up."""
    rows = _core.row_gradient(parameter)
    if rows is not None:
        return norm(rows[1])
    return 0.0 if parameter.grad is None else norm(parameter.grad)
