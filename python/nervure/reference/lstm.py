# SPDX-License-Identifier: BSD-3-Clause
"""LSTM, with projection, peepholes, zoneout and layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Array, sigmoid_of
from .recurrent import State, Weights, _Cell, _layer, _layer_backward, _split

EPS = 1e-5


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

    def gates(self, x: Array, h: Array) -> tuple[Array, Any]:
        """The sums of all gates, before peepholes and non-linearities."""
        return self.product(x, 0, 2) + self.product(h, 1, 3), (x, h)

    def gates_backward(self, dz: Array, saved: Any) -> tuple[Array, Array]:
        x, h = saved
        return self.product_backward(dz, x, 0, 2), self.product_backward(dz, h, 1, 3)

    def squash(self, inner: Array) -> tuple[Array, Any]:
        """What the output gate lets through."""
        return np.tanh(inner), None

    def squash_backward(self, d: Array, saved: Any) -> Array:
        return d

    def step(self, t: int, x: Array, state: State) -> tuple[Array, State, Any]:
        h, c = state
        projection, p = self.weights[4], self.weights[5]
        z, gates = self.gates(x, h * self.mask)
        zi, zf, zg, zo = np.split(z, 4, axis=1)
        if p is not None:
            zi, zf = zi + p[0] * c, zf + p[1] * c
        i, f, g = sigmoid_of(zi), sigmoid_of(zf), np.tanh(zg)
        inner = f * c + i * g
        o = sigmoid_of(zo if p is None else zo + p[2] * inner)
        squashed, cell = self.squash(inner)
        out = o * squashed
        zone_h, zone_c = self.zones(t)
        c_new = inner + zone_c * (c - inner)
        h_new = out @ projection.T if projection is not None else out + zone_h * (h - out)
        return h_new, (h_new, c_new), (t, gates, cell, c, i, f, g, o, inner, squashed, out)

    def step_backward(self, dy: Array, dstate: State, saved: Any) -> tuple[Array, State]:
        t, gates, cell, c, i, f, g, o, inner, squashed, out = saved
        projection, p = self.weights[4], self.weights[5]
        zone_h, zone_c = self.zones(t)
        dh, dc = dy + dstate[0], dstate[1]
        dh_new, dh_old, dc_old = dh * (1.0 - zone_h), dh * zone_h, dc * zone_c
        if projection is not None:
            self.add(4, dh.T @ out)
            dh_new, dh_old = dh @ projection, np.zeros_like(dh)
        dzo = dh_new * squashed * o * (1.0 - o)
        dsquashed = dh_new * o * (1.0 - squashed**2)
        dinner = dc * (1.0 - zone_c) + self.squash_backward(dsquashed, cell)
        if p is not None:
            dinner = dinner + dzo * p[2]
        dzi, dzf = dinner * g * i * (1.0 - i), dinner * c * f * (1.0 - f)
        dc_old = dc_old + dinner * f
        if p is not None:
            dc_old = dc_old + dzi * p[0] + dzf * p[1]
            self.add(5, np.stack([(dzi * c).sum(0), (dzf * c).sum(0), (dzo * inner).sum(0)]))
        dz = np.concatenate([dzi, dzf, dinner * i * (1.0 - g * g), dzo], axis=1)
        dx, dh = self.gates_backward(dz, gates)
        return dx, (dh_old + dh * self.mask, dc_old)


def _normal(x: Array) -> tuple[Array, Array]:
    """Rows of mean 0 and variance 1, and what they were multiplied by."""
    centred = x - x.mean(axis=1, keepdims=True)
    rate = 1.0 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPS)
    return centred * rate, rate


def _normal_backward(d: Array, normal: Array, rate: Array) -> Array:
    mean, product = (v.mean(axis=1, keepdims=True) for v in (d, d * normal))
    return np.asarray(rate * (d - mean - normal * product))


class _NormLstmCell(_LstmCell):
    """Layer normalisation of both sums of all gates, and of the cell before its tanh."""

    def gates(self, x: Array, h: Array) -> tuple[Array, Any]:
        w_ih, w_hh, b_ih, b_hh, _, _, gain_ih, gain_hh, *_ = self.weights
        assert w_ih is not None
        assert w_hh is not None
        from_x, from_h = _normal(x @ w_ih.T), _normal(h @ w_hh.T)
        z = np.asarray(gain_ih * from_x[0] + gain_hh * from_h[0])
        for bias in (b_ih, b_hh):
            z = z if bias is None else z + bias
        return z, (x, h, from_x, from_h)

    def gates_backward(self, dz: Array, saved: Any) -> tuple[Array, Array]:
        found = []
        for k, (value, normal) in enumerate(zip(saved[:2], saved[2:], strict=True)):
            w, gain = self.weights[k], self.weights[6 + k]
            assert w is not None
            self.add(2 + k, dz.sum(axis=0))
            self.add(6 + k, (dz * normal[0]).sum(axis=0))
            d = _normal_backward(dz * gain, *normal)
            self.add(k, d.T @ value)
            found.append(d @ w)
        return found[0], found[1]

    def squash(self, inner: Array) -> tuple[Array, Any]:
        gain, bias = self.weights[8:]
        normal = _normal(inner)
        v = np.asarray(gain * normal[0])
        return np.tanh(v if bias is None else v + bias), normal

    def squash_backward(self, d: Array, saved: Any) -> Array:
        self.add(8, (d * saved[0]).sum(axis=0))
        self.add(9, d.sum(axis=0))
        return _normal_backward(d * self.weights[8], *saved)


def _lstm_cells(weights: Weights, mask: Any, zoneout_h: Any, zoneout_c: Any) -> list[_LstmCell]:
    def of(d: int, values: Any) -> Any:
        return values if values is None or np.size(values) == 1 else values[d]

    normalised = len(weights) % 10 == 0
    cell = _NormLstmCell if normalised else _LstmCell
    return [
        cell(w, None if mask is None else mask[d], of(d, zoneout_h), of(d, zoneout_c))
        for d, w in enumerate(_split(weights, 10 if normalised else 6))
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
    weight_peephole; with layer normalisation also gain_ih, gain_hh, gain_c and bias_c. ``mask``
    multiplies h before the recurrent product; a zoneout of 1 keeps a unit's old state.
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
