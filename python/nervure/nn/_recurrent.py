# SPDX-License-Identifier: BSD-3-Clause
"""What the recurrent layers share, and what their cells share."""

from __future__ import annotations

import math
import sys
import warnings
from operator import index
from typing import Any, TypeAlias

from nervure import _core
from nervure._core import Tensor
from nervure.nn import init
from nervure.nn._lengths import Lengths, lengths_tensor
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter

States: TypeAlias = tuple[Tensor, ...]

NORM_NAMES = ("gain_ih", "gain_hh", "gain_c", "bias_c")


def norm_shapes(hidden: int, bias: bool) -> dict[str, tuple[int, ...]]:
    """The parameters that layer normalisation adds to an LSTM."""
    gates = 4 * hidden
    shapes: dict[str, tuple[int, ...]] = {
        "gain_ih": (gates,),
        "gain_hh": (gates,),
        "gain_c": (hidden,),
    }
    return shapes | {"bias_c": (hidden,)} if bias else shapes


def reset_norm(module: Module) -> None:
    """Gains 1, biases 0: at first the sums of the gates are normalised, and nothing else."""
    for name, parameter in module.named_parameters():
        if name.startswith("gain_"):
            init.ones_(parameter)
        elif name.startswith("bias_"):
            init.zeros_(parameter)


