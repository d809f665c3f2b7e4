# SPDX-License-Identifier: BSD-3-Clause
"""Function: an operation of the user's own, written with NumPy."""

from __future__ import annotations

from typing import Any

from nervure import _core


class FunctionContext:
    """What ``forward`` leaves for ``backward``: any attribute may be set on it."""

    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *arrays: Any) -> None:
        """Keep arrays; ``backward`` finds them in ``saved_tensors``."""
        self.saved_tensors = arrays

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"[Function] forward() has set no ctx.{name}")


class Function:
    """Base class of operations with a gradient of the user's own, on NumPy arrays.

    A subclass defines two static methods and is called by ``apply``:

    ``forward(ctx, *arrays)``
        gets the arguments of ``apply``, tensors as float32 arrays that share their memory (do not
        write to them), and returns an array or a tuple of arrays.
    ``backward(ctx, *gradients)``
        gets one read-only array for each output and returns one gradient for each argument of
        ``forward``; None where there is nothing to differentiate.

    Raises
    ------
    ValueError
        If ``backward`` returns the wrong number of gradients or a gradient of the wrong shape.

    Examples
    --------
    >>> import nervure as nv
    >>> class Cube(nv.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.x = x
    ...         return x**3
    ...
    ...     @staticmethod
    ...     def backward(ctx, dy):
    ...         return 3 * ctx.x**2 * dy
    >>> x = nv.tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.item()
    12.0
    """

    @staticmethod
    def forward(ctx: FunctionContext, *arrays: Any) -> Any:
        """Compute the outputs from arrays; defined by the subclass."""
        raise NotImplementedError("[Function] a subclass must define forward(ctx, *arrays)")

    @staticmethod
    def backward(ctx: FunctionContext, *gradients: Any) -> Any:
        """Compute gradients of the arguments from those of the outputs; for the subclass."""
        raise NotImplementedError("[Function] a subclass must define backward(ctx, *gradients)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` and record ``backward``; gives a Tensor, or a tuple of them."""
        return _core.apply_function(cls, FunctionContext(), *args)
