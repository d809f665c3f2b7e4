# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from nervure import _core
from nervure._core import Tensor
from nervure.nn import init
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter


class _ChannelNorm(Module):
    """What batch and instance normalisation share: parameters and running averages."""

    # Whether a constant added to a whole channel before has no effect: nn.Sequential warns.
    _cancels_bias = True
    _ranks: tuple[int, ...]
    _shapes: str

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
    ) -> None:
        super().__init__()
        self.num_features = index(num_features)
        if self.num_features < 1:
            raise ValueError(
                f"[{type(self).__name__}] num_features must be at least 1, got {num_features}"
            )
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (self.num_features,)
        self.weight = Parameter(_core.empty(shape)) if affine else None
        self.bias = Parameter(_core.empty(shape)) if affine else None
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        tracked = track_running_stats
        self.register_buffer("running_mean", _core.full(shape, 0.0) if tracked else None)
        self.register_buffer("running_var", _core.full(shape, 1.0) if tracked else None)
        count = _core.full((), 0, _core.dtype.int64) if tracked else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.fill_(0.0)
            self.running_var.fill_(1.0)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.fill_(0)

    def reset_parameters(self) -> None:
        """Forget running averages; weight 1 and bias 0."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _check(self, x: Tensor) -> None:
        shape = tuple(x.shape)
        if len(shape) not in self._ranks:
            raise ValueError(f"[{type(self).__name__}] expected {self._shapes}, got {shape}")

    def extra_repr(self) -> str:
        """Sizes and settings."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


# ---- batch ---------------------------------------------------------------------------------------


class _BatchNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        activation: str | None = None,
    ) -> None:
        if activation not in (None, "relu"):
            raise ValueError(
                f'[{type(self).__name__}] activation must be None or "relu", got {activation!r}'
            )
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.activation = activation or ""

    def _count_batch(self) -> float:
        """Note one more batch; its share in the running averages."""
        count = self.num_batches_tracked
        if count is None:
            return 0.0 if self.momentum is None else self.momentum
        seen = int(count.item()) + 1
        count.fill_(seen)
        return 1.0 / seen if self.momentum is None else self.momentum

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``; in training mode also update the running averages."""
        self._check(x)
        tracks = self.training and self.track_running_stats
        momentum = self._count_batch() if tracks else 0.0
        own = self.training or self.running_mean is None
        mean, var = self.running_mean, self.running_var
        if own and not tracks:
            mean = var = None
        return _core.batch_norm(
            x, mean, var, self.weight, self.bias, own, momentum, self.eps, self.activation
        )

    def extra_repr(self) -> str:
        """Sizes, settings, and the activation if there is one."""
        text = super().extra_repr()
        return f"{text}, activation={self.activation!r}" if self.activation else text


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features or sequences, (N, C) or (N, C, L).

    See :class:`BatchNorm2d`, which does the same to images.

    Parameters
    ----------
    num_features : int
        C.
    eps, momentum, affine, track_running_stats, activation
        As for :class:`BatchNorm2d`.

    Raises
    ------
    ValueError
        As :class:`BatchNorm2d`.
    """

    _ranks = (2, 3)
    _shapes = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, (N, C, H, W).

    ``y = activation((x - mean) / sqrt(variance + eps) * weight + bias)``, mean and (biased)
    variance of each channel: those of the batch in training mode, running averages of them in
    evaluation mode.

    Parameters
    ----------
    num_features : int
        C.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float or None, default 0.1
        Share of a new batch in the running averages; None averages over all batches alike.
    affine : bool, default True
        Whether there are ``weight`` and ``bias``, at first 1 and 0.
    track_running_stats : bool, default True
        Whether to keep running averages; without them evaluation mode uses the batch too.
    activation : "relu", optional
        Computed in the same pass over the data, forward and backward; the result equals the layer
        followed by ``nn.ReLU``.

    Attributes
    ----------
    weight, bias : Parameter, (C,), or None
    running_mean, running_var : Tensor, (C,), or None
        Buffers; the variance is the unbiased estimate.
    num_batches_tracked : Tensor, 0-d int64, or None

    Raises
    ------
    ValueError
        For another number of dimensions or channels, another activation, or one value per channel
        in training mode.

    Notes
    -----
    A bias of the layer before has no effect: the mean that is subtracted contains it. Create that
    layer with ``bias=False``; ``nn.Sequential`` warns, once, when a bias feeds batch normalisation.

    Results lie channels-last in memory, as those of convolutions and pooling do.

    References
    ----------
    Ioffe, Szegedy, "Batch normalization", 2015, https://arxiv.org/abs/1502.03167
    """

    _ranks = (4,)
    _shapes = "(N, C, H, W)"


# ---- instance ------------------------------------------------------------------------------------


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``; in training mode also update running averages if there are any."""
        self._check(x)
        if x.ndim == self._ranks[0]:
            return _core.squeeze(self._normalize(_core.unsqueeze(x, 0)), 0)
        return self._normalize(x)

    def _normalize(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"[{type(self).__name__}] expected {self.num_features} channels, "
                f"got {tuple(x.shape)}"
            )
        own = self.training or self.running_mean is None
        return _core.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            own,
            self.momentum or 0.0,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each sequence by its own statistics: (N, C, L) or (C, L).

    Parameters
    ----------
    num_features : int
        C.
    eps, momentum, affine, track_running_stats
        As for :class:`InstanceNorm2d`.
    """

    _ranks = (2, 3)
    _shapes = "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each image by its own statistics: (N, C, H, W) or (C, H, W).

    ``y = (x - mean) / sqrt(variance + eps) * weight + bias``, with the biased variance.

    Parameters
    ----------
    num_features : int
        C.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float, default 0.1
        Share of a new batch in the running averages.
    affine : bool, default False
        Whether there are ``weight`` and ``bias``, at first 1 and 0.
    track_running_stats : bool, default False
        Whether to keep running averages of the statistics and use them in evaluation mode.

    Raises
    ------
    ValueError
        For another number of dimensions or channels, or one value per channel of an image.

    References
    ----------
    Ulyanov et al., "Instance normalization", 2016, https://arxiv.org/abs/1607.08022
    """

    _ranks = (3, 4)
    _shapes = "(N, C, H, W) or (C, H, W)"


