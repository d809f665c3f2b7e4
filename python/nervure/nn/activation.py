# SPDX-License-Identifier: BSD-3-Clause
"""Activations as modules. Each keeps the shape of its input; none works in place."""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor
from nervure.nn.module import Module


class ReLU(Module):
    """``y = max(x, 0)``; the gradient at 0 is 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.relu(x)


class LeakyReLU(Module):
    """``y = x`` for ``x > 0``, ``negative_slope * x`` otherwise.

    Parameters
    ----------
    negative_slope : float, default 0.01
        Slope for negative inputs.

    References
    ----------
    Maas et al., "Rectifier nonlinearities improve neural network acoustic models", 2013
    """

    _settings = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """``y = x`` for ``x > 0``, ``alpha * (exp(x) - 1)`` otherwise.

    Parameters
    ----------
    alpha : float, default 1.0
        Minus the limit for large negative inputs.

    References
    ----------
    Clevert et al., "Fast and accurate deep network learning by exponential linear units", 2015,
    https://arxiv.org/abs/1511.07289
    """

    _settings = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.elu(x, self.alpha)


class GELU(Module):
    """``y = x * Phi(x)`` with the standard normal distribution function ``Phi``.

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        ``"tanh"``: ``y = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``.

    Raises
    ------
    ValueError
        For any other ``approximate``.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016, https://arxiv.org/abs/1606.08415
    """

    _settings = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"[GELU] approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.gelu(x, self.approximate)


class SiLU(Module):
    """``y = x / (1 + exp(-x))``, also called swish.

    References
    ----------
    Elfwing et al., "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2017, https://arxiv.org/abs/1702.03118
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.silu(x)


class Tanh(Module):
    """``y = tanh(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.tanh(x)


class Sigmoid(Module):
    """``y = 1 / (1 + exp(-x))``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.sigmoid(x)


class Softplus(Module):
    """``y = log(1 + exp(beta * x)) / beta``; ``y = x`` where ``beta * x > threshold``.

    Parameters
    ----------
    beta : float, default 1.0
        Sharpness.
    threshold : float, default 20.0
        Where the function becomes the identity.
    """

    _settings = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.softplus(x, self.beta, self.threshold)


class Hardtanh(Module):
    """``y = min(max(x, min_val), max_val)``.

    Parameters
    ----------
    min_val, max_val : float, default -1.0 and 1.0
        Limits; ``min_val < max_val``.

    Raises
    ------
    ValueError
        If ``min_val`` is not below ``max_val``.
    """

    _settings = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(
                f"[Hardtanh] min_val must be below max_val, got {min_val} and {max_val}"
            )
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.hardtanh(x, self.min_val, self.max_val)


class Softmax(Module):
    """``y_i = exp(x_i) / sum_j exp(x_j)`` along one dimension.

    Parameters
    ----------
    dim : int
        The dimension that sums to 1. PyTorch's implicit choice, which depends on the rank, is not
        offered.
    """

    _settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.softmax(x, self.dim)


class LogSoftmax(Module):
    """``y_i = x_i - log(sum_j exp(x_j))`` along one dimension.

    Parameters
    ----------
    dim : int
        The dimension whose exponentials sum to 1. PyTorch's implicit choice is not offered.
    """

    _settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``x`` of any shape."""
        return _core.log_softmax(x, self.dim)
