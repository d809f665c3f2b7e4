# SPDX-License-Identifier: BSD-3-Clause
"""Recurrent layers: rows that end at their own step, forward and backward through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array, as_float, sigmoid_of

State = tuple[Array, ...]
Weights = Sequence[Array | None]


class _Cell:
    """One step of one direction, and the sums of its weights' gradients.

    ``step`` maps the input and the states of a step to the output, the new states and what
    ``step_backward`` needs; that gives the gradients of the input and of the old states.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.gradients = [None if w is None else np.zeros_like(w) for w in weights]

    def widths(self) -> tuple[int, ...]:
        """Sizes of the states; the first is also that of the output."""
        raise NotImplementedError

    def step(self, t: int, x: Array, state: State) -> tuple[Array, State, Any]:
        raise NotImplementedError

    def step_backward(self, dy: Array, dstate: State, saved: Any) -> tuple[Array, State]:
        raise NotImplementedError

    def product(self, x: Array, weight: int, bias: int) -> Array:
        """``x W^T + b``."""
        w, b = self.weights[weight], self.weights[bias]
        assert w is not None
        return np.asarray(x @ w.T if b is None else x @ w.T + b)

    def add(self, weight: int, gradient: Array) -> None:
        """Add to the gradient of a weight, if there is such a weight."""
        total = self.gradients[weight]
        if total is not None:
            total += gradient

    def product_backward(self, d: Array, x: Array, weight: int, bias: int) -> Array:
        """The gradient of ``x``; those of the weight and the bias are added up."""
        w = self.weights[weight]
        assert w is not None
        self.add(weight, d.T @ x)
        self.add(bias, d.sum(axis=0))
        return np.asarray(d @ w)


def _where(live: Array, a: Array, b: Array | float) -> Array:
    return np.asarray(np.where(live[:, None], a, b), a.dtype)


def _run(
    cell: _Cell, x: Array, state: State, lengths: Array, reverse: bool
) -> tuple[Array, State, list[Any]]:
    """One direction: outputs (0 past a row's end), states at the rows' ends, and a record."""
    batch, steps, _ = x.shape
    y = np.zeros((batch, steps, cell.widths()[0]), x.dtype)
    record = []
    for t in reversed(range(steps)) if reverse else range(steps):
        live = lengths > t
        out, new, saved = cell.step(t, _where(live, x[:, t], 0.0), state)
        y[:, t] = _where(live, out, 0.0)
        state = tuple(_where(live, n, s) for n, s in zip(new, state, strict=True))
        record.append((t, live, saved))
    return y, state, record


def _run_backward(
    cell: _Cell, dy: Array, dstate: State, record: list[Any], width: int
) -> tuple[Array, State]:
    dx = np.zeros((*dy.shape[:2], width), dy.dtype)
    for t, live, saved in reversed(record):
        dnew = tuple(_where(live, d, 0.0) for d in dstate)
        dx_t, dold = cell.step_backward(_where(live, dy[:, t], 0.0), dnew, saved)
        dx[:, t] = _where(live, dx_t, 0.0)
        dstate = tuple(_where(live, d, s) for d, s in zip(dold, dstate, strict=True))
    return dx, dstate


def _prepare(
    x: Any, states: Sequence[Any], cells: Sequence[_Cell], lengths: Any
) -> tuple[Array, list[State], Array]:
    x = as_float(x)
    given = []
    for d, cell in enumerate(cells):
        widths = cell.widths()
        zeros = [np.zeros((x.shape[0], width), x.dtype) for width in widths]
        given.append(
            tuple(z if s is None else as_float(s)[d] for s, z in zip(states, zeros, strict=True))
        )
    return x, given, np.full(x.shape[0], x.shape[1]) if lengths is None else np.asarray(lengths)


def _layer(
    x: Any, states: Sequence[Any], cells: Sequence[_Cell], lengths: Any
) -> tuple[Array, ...]:
    x, given, lengths = _prepare(x, states, cells, lengths)
    results = [_run(cell, x, given[d], lengths, d == 1) for d, cell in enumerate(cells)]
    finals = zip(*(state for _, state, _ in results), strict=True)
    return np.concatenate([y for y, _, _ in results], axis=2), *(np.stack(s) for s in finals)


def _layer_backward(
    dys: Sequence[Array], x: Any, states: Sequence[Any], cells: Sequence[_Cell], lengths: Any
) -> tuple[Array | None, ...]:
    x, given, lengths = _prepare(x, states, cells, lengths)
    dy, *dfinal = dys
    dx = np.zeros_like(x)
    dstates = []
    width = cells[0].widths()[0]
    for d, cell in enumerate(cells):
        _, _, record = _run(cell, x, given[d], lengths, d == 1)
        part = dy[:, :, d * width : (d + 1) * width]
        one, dstate = _run_backward(cell, part, tuple(f[d] for f in dfinal), record, x.shape[2])
        dx += one
        dstates.append(dstate)
    stacked = tuple(np.stack(s) for s in zip(*dstates, strict=True))
    return dx, *stacked, *(g for cell in cells for g in cell.gradients)


