# SPDX-License-Identifier: BSD-3-Clause
"""NumPy's recurrent layers: one product for all input projections, then a loop over the steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .data import Floats


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


class NumpyRecurrent:
    """A layer over (steps, batch, inputs); weights (gates, inputs) as in the other libraries."""

    def __init__(self, kind: str, weights: Sequence[Floats], steps: int, batch: int) -> None:
        self.kind = kind
        w_ih, w_hh, self.b_ih, self.b_hh = weights
        self.w_ih, self.w_hh = w_ih.T.copy(), w_hh.T.copy()
        self.hidden = len(self.w_hh)
        self.h = np.zeros((steps + 1, batch, self.hidden), np.float32)
        self.c = np.zeros_like(self.h)
        # after the non-linearities; a GRU's own part of n behind them
        columns = self.w_hh.shape[1] + (self.hidden if kind == "GRU" else 0)
        self.gates = np.empty((steps, batch, columns), np.float32)

    def forward(self, x: Floats) -> Floats:
        projected = x @ self.w_ih + self.b_ih
        for t, z in enumerate(projected):
            own = self.h[t] @ self.w_hh + self.b_hh
            getattr(self, f"_{self.kind.lower()}")(t, z, own)
        return self.h[1:]

    def _rnn(self, t: int, z: Floats, own: Floats) -> None:
        self.h[t + 1] = self.gates[t] = np.tanh(z + own)

    def _gru(self, t: int, z: Floats, own: Floats) -> None:
        n = 2 * self.hidden
        gates = self.gates[t]
        gates[:, :n] = sigmoid(z[:, :n] + own[:, :n])
        r, u = gates[:, : self.hidden], gates[:, self.hidden : n]
        gates[:, n : -self.hidden] = new = np.tanh(z[:, n:] + r * own[:, n:])
        gates[:, -self.hidden :] = own[:, n:]
        self.h[t + 1] = new + u * (self.h[t] - new)

    def _lstm(self, t: int, z: Floats, own: Floats) -> None:
        h, z = self.hidden, z + own
        gates = self.gates[t]
        gates[:, : 2 * h] = sigmoid(z[:, : 2 * h])
        gates[:, 2 * h : 3 * h] = np.tanh(z[:, 2 * h : 3 * h])
        gates[:, 3 * h :] = sigmoid(z[:, 3 * h :])
        i, f, g, o = np.split(gates, 4, axis=1)
        self.c[t + 1] = f * self.c[t] + i * g
        self.h[t + 1] = o * np.tanh(self.c[t + 1])

    def training(self, x: Floats, dy: Floats) -> tuple[Floats, ...]:
        """Gradients of the input and of the four weights."""
        self.forward(x)
        steps, batch = x.shape[:2]
        columns = self.w_hh.shape[1]
        dz = np.empty((steps, batch, columns), np.float32)
        own = np.empty_like(dz) if self.kind == "GRU" else dz  # of h W_hh + b_hh
        dh = np.zeros((batch, self.hidden), np.float32)
        dc = np.zeros_like(dh)
        for t in range(steps - 1, -1, -1):
            dh, dc = getattr(self, f"_{self.kind.lower()}_back")(t, dh + dy[t], dc, dz[t], own[t])
        rows = dz.reshape(-1, columns)
        own_rows = own.reshape(-1, columns)
        dw_ih = rows.T @ x.reshape(len(rows), -1)
        dw_hh = own_rows.T @ self.h[:-1].reshape(len(rows), -1)
        return dz @ self.w_ih.T, dw_ih, dw_hh, rows.sum(0), own_rows.sum(0)

    def _rnn_back(
        self, t: int, dh: Floats, dc: Floats, dz: Floats, own: Floats
    ) -> tuple[Floats, Floats]:
        np.multiply(dh, 1 - self.gates[t] ** 2, out=dz)
        return dz @ self.w_hh.T, dc

    def _gru_back(
        self, t: int, dh: Floats, dc: Floats, dz: Floats, own: Floats
    ) -> tuple[Floats, Floats]:
        r, u, n, own_n = np.split(self.gates[t], 4, axis=1)
        dn = dh * (1 - u) * (1 - n * n)
        dz[:, : self.hidden] = dn * own_n * r * (1 - r)
        dz[:, self.hidden : -self.hidden] = dh * (self.h[t] - n) * u * (1 - u)
        dz[:, -self.hidden :] = dn
        own[:] = dz
        own[:, -self.hidden :] *= r
        return dh * u + own @ self.w_hh.T, dc

    def _lstm_back(
        self, t: int, dh: Floats, dc: Floats, dz: Floats, own: Floats
    ) -> tuple[Floats, Floats]:
        i, f, g, o = np.split(self.gates[t], 4, axis=1)
        squashed = np.tanh(self.c[t + 1])
        dc = dc + dh * o * (1 - squashed * squashed)
        h = self.hidden
        dz[:, :h] = dc * g * i * (1 - i)
        dz[:, h : 2 * h] = dc * self.c[t] * f * (1 - f)
        dz[:, 2 * h : 3 * h] = dc * i * (1 - g * g)
        dz[:, 3 * h :] = dh * squashed * o * (1 - o)
        return dz @ self.w_hh.T, dc * f
