# SPDX-License-Identifier: BSD-3-Clause
"""One recurrent layer in one direction: whole sequences, and single steps.

Weights are ``(inputs, gates)`` and C-contiguous: the transposes of PyTorch's, with its gate order.
A forward kernel also returns what its backward needs, as one `Saved`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nervure._core import kernels as _kernels

from ._arrays import Float, Int

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


class Saved(NamedTuple):
    """What a backward kernel needs from the forward one: packed arrays, and where rows end."""

    kind: str
    option: bool
    reverse: bool
    steps: int
    longest: int
    numbers: Int
    arrays: tuple[Float, ...]
    biases: tuple[Float | None, Float | None]


def _number_rows(
    op: str, lengths: Int | Sequence[int] | None, batch: int, steps: int
) -> tuple[int, int, Int]:
    """The longest length, their sum, and the three lists the kernels read one after the other."""
    if lengths is None:
        lengths = np.full(batch, steps)
    ends = np.asarray(lengths)
    if ends.shape != (batch,) or (batch and ends.dtype.kind not in "iu"):
        raise ValueError(
            f"[{op}] lengths must be {batch} integers, got {ends.dtype} of shape {ends.shape}"
        )
    if batch and not (ends.min() >= 0 and ends.max() <= steps):
        raise ValueError(
            f"[{op}] lengths must be in [0, {steps}], got {ends.min()} to {ends.max()}"
        )
    longest = int(ends.max(initial=0))
    active = np.zeros(longest + 1, np.int64)
    active[:longest] = (ends[:, None] > np.arange(longest)).sum(axis=0)
    offset = np.concatenate([[0], np.cumsum(active[:-1])])
    row = np.argsort(-ends.astype(np.int64), kind="stable")
    return longest, int(offset[-1]), np.concatenate([active, offset, row]).astype(np.int64)


def _forward(
    kind: str,
    option: bool,
    x: Float,
    states: Sequence[Float | None],
    weights: Sequence[Float | None],
    lengths: Int | Sequence[int] | None,
    reverse: bool,
) -> tuple[list[Float], Saved]:
    op, w_ih = f"{kind}_forward", weights[0]
    if x.ndim != 3:
        raise ValueError(f"[{op}] x must be (batch, steps, features), got {x.shape}")
    if w_ih is None or w_ih.ndim != 2:
        raise ValueError(f"[{op}] weight_ih must be a matrix (input, gates hidden)")
    batch, steps, _ = x.shape
    hidden = w_ih.shape[1] // _GATES[kind]
    longest, total, numbers = _number_rows(op, lengths, batch, steps)
    outputs = [np.empty((batch, steps, hidden), np.float32)]
    outputs += [np.empty((batch, hidden), np.float32) for _ in states]
    if kind == "rnn":  # the states, and the final ones
        shapes = [(total, w_ih.shape[0]), (total + batch, hidden)]
    else:
        widths = (w_ih.shape[0], _kernels.gate_stride(4 * hidden), *[hidden] * len(states))
        shapes = [(total, width) for width in widths]
    arrays = tuple(np.empty(shape, np.float32) for shape in shapes)
    _kernels.recurrent_forward(
        kind, option, x, states, weights, numbers, longest, reverse, outputs, arrays
    )
    biases = (weights[2], weights[3])
    return outputs, Saved(kind, option, reverse, steps, longest, numbers, arrays, biases)


def _backward(
    kind: str, dy: Float, dstates: Sequence[Float | None], w_ih: Float, w_hh: Float, saved: Saved
) -> list[Float]:
    op = f"{kind}_backward"
    if saved.kind != kind:
        raise ValueError(f"[{op}] saved must come from {kind}_forward, got {saved.kind}_forward's")
    if dy.ndim != 3 or w_ih.ndim != 2 or w_hh.ndim != 2:
        raise ValueError(f"[{op}] dy must be (batch, steps, hidden), the weights matrices")
    if dy.shape[1] != saved.steps:
        raise ValueError(f"[{op}] dy must have {saved.steps} steps, got {dy.shape[1]}")
    batch, hidden = dy.shape[0], w_ih.shape[1] // _GATES[kind]
    shapes: list[tuple[int, ...]] = [(batch, dy.shape[1], w_ih.shape[0])]
    shapes += [(batch, hidden)] * len(dstates)
    shapes += [w_ih.shape, w_hh.shape] + [w_ih.shape[1:]] * (2 if kind == "gru" else 1)
    outputs = [np.empty(shape, np.float32) for shape in shapes]
    _kernels.recurrent_backward(
        kind,
        saved.option,
        dy,
        dstates,
        (w_ih, w_hh, *saved.biases),
        saved.numbers,
        saved.longest,
        saved.reverse,
        outputs,
        saved.arrays,
    )
    return outputs


def rnn_forward(
    x: Float,
    h0: Float | None,
    weight_ih: Float,
    weight_hh: Float,
    bias_ih: Float | None = None,
    bias_hh: Float | None = None,
    lengths: Int | Sequence[int] | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[Float, Float, Saved]:
    """``h_t = f(x_t W_ih + b_ih + h_{t-1} W_hh + b_hh)`` over whole sequences.

    Parameters
    ----------
    x : array, shape (batch, steps, input)
        C-contiguous; what lies past a row's end is not read.
    h0 : array, shape (batch, hidden), or None
        The initial states; None: zeros.
    weight_ih, weight_hh : array, shapes (input, hidden) and (hidden, hidden)
        The transposes of PyTorch's, C-contiguous.
    bias_ih, bias_hh : array, shape (hidden,), optional
        Biases.
    lengths : integers, shape (batch,), optional
        Where each row ends.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        ``f``.
    reverse : bool, default False
        Run from each row's end to its start.

    Returns
    -------
    y : array, shape (batch, steps, hidden)
        The states at all steps, 0 past a row's end.
    h_n : array, shape (batch, hidden)
        The states at the rows' ends.
    saved : Saved
        For `rnn_backward`.

    Raises
    ------
    TypeError
        If an array is not float32.
    ValueError
        For shapes that do not agree, a memory order other than C, or an unknown nonlinearity.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"[rnn_forward] nonlinearity must be tanh or relu, got {nonlinearity!r}")
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    (y, h_n), saved = _forward("rnn", nonlinearity == "relu", x, [h0], weights, lengths, reverse)
    return y, h_n, saved


