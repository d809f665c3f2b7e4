# SPDX-License-Identifier: BSD-3-Clause
"""Modules that hold modules, and the ones that only rearrange a tensor."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from nervure import _core
from nervure._core import Tensor
from nervure._numbers import plain
from nervure.nn.module import Module
from nervure.nn.parameter import Parameter

L = TypeVar("L", bound="_ModuleSequence")


class _ModuleSequence(Module):
    """What Sequential and ModuleList share: children that are also reached by position."""

    def _children_list(self) -> list[Module]:
        return [module for _, module in self._own_modules()]

    def _name_at(self, index: int) -> str:
        names = [name for name, _ in self._own_modules()]
        try:
            return names[index]
        except IndexError:
            raise IndexError(
                f"[{type(self).__name__}] index {index} is out of range for {len(names)} modules"
            ) from None

    def _replace_all(self, modules: Iterable[Module]) -> None:
        """Renumber: the children become exactly ``modules``, under the names 0, 1, 2, ..."""
        modules = list(modules)
        for module in modules:
            self._check_module(module)
        for name, _ in self._own_modules():
            delattr(self, name)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def _check_module(self, module: object) -> None:
        if not isinstance(module, Module):
            raise TypeError(
                f"[{type(self).__name__}] expected a Module, got {type(module).__name__}"
            )

    def __len__(self) -> int:
        return len(self._own_modules())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._children_list())

    @overload
    def __getitem__(self: L, index: int) -> Module: ...
    @overload
    def __getitem__(self: L, index: slice) -> L: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._like(self._own_modules()[index])
        return vars(self)[self._name_at(index)]

    def _like(self, named: list[tuple[str, Module]]) -> Module:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        self._check_module(module)
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = self._children_list()
        if not isinstance(index, slice):
            self._name_at(index)
        del modules[index]
        self._replace_all(modules)

    def append(self: L, module: Module) -> L:
        """Add a module at the end; returns the container."""
        self._check_module(module)
        self.add_module(str(len(self)), module)
        return self

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Add several modules at the end; returns the container."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: L, index: int, module: Module) -> L:
        """Put a module before position ``index`` and renumber; returns the container."""
        self._check_module(module)
        modules = self._children_list()
        modules.insert(index, module)
        self._replace_all(modules)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take out the module at position ``index``, renumber the others and return it."""
        module: Module = vars(self)[self._name_at(index)]
        del self[index]
        return module


_warned_of_bias = False


def warned_of_bias() -> bool:
    """Whether a Sequential has warned of a bias without effect."""
    return _warned_of_bias


def takes_back_bias(layer: Module, after: Module) -> bool:
    """Whether a layer has a bias and the module after it takes away its effect again."""
    if not getattr(after, "_cancels_bias", False):
        return False
    bias = vars(layer).get("bias")
    return isinstance(bias, Parameter) and not getattr(layer, "activation", "")


def _warn_of_bias(modules: Sequence[Module]) -> None:
    """Warn, once, of a bias whose effect the next module takes away again."""
    global _warned_of_bias
    for i, (layer, after) in enumerate(itertools.pairwise(modules)):
        if takes_back_bias(layer, after):
            _warned_of_bias = True
            warnings.warn(
                f"[Sequential] the bias of module {i} ({type(layer).__name__}) has no effect: "
                f"{type(after).__name__} subtracts it again with the mean; create the layer with "
                "bias=False",
                stacklevel=3,
            )
            return


class Sequential(_ModuleSequence):
    """Modules applied one after another: ``y = f_n(... f_2(f_1(x)))``.

    Parameters
    ----------
    *modules : Module, or one mapping of str to Module
        The chain. A mapping gives the modules names of their own instead of 0, 1, 2, ...

    Notes
    -----
    The modules run exactly as written; nothing is fused behind the reader's back. To fuse an
    activation with the product before it, say so: ``nn.Linear(64, 32, activation="relu")``.

    A layer with a bias right before batch or instance normalisation brings a warning, once: the
    mean that is subtracted there contains the bias.

    Examples
    --------
    >>> from nervure import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> len(model)
    3
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named: Iterable[tuple[str, Any]] = modules[0].items()
        else:
            named = ((str(i), module) for i, module in enumerate(modules))
        for name, module in named:
            self._check_module(module)
            self.add_module(name, module)

        if not _warned_of_bias:
            _warn_of_bias(self._children_list())

    def append(self: L, module: Module) -> L:
        """Add a module at the end; returns the container."""
        super().append(module)
        if not _warned_of_bias:
            _warn_of_bias(self._children_list()[-2:])
        return self

    def _like(self, named: list[tuple[str, Module]]) -> Module:
        return Sequential(dict(named))

    def forward(self, x: Any) -> Any:
        """Apply all modules in order; an empty chain gives its input."""
        for module in self.__dict__.values():
            if isinstance(module, Module):
                x = module(x)
        return x


class ModuleList(_ModuleSequence):
    """A list of modules whose parameters belong to the parent; it computes nothing itself.

    Parameters
    ----------
    modules : iterable of Module, optional
        First contents.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _like(self, named: list[tuple[str, Module]]) -> Module:
        return ModuleList(module for _, module in named)


