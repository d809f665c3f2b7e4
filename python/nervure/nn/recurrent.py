# SPDX-License-Identifier: BSD-3-Clause
"""Recurrent layers over whole sequences, with rows of any length."""

from __future__ import annotations

from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure.nn._lengths import Lengths
from nervure.nn._recurrent import NORM_NAMES, Recurrent, States, norm_shapes, reset_norm


class RNN(Recurrent):
    r"""Plain recurrent layers: ``h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of a step, and of the state.
    num_layers : int, default 1
        Layers on top of each other.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        ``f``.
    bias : bool, default True
        Whether there are ``b_ih`` and ``b_hh``.
    batch_first : bool, default True
        Whether input and output are (batch, steps, features); otherwise (steps, batch, features).
        (PyTorch's default is False.)
    dropout : float, default 0.0
        Probability with which an output between layers is dropped in training; a UserWarning says
        when there is but one layer.
    bidirectional : bool, default False
        Whether a second direction runs from each row's end to its start; the outputs stand next
        to each other.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter
        ``(hidden_size, inputs)`` and ``(hidden_size, hidden_size)``; further layers end in
        ``_l1`` and so on, the other direction in ``_reverse``.
    bias_ih_l0, bias_hh_l0 : Parameter, (hidden_size,)

    Raises
    ------
    ValueError
        For sizes below 1, an unknown nonlinearity, a dropout outside [0, 1].

    Notes
    -----
    Called as ``out, state = module(x, state=None, lengths=None)``. States are
    ``(num_layers * directions, batch, hidden_size)`` whatever ``batch_first`` says; without
    ``state`` they begin as zeros. An input without batch, ``(steps, features)``, gives an output
    without batch.

    ``lengths`` (batch) takes the place of packed sequences: any order, 0 allowed, time and memory
    in proportion to their sum. Outputs past a row's end are 0, its final state is that at its end
    (the initial one for length 0), and what the input holds past the end is never read.

    References
    ----------
    .. [1] Elman, "Finding structure in time", 1990, https://doi.org/10.1207/s15516709cog1402_1
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"[RNN] nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        self._create_parameters()

    def _layer(
        self, layer: int, x: Tensor, states: tuple[Tensor | None, ...], lengths: Tensor | None
    ) -> States:
        return _core.rnn(x, states[0], self._weights(layer), lengths, self.nonlinearity)

    def forward(
        self, x: Tensor, state: Tensor | None = None, lengths: Lengths = None
    ) -> tuple[Tensor, Tensor]:
        """Map a batch of sequences to outputs and final states."""
        return self._run(x, state, lengths)

    def step(self, x_t: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step of streaming: ``(batch, features)`` to output and next state.

        Gives, bit for bit, what the whole sequence gives for the same batch.
        """
        return self._step(x_t, state)

    def _options(self) -> str:
        return "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}"


class GRU(Recurrent):
    r"""Gated recurrent units.

    ``r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)``, ``z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)``,
    ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))``, ``h' = (1 - z) n + z h``.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in :class:`RNN`.
    reset_after : bool, default True
        Where the reset gate acts: after the product with ``W_hn``, as PyTorch and cuDNN have it, or
        before: ``n = tanh(W_in x + b_in + W_hn (r h) + b_hn)``, as the paper has it [1]_.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter
        ``(3 hidden_size, inputs)`` and ``(3 hidden_size, hidden_size)``: gates r, z, n.
    bias_ih_l0, bias_hh_l0 : Parameter, (3 hidden_size,)

    Raises
    ------
    ValueError
        As in :class:`RNN`.

    Notes
    -----
    Called like :class:`RNN`.

    References
    ----------
    .. [1] Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014,
       https://arxiv.org/abs/1406.1078
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.reset_after = bool(reset_after)
        self._create_parameters()

    def _layer(
        self, layer: int, x: Tensor, states: tuple[Tensor | None, ...], lengths: Tensor | None
    ) -> States:
        return _core.gru(x, states[0], self._weights(layer), lengths, self.reset_after)

    def _is_plain(self) -> bool:
        return super()._is_plain() and self.reset_after

    def forward(
        self, x: Tensor, state: Tensor | None = None, lengths: Lengths = None
    ) -> tuple[Tensor, Tensor]:
        """Map a batch of sequences to outputs and final states."""
        return self._run(x, state, lengths)

    def step(self, x_t: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step of streaming: ``(batch, features)`` to output and next state.

        Gives, bit for bit, what the whole sequence gives for the same batch.
        """
        return self._step(x_t, state)

    def _options(self) -> str:
        return "" if self.reset_after else ", reset_after=False"


