# SPDX-License-Identifier: BSD-3-Clause
"""Seeing every call of a module, however it is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from nervure.nn.module import Module

# Called instead of a forward: the module, its own forward, and the arguments of the call.
Around = Callable[[Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@contextmanager
def watched(modules: Iterable[Module], around: Around) -> Iterator[None]:
    """Route ``module(x)`` and ``module.forward(x)`` of these modules through ``around``.

    A forward hook alone would miss the second: layers of nervure call each other's ``forward``.
    """
    routed: list[tuple[Module, Any]] = []
    handles = []
    try:
        for module in modules:
            own = vars(module).get("forward")
            routed.append((module, own))
            vars(module)["forward"] = functools.partial(_route, around, module, module.forward)
            # A module with a hook is called by way of its attribute `forward`.
            handles.append(module.register_forward_hook(_nothing))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, own in routed:
            vars(module).pop("forward", None)
            if own is not None:
                vars(module)["forward"] = own


def _route(
    around: Around, module: Module, forward: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    return around(module, forward, args, kwargs)


def _nothing(module: Module, args: tuple[Any, ...], output: Any) -> None:
    """A hook that leaves the output as it is."""


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode; each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
