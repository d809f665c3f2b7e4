# SPDX-License-Identifier: BSD-3-Clause
"""Faults that gradients and the loss show; functions as in ``layers``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nervure import _core
from nervure._core import Tensor
from nervure.train.advice.sight import Influence, Sight, norm

Memory = dict[str, Any]

# With the loss of zeros as its unit: by how much the loss would change, at most, if all values of
# a parameter changed by their own size. Measured at the start and during training: 0.1 to 100 in
# dense, convolutional, recurrent and attention networks, up to 2000 with pixels of 0 .. 255.
EXPLODING = 3e4
EXPLODING_LOOKS = 2
# The same of a matrix, against the greatest of all matrices. Between the layers of sound networks
# there are factors up to 1e3, in ten layers of sigmoids 1e8.
VANISHING = 1e-6
VANISHING_LOOKS = 3
# Losses so many times that of the first update, and of outputs that are all 0.
DIVERGING = 10.0
DIVERGING_LOOKS = 3
# Growth of the weights that says that they ran away.
GROWTH = 100.0


# ---- symmetry ------------------------------------------------------------------------------------


def symmetric(sight: Sight, memory: Memory) -> str | None:
    """Weights whose units are all alike, and whose gradients leave them so.

    One zero matrix alone is no fault (the last of a residual branch, a logistic regression): the
    gradients of its units differ.
    """
    alike = [p for p in sight.parameters if p[1].ndim > 1 and _rows_are_alike(p[1])]
    names = {name for name, p in alike if _gradient_is_alike(p)}
    memory["looks"] = memory.get("looks", 0) + 1
    memory["names"] = names & memory.get("names", names)
    if not memory["names"]:
        return ""
    if memory["looks"] < 2:
        return None
    name = sorted(memory["names"])[0]
    return (
        f"symmetric weights: the units of {name!r} all have the same weights and the same "
        "gradients, so they stay copies of each other. Initialise at random (layers do by "
        "themselves; or nn.init.kaiming_uniform_, nn.init.xavier_uniform_); only biases may be 0"
    )


def _rows_are_alike(t: Tensor) -> bool:
    values = t.detach().numpy()
    if len(values) < 2 or not np.array_equal(values[0], values[1]):
        return False
    return bool((values == values[:1]).all())


def _gradient_is_alike(p: Tensor) -> bool:
    """Whether all rows of the gradient are the same, up to rounding; a missing one is none."""
    if not _core.has_gradient(p) or _core.row_gradient(p) is not None or p.grad is None:
        return False
    values = p.grad.numpy()
    spread = np.abs(values - values[:1]).max(initial=0.0)
    return bool(spread <= 1e-5 * np.abs(values).max(initial=0.0))


# ---- sizes of gradients --------------------------------------------------------------------------


def exploding(sight: Sight, memory: Memory) -> str | None:
    """Gradients so large that the smallest step throws the loss anywhere."""
    if sight.loss_of_zeros is None or not sight.influences:
        return None
    unit = max(sight.loss_of_zeros, 1.0 if sight.objective.kind == "values" else 0.0)
    if not unit > 0.0:  # nothing in this batch counts
        return None
    worst = max(sight.influences, key=lambda i: i.product if math.isfinite(i.product) else math.inf)
    exploded = not worst.product <= EXPLODING * unit
    was_sound = memory.setdefault("sound", not exploded)
    first = memory.setdefault("loss", sight.loss)
    if was_sound and not sight.loss <= DIVERGING * max(first, sight.loss_of_zeros):
        return None  # the weights ran away first: that is another fault
    if not exploded:
        memory["looks"] = 0
        return None
    memory["looks"] = memory.get("looks", 0) + 1
    if memory["looks"] < EXPLODING_LOOKS:
        return None
    return (
        f"exploding gradients: that of {worst.name!r} has the norm {worst.gradient:.1e}, its "
        f"weights have {worst.weight:.1e}. Standardise inputs and targets (data.StandardScaler), "
        "limit the gradient (Trainer(clip_norm=1.0)), begin with smaller weights, or put "
        "normalisation, LSTM or GRU where the depth, or the time, multiplies them"
    )


def vanishing(sight: Sight, memory: Memory) -> str | None:
    """A matrix whose gradient is next to nothing beside those of others."""
    matrices = [i for i in sight.influences if i.parameter.ndim > 1 and i.product > 0.0]
    greatest = max((i.product for i in matrices), default=0.0)
    if not math.isfinite(greatest) or greatest < 1e-10:  # there is nothing left to learn
        memory.clear()
        return None
    small = {i.name: i for i in matrices if i.product < VANISHING * greatest}
    small = {name: i for name, i in small.items() if name in memory.get("names", small)}
    memory["names"] = set(small)
    memory["looks"] = memory.get("looks", 0) + 1 if small else 0
    if memory["looks"] < VANISHING_LOOKS:
        return None
    worst: Influence = min(small.values(), key=lambda i: i.product)
    return (
        f"vanishing gradients: {worst.name!r} has {worst.product / greatest:.0e} of the influence "
        "on the loss that the strongest layer has, so it hardly learns. Use ReLU or GELU instead "
        "of sigmoid and tanh, normalisation (BatchNorm, LayerNorm) or residual connections, and "
        "nn.init.xavier_uniform_ or kaiming_normal_"
    )


# ---- the loss ------------------------------------------------------------------------------------


def diverging(sight: Sight, memory: Memory) -> str | None:
    """A loss that grows, or stops being a number because the weights ran away."""
    if "weights" not in memory:
        memory["weights"] = _size_of_weights(sight)
        memory["loss"] = abs(sight.loss)
    if not math.isfinite(sight.loss):
        grown = _size_of_weights(sight)
        ran_away = not grown <= GROWTH * memory["weights"]  # or no numbers
        return _divergence(f"the loss is {sight.loss}", sight.step) if ran_away else ""
    if sight.loss_of_zeros is None:
        return None
    limit = DIVERGING * max(memory["loss"], sight.loss_of_zeros)
    memory["above"] = memory.get("above", 0) + 1 if sight.loss > limit else 0
    if memory["above"] < DIVERGING_LOOKS:
        return None
    first = memory["loss"]
    return _divergence(f"the loss grew from {first:.3g} to {sight.loss:.3g}", sight.step)


def _divergence(what: str, step: int) -> str:
    return (
        f"the training diverges: {what} after {step} updates. The learning rate is too large: "
        "divide it by 10, begin with a warm-up (optim.lr_scheduler.LinearLR), or limit the "
        "gradient (Trainer(clip_norm=1.0)); callbacks.TerminateOnNaN names layer and samples"
    )


def _size_of_weights(sight: Sight) -> float:
    return math.hypot(*(norm(p) for _, p in sight.parameters))
