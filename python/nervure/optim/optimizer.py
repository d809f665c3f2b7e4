# SPDX-License-Identifier: BSD-3-Clause
"""What all optimisers share: parameter groups, state, and the lists handed to the compiled step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from nervure import _core
from nervure._core import Tensor
from nervure._numbers import plain_list

Group = dict[str, Any]


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raise ValueError unless ``condition`` holds for the hyper-parameter ``name``."""
    if not condition:
        raise ValueError(f"[optim] {name} must be {expected}, got {got!r}")


def check_not_negative(group: Mapping[str, Any], *names: str) -> None:
    """Raise ValueError for a negative, infinite or NaN hyper-parameter."""
    for name in names:
        value = group[name]
        require(
            isinstance(value, (int, float)) and 0.0 <= value < math.inf,
            name,
            "a finite number and not negative",
            value,
        )


def check_betas(group: Mapping[str, Any]) -> None:
    """Raise ValueError unless both betas are in [0, 1)."""
    betas = group["betas"]
    valid = (
        isinstance(betas, (tuple, list))
        and len(betas) == 2
        and all(isinstance(beta, (int, float)) and 0.0 <= beta < 1.0 for beta in betas)
    )
    require(valid, "betas", "two numbers in [0, 1)", betas)


class Plan:
    """Parameters of one group that have made the same number of steps, ready for the next one."""

    __slots__ = ("first", "mu_product", "parameters", "step", "tensors")

    def __init__(
        self,
        tensors: _core.UpdateList,
        parameters: list[Tensor],
        step: int,
        first: bool,
        mu_product: float,
    ) -> None:
        self.tensors = tensors
        self.parameters = parameters
        self.step = step
        self.first = first  # the step is the first one, which writes the state that others read
        self.mu_product = mu_product  # NAdam's


