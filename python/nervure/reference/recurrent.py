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


# ---- LSTM ----------------------------------------------------------------------------------------


class _LstmCell(_Cell):
    """``c' = f c + i g``, ``h' = o tanh(c')``, with what one may add to it."""

    def __init__(
        self, weights: Weights, mask: Array | None, zoneout_h: Array | None, zoneout_c: Array | None
    ) -> None:
        super().__init__(weights)
        self.mask = 1.0 if mask is None else mask
        self.zoneout_h, self.zoneout_c = zoneout_h, zoneout_c

    def widths(self) -> tuple[int, ...]:
        assert self.weights[1] is not None
        return self.weights[1].shape[1], self.weights[1].shape[0] // 4

    def zones(self, t: int) -> tuple[Any, Any]:
        """The shares of h and c that stay as they were."""
        zones = (self.zoneout_h, self.zoneout_c)
        return tuple(  # type: ignore[return-value]
            0.0 if z is None else z[:, t] if z.ndim == 3 else z for z in zones
        )

    def step(self, t: int, x: Array, state: State) -> tuple[Array, State, Any]:
        h, c = state
        projection, p = self.weights[4], self.weights[5]
        z = self.product(x, 0, 2) + self.product(h * self.mask, 1, 3)
        zi, zf, zg, zo = np.split(z, 4, axis=1)
        if p is not None:
            zi, zf = zi + p[0] * c, zf + p[1] * c
        i, f, g = sigmoid_of(zi), sigmoid_of(zf), np.tanh(zg)
        inner = f * c + i * g
        o = sigmoid_of(zo if p is None else zo + p[2] * inner)
        out = o * np.tanh(inner)
        zone_h, zone_c = self.zones(t)
        c_new = inner + zone_c * (c - inner)
        h_new = out @ projection.T if projection is not None else out + zone_h * (h - out)
        return h_new, (h_new, c_new), (t, x, h, c, i, f, g, o, inner, out)

    def step_backward(self, dy: Array, dstate: State, saved: Any) -> tuple[Array, State]:
        t, x, h, c, i, f, g, o, inner, out = saved
        projection, p = self.weights[4], self.weights[5]
        zone_h, zone_c = self.zones(t)
        dh, dc = dy + dstate[0], dstate[1]
        dh_new, dh_old, dc_old = dh * (1.0 - zone_h), dh * zone_h, dc * zone_c
        if projection is not None:
            self.add(4, dh.T @ out)
            dh_new, dh_old = dh @ projection, np.zeros_like(h)
        dzo = dh_new * np.tanh(inner) * o * (1.0 - o)
        dinner = dc * (1.0 - zone_c) + dh_new * o * (1.0 - np.tanh(inner) ** 2)
        if p is not None:
            dinner = dinner + dzo * p[2]
        dzi, dzf = dinner * g * i * (1.0 - i), dinner * c * f * (1.0 - f)
        dc_old = dc_old + dinner * f
        if p is not None:
            dc_old = dc_old + dzi * p[0] + dzf * p[1]
            self.add(5, np.stack([(dzi * c).sum(0), (dzf * c).sum(0), (dzo * inner).sum(0)]))
        dz = np.concatenate([dzi, dzf, dinner * i * (1.0 - g * g), dzo], axis=1)
        dx = self.product_backward(dz, x, 0, 2)
        dh_old = dh_old + self.product_backward(dz, h * self.mask, 1, 3) * self.mask
        return dx, (dh_old, dc_old)


def _lstm_cells(weights: Weights, mask: Any, zoneout_h: Any, zoneout_c: Any) -> list[_LstmCell]:
    def of(d: int, values: Any) -> Any:
        return values if values is None or np.size(values) == 1 else values[d]

    return [
        _LstmCell(w, None if mask is None else mask[d], of(d, zoneout_h), of(d, zoneout_c))
        for d, w in enumerate(_split(weights, 6))
    ]


def lstm(
    x: Any,
    h0: Any,
    c0: Any,
    weights: Weights,
    lengths: Any = None,
    mask: Any = None,
    zoneout_h: Any = None,
    zoneout_c: Any = None,
) -> tuple[Array, ...]:
    """``c' = f c + i g``, ``h' = o tanh(c')`` for one layer, one or both directions.

    Weights of a direction: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr (projection of h') and
    weight_peephole. ``mask`` multiplies h before the recurrent product; a zoneout of 1 keeps a
    unit's old state.
    """
    return _layer(x, [h0, c0], _lstm_cells(weights, mask, zoneout_h, zoneout_c), lengths)


def lstm_backward(
    dys: Sequence[Array],
    x: Any,
    h0: Any,
    c0: Any,
    weights: Weights,
    lengths: Any = None,
    mask: Any = None,
    zoneout_h: Any = None,
    zoneout_c: Any = None,
) -> tuple[Array | None, ...]:
    """The gradients of x, h0, c0 and each weight."""
    cells = _lstm_cells(weights, mask, zoneout_h, zoneout_c)
    return *_layer_backward(dys, x, [h0, c0], cells, lengths), None, None, None, None