class ModuleDict(Module):
    """A dictionary of modules whose parameters belong to the parent; it computes nothing itself.

    Parameters
    ----------
    modules : mapping of str to Module, or iterable of (str, Module), optional
        First contents, in order. A key must not contain a dot or name an attribute of the class
        (``"keys"``).
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        module = vars(self).get(key)
        if not isinstance(module, Module):
            raise KeyError(key)
        return module

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(
                f"[ModuleDict] expected a Module for {key!r}, got {type(module).__name__}"
            )
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]  # KeyError when absent
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._own_modules())

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._own_modules()])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and isinstance(vars(self).get(key), Module)

    def keys(self) -> Iterable[str]:
        """Give the names, in order."""
        return dict(self._own_modules()).keys()

    def values(self) -> Iterable[Module]:
        """Give the modules, in order."""
        return dict(self._own_modules()).values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Give names and modules, in order."""
        return dict(self._own_modules()).items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules, given as a mapping or as pairs."""
        for key, module in dict(modules).items():
            self[key] = module

    def pop(self, key: str) -> Module:
        """Take out the module of this name and return it."""
        module = self[key]
        delattr(self, key)
        return module

    def clear(self) -> None:
        """Take out all modules."""
        for name, _ in self._own_modules():
            delattr(self, name)


class Identity(Module):
    """``y = x``: stands in for a layer that is left out."""

    def forward(self, x: Any) -> Any:
        """Give the input itself."""
        return x


class Flatten(Module):
    """Join neighbouring dimensions: ``(N, C, H, W)`` becomes ``(N, C * H * W)`` by default.

    Parameters
    ----------
    start_dim : int, default 1
        First dimension to join.
    end_dim : int, default -1
        Last dimension to join, inclusive.
    """

    _settings = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Flatten ``x``."""
        return _core.flatten(x, self.start_dim, self.end_dim)


class Unflatten(Module):
    """Split one dimension into several: the reverse of :class:`Flatten`.

    Parameters
    ----------
    dim : int
        The dimension to split.
    unflattened_size : sequence of int
        Its new sizes; one of them may be -1.

    Raises
    ------
    TypeError
        If ``dim`` is not an int.
    ValueError
        If ``unflattened_size`` is empty, or (when applied) does not multiply to the size of the
        dimension.
    """

    _settings = ("dim", "unflattened_size")

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        dim = plain(dim)
        if not isinstance(dim, int):
            raise TypeError(f"[Unflatten] dim must be an int, got {type(dim).__name__}")
        if len(unflattened_size) == 0:
            raise ValueError("[Unflatten] unflattened_size must not be empty")
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """Unflatten ``x``."""
        shape = tuple(x.shape)
        if not -len(shape) <= self.dim < len(shape):
            raise IndexError(f"[Unflatten] dim {self.dim} is out of range for shape {shape}")
        dim = self.dim % len(shape)
        return _core.reshape(x, (*shape[:dim], *self._sizes(shape[dim]), *shape[dim + 1 :]))

    def _sizes(self, size: int) -> tuple[int, ...]:
        """Resolve -1 here: elsewhere in the shape it would be lost when another dimension is 0."""
        known = 1
        for s in self.unflattened_size:
            known *= s if s != -1 else 1
        unknown = self.unflattened_size.count(-1)
        fits = size % known == 0 if unknown == 1 and known > 0 else unknown == 0 and known == size
        if not fits:
            raise ValueError(
                f"[Unflatten] expected sizes that multiply to {size}, got {self.unflattened_size}"
            )
        return tuple(size // known if s == -1 else s for s in self.unflattened_size)
