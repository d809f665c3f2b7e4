# SPDX-License-Identifier: BSD-3-Clause
"""Module: the base class of every layer and model.

Parameters, buffers and child modules are ordinary attributes. They are found, when somebody asks
for them, by looking through ``vars(self)`` in order of assignment; nothing intercepts reading or
writing an attribute, so a layer's ``self.weight`` costs what any attribute costs. Calling a module
costs what calling its ``forward`` costs, because each class's ``__call__`` is its ``forward``; a
``__call__(*args, **kwargs)`` in between would cost three times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from nervure import _core
from nervure._core import Tensor
from nervure.nn.parameter import Parameter

ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]
M = TypeVar("M", bound="Module")


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` did not find, and what it found beyond need."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


class RemovableHandle:
    """What :meth:`Module.register_forward_hook` returns: ``remove()`` takes the hook away.

    It also works as a context manager that removes the hook on exit.
    """

    def __init__(self, module: Module, hook: ForwardHook) -> None:
        self._module = module
        self._hook = hook

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._module._set_forward_hooks(
            tuple(hook for hook in self._module._forward_hooks if hook is not self._hook)
        )

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def _not_implemented(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f"[{type(self).__name__}] the module defines no forward()")


class Module:
    """Base class of all layers and models.

    A subclass creates its parts in ``__init__`` and computes in ``forward``; calling the module
    calls the ``forward`` of its class. (A function assigned to ``forward`` of one instance is not
    looked at: subclass instead, or register a forward hook.)

    Attributes
    ----------
    training : bool
        True after :meth:`train`, False after :meth:`eval`. Dropout looks at it.

    Examples
    --------
    >>> from nervure import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(4, 8, activation="relu")
    ...         self.out = nn.Linear(8, 3)
    ...
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x))
    >>> [name for name, _ in Net().named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training: bool = True
    # Attributes that repr shows.
    _settings: tuple[str, ...] = ()
    # Name of each buffer -> whether it belongs to the state dict. The values are ordinary
    # attributes.
    _buffers: Mapping[str, bool] = MappingProxyType({})
    _forward_hooks: tuple[ForwardHook, ...] = ()

    def __init__(self) -> None:
        self.training = True

    forward: Callable[..., Any] = _not_implemented
    __call__: Callable[..., Any] = _not_implemented
    _calls_forward = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        caller = next(base for base in cls.__mro__ if "__call__" in vars(base))
        if "_calls_forward" in vars(caller):  # and not a __call__ that somebody wrote
            cls.__call__ = cls.forward  # type: ignore[method-assign]
            cls._calls_forward = True

    def _call_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        output = self.forward(*args, **kwargs)
        for hook in self._forward_hooks:
            replacement = hook(self, args, output)
            if replacement is not None:
                output = replacement
        return output

    def _set_forward_hooks(self, hooks: tuple[ForwardHook, ...]) -> None:
        """Make a module with hooks one of a hidden subclass, whose ``__call__`` runs them."""
        kind: Any = type(self)
        hooked = "_unhooked" in vars(kind)
        if hooks and not hooked:
            names = {
                name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")
            }
            members = {**names, "__call__": Module._call_with_hooks, "_unhooked": kind}
            self.__class__ = type(kind.__name__, (kind,), members)
        elif hooked and not hooks:
            self.__class__ = kind._unhooked
        self._forward_hooks = hooks

    # ---- what the module owns --------------------------------------------------------------------

    def _own_parameters(self) -> list[tuple[str, Parameter]]:
        return [(name, v) for name, v in vars(self).items() if isinstance(v, Parameter)]

    def _own_buffers(self) -> list[tuple[str, Tensor]]:
        return [
            (name, vars(self)[name]) for name in self._buffers if vars(self).get(name) is not None
        ]

    def _own_modules(self) -> list[tuple[str, Module]]:
        return [(name, v) for name, v in vars(self).items() if isinstance(v, Module)]

    def _check_new_name(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"[{type(self).__name__}] a name must be a str, got {type(name).__name__}"
            )
        if not name or "." in name:
            raise KeyError(
                f"[{type(self).__name__}] a name must be non-empty and without '.', got {name!r}"
            )
        value = vars(self).get(name, getattr(type(self), name, None))
        if value is not None and not isinstance(value, Module | Tensor):
            raise KeyError(f"[{type(self).__name__}] attribute {name!r} already exists")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Make a tensor part of the module's state without making it a parameter.

        Parameters
        ----------
        name : str
            The attribute under which the buffer is reached.
        tensor : Tensor or None
            Its values; None for a buffer that does not exist yet.
        persistent : bool, default True
            Whether it is part of :meth:`state_dict`.

        Raises
        ------
        KeyError
            For an empty name, a name with a dot, or one that the module uses otherwise.
        TypeError
            If ``tensor`` is neither a Tensor nor None.
        """
        self._check_new_name(name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"[{type(self).__name__}] buffer {name!r} must be a Tensor or None, "
                f"got {type(tensor).__name__}"
            )
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Assign a parameter under a name that is computed: ``setattr`` with checks.

        Raises
        ------
        KeyError
            For an empty name, a name with a dot, or one that the module uses otherwise.
        TypeError
            If ``parameter`` is neither a Parameter nor None.
        """
        self._check_new_name(name)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"[{type(self).__name__}] parameter {name!r} must be a Parameter or None, "
                f"got {type(parameter).__name__}"
            )
        setattr(self, name, parameter)

    def add_module(self, name: str, module: Module | None) -> None:
        """Assign a child module under a name that is computed: ``setattr`` with checks.

        Raises
        ------
        KeyError
            For an empty name, a name with a dot, or one that the module uses otherwise.
        TypeError
            If ``module`` is neither a Module nor None.
        """
        self._check_new_name(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"[{type(self).__name__}] child {name!r} must be a Module or None, "
                f"got {type(module).__name__}"
            )
        setattr(self, name, module)

    # ---- walking ---------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and modules that are direct attributes, each module once."""
        seen: set[int] = set()
        for name, module in self._own_modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Modules that are direct attributes, each once."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Dotted names and modules of the whole tree, this one first (its name is ``prefix``).

        Parameters
        ----------
        prefix : str, default ""
            Put before every name.
        remove_duplicate : bool, default True
            Whether a module reached by two names is listed under the first only.
        """
        return self._walk(prefix, set() if remove_duplicate else None)

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, module in self._own_modules():
            yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """All modules of the tree, this one first, each once."""
        for _, module in self.named_modules():
            yield module

    def _named_members(
        self,
        own: Callable[[Module], list[tuple[str, Any]]],
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in own(module):
                if remove_duplicate:
                    if id(value) in seen:
                        continue
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Dotted names and parameters in order of assignment, a module's own before its children's.

        Parameters
        ----------
        prefix : str, default ""
            Put before every name.
        recurse : bool, default True
            Whether to descend into child modules.
        remove_duplicate : bool, default True
            Whether a shared parameter is listed under its first name only.
        """
        return self._named_members(Module._own_parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once. What an optimiser is given."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Dotted names and buffers; arguments as for :meth:`named_parameters`."""
        return self._named_members(Module._own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """Give the module with this dotted name; ``""`` is the module itself.

        Raises
        ------
        AttributeError
            If there is no such module.
        """
        module: Module = self
        for name in target.split(".") if target else []:
            child = vars(module).get(name)
            if not isinstance(child, Module):
                raise AttributeError(f"[{type(self).__name__}] there is no module {target!r}")
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """Give the parameter with this dotted name.

        Raises
        ------
        AttributeError
            If there is no such parameter.
        """
        path, _, name = target.rpartition(".")
        parameter = vars(self.get_submodule(path)).get(name)
        if not isinstance(parameter, Parameter):
            raise AttributeError(f"[{type(self).__name__}] there is no parameter {target!r}")
        return parameter

    # ---- modes -----------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set training mode (False: evaluation mode) in the whole tree; returns the module."""
        if not isinstance(mode, bool):
            raise ValueError(f"[{type(self).__name__}] training mode must be a bool, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Set evaluation mode in the whole tree; returns the module."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set whether gradients are computed for every parameter; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients.

        Parameters
        ----------
        set_to_none : bool, default True
            Whether ``grad`` becomes None; False fills the existing gradients with zeros (a
            row-sparse one becomes None in either case).
        """
        for parameter in self.parameters():
            if set_to_none or _core.row_gradient(parameter) is not None:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.fill_(0.0)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` on every module, children before parents; returns the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None) -> M:
        """Accept what PyTorch programs say for "float32 on the CPU"; returns the module unchanged.

        Raises
        ------
        ValueError
            For any other device or dtype: parameters are float32 and live on the CPU.
        """
        for wanted in (*args, device, dtype):
            if wanted is None or wanted == _core.dtype.float32 or wanted in ("cpu", "float32"):
                continue
            raise ValueError(
                f"[{type(self).__name__}.to] parameters are float32 on the CPU: "
                f"expected 'cpu' or nervure.float32, got {wanted!r}"
            )
        return self

    def register_forward_hook(self, hook: ForwardHook) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every ``forward``.

        What the hook returns replaces the output, unless it is None. ``args`` are the positional
        arguments.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook away.
        """
        if not callable(hook):
            raise TypeError(
                f"[{type(self).__name__}] a hook must be callable, got {type(hook).__name__}"
            )

        def registered(module: Module, args: tuple[Any, ...], output: Any) -> Any:
            return hook(module, args, output)

        self._set_forward_hooks((*self._forward_hooks, registered))
        return RemovableHandle(self, registered)

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Give all parameters and persistent buffers under PyTorch's names.

        The tensors share storage with the module: later training changes them. A shared parameter
        appears under each of its names, as in PyTorch.

        Parameters
        ----------
        prefix : str, default ""
            Put before every name as it is (usually ending in a dot).
        """
        state: dict[str, Tensor] = {}
        self._collect_state(state, prefix)
        return state

    def _collect_state(self, state: dict[str, Tensor], prefix: str) -> None:
        for name, parameter in self._own_parameters():
            state[prefix + name] = parameter.detach()
        for name, buffer in self._own_buffers():
            if self._buffers[name]:
                state[prefix + name] = buffer.detach()
        for name, module in self._own_modules():
            module._collect_state(state, f"{prefix}{name}.")

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values into the module's parameters and buffers.

        Nothing is changed unless everything fits: first all keys, shapes and types are checked,
        then all values are copied.

        Parameters
        ----------
        state_dict : mapping of str to Tensor or array-like
            What :meth:`state_dict` gave, what ``nervure.load`` read, or a PyTorch state dict.
        strict : bool, default True
            Whether missing and unexpected keys are errors. Shapes must fit in any case.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys`` (both empty when ``strict``).

        Raises
        ------
        ValueError
            With one line for every key that is missing, unexpected or of another shape.
        TypeError
            If ``state_dict`` is not a mapping, or a value cannot become a tensor of the right type.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"[{type(self).__name__}.load_state_dict] expected a mapping of names to tensors, "
                f"got {type(state_dict).__name__}"
            )
        targets = self.state_dict()
        missing = [name for name in targets if name not in state_dict]
        unexpected = [name for name in state_dict if name not in targets]
        problems = []
        if strict and missing:
            problems.append(f"Missing key(s) in state_dict: {_quoted(missing)}.")
        if strict and unexpected:
            problems.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}.")
        copies = []
        for name, target in targets.items():
            if name not in state_dict:
                continue
            source = self._loadable(name, state_dict[name], target)
            if source.shape != target.shape:
                problems.append(
                    f"size mismatch for {name}: copying a param with shape {source.shape} from "
                    f"checkpoint, the shape in current model is {target.shape}."
                )
            copies.append((target, source))
        if problems:
            lines = "\n\t".join(problems)
            raise ValueError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{lines}"
            )
        for target, source in copies:
            target.copy_(source)
        return IncompatibleKeys(missing, unexpected)

    def _loadable(self, name: str, value: Any, target: Tensor) -> Tensor:
        try:
            source = value if isinstance(value, Tensor) else Tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"[{type(self).__name__}.load_state_dict] {name} cannot become a tensor: {error}"
            ) from error
        if target.dtype != _core.dtype.float32 and source.dtype != target.dtype:
            raise TypeError(
                f"[{type(self).__name__}.load_state_dict] {name} must be {target.dtype.name}, "
                f"got {source.dtype.name}"
            )
        return source

    # ---- text ------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Settings shown between the parentheses of ``repr``; subclasses may override it."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {_indented(repr(module))}" for name, module in self._own_modules()]
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = ([extra] if extra else []) + children
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def summary(self, *inputs: Any) -> str:
        """Give a table of the layers, their output shapes and their parameter counts.

        Parameters
        ----------
        *inputs : Tensor
            Arguments for one call of the module, made in evaluation mode without recording
            gradients, to learn the shapes; without them that column is left out.

        Returns
        -------
        str
            The table, for ``print``.
        """
        from nervure.nn._summary import summary  # not needed to build or train a model

        return summary(self, inputs)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