def _split(weights: Weights, count: int) -> list[Weights]:
    return [weights[i : i + count] for i in range(0, len(weights), count)]


# ---- the plain recurrent layer -------------------------------------------------------------------


class _RnnCell(_Cell):
    """``h' = f(x W_ih^T + b_ih + h W_hh^T + b_hh)``."""

    def __init__(self, weights: Weights, nonlinearity: str) -> None:
        super().__init__(weights)
        self.relu = nonlinearity == "relu"

    def widths(self) -> tuple[int, ...]:
        assert self.weights[1] is not None
        return (self.weights[1].shape[1],)

    def step(self, t: int, x: Array, state: State) -> tuple[Array, State, Any]:
        z = self.product(x, 0, 2) + self.product(state[0], 1, 3)
        h = np.maximum(z, 0.0) if self.relu else np.tanh(z)
        return h, (h,), (x, state[0], h)

    def step_backward(self, dy: Array, dstate: State, saved: Any) -> tuple[Array, State]:
        x, h_old, h = saved
        dz = (dy + dstate[0]) * ((h > 0) if self.relu else 1.0 - h * h)
        return self.product_backward(dz, x, 0, 2), (self.product_backward(dz, h_old, 1, 3),)


def rnn(
    x: Any, h0: Any, weights: Weights, lengths: Any = None, nonlinearity: str = "tanh"
) -> tuple[Array, ...]:
    """``h' = f(x W_ih^T + b_ih + h W_hh^T + b_hh)`` for one layer, one or both directions."""
    return _layer(x, [h0], [_RnnCell(w, nonlinearity) for w in _split(weights, 4)], lengths)


def rnn_backward(
    dys: Sequence[Array],
    x: Any,
    h0: Any,
    weights: Weights,
    lengths: Any = None,
    nonlinearity: str = "tanh",
) -> tuple[Array | None, ...]:
    """The gradients of x, h0 and each weight."""
    cells = [_RnnCell(w, nonlinearity) for w in _split(weights, 4)]
    return *_layer_backward(dys, x, [h0], cells, lengths), None


# ---- GRU -----------------------------------------------------------------------------------------


class _GruCell(_Cell):
    """Reset and update gates r, z and the candidate n: ``h' = (1 - z) n + z h``."""

    def __init__(self, weights: Weights, reset_after: bool) -> None:
        super().__init__(weights)
        self.reset_after = reset_after

    def widths(self) -> tuple[int, ...]:
        assert self.weights[1] is not None
        return (self.weights[1].shape[1],)

    def step(self, t: int, x: Array, state: State) -> tuple[Array, State, Any]:
        h = state[0]
        size = h.shape[1]
        from_x, from_h = self.product(x, 0, 2), self.product(h, 1, 3)
        r = sigmoid_of(from_x[:, :size] + from_h[:, :size])
        z = sigmoid_of(from_x[:, size : 2 * size] + from_h[:, size : 2 * size])
        if self.reset_after:
            n = np.tanh(from_x[:, 2 * size :] + r * from_h[:, 2 * size :])
        else:
            n = np.tanh(from_x[:, 2 * size :] + self.product(r * h, 1, 3)[:, 2 * size :])
        new = n + z * (h - n)
        return new, (new,), (x, h, r, z, n, from_h[:, 2 * size :])

    def step_backward(self, dy: Array, dstate: State, saved: Any) -> tuple[Array, State]:
        x, h, r, z, n, candidate = saved
        d = dy + dstate[0]
        dn = d * (1.0 - z) * (1.0 - n * n)
        dz = d * (h - n) * z * (1.0 - z)
        zeros = np.zeros_like(dn)
        if self.reset_after:
            dr = dn * candidate * r * (1.0 - r)
            dh = self.product_backward(np.concatenate([dr, dz, dn * r], axis=1), h, 1, 3)
        else:
            dproduct = self.product_backward(
                np.concatenate([zeros, zeros, dn], axis=1), r * h, 1, 3
            )
            dr = dproduct * h * r * (1.0 - r)
            dh = self.product_backward(np.concatenate([dr, dz, zeros], axis=1), h, 1, 3)
            dh += dproduct * r
        dx = self.product_backward(np.concatenate([dr, dz, dn], axis=1), x, 0, 2)
        return dx, (dh + d * z,)


def gru(
    x: Any, h0: Any, weights: Weights, lengths: Any = None, reset_after: bool = True
) -> tuple[Array, ...]:
    """``h' = (1 - z) n + z h`` for one layer, one or both directions.

    ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))`` with ``reset_after``, else
    ``n = tanh(W_in x + b_in + W_hn (r h) + b_hn)``.
    """
    return _layer(x, [h0], [_GruCell(w, reset_after) for w in _split(weights, 4)], lengths)


def gru_backward(
    dys: Sequence[Array],
    x: Any,
    h0: Any,
    weights: Weights,
    lengths: Any = None,
    reset_after: bool = True,
) -> tuple[Array | None, ...]:
    """The gradients of x, h0 and each weight."""
    cells = [_GruCell(w, reset_after) for w in _split(weights, 4)]
    return *_layer_backward(dys, x, [h0], cells, lengths), None