class ParameterState(MutableMapping[Tensor, dict[str, Any]]):
    """State by parameter, which is known by its identity: ``==`` of tensors compares elements."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[tuple[Tensor, dict[str, Any]]] = ()) -> None:
        self._entries = {hash(p): (p, values) for p, values in entries}

    def __getitem__(self, p: Tensor) -> dict[str, Any]:
        entry = self._entries.get(hash(p)) if isinstance(p, Tensor) else None
        if entry is None:
            raise KeyError(p)
        return entry[1]

    def __setitem__(self, p: Tensor, values: dict[str, Any]) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(f"[optim] state belongs to a tensor, got {type(p).__name__}")
        self._entries[hash(p)] = (p, values)

    def __delitem__(self, p: Tensor) -> None:
        self[p]  # KeyError for what is not here
        del self._entries[hash(p)]

    def __iter__(self) -> Iterator[Tensor]:
        return iter([p for p, _ in self._entries.values()])

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(list(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return ParameterState, (list(self._entries.values()),)  # a copy's tensors are others


class _GroupPlans:
    """The plans of one group, and what they were made for."""

    __slots__ = ("count", "names", "params", "plans")

    def __init__(self, names: tuple[str, ...], params: list[Tensor], plans: list[Plan]) -> None:
        self.names = names
        self.params = params
        self.count = len(params)
        self.plans = plans


class Optimizer:
    """Base class: holds parameter groups and the state of their parameters.

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        The parameters, or groups ``{"params": [...], option: value, ...}``.
    defaults : dict
        Options of groups that do not give them.

    Raises
    ------
    ValueError
        If there are no parameters, if one appears twice, or for an impossible option.
    TypeError
        If something else than a float32 tensor is among the parameters.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[Group], defaults: Group) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self._state = ParameterState()
        self._plans: list[_GroupPlans | None] = []
        self._clip_value = math.inf
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(
                "[optim] params must be an iterable of tensors or of dicts, got "
                f"{type(params).__name__}"
            )
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("[optim] got an empty list of parameters")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # -- what subclasses say about themselves ------------------------------------------------

    #: State tensor that the first step of a parameter writes instead of updating.
    _first_writes: str | None = None

    def _check(self, group: Group) -> None:
        """Raise ValueError for impossible options of a group."""
        raise NotImplementedError

    def _initial(self, group: Group, name: str) -> float:
        """What the elements of a new state tensor are set to."""
        return 0.0

    # -- public ------------------------------------------------------------------------------

    @property
    def state(self) -> ParameterState:
        """State by parameter, under PyTorch's names. May be changed until the next step."""
        self._forget_plans()
        return self._state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients again; called once, first.

        Returns
        -------
        object
            What the closure returned, or None.
        """
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with ``set_to_none=False`` fill them with zeros.

        A row-sparse gradient, of which zeros are no rows, is forgotten in either case.
        """
        for group in self.param_groups:
            if set_to_none:
                _core.clear_gradients(group["params"])
                continue
            for p in group["params"]:
                if _core.row_gradient(p) is not None:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of parameters with its own options, e.g. layers unfrozen later.

        Raises
        ------
        ValueError
            If a parameter is already here, is not a leaf, or an option is impossible.
        TypeError
            If the parameters are not float32 tensors in a sequence.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"[optim] a group must be a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError(f"[optim] a group needs 'params', got {sorted(param_group)}")
        params = param_group["params"]
        options = {name: value for name, value in param_group.items() if name != "params"}
        group = {name: plain_list(value) for name, value in {**self.defaults, **options}.items()}
        if isinstance(params, (set, frozenset)):
            raise TypeError("[optim] params must have an order, got a set")
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        seen = {hash(p) for known in self.param_groups for p in known["params"]}
        for p in group["params"]:
            self._check_parameter(p, seen)
        self._check(group)
        self.param_groups.append({"params": group.pop("params"), **group})
        self._plans.append(None)

    def state_dict(self) -> dict[str, Any]:
        """State and options in PyTorch's layout; tensors are shared, not copied.

        Returns
        -------
        dict
            ``{"state": {index: {name: value}}, "param_groups": [{option: value, "params":
            [index, ...]}]}``, parameters counted over all groups.
        """
        groups: list[Group] = []
        index_of: dict[int, int] = {}  # by identity
        for group in self.param_groups:
            for p in group["params"]:
                index_of[hash(p)] = len(index_of)
            groups.append({**group, "params": [index_of[hash(p)] for p in group["params"]]})
        state = {
            index_of[hash(p)]: dict(values)
            for p, values in self.state.items()
            if hash(p) in index_of
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over state and options saved by :meth:`state_dict`, here or by PyTorch.

        Tensors are copied, into the memory order of their parameter.

        Raises
        ------
        ValueError
            If the groups, or the shapes in the state, are not those of this optimiser; nothing
            is changed then.
        """
        missing = {"state", "param_groups"} - set(state_dict)
        if missing:
            raise ValueError(f"[load_state_dict] the state lacks {', '.join(sorted(missing))}")
        saved_groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in self.param_groups]
        saved_sizes = [len(group["params"]) for group in saved_groups]
        if sizes != saved_sizes:
            raise ValueError(
                f"[load_state_dict] groups must have {sizes} parameters, got {saved_sizes}"
            )
        new_groups = []
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            merged = {**group, **saved, "params": group["params"]}
            self._check(merged)
            new_groups.append(merged)
        by_index = {
            index: p
            for group, saved in zip(self.param_groups, saved_groups, strict=True)
            for index, p in zip(saved["params"], group["params"], strict=True)
        }
        new_state = ParameterState(
            (
                by_index[index],
                {
                    name: _loaded(name, value, by_index[index])
                    for name, value in values.items()
                    if value is not None  # older PyTorch: no buffer yet
                },
            )
            for index, values in state_dict["state"].items()
            if index in by_index
        )
        self._forget_plans()
        self._state = new_state
        for group, merged in zip(self.param_groups, new_groups, strict=True):
            group.update(merged)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])

    @contextmanager
    def clipped(self, clip_value: float) -> Iterator[None]:
        """Inside the block, steps limit every element of the gradients to +-``clip_value``.

        As :func:`nervure.nn.utils.clip_grad_value_` before each step, but without a pass of its own
        over the gradients, which stay as they are. For optimisers of this package: one whose
        ``step`` computes by itself does not look at it.

        Raises
        ------
        ValueError
            If ``clip_value`` is negative or NaN.
        """
        require(clip_value >= 0, "clip_value", "a number and not negative", clip_value)
        before = self._clip_value
        self._set_clip_value(clip_value)
        try:
            yield
        finally:
            self._set_clip_value(before)

    def _set_clip_value(self, clip_value: float) -> None:
        self._forget_plans()  # which know the limit
        self._clip_value = clip_value

    # -- plans -------------------------------------------------------------------------------

    def _plans_for(self, index: int, group: Group, names: tuple[str, ...]) -> list[Plan]:
        """The plans of a group, made anew when its parameters or state tensors changed.

        ``names`` are the state tensors that the step takes, in its order; "" for one not in use.
        """
        made = self._plans[index]
        params = group["params"]
        if (
            made is None
            or made.names is not names
            or made.params is not params
            or made.count != len(params)
        ):
            return self._make_plans(index, group, names)
        for plan in made.plans:
            if not plan.tensors.is_current():
                return self._make_plans(index, group, names)
        return made.plans

    def _make_plans(self, index: int, group: Group, names: tuple[str, ...]) -> list[Plan]:
        """One plan for each number of steps made. Parameters without a gradient only watch."""
        self._forget_plan(index)
        idle = [p for p in group["params"] if not _core.has_gradient(p)]
        plans = []
        for (step, first, mu_product), parameters in self._by_progress(group).items():
            tensors: list[list[Tensor]] = [
                [self._state_tensor(group, p, name) for p in parameters] if name else []
                for name in names
            ]
            update_list = _core.UpdateList(parameters, tensors, idle, self._clip_value)
            plans.append(Plan(update_list, parameters, step, first, mu_product))
        self._plans[index] = _GroupPlans(names, group["params"], plans)
        return plans

    def _by_progress(self, group: Group) -> dict[tuple[int, bool, float], list[Tensor]]:
        """Parameters with a gradient, by steps made, whether the first is due, and mu_product."""
        found: dict[tuple[int, bool, float], list[Tensor]] = {}
        for p in group["params"]:
            if _core.has_gradient(p):
                values = self._state.get(p, {})
                first = self._first_writes is not None and self._first_writes not in values
                key = (int(values.get("step", 0)), first, float(values.get("mu_product", 1.0)))
                found.setdefault(key, []).append(p)
        return found or {(0, False, 1.0): []}

    def _state_tensor(self, group: Group, p: Tensor, name: str) -> Tensor:
        values = self._state.setdefault(p, {})
        if name not in values:
            values[name] = _filled_like(p, self._initial(group, name))
        tensor: Tensor = values[name]
        return tensor

    def _forget_plans(self) -> None:
        for index in range(len(self._plans)):
            self._forget_plan(index)

    def _forget_plan(self, index: int) -> None:
        """Write what the plans of a group counted into the state of its parameters."""
        made, self._plans[index] = self._plans[index], None
        for plan in made.plans if made is not None else ():
            for p in plan.parameters:
                values = self._state.get(p)
                if values is None:
                    continue
                if plan.first and self._first_writes is not None:
                    values.pop(self._first_writes, None)  # made for a step that failed
                self._record(plan, values)

    def _record(self, plan: Plan, values: dict[str, Any]) -> None:
        """Write what a plan counts into the state of one parameter."""
        values["step"] = plan.step

    def _check_parameter(self, p: Any, seen: set[int]) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(f"[optim] parameters must be tensors, got {type(p).__name__}")
        if p.dtype != _core.dtype.float32:
            raise TypeError(f"[optim] parameters must be float32, got {p.dtype}")
        if not p.is_leaf:
            raise ValueError("[optim] cannot optimise a tensor that an operation made")
        if hash(p) in seen:
            raise ValueError("[optim] a parameter appears more than once")
        seen.add(hash(p))


def run_closure(closure: Callable[[], Any]) -> Any:
    """What the closure returns; gradients are recorded in it."""
    enabled = _core.grad_enabled()
    _core.set_grad_enabled(True)
    try:
        return closure()
    finally:
        _core.set_grad_enabled(enabled)


def _filled_like(p: Tensor, value: float) -> Tensor:
    tensor = _core.empty(tuple(p.shape), p.order)
    _core.fill_(tensor, value)
    return tensor


def _loaded(name: str, value: Any, p: Tensor) -> Any:
    """A value of a state dictionary, its tensors copied into the memory order of ``p``."""
    if name == "step":
        return int(value)
    if name == "mu_product":
        return float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    source = value if isinstance(value, Tensor) else _core.tensor(value)
    if tuple(source.shape) != tuple(p.shape):
        raise ValueError(
            f"[load_state_dict] {name} must have the shape of its parameter {tuple(p.shape)}, "
            f"got {tuple(source.shape)}"
        )
    copy = _core.empty(tuple(p.shape), p.order)
    _core.copy_(copy, source.detach())
    return copy
