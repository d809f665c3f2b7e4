# SPDX-License-Identifier: BSD-3-Clause
"""Gradients of the states of recurrent layers, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure._core import Tensor
from nervure.function import Function, FunctionContext
from nervure.nn import GRU, LSTM, RNN, Module

Norms = NDArray[np.float64]
RECURRENT = (RNN, LSTM, GRU)


@dataclass
class GradientFlow:
    """Norms of the gradients with respect to the states of recurrent layers, step by step.

    Attributes
    ----------
    hidden : dict of str to array, (layers, directions, steps)
        By name of the module: the norm of dL/dh_t, over batch and units. ``[l, d, t]`` belongs to
        the hidden state that direction d of layer l has after it has read step t; direction 1
        reads from the end, so its gradients travel to greater t.
    cell : dict of str to array, (layers, directions, steps)
        Of LSTMs, dL/dc_t for a fixed h_t: what comes back along the cell from the steps after t.
    loss : float
        L.
    """

    hidden: dict[str, Norms] = field(default_factory=dict)
    cell: dict[str, Norms] = field(default_factory=dict)
    loss: float = 0.0


def gradient_flow(model: Module, loss: Callable[[], Tensor]) -> GradientFlow:
    """How strongly the loss depends on the hidden state of each time step, layer by layer.

    Gives the norm of dL/dh_t, the whole derivative: that through the output of step t and that
    through all later states. A factor below 1 from step to step is a vanishing gradient, one above
    1 an exploding one.

    Parameters
    ----------
    model : Module
        An RNN, LSTM or GRU, or a module that has some in it.
    loss : callable
        Runs the model and returns the loss, a tensor of one element.

    Returns
    -------
    GradientFlow
        Norms by name of the module; a model that is itself recurrent goes by its class's name.

    Raises
    ------
    ValueError
        If no recurrent layer ran, or one with ``recurrent_dropout`` or ``zoneout`` is in training
        mode: what these draw belongs to a whole sequence.

    Notes
    -----
    Meanwhile the recurrent layers run step by step and the parameters are constants: the call
    leaves no gradient in them. A row of a batch with ``lengths`` counts until its end only. If the
    model runs a layer more than once, the steps follow each other in the order of the calls.

    Examples
    --------
    >>> import nervure as nv
    >>> from nervure import nn
    >>> rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False)
    >>> _ = rnn.weight_ih_l0.fill_(1.0), rnn.weight_hh_l0.fill_(0.5)
    >>> flow = gradient_flow(rnn, lambda: rnn(nv.ones(1, 4, 1))[1].sum())
    >>> flow.hidden["RNN"][0, 0].tolist()
    [0.125, 0.25, 0.5, 1.0]
    """
    traces = [
        _Trace(name or type(module).__name__, module)
        for name, module in model.named_modules()
        if isinstance(module, RECURRENT)
    ]
    with _constant_parameters(model), _traced(traces):
        value = loss()
        if not any(trace.steps for trace in traces):
            raise ValueError("[gradient_flow] no RNN, LSTM or GRU of the model ran")
        if value.requires_grad:
            value.backward()
    flow = GradientFlow(loss=float(value.item()))
    for trace in traces:
        if trace.steps:
            flow.hidden[trace.name] = trace.norms(0)
            if isinstance(trace.module, LSTM):
                flow.cell[trace.name] = trace.norms(1)
    return flow


@contextmanager
def _constant_parameters(model: Module) -> Iterator[None]:
    learning = [p for p in model.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad = False
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad = True


@contextmanager
def _traced(traces: list[_Trace]) -> Iterator[None]:
    for trace in traces:
        vars(trace.module)["_layers"] = trace.layers
    try:
        yield
    finally:
        for trace in traces:
            del vars(trace.module)["_layers"]


class _Probe(Function):
    """The identity; its backward pass notes the norm of what comes in."""

    @staticmethod
    def forward(ctx: FunctionContext, *arrays: Any) -> Any:
        x, norm = arrays
        ctx.save_for_backward(norm)
        return x.copy()

    @staticmethod
    def backward(ctx: FunctionContext, *gradients: Any) -> Any:
        (dy,) = gradients
        (norm,) = ctx.saved_tensors
        norm[0] = np.linalg.norm(dy.astype(np.float64))
        return dy, None


class _Trace:
    """Takes the place of the layers of one module, one step at a time."""

    def __init__(self, name: str, module: RNN | LSTM | GRU) -> None:
        self.name = name
        self.module = module
        self.steps = 0
        self._norms: list[Any] = []  # (layers, directions, states, steps) of each call

    def norms(self, state: int) -> Norms:
        """Of h (0) or c (1)."""
        return np.concatenate(self._norms, axis=-1)[:, :, state]

    def layers(
        self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What ``Recurrent._layers`` gives."""
        module = self.module
        self._check()
        batch, steps = x.shape[:2]
        directions = 2 if module.bidirectional else 1
        names = module._state_names
        # filled by the backward pass
        norms = np.zeros((module.num_layers, directions, len(names), steps))
        self._norms.append(norms)
        self.steps += steps
        alive = None
        if lengths is not None:
            alive = _core.tensor(np.arange(steps)[:, None, None] < lengths.numpy()[:, None])
            # what stands behind the end must not matter, not even as NaN times 0
            x = _core.where(_core.permute(alive, (1, 0, 2)), x, _core.full((), 0.0))
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(module.num_layers):
            outputs = []
            given = module._states_of(layer, states)
            for direction in range(directions):
                first = self._first(given, direction, batch)
                output, final = self._direction(
                    layer, direction, x, first, alive, norms[layer, direction]
                )
                outputs.append(output)
                finals.append(final)
            x = outputs[0] if directions == 1 else _core.cat(outputs, 2)
            if module.dropout and module.training and layer + 1 < module.num_layers:
                x = _core.dropout(x, module.dropout)
        return x, tuple(_core.cat(list(s), 0) for s in zip(*finals, strict=True))

    def _check(self) -> None:
        module = self.module
        if not (isinstance(module, LSTM) and module.training):
            return
        if module.recurrent_dropout or any(module.zoneout):
            raise ValueError(
                "[gradient_flow] recurrent_dropout and zoneout draw for a whole sequence: call "
                "eval() first"
            )

    def _first(
        self, given: tuple[Tensor | None, ...], direction: int, batch: int
    ) -> tuple[Tensor, ...]:
        """Initial states (1, batch, size), through which gradients are recorded."""
        module = self.module
        sizes = (module._output_size(), module.hidden_size)
        first = []
        for state, size in zip(given, sizes, strict=False):
            if state is None:
                own = _core.full((1, batch, size), 0.0)
            else:
                own = _core.slice(state, 0, direction, direction + 1, 1)
            if not own.requires_grad:
                own.requires_grad = True
            first.append(own)
        return tuple(first)

    def _direction(
        self,
        layer: int,
        direction: int,
        x: Tensor,
        states: tuple[Tensor, ...],
        alive: Tensor | None,
        norms: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output (batch, steps, size) and final states; ``norms`` is (states, steps)."""
        steps = x.shape[1]
        weights = self.module._weights(layer)
        if self.module.bidirectional:
            half = len(weights) // 2
            weights = weights[direction * half : (direction + 1) * half]
        outputs: list[Tensor] = []
        nothing = _core.full((), 0.0)
        for t in range(steps) if direction == 0 else reversed(range(steps)):
            new = self._step(_core.slice(x, 1, t, t + 1, 1), states, weights)
            new = tuple(_Probe.apply(s, norms[i, t : t + 1]) for i, s in enumerate(new))
            if alive is None:
                output, states = new[0], new
            else:
                live = alive[t]
                output = _core.where(live, new[0], nothing)
                states = tuple(
                    _core.where(live, s, old) for s, old in zip(new, states, strict=True)
                )
            outputs.append(_core.reshape(output, output.shape[1:]))
        if direction == 1:
            outputs.reverse()
        if not outputs:
            return _core.empty((x.shape[0], 0, self.module._output_size())), states
        return _core.stack(outputs, 1), states

    def _step(
        self, x: Tensor, states: tuple[Tensor, ...], weights: list[Tensor | None]
    ) -> tuple[Tensor, ...]:
        """The states after one more step."""
        module = self.module
        if isinstance(module, LSTM):
            h, c = states
            zone_h, zone_c = (module._zone(p, x) for p in module.zoneout)
            return _core.lstm(x, h, c, weights, None, None, zone_h, zone_c)[1:]
        (h,) = states
        if isinstance(module, GRU):
            return _core.gru(x, h, weights, None, module.reset_after)[1:]
        return _core.rnn(x, h, weights, None, module.nonlinearity)[1:]
