# SPDX-License-Identifier: BSD-3-Clause
"""no_grad: compute without recording."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from nervure import _core

P = ParamSpec("P")
R = TypeVar("R")

_IS_GENERATOR = 0x20  # inspect.CO_GENERATOR, without the cost of importing inspect


class no_grad:
    """Compute without recording gradients: a context manager and a decorator.

    It holds for the thread that enters it, and restores on exit what was set before.

    Raises
    ------
    TypeError
        When decorating a generator function, whose body would run after the block has ended.

    Examples
    --------
    >>> import nervure as nv
    >>> w = nv.tensor([2.0], requires_grad=True)
    >>> with nv.no_grad():
    ...     y = w * 3.0
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_core.grad_enabled())
        _core.set_grad_enabled(False)

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._before.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _IS_GENERATOR:
            raise TypeError(
                "[no_grad] cannot decorate a generator function; use the with statement inside it"
            )

        @functools.wraps(function)
        def without_grad(*args: P.args, **kwargs: P.kwargs) -> R:
            before = _core.grad_enabled()
            _core.set_grad_enabled(False)
            try:
                return function(*args, **kwargs)
            finally:
                _core.set_grad_enabled(before)

        return without_grad


def is_grad_enabled() -> bool:
    """Whether operations in this thread record gradients now."""
    return _core.grad_enabled()
