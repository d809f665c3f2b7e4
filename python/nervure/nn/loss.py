# SPDX-License-Identifier: BSD-3-Clause
"""Losses as modules.

``reduction`` is ``"mean"`` (default), ``"sum"`` or ``"none"``. With the last the shape is that of
the target, or of the input for elementwise losses; with the others the result is a 0-d tensor.
"""

from __future__ import annotations

from nervure import _core
from nervure._core import Tensor
from nervure.nn.module import Module


class _Loss(Module):
    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str) -> None:
        super().__init__()
        if reduction not in self.reductions:
            raise ValueError(
                f"[{type(self).__name__}] reduction must be one of {', '.join(self.reductions)}, "
                f"got {reduction!r}"
            )
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """Softmax and negative log likelihood in one pass: ``l_n = -w_y log softmax(x_n)_y``.

    Parameters
    ----------
    weight : Tensor, (C,), optional
        Weight of each class.
    ignore_index : int, default -100
        Target value that contributes neither to the loss nor to the gradient.
    reduction : {"mean", "sum", "none"}, default "mean"
        ``"mean"`` divides by the sum of the targets' weights.
    label_smoothing : float, default 0.0
        Share of the target that is spread evenly over all classes, in [0, 1].

    Raises
    ------
    ValueError
        For an unknown reduction, a smoothing outside [0, 1], or shapes that do not fit.
    IndexError
        For a class index outside [0, C) that is not ``ignore_index``.

    Notes
    -----
    Shapes: input ``(N, C, ...)`` logits; target ``(N, ...)`` class indices (int64) or ``(N, C,
    ...)`` probabilities.

    References
    ----------
    Label smoothing: Szegedy et al., "Rethinking the inception architecture for computer vision",
    2015, https://arxiv.org/abs/1512.00567
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(
                f"[CrossEntropyLoss] label_smoothing must be in [0, 1], got {label_smoothing}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits with classes or probabilities."""
        return _core.cross_entropy(
            input, target, self.weight, self.ignore_index, self.label_smoothing, self.reduction
        )


class NLLLoss(_Loss):
    """Negative log likelihood: ``l_n = -w_y x_{n,y}`` of log-probabilities ``x``.

    Parameters
    ----------
    weight : Tensor, (C,), optional
        Weight of each class.
    ignore_index : int, default -100
        Target value that contributes neither to the loss nor to the gradient.
    reduction : {"mean", "sum", "none"}, default "mean"
        ``"mean"`` divides by the sum of the targets' weights.

    Raises
    ------
    ValueError
        For an unknown reduction or shapes that do not fit.
    IndexError
        For a class index outside [0, C) that is not ``ignore_index``.

    Notes
    -----
    Shapes: input ``(N, C, ...)`` log-probabilities; target ``(N, ...)`` class indices (int64).
    """

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare log-probabilities with classes."""
        return _core.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities.

    ``l = -w (y log x + (1 - y) log(1 - x))``, logarithms cut at -100.

    Parameters
    ----------
    weight : Tensor, optional
        Factor of each element; broadcast to the input.
    reduction : {"mean", "sum", "none"}, default "mean"
        How elements are combined.

    Raises
    ------
    ValueError
        For an unknown reduction or shapes that do not fit.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare probabilities with targets in [0, 1] of the same shape."""
        return _core.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Sigmoid and binary cross-entropy in one, without overflow.

    ``l = -w (p y log s(x) + (1 - y) log(1 - s(x)))`` with ``s(x) = 1 / (1 + exp(-x))``.

    Parameters
    ----------
    weight : Tensor, optional
        Factor ``w`` of each element; broadcast to the input.
    reduction : {"mean", "sum", "none"}, default "mean"
        How elements are combined.
    pos_weight : Tensor, optional
        Factor ``p`` of positive targets; broadcast to the input.

    Raises
    ------
    ValueError
        For an unknown reduction or shapes that do not fit.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits with targets in [0, 1] of the same shape."""
        return _core.binary_cross_entropy_with_logits(
            input, target, self.weight, self.pos_weight, self.reduction
        )


class MSELoss(_Loss):
    """Squared error: ``l = (x - y)^2``.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        How elements are combined.

    Raises
    ------
    ValueError
        For an unknown reduction or different shapes.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare two tensors of the same shape."""
        return _core.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """Absolute error: ``l = |x - y|``; the gradient at equality is 0.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        How elements are combined.

    Raises
    ------
    ValueError
        For an unknown reduction or different shapes.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare two tensors of the same shape."""
        return _core.l1_loss(input, target, self.reduction)


class HuberLoss(_Loss):
    """Squared error near 0, absolute error beyond.

    ``l = d^2 / 2`` for ``|d| <= delta``, ``delta (|d| - delta / 2)`` otherwise, with
    ``d = x - y``.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        How elements are combined.
    delta : float, default 1.0
        Where the parabola becomes a line; positive.

    Raises
    ------
    ValueError
        For an unknown reduction, ``delta <= 0`` or different shapes.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0.0:
            raise ValueError(f"[HuberLoss] delta must be positive, got {delta}")
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare two tensors of the same shape."""
        return _core.huber_loss(input, target, self.delta, self.reduction)


class SmoothL1Loss(_Loss):
    """Absolute error with a rounded corner.

    ``l = d^2 / (2 beta)`` for ``|d| < beta``, ``|d| - beta / 2`` otherwise, with ``d = x - y``.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        How elements are combined.
    beta : float, default 1.0
        Where the parabola becomes a line; 0 gives the absolute error.

    Raises
    ------
    ValueError
        For an unknown reduction, ``beta < 0`` or different shapes.

    References
    ----------
    Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0.0:
            raise ValueError(f"[SmoothL1Loss] beta must not be negative, got {beta}")
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare two tensors of the same shape."""
        return _core.smooth_l1_loss(input, target, self.beta, self.reduction)


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence of log-probabilities ``x`` and probabilities ``y``.

    ``l = y (log y - x)``, 0 where ``y = 0``.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}, default "mean"
        ``"batchmean"`` divides the sum by the size of the first dimension, which is the
        mathematical definition.
    log_target : bool, default False
        Whether the target holds log-probabilities too.

    Raises
    ------
    ValueError
        For an unknown reduction or different shapes.
    """

    reductions: tuple[str, ...] = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", *, log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare log-probabilities with (log-)probabilities of the same shape."""
        return _core.kl_div(input, target, self.log_target, self.reduction)
