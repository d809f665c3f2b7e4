# SPDX-License-Identifier: BSD-3-Clause
"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import unary
from .arrays import Array, as_float, sum_to


def matmul(a: ArrayLike, b: ArrayLike) -> Array:
    """``y = a b`` by NumPy's rules: vectors, matrices, and batches of them that broadcast."""
    return np.asarray(np.matmul(as_float(a), as_float(b)))


def matmul_backward(dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """``da = dy b^T``, ``db = a^T dy``, summed over the batches that were broadcast."""
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    dy = np.asarray(dy)
    dy = np.expand_dims(dy, -1) if b.ndim == 1 else dy
    dy = np.expand_dims(dy, -2) if a.ndim == 1 else dy
    da = sum_to(np.matmul(dy, np.swapaxes(columns, -1, -2)), rows.shape)
    db = sum_to(np.matmul(np.swapaxes(rows, -1, -2), dy), columns.shape)
    return da.reshape(a.shape), db.reshape(b.shape)


ACTIVATIONS: dict[str, tuple[Callable[..., Array], Callable[..., tuple[Array]], dict[str, Any]]] = {
    "relu": (unary.relu, unary.relu_backward, {}),
    "leaky_relu": (unary.leaky_relu, unary.leaky_relu_backward, {}),
    "elu": (unary.elu, unary.elu_backward, {}),
    "gelu": (unary.gelu, unary.gelu_backward, {}),
    "gelu_tanh": (unary.gelu, unary.gelu_backward, {"approximate": "tanh"}),
    "silu": (unary.silu, unary.silu_backward, {}),
    "tanh": (unary.tanh, unary.tanh_backward, {}),
    "sigmoid": (unary.sigmoid, unary.sigmoid_backward, {}),
    "softplus": (unary.softplus, unary.softplus_backward, {}),
    "hardtanh": (unary.hardtanh, unary.hardtanh_backward, {}),
}
"""Forward, backward and parameters of the activations that `linear` can apply, by name."""


def linear(x: ArrayLike, weight: Array, bias: Array | None = None, activation: str = "") -> Array:
    """``y = activation(x W^T + b)`` for x (..., in), W (out, in), b (out)."""
    z = np.matmul(as_float(x), np.swapaxes(weight, -1, -2))
    z = z if bias is None else z + bias
    if not activation:
        return np.asarray(z)
    forward, _, parameters = ACTIVATIONS[activation]
    return forward(z, **parameters)


def linear_backward(
    dy: Array, x: Array, weight: Array, bias: Array | None = None, activation: str = ""
) -> tuple[Array, Array, Array | None]:
    """With ``dz = dy activation'(z)``: ``dx = dz W``, ``dW = dz^T x``, ``db = sum of dz``."""
    dz = dy
    if activation:
        _, backward, parameters = ACTIVATIONS[activation]
        (dz,) = backward(dy, linear(x, weight, bias), **parameters)
    flat_dz, flat_x = dz.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
    dbias = None if bias is None else flat_dz.sum(axis=0)
    return np.matmul(dz, weight), flat_dz.T @ flat_x, dbias