class LSTM(Recurrent):
    r"""Long short-term memory.

    ``i, f, o = sigmoid(W x + b + W_h h + b_h)`` and ``g = tanh(...)`` likewise, each with its own
    weights; ``c' = f c + i g``, ``h' = o tanh(c')``.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in :class:`RNN`.
    proj_size : int, default 0
        If above 0, the output and the recurrent state are ``W_hr h'`` of this size [2]_.
    peepholes : bool, default False
        Whether the gates see the cell: ``p_i c`` and ``p_f c`` are added to i and f, ``p_o c'`` to
        o before the non-linearity [3]_.
    recurrent_dropout : float, default 0.0
        Probability with which, in training, a unit's h is dropped on its way into the recurrent
        product: the same units at all steps of a call, the others divided by ``1 - p`` [4]_.
    zoneout : float or (float, float), default 0.0
        Probability, for h and for c, with which a unit keeps its old state at a step of training;
        in evaluation old and new state are averaged with these weights [5]_.
    layer_norm : bool, default False
        Layer normalisation of both products and of the cell [6]_: ``LN(W x; gain_ih) + b +
        LN(W_h h; gain_hh) + b_h`` for the sums of all gates, over the ``4 hidden_size`` of them
        together, and ``h' = o tanh(LN(c'; gain_c) + bias_c)``, with
        ``LN(v; a) = a (v - mean(v)) / sqrt(variance(v) + 1e-5)``. Gains begin as 1, biases as 0.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter
        ``(4 hidden_size, inputs)`` and ``(4 hidden_size, proj_size or hidden_size)``: gates i, f,
        g, o.
    bias_ih_l0, bias_hh_l0 : Parameter, (4 hidden_size,)
    weight_hr_l0 : Parameter, (proj_size, hidden_size)
        With ``proj_size``.
    weight_peephole_l0 : Parameter, (3, hidden_size)
        With ``peepholes``: of i, f, o.
    gain_ih_l0, gain_hh_l0, gain_c_l0, bias_c_l0 : Parameter
        With ``layer_norm``: ``(4 hidden_size,)`` twice and ``(hidden_size,)`` twice; without
        ``bias`` there is no ``bias_c``.

    Raises
    ------
    ValueError
        As in :class:`RNN`; for a ``proj_size`` not below ``hidden_size``, probabilities outside
        [0, 1), or zoneout together with ``proj_size``.

    Notes
    -----
    Called like :class:`RNN`; the state is the tuple ``(h, c)``.

    References
    ----------
    .. [1] Hochreiter and Schmidhuber, "Long short-term memory", 1997,
       https://doi.org/10.1162/neco.1997.9.8.1735
    .. [2] Sak et al., "Long short-term memory based recurrent neural network architectures", 2014,
       https://arxiv.org/abs/1402.1128
    .. [3] Gers and Schmidhuber, "Recurrent nets that time and count", 2000,
       https://doi.org/10.1109/IJCNN.2000.861302
    .. [4] Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
       networks", 2016, https://arxiv.org/abs/1512.05287
    .. [5] Krueger et al., "Zoneout", 2017, https://arxiv.org/abs/1606.01305
    .. [6] Ba, Kiros and Hinton, "Layer normalization", 2016, https://arxiv.org/abs/1607.06450
    """

    _gates = 4
    _state_names = ("h0", "c0")
    _weight_names: tuple[str, ...] = (
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "bias_hh",
        "weight_hr",
        "weight_peephole",
    )

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        peepholes: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.proj_size = index(proj_size)
        if not 0 <= self.proj_size < self.hidden_size:
            raise ValueError(
                f"[LSTM] proj_size must be in [0, hidden_size), got {proj_size} with "
                f"hidden_size = {hidden_size}"
            )
        self.peepholes = bool(peepholes)
        self.recurrent_dropout = float(recurrent_dropout)
        both = zoneout if isinstance(zoneout, tuple | list) else (zoneout, zoneout)
        if len(both) != 2:
            raise ValueError(f"[LSTM] zoneout must be one number or two, got {zoneout!r}")
        self.zoneout = (float(both[0]), float(both[1]))
        for name, p in (("recurrent_dropout", self.recurrent_dropout), *_named(self.zoneout)):
            if not 0.0 <= p < 1.0:
                raise ValueError(f"[LSTM] {name} must be a probability in [0, 1), got {p}")
        if self.proj_size and any(self.zoneout):
            raise ValueError("[LSTM] zoneout and proj_size do not go together")
        self.layer_norm = bool(layer_norm)
        if self.layer_norm:
            self._weight_names = (*self._weight_names, *NORM_NAMES)
        self._create_parameters()

    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        shapes = super()._shapes(inputs)
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        if self.peepholes:
            shapes["weight_peephole"] = (3, self.hidden_size)
        if self.layer_norm:
            shapes |= norm_shapes(self.hidden_size, self.bias)
        return shapes

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform in ``(-k, k)`` with ``k = 1 / sqrt(hidden_size)``.

        With ``layer_norm`` gains become 1 and biases 0.
        """
        super().reset_parameters()
        if self.layer_norm:
            reset_norm(self)

    def _mask(self, batch: int) -> Tensor | None:
        if not (self.recurrent_dropout and self.training):
            return None
        keep = 1.0 - self.recurrent_dropout
        mask = _core.empty((2 if self.bidirectional else 1, batch, self._output_size()))
        _core.bernoulli_(mask, keep)
        return mask / keep

    def _zone(self, p: float, x: Tensor) -> Tensor | None:
        if not p:
            return None
        if not self.training:
            return _core.full((1,), p)
        directions = 2 if self.bidirectional else 1
        zone = _core.empty((directions, x.shape[0], x.shape[1], self.hidden_size))
        _core.bernoulli_(zone, p)
        return zone

    def _layer(
        self, layer: int, x: Tensor, states: tuple[Tensor | None, ...], lengths: Tensor | None
    ) -> States:
        return _core.lstm(
            x,
            states[0],
            states[1],
            self._weights(layer),
            lengths,
            self._mask(x.shape[0]),
            self._zone(self.zoneout[0], x),
            self._zone(self.zoneout[1], x),
        )

    def _is_plain(self) -> bool:
        more = self.proj_size or self.peepholes or self.layer_norm or any(self.zoneout)
        return super()._is_plain() and not more and not (self.recurrent_dropout and self.training)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths: Lengths = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map a batch of sequences to outputs and final states ``(h, c)``."""
        return self._run(x, state, lengths)

    def step(
        self, x_t: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step of streaming: ``(batch, features)`` to output and next state ``(h, c)``.

        Gives, bit for bit, what the whole sequence gives for the same batch.

        Raises
        ------
        ValueError
            In training with ``recurrent_dropout``, whose mask belongs to a whole sequence.
        """
        if self.recurrent_dropout and self.training:
            raise ValueError(
                "[LSTM.step] recurrent_dropout draws one mask for a sequence: call eval() first"
            )
        return self._step(x_t, state)

    def _options(self) -> str:
        text = f", proj_size={self.proj_size}" if self.proj_size else ""
        text += ", peepholes=True" if self.peepholes else ""
        if self.recurrent_dropout:
            text += f", recurrent_dropout={self.recurrent_dropout}"
        text += f", zoneout={self.zoneout}" if any(self.zoneout) else ""
        return text + (", layer_norm=True" if self.layer_norm else "")


def _named(zoneout: tuple[float, float]) -> tuple[tuple[str, float], ...]:
    return ("zoneout of h", zoneout[0]), ("zoneout of c", zoneout[1])
