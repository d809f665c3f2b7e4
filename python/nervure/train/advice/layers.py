# SPDX-License-Identifier: BSD-3-Clause
"""Faults that the outputs of layers show.

Each takes what was seen of an update and a memory of its own. It gives the text of a warning, None
to look again, or "" when there is nothing more to look for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import nn
from nervure._core import Tensor
from nervure.nn.container import takes_back_bias
from nervure.train.advice.sight import Layer, Sight

Memory = dict[str, Any]
Array = NDArray[Any]

RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d)
WITH_ACTIVATION = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, *NORMS)
WATCHED = (*WITH_ACTIVATION, *RECURRENT, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softmax)

# A unit must have given 0 for so many samples, seen in different updates, to count as dead: one
# that is active for 3 in 100 of them gets here once in 50.
DEAD_ROWS = 128
# Healthy networks have dead units too: a tenth or two often, half of them after a hard start.
DEAD_SHARE = 0.9

# Beyond these the derivatives, y (1 - y) and 1 - y^2, are a twentieth of their greatest value.
SIGMOID_EDGE, TANH_EDGE = 0.0127, 0.9747
# Of random networks at a usual scale a few in a hundred are there; a trained gate may well be, so
# only those that are there before anything was learned count.
SATURATED_SHARE = 0.9
SATURATED_LOOKS = 2
# What is looked at of a batch: rows, and steps of a sequence.
SOME_ROWS, SOME_STEPS = 8, 16


def activation(module: Any) -> str:
    """The activation of a module or fused into it, by name."""
    if isinstance(module, (nn.ReLU, nn.Sigmoid, nn.Tanh)):
        return type(module).__name__.lower()
    return str(getattr(module, "activation", "") or "")


# ---- dead ReLUs ----------------------------------------------------------------------------------


def dead_relus(sight: Sight, memory: Memory) -> str | None:
    """A layer most of whose units give 0 whatever comes."""
    seen: set[str] = set()
    for layer in sight.layers:
        if activation(layer.module) != "relu" or not isinstance(layer.output, Tensor):
            continue
        alive, rows, looks = _alive(layer), len(layer.output), 1
        before = memory.get(layer.name)
        if before is not None and before[0].shape == alive.shape:
            alive, rows = before[0] | alive, before[1] + rows
            looks = before[2] + (layer.name not in seen)
        seen.add(layer.name)
        memory[layer.name] = alive, rows, looks, layer.label
    for name in seen:
        alive, rows, looks, label = memory[name]
        if rows < DEAD_ROWS or looks < 2:
            continue
        del memory[name]  # and begin anew: units die later, too
        dead = int((~alive).sum())
        if alive.size and dead >= DEAD_SHARE * alive.size:
            return (
                f"dead ReLUs: {dead} of the {alive.size} units of {label} gave 0 for each of "
                f"{rows} samples, so they get no gradient and learn nothing. Lower the learning "
                "rate, standardise the inputs, initialise with nn.init.kaiming_normal_ and biases "
                "of 0, or use LeakyReLU or GELU"
            )
    return None


def _alive(layer: Layer) -> Array:
    """Of each unit or channel, whether any output of it is not 0 (or no number)."""
    y: Tensor = layer.output.detach()
    axis = 1 if y.ndim > 3 or isinstance(layer.module, (nn.Conv1d, *NORMS)) else y.ndim - 1
    others = [dim for dim in range(y.ndim) if dim != axis]
    greatest: Array = (y.amax(others) if others else y).numpy()
    return np.asarray(~(greatest <= 0))


# ---- saturated gates -----------------------------------------------------------------------------


def saturated(sight: Sight, memory: Memory) -> str | None:
    """Sigmoid or tanh units, or gates, that sit at their limits before anything was learned."""
    if not memory and sight.step > 0:
        return ""
    last, found = sight.last, []
    for layer in sight.layers:
        share = 0.0 if layer is last else _saturation(layer)
        if share >= SATURATED_SHARE:
            found.append((layer.name, layer.label, share))
    memory["looks"] = memory.get("looks", 0) + 1
    known = memory.setdefault("names", {name for name, _, _ in found})
    known &= {name for name, _, _ in found}
    if not known:
        return ""
    if memory["looks"] < SATURATED_LOOKS:
        return None
    _, label, share = next(item for item in found if item[0] in known)
    what = "gates" if label.split()[0] in ("LSTM", "GRU") else "units"
    return (
        f"saturated {what}: {share:.0%} of what the {what} of {label} give is at the limits of "
        "sigmoid or tanh, where hardly any gradient passes. Standardise the inputs "
        "(data.StandardScaler), begin with smaller weights (the default initialisation, or "
        "nn.init.xavier_uniform_), or normalise before the activation"
    )


def _saturation(layer: Layer) -> float:
    """Share of outputs or gates at their limits."""
    module = layer.module
    if isinstance(module, (nn.LSTM, nn.GRU)):
        return _saturation_of_gates(layer)
    if isinstance(module, nn.RNN):
        y = layer.output[0] if module.nonlinearity == "tanh" else None
        kind = "tanh"
    else:
        y, kind = layer.output, activation(module)
    if not isinstance(y, Tensor) or kind not in ("sigmoid", "tanh"):
        return 0.0
    values = y.detach().numpy()[:SOME_ROWS]
    if kind == "tanh":
        return float((np.abs(values) > TANH_EDGE).mean()) if values.size else 0.0
    edge = np.minimum(values, 1.0 - values) < SIGMOID_EDGE
    return float(edge.mean()) if values.size else 0.0


def _saturation_of_gates(layer: Layer) -> float:
    """Share of sigmoid gates at their limits in the first layer, forward in time."""
    module, x, out = layer.module, layer.input, layer.output[0]
    if not isinstance(x, Tensor) or x.ndim != 3 or not x.numel():
        return 0.0

    def cut(t: Tensor) -> Array:
        values = t.detach().numpy()
        values = values if module.batch_first else values.swapaxes(0, 1)
        return np.asarray(values[:SOME_ROWS, :SOME_STEPS])

    gates = cut(x) @ module.weight_ih_l0.numpy().T
    if module.bias:
        gates = gates + module.bias_ih_l0.numpy() + module.bias_hh_l0.numpy()
    if module.num_layers == 1:  # else the states of the first layer are not among the outputs
        weight = module.weight_hh_l0.numpy()
        before = cut(out)[:, :-1, : weight.shape[1]]
        gates[:, 1:] += before @ weight.T
    size = module.hidden_size
    sigmoids = [gates[..., : 2 * size]]  # i and f, or r and z
    if isinstance(module, nn.LSTM):
        sigmoids.append(gates[..., 3 * size :])  # o
    edge = np.log(1.0 / SIGMOID_EDGE - 1.0)
    return float(np.mean([(np.abs(part) > edge).mean() for part in sigmoids]))


# ---- what the last layer gives, and how layers follow each other ---------------------------------


def softmax_twice(sight: Sight, memory: Memory) -> str | None:
    """Outputs that are probabilities already, where the loss takes logits."""
    kind, output = sight.objective.kind, sight.output
    if not isinstance(output, Tensor) or not output.numel():
        return ""
    if kind == "logits" and output.ndim > 1 and output.numel() > output.shape[-1]:
        axis = -1 if output.ndim == 2 else sight.objective.class_dim
        values = output.detach().numpy()
        # Logits that are all positive and sum to 1 in every row are no coincidence.
        sums = values.sum(axis=axis)
        if values.shape[axis] > 1 and values.min() >= 0 and np.abs(sums - 1).max() < 1e-3:
            return (
                "softmax applied before cross-entropy: the outputs of the model are probabilities, "
                "but CrossEntropyLoss applies softmax itself; twice, it learns slowly and never "
                "becomes certain. Leave the softmax out: predict_proba gives probabilities"
            )
    last = sight.last
    if kind == "binary_logits" and last is not None and activation(last.module) == "sigmoid":
        return (
            f"sigmoid applied before the loss: the last layer ({last.label}) has a sigmoid, but "
            "BCEWithLogitsLoss applies one itself. Leave the sigmoid out: predict_proba gives "
            "probabilities"
        )
    return ""


def bias_before_norm(sight: Sight, memory: Memory) -> str | None:
    """A bias that the batch normalisation after it subtracts again."""
    for before in sight.layers:
        for after in sight.layers:
            if after.input is before.output and takes_back_bias(before.module, after.module):
                return (
                    f"bias before batch norm: that of {before.label} has no effect, for "
                    f"{after.label} subtracts it again with the mean. Make the layer with "
                    "bias=False"
                )
    return ""
