# SPDX-License-Identifier: BSD-3-Clause
"""RNNClassifier: a recurrent network over sequences as an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from nervure import _core, nn
from nervure._core import Tensor
from nervure.nn import Module
from nervure.sklearn._neural_net import NetClassifier

_CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class _LastState(Module):
    """The final states of the last layer, through a dense layer."""

    def __init__(
        self, recurrent: Any, outputs: int, dropout: float, padding_value: float | None
    ) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.directions = 2 if recurrent.bidirectional else 1
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(self.directions * recurrent.hidden_size, outputs)
        self.padding_value = padding_value

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, steps, features) to (N, outputs)."""
        _, state = self.recurrent(x, lengths=self._lengths(x))
        h = state[0] if isinstance(state, tuple) else state
        count = h.shape[0]
        last = h[count - self.directions : count].permute(1, 0, 2)
        scores: Tensor = self.out(self.dropout(last.flatten(1)))
        return scores

    def _lengths(self, x: Tensor) -> Tensor | None:
        """Where each row ends: after its last step that is not padding."""
        if self.padding_value is None:
            return None
        there = (x.numpy() != self.padding_value).any(axis=2)
        steps = there.shape[1]
        ends = np.where(there.any(axis=1), steps - there[:, ::-1].argmax(axis=1), 0)
        return _core.tensor(ends.astype(np.int64))


class RNNClassifier(NetClassifier):
    """A recurrent network for sequences: its final state says the label.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Kind of the layers.
    hidden_size : int, default 32
        Units of a layer in one direction.
    num_layers : int, default 1
        Layers on top of each other.
    bidirectional : bool, default False
        Whether sequences are read from both ends.
    dropout : float, default 0.0
        Probability with which outputs between layers and before the last one are dropped.
    input_size : int, default 1
        Features of a step in the rows of a table ``X``.
    padding_value : float, optional
        Steps at the end of a sequence that hold nothing but this value do not count: sequences of
        different lengths are filled up with it.
    clip_norm : float or None, default 1.0
        Greatest norm of the gradient.
    optimizer, learning_rate_init, alpha, batch_size, max_iter, class_weight, shuffle
        As in :class:`NeuralNetClassifier`; the learning rate is 0.005 by default.
    random_state, tol, verbose, warm_start, early_stopping, validation_fraction, n_iter_no_change
        As in :class:`NeuralNetClassifier`; the learning rate is 0.005 by default.

    Attributes
    ----------
    classes_, module_, optimizer_, loss_, loss_curve_, n_iter_, t_
        As in :class:`NeuralNetClassifier`.

    Notes
    -----
    ``X`` is ``(N, steps, features)``, or a table ``(N, steps * input_size)``. The number of steps
    is that of ``fit``: fill up with ``padding_value``.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{
            k: v
            for k, v in NetClassifier._parameter_constraints.items()
            if k not in ("module", "module_params", "loss")
        },
        "cell": [StrOptions(set(_CELLS))],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "num_layers": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "input_size": [Interval(Integral, 1, None, closed="left")],
        "padding_value": [Real, None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    }
    _rows_at_once = 16

    module = None
    module_params = None
    loss = None

    def __init__(
        self,
        cell: str = "lstm",
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_size: int = 1,
        padding_value: float | None = None,
        clip_norm: float | None = 1.0,
        optimizer: str | Any = "adam",
        learning_rate_init: float = 0.005,
        alpha: float = 0.0,
        batch_size: int | str = "auto",
        max_iter: int = 100,
        class_weight: Mapping[Any, float] | str | None = None,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.input_size = input_size
        self.padding_value = padding_value
        self.clip_norm = clip_norm
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def _shaped(self, x: NDArray[Any]) -> NDArray[Any]:
        if x.ndim == 3:
            return x
        if x.ndim != 2:
            raise ValueError(f"X must have 2 or 3 dimensions, got {x.shape}")
        if x.shape[1] % self.input_size:
            raise ValueError(
                f"input_size = {self.input_size} must divide the {x.shape[1]} features of a row"
            )
        return x.reshape(len(x), -1, self.input_size)

    def _default_module(self, inputs: int, outputs: int) -> Module:
        recurrent = _CELLS[self.cell](
            self._sample_shape[1],
            self.hidden_size,
            self.num_layers,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
            bidirectional=self.bidirectional,
        )
        return _LastState(recurrent, outputs, self.dropout, self.padding_value)

    def _before_update(self) -> None:
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.module_.parameters(), float(self.clip_norm))
