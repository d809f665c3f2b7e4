# SPDX-License-Identifier: BSD-3-Clause
"""What is minimised: the loss, its weights, and penalties on weights."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core, nn
from nervure._core import Tensor
from nervure._numbers import plain
from nervure.nn import functional as F

LOSSES: dict[str, type[nn.Module]] = {
    "bce": nn.BCELoss,
    "bce_with_logits": nn.BCEWithLogitsLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "huber": nn.HuberLoss,
    "kl_div": nn.KLDivLoss,
    "l1": nn.L1Loss,
    "mae": nn.L1Loss,
    "mse": nn.MSELoss,
    "nll": nn.NLLLoss,
    "smooth_l1": nn.SmoothL1Loss,
}

# What the outputs of a model are when this is its loss.
_KINDS: dict[Any, str] = {
    nn.CrossEntropyLoss: "logits",
    F.cross_entropy: "logits",
    nn.NLLLoss: "log_probabilities",
    F.nll_loss: "log_probabilities",
    nn.BCEWithLogitsLoss: "binary_logits",
    F.binary_cross_entropy_with_logits: "binary_logits",
    nn.BCELoss: "binary_probabilities",
    F.binary_cross_entropy: "binary_probabilities",
}


def resolve_loss(loss: Any) -> Any:
    """Give the loss of this name, or the loss itself.

    Raises
    ------
    ValueError
        For a name that no loss has.
    TypeError
        For what cannot be called.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(
                f"[Trainer] loss must be one of {', '.join(sorted(LOSSES))}, got {loss!r}"
            )
        return LOSSES[loss]()
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"[Trainer] loss must be a name or callable, got {described(loss)}")
    return loss


def described(value: Any) -> str:
    """The type of a wrong argument; of a class that it is one, as its object may be meant."""
    if isinstance(value, type):
        return f"the class {value.__name__} (its object is {value.__name__}(...))"
    return type(value).__name__


def kind_of(loss: Any) -> str:
    """What outputs are: logits, log_probabilities, binary_logits, ... or just values."""
    for known, kind in _KINDS.items():
        if loss is known or (isinstance(known, type) and isinstance(loss, known)):
            return kind
    return "values"


class Objective:
    """The loss of a batch, with weights of samples and classes.

    With weights, ``sum_i w_i l_i / N`` over the N samples of the batch, as in Keras, where ``l_i``
    is the loss of sample i (its mean, when it has one per step or pixel); without, the loss itself.
    """

    def __init__(self, loss: Any, class_dim: int) -> None:
        self.loss = resolve_loss(loss)
        self.kind = kind_of(self.loss)
        self.takes_classes = self.kind in ("logits", "log_probabilities")
        self.class_dim = class_dim
        self.ignore_index: int | None = getattr(self.loss, "ignore_index", None)
        if self.ignore_index is None and self.takes_classes:
            self.ignore_index = -100
        self.reduction: str = getattr(self.loss, "reduction", "mean")
        if self.reduction == "none":
            raise ValueError("[Trainer] the loss must have a reduction, got reduction='none'")
        self._single: Callable[[Tensor, Tensor], Tensor] | None = None
        self._fits = self.takes_classes and class_dim == 1  # outputs and targets as they are

    def __call__(self, output: Any, y: Any, weight: Tensor | None) -> Tensor:
        """Loss of a batch, a 0-d tensor."""
        if not self._fits:
            output, y = self.fitted(output, y)
        if weight is None:
            loss = self.loss(output, y)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise ValueError(f"[Trainer] the loss must give one number, got {got}")
            return loss
        return self._weighted(self._each(output, y), weight)

    def fitted(self, output: Any, y: Any) -> tuple[Any, Any]:
        """Outputs and targets in the shapes that the loss takes."""
        if not isinstance(output, Tensor) or not isinstance(y, Tensor):
            return output, y
        if self.takes_classes:
            if self.class_dim == -1 and output.ndim > 2:
                output = output.reshape(-1, output.shape[-1])
                y = y.reshape(-1) if y.dtype == _core.dtype.int64 else y.reshape(output.shape)
            return output, y
        if output.shape == (*y.shape, 1):  # one output per sample
            y = y.reshape(output.shape)
        if self.kind != "values" or isinstance(self.loss, nn.Module):
            y = y.float()
        return output, y

    def _each(self, output: Any, y: Any) -> Tensor:
        """Loss of every sample, step or pixel."""
        if self._single is None:
            self._single = _without_reduction(self.loss)
        return self._single(output, y)

    def _weighted(self, losses: Tensor, weight: Tensor) -> Tensor:
        """``losses`` (N, ...) and weights (N,), or one for each of the losses."""
        count = int(weight.shape[0])
        summed = self.reduction in ("sum", "batchmean")
        if losses.numel() == weight.numel():
            each = losses.reshape(-1) * weight.reshape(-1)
            share = 1.0 if summed else each.numel() / count
            total = each.sum() / share if share != 1.0 else each.sum()
        else:
            rows = losses.reshape(count, -1)
            of_sample = rows.sum(1) if summed else rows.mean(1)
            total = (of_sample * weight).sum()
        return total if self.reduction == "sum" else total / count