class Recurrent(Module):
    """What RNN, LSTM and GRU share: parameters, layers, directions, batches and streaming."""

    _gates = 1
    _state_names: tuple[str, ...] = ("h0",)
    _weight_names: tuple[str, ...] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_size, self.hidden_size = index(input_size), index(hidden_size)
        self.num_layers = index(num_layers)
        if self.input_size < 0 or self.hidden_size < 1 or self.num_layers < 1:
            raise ValueError(
                f"[{name}] expected input_size >= 0, hidden_size >= 1 and num_layers >= 1, "
                f"got {input_size}, {hidden_size} and {num_layers}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"[{name}] dropout must be a probability in [0, 1], got {dropout}")
        if dropout > 0.0 and self.num_layers == 1:
            warnings.warn(
                f"[{name}] dropout acts between layers: it has no effect on a single one",
                stacklevel=3,
            )
        self.bias, self.batch_first, self.dropout = bool(bias), bool(batch_first), float(dropout)
        self.bidirectional = bool(bidirectional)
        self._step_name = f"{name}.step"
        self._state_rows = self.num_layers * (2 if self.bidirectional else 1)

    # ---- parameters ------------------------------------------------------------------------------

    def _output_size(self) -> int:
        return self.hidden_size

    def _shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one direction of one layer."""
        rows = self._gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, self._output_size()),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        return shapes

    def _create_parameters(self) -> None:
        directions = 2 if self.bidirectional else 1
        self._names: list[tuple[str, ...]] = []
        for layer in range(self.num_layers):
            inputs = self.input_size if layer == 0 else directions * self._output_size()
            for direction in range(directions):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                for name, shape in self._shapes(inputs).items():
                    # A matrix lies as [in, out]: the products then read it row by row.
                    order = (1, 0) if len(shape) == 2 and "peephole" not in name else None
                    setattr(self, sys.intern(name + suffix), Parameter(_core.empty(shape, order)))
            self._names.append(
                tuple(
                    sys.intern(f"{name}_l{layer}{suffix}")  # is found by its address
                    for suffix in ("", "_reverse")[:directions]
                    for name in self._weight_names
                )
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform in ``(-k, k)`` with ``k = 1 / sqrt(hidden_size)``."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _weights(self, layer: int) -> list[Tensor | None]:
        return list(map(vars(self).get, self._names[layer]))

    def _is_plain(self) -> bool:
        """Whether a step in this mode takes two weights and two biases for each layer, no more."""
        return not self.bidirectional and not (self.dropout and self.training)

    def step_weights(self) -> list[Tensor | None] | None:
        """Weights and biases of all layers (None for no bias); None if a step takes more."""
        if not self._is_plain():
            return None
        own = vars(self)
        return [own.get(name) for names in self._names for name in names[:4]]

    # ---- one layer, whole sequences --------------------------------------------------------------

    def _layer(
        self, layer: int, x: Tensor, states: tuple[Tensor | None, ...], lengths: Tensor | None
    ) -> States:
        """The output and the final states."""
        raise NotImplementedError

    def _states_of(self, layer: int, states: States | None) -> tuple[Tensor | None, ...]:
        if states is None:
            return (None,) * len(self._state_names)
        if self.num_layers == 1:
            return states
        directions = 2 if self.bidirectional else 1
        start = layer * directions
        return tuple(_core.slice(s, 0, start, start + directions, 1) for s in states)

    def _layers(
        self, x: Tensor, states: States | None, lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        if self.num_layers == 1:
            own = self._layer(0, x, states or (None,) * len(self._state_names), lengths)
            return own[0], own[1:]
        finals: list[States] = []
        for layer in range(self.num_layers):
            x, *final = self._layer(layer, x, self._states_of(layer, states), lengths)
            finals.append(tuple(final))
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = _core.dropout(x, self.dropout)
        return x, tuple(_core.cat(list(s), 0) for s in zip(*finals, strict=True))

    # ---- what the caller gives -------------------------------------------------------------------

    def _checked_states(self, states: Any, rank: int, call: str) -> States | None:
        if states is None:
            return None
        names = self._state_names
        given = (states,) if len(names) == 1 else states
        if not isinstance(given, (tuple, list)) or len(given) != len(names):
            raise TypeError(f"[{call}] state must be a tuple of {len(names)} tensors (h, c)")
        whole = rank == 3 and self.num_layers == 1  # the operation checks the shapes
        for name, state in zip(names, given, strict=True):
            if not isinstance(state, Tensor):
                raise TypeError(f"[{call}] {name} must be a Tensor, got {type(state).__name__}")
            if not whole and (state.ndim != rank or state.shape[0] != self._state_rows):
                raise ValueError(
                    f"[{call}] {name} must have {rank} dimensions, the first of size "
                    f"num_layers * directions = {self._state_rows}, got {state.shape}"
                )
        return tuple(given)

    def _run(self, x: Tensor, state: Any, lengths: Lengths) -> tuple[Tensor, Any]:
        name = type(self).__name__
        if x.ndim not in (2, 3):
            raise ValueError(f"[{name}] input must have 2 or 3 dimensions, got {x.shape}")
        if x.shape[-1] != self.input_size:
            raise ValueError(
                f"[{name}] input must have {self.input_size} features, got {x.shape[-1]} "
                f"in shape {x.shape}"
            )
        states = self._checked_states(state, x.ndim, name)
        if x.ndim == 2:
            if lengths is not None:
                raise ValueError(f"[{name}] lengths need a batch, got an input of shape {x.shape}")
            if states is not None:
                states = tuple(_core.unsqueeze(s, 1) for s in states)
            y, final = self._layers(_core.unsqueeze(x, 0), states, None)
            return _core.squeeze(y, 0), self._packed(tuple(_core.squeeze(s, 1) for s in final))
        ends = lengths_tensor(name, lengths)
        if self.batch_first:
            y, final = self._layers(x, states, ends)
        else:
            y, final = self._layers(_core.permute(x, (1, 0, 2)), states, ends)
            y = _core.permute(y, (1, 0, 2))
        return y, self._packed(final)

    def _packed(self, states: States) -> Any:
        return states[0] if len(states) == 1 else states

    def _step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        shape, call = x_t.shape, self._step_name
        if self.bidirectional:
            raise ValueError(f"[{call}] needs a layer of one direction")
        if len(shape) != 2 or shape[1] != self.input_size:
            raise ValueError(f"[{call}] input must be (batch, {self.input_size}), got {shape}")
        states = self._checked_states(state, 3, call)
        y, final = self._layers(_core.unsqueeze(x_t, 1), states, None)
        return _core.squeeze(y, 1), final[0] if len(final) == 1 else final

    def _options(self) -> str:
        return ""

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in (
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", True),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value}"
        return text + self._options()


class RecurrentCell(Module):
    """What RNNCell, LSTMCell and GRUCell share."""

    _gates = 1
    _state_names: tuple[str, ...] = ("h",)

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.input_size, self.hidden_size = index(input_size), index(hidden_size)
        if self.input_size < 0 or self.hidden_size < 1:
            raise ValueError(
                f"[{type(self).__name__}] expected input_size >= 0 and hidden_size >= 1, "
                f"got {input_size} and {hidden_size}"
            )
        self.bias = bool(bias)
        rows = self._gates * self.hidden_size
        self.weight_ih = Parameter(_core.empty((rows, self.input_size), (1, 0)))
        self.weight_hh = Parameter(_core.empty((rows, self.hidden_size), (1, 0)))
        self.bias_ih = Parameter(_core.empty((rows,))) if bias else None
        self.bias_hh = Parameter(_core.empty((rows,))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform in ``(-k, k)`` with ``k = 1 / sqrt(hidden_size)``."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _weights(self) -> list[Tensor | None]:
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]

    def _cell(self, x: Tensor, states: tuple[Tensor | None, ...]) -> States:
        """The new states, each (1, batch, hidden)."""
        raise NotImplementedError

    def _run(self, x: Tensor, states: tuple[Tensor, ...] | None) -> States:
        name = type(self).__name__
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"[{name}] input must be (batch, {self.input_size}) or ({self.input_size},), "
                f"got {x.shape}"
            )
        batch = 1 if x.ndim == 1 else x.shape[0]
        expected = (*x.shape[:-1], self.hidden_size)
        given: tuple[Tensor | None, ...] = (None,) * len(self._state_names)
        if states is not None:
            for what, state in zip(self._state_names, states, strict=True):
                if state.shape != expected:
                    raise ValueError(f"[{name}] {what} must be {expected}, got {state.shape}")
            given = tuple(_core.reshape(s, (1, batch, self.hidden_size)) for s in states)
        new = self._cell(_core.reshape(x, (batch, 1, self.input_size)), given)
        return tuple(_core.reshape(s, expected) for s in new)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a bias."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias=False"
