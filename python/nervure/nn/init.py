# SPDX-License-Identifier: BSD-3-Clause
"""Initial values, written into a tensor in place; PyTorch's names, fans and gains.

Every function returns its tensor. Random ones draw from the generator that ``nervure.manual_seed``
sets, and give the same values for any number of threads. For a tensor ``(out, in, ...)`` with ``r``
elements in the dimensions after the second, ``fan_in = in * r`` and ``fan_out = out * r``.
"""

from __future__ import annotations

import math

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import no_grad

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor by which a nonlinearity asks for larger weights.

    Parameters
    ----------
    nonlinearity : str
        ``"linear"``, ``"conv1d"``, ``"conv2d"``, ``"conv_transpose1d"``, ``"conv_transpose2d"`` or
        ``"sigmoid"``: 1; ``"tanh"``: 5/3; ``"relu"``: sqrt(2); ``"leaky_relu"``: sqrt(2 / (1 +
        slope^2)); ``"selu"``: 3/4.
    param : float, optional
        Slope of ``"leaky_relu"``, 0.01 by default.

    Raises
    ------
    ValueError
        For any other name, or a ``param`` that the nonlinearity has no use for.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"[calculate_gain] unknown nonlinearity {nonlinearity!r}")
    if param is not None:
        raise ValueError(f"[calculate_gain] {nonlinearity} takes no parameter, got {param}")
    return _GAINS[nonlinearity]