def _without_reduction(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        single = copy.copy(loss)
        single.reduction = "none"
        return single
    try:
        names = inspect.signature(loss).parameters
    except (TypeError, ValueError):
        names = {}  # type: ignore[assignment]
    if "reduction" in names:
        return functools.partial(loss, reduction="none")
    raise ValueError(
        "[Trainer] sample_weight and class_weight need the loss of each sample: give a loss of "
        "nervure.nn, or a function that takes reduction='none'"
    )


# ---- weights of classes --------------------------------------------------------------------------


class ClassWeights:
    """Weights of samples by their class."""

    def __init__(self, weights: Mapping[Any, float]) -> None:
        if not weights:
            raise ValueError("[Trainer] class_weight must not be empty")
        for label, value in weights.items():
            if not np.isfinite(value) or value < 0:
                raise ValueError(
                    f"[Trainer] class_weight must be finite and not negative, got {value} for "
                    f"{label!r}"
                )
        labels = sorted(int(label) for label in weights)
        self._labels = np.array(labels, np.int64)
        self._values = np.array([weights[label] for label in labels], np.float32)

    @classmethod
    def balanced(cls, y: NDArray[Any]) -> ClassWeights:
        """``samples / (classes * samples of the class)``, as in scikit-learn."""
        labels, counts = np.unique(class_numbers(y), return_counts=True)
        if not len(labels):
            raise ValueError("[Trainer] class_weight='balanced' needs labels, got none")
        weights = counts.sum() / (len(labels) * counts)
        return cls(dict(zip(labels.tolist(), weights.tolist(), strict=True)))

    def __call__(self, y: Tensor, weight: Tensor | None) -> Tensor:
        """Weight of each target, times that of its sample; a class not named weighs 1."""
        numbers = class_numbers(y.numpy())
        at = np.minimum(np.searchsorted(self._labels, numbers), len(self._labels) - 1)
        found = np.where(self._labels[at] == numbers, self._values[at], np.float32(1))
        if weight is not None:
            own = weight.numpy().astype(np.float32)
            found = found * own.reshape(own.shape + (1,) * (found.ndim - own.ndim))
        return _core.tensor(found)


def class_numbers(y: NDArray[Any]) -> NDArray[np.int64]:
    """Class of each target: of numbers, of ``(N, 1)`` columns, or of rows of probabilities."""
    if y.dtype.kind == "f" and y.ndim > 1 and y.shape[-1] > 1:
        return np.asarray(y.argmax(axis=-1), np.int64)
    if y.ndim > 1 and y.shape[-1] == 1:
        y = y[..., 0]
    numbers = y.astype(np.int64)
    if y.dtype.kind == "f" and not np.array_equal(numbers, y):
        raise ValueError("[Trainer] class_weight needs targets that are class numbers")
    return numbers


# ---- penalties -----------------------------------------------------------------------------------


class Penalty:
    """``sum l1 |w| + l2 w^2`` over chosen parameters."""

    def __init__(self, model: nn.Module, l1: Any, l2: Any) -> None:
        self._terms: list[tuple[Tensor, float, float]] = []
        chosen: dict[str, list[float]] = {}
        for place, (name, setting) in enumerate((("l1", l1), ("l2", l2))):
            for parameter, factor in _factors(model, name, setting).items():
                chosen.setdefault(parameter, [0.0, 0.0])[place] = factor
        parameters = dict(model.named_parameters())
        for name, (first, second) in chosen.items():
            if first or second:
                self._terms.append((parameters[name], first, second))

    def __bool__(self) -> bool:
        return bool(self._terms)

    def __call__(self) -> Tensor:
        """Sum of all, a 0-d tensor."""
        total: Tensor | None = None
        for parameter, l1, l2 in self._terms:
            for factor, term in ((l1, parameter.abs), (l2, parameter.square)):
                if factor:
                    value = term().sum() * factor
                    total = value if total is None else total + value
        assert total is not None
        return total


def _factors(model: nn.Module, what: str, setting: Any) -> dict[str, float]:
    """Factor by name of parameter. A number, or the name of a module, means its weights."""
    if setting is None:
        return {}
    names = [name for name, _ in model.named_parameters()]
    weights = {name for name, p in model.named_parameters() if p.ndim > 1}
    if not isinstance(setting, Mapping):
        return dict.fromkeys(sorted(weights), _factor(what, setting))
    modules = {name for name, _ in model.named_modules()}
    found: dict[str, float] = {}
    # Longer names last: what is said of a layer beats what is said of the block around it.
    for key in sorted(setting, key=len):
        if key in names:
            found[key] = _factor(what, setting[key])
        elif key in modules:
            inside = [n for n in names if n in weights and (not key or n.startswith(f"{key}."))]
            found.update(dict.fromkeys(inside, _factor(what, setting[key])))
        else:
            raise ValueError(
                f"[Trainer] {what}: the model has no module or parameter {key!r}, it has "
                f"{', '.join(names)}"
            )
    return found


def _factor(what: str, value: Any) -> float:
    value = plain(value)
    if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"[Trainer] {what} must be finite and not negative, got {value!r}")
    return float(value)
