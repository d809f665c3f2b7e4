# SPDX-License-Identifier: BSD-3-Clause
"""The dense layer."""

from __future__ import annotations

import math
from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure.nn import init
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter

FUSED_ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "gelu_tanh",
    "silu",
    "tanh",
    "sigmoid",
    "softplus",
    "hardtanh",
)


class Linear(Module):
    """Dense layer: ``y = activation(x W^T + b)``.

    Parameters
    ----------
    in_features, out_features : int
        Size of the last dimension of input and output.
    bias : bool, default True
        Whether to add a bias.
    activation : str, optional
        An activation computed together with the product, which saves one pass over the output:
        ``"relu"``, ``"leaky_relu"``, ``"elu"``, ``"gelu"``, ``"gelu_tanh"``, ``"silu"``,
        ``"tanh"``, ``"sigmoid"``, ``"softplus"`` or ``"hardtanh"``, with the default settings of
        the module of that name. The result equals ``nn.Linear`` followed by that module.

    Attributes
    ----------
    weight : Parameter, (out_features, in_features)
        In memory it lies as [in, out]: the product then reads it row by row.
    bias : Parameter, (out_features,), or None

    Raises
    ------
    ValueError
        For a negative size or an unknown activation.
    TypeError
        If a size is not an integer.

    Notes
    -----
    Shapes: ``x`` is ``(..., in_features)``, ``y`` is ``(..., out_features)``.

    Initialisation is PyTorch's: weight and bias uniform in ``(-k, k)`` with ``k = 1 /
    sqrt(in_features)``, the weight through ``kaiming_uniform_(a=sqrt(5))`` [1]_.

    References
    ----------
    .. [1] He et al., "Delving deep into rectifiers", 2015, https://arxiv.org/abs/1502.01852
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        in_features, out_features = index(in_features), index(out_features)
        if in_features < 0 or out_features < 0:
            raise ValueError(
                f"[Linear] sizes must not be negative, got in_features = {in_features}, "
                f"out_features = {out_features}"
            )
        if activation is not None and activation not in FUSED_ACTIVATIONS:
            raise ValueError(
                f"[Linear] activation must be None or one of {', '.join(FUSED_ACTIVATIONS)}, "
                f"got {activation!r}"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.activation = activation or ""
        self.weight = Parameter(_core.empty((out_features, in_features), (1, 0)))
        self.bias = Parameter(_core.empty((out_features,))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features) if self.in_features > 0 else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        return _core.linear(x, self.weight, self.bias, self.activation)

    def extra_repr(self) -> str:
        """Sizes, whether there is a bias, and the activation if there is one."""
        text = (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
        return f"{text}, activation={self.activation!r}" if self.activation else text
