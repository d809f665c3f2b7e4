# SPDX-License-Identifier: BSD-3-Clause
"""What a trainer and its ``fit`` are told, checked and made into what they work with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import nn, optim
from nervure._core import Tensor
from nervure._numbers import plain
from nervure.callbacks.base import Callback
from nervure.callbacks.progress import ProgressBar
from nervure.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from nervure.train._feed import Feed
from nervure.train._objective import ClassWeights, described


class Default(float):
    """A default that gives way to an option that excludes it."""


CLIP_VALUE = Default(5.0)

_OPTIMIZERS = ("adagrad", "adam", "adamw", "nadam", "rmsprop", "sgd")


def check_settings(
    clip_norm: Any,
    clip_value: Any,
    accumulation_steps: Any,
    scheduler: Any,
    scheduler_step: str,
    tbptt: Any,
    class_dim: int,
) -> None:
    """Refuse settings of a trainer that are impossible or exclude each other."""
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if value is not None and not value > 0:
            raise ValueError(f"[Trainer] {name} must be positive, got {value}")
    if clip_norm is not None and clip_value is not None and not isinstance(clip_value, Default):
        raise ValueError("[Trainer] clip_norm and clip_value exclude each other")
    for name, value in (("accumulation_steps", accumulation_steps), ("tbptt", tbptt)):
        count = plain(value)
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ValueError(f"[Trainer] {name} must be a positive integer, got {value!r}")
    if tbptt is not None and accumulation_steps != 1:
        raise ValueError("[Trainer] tbptt and accumulation_steps exclude each other")
    if scheduler is not None and not isinstance(scheduler, LRScheduler):
        raise TypeError(f"[Trainer] scheduler must be an LRScheduler, got {described(scheduler)}")
    if scheduler_step not in ("epoch", "step"):
        raise ValueError(
            f"[Trainer] scheduler_step must be 'epoch' or 'step', got {scheduler_step!r}"
        )
    if scheduler_step == "step" and isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError("[Trainer] ReduceLROnPlateau goes by epochs: scheduler_step='epoch'")
    if class_dim not in (1, -1):
        raise ValueError(f"[Trainer] class_dim must be 1 or -1, got {class_dim}")


def check_counts(**counts: Any) -> None:
    """Refuse what is no integer from 1 on (``initial_epoch``: from 0 on)."""
    for name, value in counts.items():
        least = 0 if name == "initial_epoch" else 1
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"[Trainer] {name} must be an integer from {least} on, got {value!r}")


def resolve_optimizer(model: nn.Module, optimizer: Any) -> optim.Optimizer:
    """Give the optimiser of this name, of all parameters, or the optimiser itself."""
    if isinstance(optimizer, str):
        if optimizer.lower() not in _OPTIMIZERS:
            raise ValueError(
                f"[Trainer] optimizer must be one of {', '.join(_OPTIMIZERS)}, got {optimizer!r}"
            )
        kinds = {name.lower(): getattr(optim, name) for name in optim.__all__}
        made: optim.Optimizer = kinds[optimizer.lower()](model.parameters())
        return made
    if not isinstance(optimizer, optim.Optimizer):
        raise TypeError(
            f"[Trainer] optimizer must be an Optimizer or a name, got {described(optimizer)}"
        )
    return optimizer


def as_list(callbacks: Any) -> list[Callback]:
    """Give the callbacks as a list of their own."""
    if callbacks is None:
        return []
    found = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(f"[Trainer] callbacks must be Callbacks, got {described(callback)}")
    return found


def with_progress(callbacks: Iterable[Callback] | Callback | None, verbose: int) -> list[Callback]:
    """Give the callbacks, and a progress bar if it is wanted and not there."""
    found = as_list(callbacks)
    if verbose and not any(isinstance(callback, ProgressBar) for callback in found):
        found.append(ProgressBar(verbose))
    return found


def resolve_class_weights(setting: Any, feed: Feed, y: Any) -> ClassWeights | None:
    """Make weights of what ``class_weight`` says; "balanced" looks at all labels."""
    if setting is None:
        return None
    if isinstance(setting, Mapping):
        return ClassWeights(setting)
    if setting != "balanced":
        raise ValueError(f"[Trainer] class_weight must be a dict or 'balanced', got {setting!r}")
    labels = labels_of(feed.dataset) if y is None else y
    if labels is None or isinstance(labels, (tuple, dict)):
        raise ValueError(
            "[Trainer] class_weight='balanced' needs all labels beforehand: give arrays or a data "
            "set with y, or a dict of weights"
        )
    return ClassWeights.balanced(labels.numpy() if isinstance(labels, Tensor) else labels)


def labels_of(dataset: Any) -> NDArray[Any] | None:
    """All labels of a data set, or None where they are not known beforehand."""
    if hasattr(dataset, "indices"):  # part of another one
        labels = labels_of(dataset.dataset)
        return None if labels is None else labels[dataset.indices]
    labels = getattr(dataset, "y", None)
    if labels is None or isinstance(labels, (tuple, dict)):
        return None
    if isinstance(labels, list):  # per step
        labels = np.concatenate([np.asarray(part) for part in labels])
    return np.asarray(labels)
