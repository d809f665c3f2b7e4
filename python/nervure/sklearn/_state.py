# SPDX-License-Identifier: BSD-3-Clause
"""Pickling of what holds tensors, which do not pickle by themselves."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from nervure import _core
from nervure._core import Tensor
from nervure.nn import Module, Parameter
from nervure.optim.optimizer import Optimizer


def _tensor(values: np.ndarray[Any, Any], order: tuple[int, ...], grad: bool) -> Tensor:
    if values.dtype != np.float32:
        return _core.tensor(values)
    tensor = _core.empty(values.shape, order)
    _core.copy_(tensor, _core.tensor(values))
    tensor.requires_grad = grad
    return tensor


def _parameter(values: np.ndarray[Any, Any], order: tuple[int, ...], grad: bool) -> Parameter:
    return Parameter(_tensor(values, order, False), grad)


class _Pickler(pickle.Pickler):
    """Tensors as arrays, in their memory order; one that is held twice stays one."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            make = _parameter if isinstance(value, Parameter) else _tensor
            values = np.ascontiguousarray(value.detach().numpy()).reshape(value.shape)
            return make, (values, tuple(value.order), value.requires_grad)
        return NotImplemented


class Frozen:
    """Values as bytes."""

    def __init__(self, values: dict[str, Any]) -> None:
        for value in values.values():
            if isinstance(value, Optimizer):
                value._forget_plans()  # lists of addresses, made anew for the next step
        file = io.BytesIO()
        _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(values)
        self._bytes = file.getvalue()

    def thaw(self) -> dict[str, Any]:
        """Give the values back."""
        values: dict[str, Any] = pickle.loads(self._bytes)
        return values


def freeze(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an estimator with everything that holds tensors as bytes."""
    held = {k: v for k, v in state.items() if isinstance(v, (Module, Optimizer))}
    if not held:
        return state
    rest = {k: v for k, v in state.items() if k not in held}
    return {**rest, "_frozen": Frozen(held)}


def thaw(state: dict[str, Any]) -> dict[str, Any]:
    """The state that :func:`freeze` had."""
    state = dict(state)
    frozen = state.pop("_frozen", None)
    return state if frozen is None else {**state, **frozen.thaw()}
