# SPDX-License-Identifier: BSD-3-Clause
"""Parameter: the tensor that a module owns and an optimiser updates."""

from __future__ import annotations

from nervure._core import Tensor


class Parameter(Tensor):
    """A tensor that is a parameter of the module it is assigned to.

    Parameters
    ----------
    data : Tensor or array-like
        Values. A tensor is not copied: the parameter shares its storage and keeps its memory order.
    requires_grad : bool, default True
        Whether ``backward()`` computes its gradient.
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        super().__init__(data)
        self.requires_grad = requires_grad

    def __deepcopy__(self, memo: dict[int, object]) -> Parameter:
        return Parameter(self.detach().clone(), self.requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