def rnn_backward(
    dy: Float, dh_n: Float | None, weight_ih: Float, weight_hh: Float, saved: Saved
) -> tuple[Float, Float, Float, Float, Float]:
    """Gradients ``(dx, dh0, dweight_ih, dweight_hh, dbias)`` of `rnn_forward`.

    ``dh_n`` None stands for zeros; both biases have the gradient ``dbias``.
    """
    dx, dh0, dw_ih, dw_hh, db = _backward("rnn", dy, [dh_n], weight_ih, weight_hh, saved)
    return dx, dh0, dw_ih, dw_hh, db


def gru_forward(
    x: Float,
    h0: Float | None,
    weight_ih: Float,
    weight_hh: Float,
    bias_ih: Float | None = None,
    bias_hh: Float | None = None,
    lengths: Int | Sequence[int] | None = None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
) -> tuple[Float, Float, Saved]:
    """A GRU layer over whole sequences; see :class:`nervure.nn.GRU` for the equations.

    Parameters and results as of `rnn_forward`, with three gates in the columns of the weights:
    r, z, n.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    (y, h_n), saved = _forward("gru", bool(reset_after), x, [h0], weights, lengths, reverse)
    return y, h_n, saved


def gru_backward(
    dy: Float, dh_n: Float | None, weight_ih: Float, weight_hh: Float, saved: Saved
) -> tuple[Float, Float, Float, Float, Float, Float]:
    """Gradients ``(dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh)`` of `gru_forward`."""
    dx, dh0, dw_ih, dw_hh, db_ih, db_hh = _backward("gru", dy, [dh_n], weight_ih, weight_hh, saved)
    return dx, dh0, dw_ih, dw_hh, db_ih, db_hh


def lstm_forward(
    x: Float,
    h0: Float | None,
    c0: Float | None,
    weight_ih: Float,
    weight_hh: Float,
    bias_ih: Float | None = None,
    bias_hh: Float | None = None,
    lengths: Int | Sequence[int] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Float, Float, Float, Saved]:
    """An LSTM layer over whole sequences; see :class:`nervure.nn.LSTM` for the equations.

    Parameters and results as of `rnn_forward`, with four gates in the columns of the weights
    (i, f, g, o) and the cell's states ``c0`` and ``c_n``.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    (y, h_n, c_n), saved = _forward("lstm", False, x, [h0, c0], weights, lengths, reverse)
    return y, h_n, c_n, saved


