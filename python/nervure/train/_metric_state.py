# SPDX-License-Identifier: BSD-3-Clause
"""What any metric has counted, as data for checkpoints, and back."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from nervure.metrics import Metric


def state_of(thing: Any) -> Any:
    """What a metric has counted, as data: its attributes, and those of what it consists of."""
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, (bool, int, float, str, np.ndarray, type(None))):
        return thing
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return {"class": _class_name(thing), "fields": [state_of(item) for item in thing]}
    if isinstance(thing, (list, tuple)):
        return type(thing)(state_of(item) for item in thing)
    if isinstance(thing, dict):
        return {"items": [[key, state_of(value)] for key, value in thing.items()]}
    attributes = {n: state_of(v) for n, v in vars(thing).items() if not _is_function(v)}
    return {"class": _class_name(thing), "attributes": attributes}


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, Metric)


def _class_name(thing: Any) -> str:
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def restore(metric: Metric, state: dict[str, Any]) -> None:
    """Set the attributes of a metric back; functions among them stay."""
    if state["class"] != _class_name(metric):
        raise ValueError(
            f"[load_checkpoint] the metric was a {state['class']}, now it is a "
            f"{_class_name(metric)}"
        )
    allowed = {cls.__module__ for cls in type(metric).__mro__} - {"builtins"}
    for name, value in state["attributes"].items():
        setattr(metric, name, _thing_of(value, allowed))


def _thing_of(state: Any, allowed: set[str]) -> Any:
    if isinstance(state, (list, tuple)):
        return type(state)(_thing_of(item, allowed) for item in state)
    if not isinstance(state, dict):
        return state
    if "items" in state:
        return {key: _thing_of(value, allowed) for key, value in state["items"]}
    kind = _class_of(state["class"], allowed)
    if "fields" in state:
        return kind(*(_thing_of(item, allowed) for item in state["fields"]))
    thing = kind.__new__(kind)
    for name, value in state["attributes"].items():
        setattr(thing, name, _thing_of(value, allowed))
    return thing


def _class_of(name: str, allowed: set[str]) -> Any:
    """A class of the metrics' own modules: a file must not choose what is made."""
    module, _, path = name.partition(":")
    if module in allowed or module.split(".")[:2] == ["nervure", "metrics"]:
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type):
            return found
    raise ValueError(f"[load_checkpoint] {name} is no class of a metric")
