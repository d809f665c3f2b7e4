# SPDX-License-Identifier: BSD-3-Clause
"""The matrix product."""

from __future__ import annotations

import numpy as np

from nervure._core import kernels as _kernels

from ._arrays import Float


def gemm(
    a: Float,
    b: Float,
    out: Float | None = None,
    *,
    bias: Float | None = None,
    activation: str = "",
    accumulate: bool = False,
) -> Float:
    r"""Matrix product with bias and activation, ``out = activation(a @ b + bias)``.

    Parameters
    ----------
    a : array, shape (M, K)
        C or Fortran order (``x.T``), or a block of such a matrix.
    b : array, shape (K, N)
        Likewise.
    out : array, shape (M, N), optional
        C-contiguous; must not share memory with ``a`` or ``b``.
    bias : array, shape (N,), optional
        Added to every row.
    activation : str, default ""
        ``""`` or one of relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus,
        hardtanh.
    accumulate : bool, default False
        Add what ``out`` holds before the activation; needs ``out``.

    Returns
    -------
    array, shape (M, N)
        ``out``.

    Raises
    ------
    TypeError
        If an array is not float32.
    ValueError
        If the shapes do not agree, a memory order is not supported, or ``accumulate`` has no
        ``out``.
    """
    if out is None:
        if accumulate:
            raise ValueError("[gemm] accumulate needs out")
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"[gemm] a and b must be matrices, got {a.shape} and {b.shape}")
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
    _kernels.gemm(a, b, out, bias, activation, accumulate)
    return out