def lstm_backward(
    dy: Float,
    dh_n: Float | None,
    dc_n: Float | None,
    weight_ih: Float,
    weight_hh: Float,
    saved: Saved,
) -> tuple[Float, Float, Float, Float, Float, Float]:
    """Gradients ``(dx, dh0, dc0, dweight_ih, dweight_hh, dbias)`` of `lstm_forward`.

    ``dh_n`` and ``dc_n`` None stand for zeros; both biases have the gradient ``dbias``.
    """
    dx, dh0, dc0, dw_ih, dw_hh, db = _backward(
        "lstm", dy, [dh_n, dc_n], weight_ih, weight_hh, saved
    )
    return dx, dh0, dc0, dw_ih, dw_hh, db


def _one_step(op: str, x: Float) -> Float:
    if x.ndim != 2:
        raise ValueError(f"[{op}] x must be (batch, features), got {x.shape}")
    return x[:, None]


def gru_cell_forward(
    x: Float,
    h: Float | None,
    weight_ih: Float,
    weight_hh: Float,
    bias_ih: Float | None = None,
    bias_hh: Float | None = None,
    *,
    reset_after: bool = True,
) -> tuple[Float, Saved]:
    """One step of `gru_forward` on x of (batch, input): the new state, and what backward needs."""
    one = _one_step("gru_cell_forward", x)
    _, new, saved = gru_forward(
        one, h, weight_ih, weight_hh, bias_ih, bias_hh, reset_after=reset_after
    )
    return new, saved


def gru_cell_backward(
    dh: Float, weight_ih: Float, weight_hh: Float, saved: Saved
) -> tuple[Float, Float, Float, Float, Float, Float]:
    """Gradients ``(dx, dh, dweight_ih, dweight_hh, dbias_ih, dbias_hh)`` of `gru_cell_forward`."""
    dx, *others = gru_backward(
        _one_step("gru_cell_backward", dh), None, weight_ih, weight_hh, saved
    )
    dh_old, dw_ih, dw_hh, db_ih, db_hh = others
    return dx[:, 0], dh_old, dw_ih, dw_hh, db_ih, db_hh


def lstm_cell_forward(
    x: Float,
    h: Float | None,
    c: Float | None,
    weight_ih: Float,
    weight_hh: Float,
    bias_ih: Float | None = None,
    bias_hh: Float | None = None,
) -> tuple[Float, Float, Saved]:
    """One step of `lstm_forward` on x of (batch, input): new h, new c, and what backward needs."""
    one = _one_step("lstm_cell_forward", x)
    _, new_h, new_c, saved = lstm_forward(one, h, c, weight_ih, weight_hh, bias_ih, bias_hh)
    return new_h, new_c, saved


def lstm_cell_backward(
    dh: Float, dc: Float | None, weight_ih: Float, weight_hh: Float, saved: Saved
) -> tuple[Float, Float, Float, Float, Float, Float]:
    """Gradients ``(dx, dh, dc, dweight_ih, dweight_hh, dbias)`` of `lstm_cell_forward`."""
    dx, *others = lstm_backward(
        _one_step("lstm_cell_backward", dh), None, dc, weight_ih, weight_hh, saved
    )
    dh_old, dc_old, dw_ih, dw_hh, db = others
    return dx[:, 0], dh_old, dc_old, dw_ih, dw_hh, db