# ---- group and layer -----------------------------------------------------------------------------


class GroupNorm(Module):
    """Normalise groups of channels of each image: (N, C) or (N, C, ...).

    ``y = (x - mean) / sqrt(variance + eps) * weight + bias``, mean and (biased) variance over the
    neighbouring channels of a group and all of space.

    Parameters
    ----------
    num_groups : int
        Number of groups; must divide ``num_channels``.
    num_channels : int
        C.
    eps : float, default 1e-5
        Added to the variance.
    affine : bool, default True
        Whether there are ``weight`` and ``bias``, (C,), at first 1 and 0.

    Raises
    ------
    ValueError
        If ``num_groups`` does not divide ``num_channels``, or the input has other channels.

    References
    ----------
    Wu, He, "Group normalization", 2018, https://arxiv.org/abs/1803.08494
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__()
        self.num_groups, self.num_channels = index(num_groups), index(num_channels)
        if self.num_groups < 1 or self.num_channels % self.num_groups != 0:
            raise ValueError(
                f"[GroupNorm] num_groups must divide num_channels, got {num_groups} and "
                f"{num_channels}"
            )
        self.eps = eps
        self.affine = affine
        self.weight = Parameter(_core.empty((self.num_channels,))) if affine else None
        self.bias = Parameter(_core.empty((self.num_channels,))) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"[GroupNorm] expected (N, {self.num_channels}, ...), got {tuple(x.shape)}"
            )
        return _core.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


def _normalized_shape(kind: str, value: int | Sequence[int]) -> tuple[int, ...]:
    shape = tuple(map(index, value)) if isinstance(value, Sequence) else (index(value),)
    if not shape or min(shape) < 0:
        raise ValueError(
            f"[{kind}] normalized_shape must have at least one size, none negative, got {value!r}"
        )
    return shape


class LayerNorm(Module):
    """Normalise over the last dimensions.

    ``y = (x - mean) / sqrt(variance + eps) * weight + bias``, mean and (biased) variance over the
    last ``len(normalized_shape)`` dimensions.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Sizes of these dimensions.
    eps : float, default 1e-5
        Added to the variance.
    elementwise_affine : bool, default True
        Whether there is a ``weight`` of this shape, at first 1.
    bias : bool, default True
        Whether there is a ``bias``, at first 0; only if ``elementwise_affine``.

    Raises
    ------
    ValueError
        If the last dimensions of the input have other sizes.

    References
    ----------
    Ba et al., "Layer normalization", 2016, https://arxiv.org/abs/1607.06450
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = _normalized_shape("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        self.weight = Parameter(_core.empty(shape)) if elementwise_affine else None
        self.bias = Parameter(_core.empty(shape)) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, (..., *normalized_shape)."""
        return _core.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class RMSNorm(Module):
    """Divide by the root of the mean square over the last dimensions.

    ``y = x / sqrt(mean(x^2) + eps) * weight``

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Sizes of these dimensions.
    eps : float, optional
        Added to the mean square; by default the machine epsilon of float32.
    elementwise_affine : bool, default True
        Whether there is a ``weight`` of this shape, at first 1.

    Raises
    ------
    ValueError
        If the last dimensions of the input have other sizes.

    References
    ----------
    Zhang, Sennrich, "Root mean square layer normalization", 2019, https://arxiv.org/abs/1910.07467
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = _normalized_shape("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = _core.empty(self.normalized_shape) if elementwise_affine else None
        self.weight = None if weight is None else Parameter(weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Divide ``x``, (..., *normalized_shape)."""
        return _core.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
