# SPDX-License-Identifier: BSD-3-Clause
"""Rows of optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .table import name_of


@dataclass(frozen=True)
class StepCase:
    """One optimiser with one set of options.

    ``op`` is the function of ``nervure._core`` and of the reference, ``states`` how many arrays of
    state it has, ``options`` those that stay the same from step to step. ``torch`` makes the
    PyTorch optimiser from the module and the parameters; None where it has no equivalent.
    """

    name: str
    op: str
    states: int
    options: Mapping[str, Any]
    torch: Callable[..., Any] | None = None

    def used(self) -> tuple[bool, ...]:
        """Which of the states these options need; the kernel takes an empty list for the others."""
        if self.op == "sgd_step":
            return (bool(self.options["momentum"]),)
        if self.op == "rmsprop_step":
            return (True, bool(self.options["momentum"]), bool(self.options["centered"]))
        if self.op == "adam_step":
            return (True, True, bool(self.options["amsgrad"]))
        return (True,) * self.states

    def changing(self, step: int) -> dict[str, Any]:
        """The options that depend on the step, which counts from 1."""
        if self.op == "sgd_step":
            return {"first_step": step == 1}
        if self.op == "rmsprop_step":
            return {}
        if self.op != "nadam_step":
            return {"step": step}
        beta1, decay = self.options["beta1"], self.options["momentum_decay"]
        mu = [beta1 * (1.0 - 0.5 * 0.96 ** (t * decay)) for t in range(1, step)]
        return {"step": step, "mu_product": math.prod(mu)}


_STEP_DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd_step": {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False},
    "rmsprop_step": {
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
    },
    "adagrad_step": {"lr_decay": 0.0, "weight_decay": 0.0, "eps": 1e-10},
    "adam_step": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
        "amsgrad": False,
    },
    "nadam_step": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
    },
}

_STEP_CHOICES: dict[str, tuple[dict[str, Any], ...]] = {
    "sgd_step": (
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "maximize": True},
        {"l1": 0.5},
        {"momentum": 0.9, "l1": 0.5},
    ),
    "rmsprop_step": (
        {},
        {"alpha": 0.9, "eps": 1e-3},
        {"centered": True},
        {"momentum": 0.9},
        {"centered": True, "momentum": 0.9, "weight_decay": 0.1},
        {"maximize": True},
        {"l1": 0.5},
    ),
    "adagrad_step": (
        {},
        {"lr_decay": 0.1},
        {"weight_decay": 0.1, "eps": 1e-3},
        {"maximize": True},
        {"l1": 0.5},
    ),
    "adam_step": (
        {},
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"amsgrad": True},
        {"amsgrad": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"maximize": True},
        {"l1": 0.5},
    ),
    "nadam_step": (
        {},
        {"momentum_decay": 0.1},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"maximize": True},
        {"l1": 0.5},
    ),
}

_STEP_STATES = {
    "sgd_step": 1,
    "rmsprop_step": 3,
    "adagrad_step": 1,
    "adam_step": 3,
    "nadam_step": 2,
}


def _torch_optimizer(op: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    def make(torch: Any, parameters: Any) -> Any:
        kwargs = {k: v for k, v in options.items() if k != "l1"}
        decoupled = kwargs.pop("decoupled_weight_decay", False)
        if "beta1" in kwargs:
            kwargs["betas"] = (kwargs.pop("beta1"), kwargs.pop("beta2"))
        name = {
            "sgd_step": "SGD",
            "rmsprop_step": "RMSprop",
            "adagrad_step": "Adagrad",
            "adam_step": "AdamW" if decoupled else "Adam",
            "nadam_step": "NAdam",
        }[op]
        if name == "NAdam":
            kwargs["decoupled_weight_decay"] = decoupled
        return getattr(torch.optim, name)(parameters, **kwargs)

    return make


def rows() -> list[StepCase]:
    """Every row of this file."""
    rows = []
    for op, choices in _STEP_CHOICES.items():
        for choice in choices:
            base = {"lr": 0.03, "l1": 0.0, "maximize": False}
            options = {**base, **_STEP_DEFAULTS[op], **choice}
            torch = None if options["l1"] else _torch_optimizer(op, options)
            rows.append(StepCase(name_of(op, **choice), op, _STEP_STATES[op], options, torch))
    return rows