_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def _fans(op: str, tensor: Tensor) -> tuple[int, int]:
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ValueError(f"[{op}] fan in and fan out need at least 2 dimensions, got shape {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draw from the uniform distribution on [a, b)."""
    return tensor.uniform_(a, b)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw from the normal distribution."""
    return tensor.normal_(mean, std)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Draw from the normal distribution cut to [a, b] (values, not standard deviations)."""
    return tensor.trunc_normal_(mean, std, a, b)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return tensor.fill_(1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return tensor.fill_(0.0)


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity: 1 on the diagonal, 0 elsewhere.

    Raises
    ------
    ValueError
        If the tensor is not a matrix.
    """
    if tensor.ndim != 2:
        raise ValueError(f"[eye_] expected a matrix, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    return tensor.copy_(_indicator(_range(rows).unsqueeze(1), columns))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution weight so that the layer passes its input through.

    Channel ``i`` of every group goes to output channel ``i`` of that group, as far as both exist,
    by a 1 in the middle of the kernel.

    Parameters
    ----------
    tensor : Tensor, (out, in / groups, ...)
        Weight with one, two or three spatial dimensions.
    groups : int, default 1
        Groups of the convolution.

    Raises
    ------
    ValueError
        If the tensor has not 3 to 5 dimensions, or ``groups`` does not divide its first.
    """
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"[dirac_] expected 3 to 5 dimensions, got shape {shape}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"[dirac_] groups must divide {shape[0]} output channels, got {groups}")
    per_group = shape[0] // groups
    channel = _core.tensor([i % per_group for i in range(shape[0])], _core.dtype.int64)
    value = _indicator(channel.unsqueeze(1), shape[1])
    for size in shape[2:]:
        middle = _indicator(_core.full((), size // 2, _core.dtype.int64), size)
        value = value.unsqueeze(-1) * middle
    return tensor.copy_(value)


def _range(n: int) -> Tensor:
    return _core.arange(0, n, 1, _core.dtype.int64)


def _indicator(index: Tensor, n: int) -> Tensor:
    """1 where the last dimension's position equals the index, 0 elsewhere."""
    return _core.eq(index, _range(n)).float()


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw uniformly from [-a, a] with ``a = gain * sqrt(6 / (fan_in + fan_out))``.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    2010
    """
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out)) if fan_in + fan_out else 0.0
    return tensor.uniform_(-bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw normally with ``std = gain * sqrt(2 / (fan_in + fan_out))``.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    2010
    """
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    std = gain * math.sqrt(2.0 / (fan_in + fan_out)) if fan_in + fan_out else 0.0
    return tensor.normal_(0.0, std)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Draw uniformly from [-b, b] with ``b = gain * sqrt(3 / fan)``.

    Parameters
    ----------
    tensor : Tensor
        At least 2 dimensions.
    a : float, default 0.0
        Slope of the leaky ReLU that follows (for that nonlinearity only).
    mode : {"fan_in", "fan_out"}, default "fan_in"
        Whether the variance is kept in the forward or in the backward pass.
    nonlinearity : str, default "leaky_relu"
        Name for :func:`calculate_gain`.

    Raises
    ------
    ValueError
        For fewer than 2 dimensions, an unknown mode or nonlinearity.

    References
    ----------
    He et al., "Delving deep into rectifiers", 2015, https://arxiv.org/abs/1502.01852
    """
    std = _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    bound = math.sqrt(3.0) * std
    return tensor.uniform_(-bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Draw normally with ``std = gain / sqrt(fan)``; arguments as for :func:`kaiming_uniform_`.

    References
    ----------
    He et al., "Delving deep into rectifiers", 2015, https://arxiv.org/abs/1502.01852
    """
    return tensor.normal_(0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{op}] mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(op, tensor)[0 if mode == "fan_in" else 1]
    gain = calculate_gain(nonlinearity, a if nonlinearity == "leaky_relu" else None)
    return gain / math.sqrt(fan) if fan else 0.0


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw a matrix with orthonormal rows (or columns, whichever are fewer), times ``gain``.

    A tensor of more than 2 dimensions is treated as a matrix of its first dimension by all others.
    The distribution is uniform over all such matrices.

    Raises
    ------
    ValueError
        For fewer than 2 dimensions.

    Notes
    -----
    The polar factor of a normal matrix is uniformly distributed, as is the Q of its QR
    decomposition with positive diagonal. It needs products only, so it runs on the GEMM kernel:
    rows are taken in blocks, projected on the complement of the rows before, and made orthonormal
    by Newton-Schulz iteration.

    References
    ----------
    Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2013, https://arxiv.org/abs/1312.6120
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"[orthogonal_] expected at least 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    matrix = _orthonormal_rows(min(rows, columns), max(rows, columns))
    if rows > columns:
        matrix = matrix.transpose(0, 1)
    return tensor.copy_((gain * matrix).reshape(tuple(tensor.shape)))


_BLOCK_ROWS = (
    64  # of orthogonal_: wide enough for the GEMM kernel, narrow enough that a block converges fast
)


def _orthonormal_rows(n: int, size: int) -> Tensor:
    """(n, size) with n <= size."""
    done: Tensor | None = None
    while done is None or done.shape[0] < n:
        count = min(_BLOCK_ROWS, n - (done.shape[0] if done is not None else 0))
        block = _core.randn((count, size))
        for _ in range(2):  # the second pass removes what rounding left of the first
            if done is not None:
                block = block - block @ done.transpose(0, 1) @ done
            block = _polar_rows(block)
        done = block if done is None else _core.cat([done, block], 0)
    return done


def _polar_rows(x: Tensor) -> Tensor:
    """Give the nearest matrix with orthonormal rows, iterating x <- 1.5 x - 0.5 (x x^T) x."""
    identity = _indicator(_range(x.shape[0]).unsqueeze(1), x.shape[0])
    x = (
        x / _core.sum(_core.square(x)).sqrt()
    )  # all singular values at most 1: the iteration converges
    for _ in range(100):
        gram = x @ x.transpose(0, 1)
        error = _core.amax(_core.abs(gram - identity)).item()
        x = 1.5 * x - (0.5 * gram) @ x
        if error < 1e-3:  # squared by the step just made
            break
    return x


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Draw a matrix normally and set a fraction of every column to zero.

    Parameters
    ----------
    tensor : Tensor, (rows, columns)
        Matrix.
    sparsity : float
        Fraction of zeros in each column, rounded up, in [0, 1].
    std : float, default 0.01
        Standard deviation of the others.

    Raises
    ------
    ValueError
        If the tensor is not a matrix or ``sparsity`` is outside [0, 1].

    References
    ----------
    Martens, "Deep learning via Hessian-free optimization", 2010
    """
    if tensor.ndim != 2:
        raise ValueError(f"[sparse_] expected a matrix, got shape {tuple(tensor.shape)}")
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"[sparse_] sparsity must be in [0, 1], got {sparsity}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    tensor.normal_(0.0, std)
    if columns == 0 or zeros == 0:
        return tensor
    ranks = _core.stack([_core.randperm(rows) for _ in range(columns)], 1)
    return tensor.copy_(tensor.detach().masked_fill(ranks < zeros, 0.0))
