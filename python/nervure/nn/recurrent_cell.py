# SPDX-License-Identifier: BSD-3-Clause
"""Single steps of the recurrent layers."""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor
from nervure.nn._recurrent import (
    NORM_NAMES,
    RecurrentCell,
    States,
    norm_shapes,
    reset_norm,
)
from nervure.nn.parameter import Parameter


class RNNCell(RecurrentCell):
    """One step of :class:`RNN`: ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``.

    Parameters
    ----------
    input_size, hidden_size, bias, nonlinearity
        As in :class:`RNN`.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : Parameter
        Shaped as in :class:`RNN`.

    Raises
    ------
    ValueError
        For sizes below 1 or an unknown nonlinearity.

    Notes
    -----
    Called as ``h = cell(x, h=None)`` on ``(batch, input_size)`` or ``(input_size,)``.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"[RNNCell] nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}"
            )
        self.nonlinearity = nonlinearity

    def _cell(self, x: Tensor, states: tuple[Tensor | None, ...]) -> States:
        return _core.rnn(x, states[0], self._weights(), None, self.nonlinearity)[1:]

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Give the next state."""
        return self._run(x, None if h is None else (h,))[0]


class GRUCell(RecurrentCell):
    """One step of :class:`GRU`.

    Parameters
    ----------
    input_size, hidden_size, bias, reset_after
        As in :class:`GRU`.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : Parameter
        Shaped as in :class:`GRU`.

    Raises
    ------
    ValueError
        For sizes below 1.

    Notes
    -----
    Called as ``h = cell(x, h=None)`` on ``(batch, input_size)`` or ``(input_size,)``.
    """

    _gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, reset_after: bool = True
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        self.reset_after = bool(reset_after)

    def _cell(self, x: Tensor, states: tuple[Tensor | None, ...]) -> States:
        return _core.gru(x, states[0], self._weights(), None, self.reset_after)[1:]

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Give the next state."""
        return self._run(x, None if h is None else (h,))[0]


class LSTMCell(RecurrentCell):
    """One step of :class:`LSTM`.

    Parameters
    ----------
    input_size, hidden_size, bias, layer_norm
        As in :class:`LSTM`.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : Parameter
        Shaped as in :class:`LSTM`.
    gain_ih, gain_hh, gain_c, bias_c : Parameter
        With ``layer_norm``; shaped as in :class:`LSTM`.

    Raises
    ------
    ValueError
        For sizes below 1.

    Notes
    -----
    Called as ``h, c = cell(x, state=None)`` on ``(batch, input_size)`` or ``(input_size,)``.
    """

    _gates = 4
    _state_names = ("h", "c")
    layer_norm = False

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, layer_norm: bool = False
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        if layer_norm:
            self.layer_norm = True
            for name, shape in norm_shapes(self.hidden_size, self.bias).items():
                setattr(self, name, Parameter(_core.empty(shape)))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values; with ``layer_norm`` gains become 1 and biases 0."""
        super().reset_parameters()
        if self.layer_norm:
            reset_norm(self)

    def _weights(self) -> list[Tensor | None]:
        weights = [*super()._weights(), None, None]
        if self.layer_norm:
            own = vars(self)
            weights += [own.get(name) for name in NORM_NAMES]
        return weights

    def _cell(self, x: Tensor, states: tuple[Tensor | None, ...]) -> States:
        return _core.lstm(x, states[0], states[1], self._weights())[1:]

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the next states ``(h, c)``."""
        h, c = self._run(x, state)
        return h, c

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        return super().extra_repr() + (", layer_norm=True" if self.layer_norm else "")
