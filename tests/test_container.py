# SPDX-License-Identifier: BSD-3-Clause
"""The containers: order, names, indexing and what they refuse."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from nervure import nn


class Double(nn.Module):
    def forward(self, x: float, factor: float = 2.0) -> float:
        return factor * x


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def test_sequential_is_a_list_and_a_chain() -> None:
    a, b, c, d = Double(), nn.Identity(), Double(), nn.Identity()
    chain = nn.Sequential(a, b)
    assert chain.append(c) is chain
    assert chain.insert(1, d) is chain
    assert list(chain) == [a, d, b, c]
    assert chain(1.0) == 4.0
    assert [chain[i] for i in (0, -1)] == [a, c]
    assert list(chain[1:3]) == [d, b]
    assert type(chain[1:3]) is nn.Sequential
    chain[0] = d
    assert list(chain) == [d, d, b, c]
    del chain[0]
    assert list(chain) == [d, b, c]
    assert chain.pop(-1) is c
    assert names(chain.named_children()) == ["0", "1"]
    del chain[:]
    assert len(chain) == 0
    assert chain(5.0) == 5.0
    assert chain.extend([a, b]) is chain
    assert len(chain) == 2
    for index in (2, -3):
        with pytest.raises(IndexError, match="out of range for 2 modules"):
            chain[index]
        with pytest.raises(IndexError):
            del chain[index]
        with pytest.raises(IndexError):
            chain.pop(index)
        with pytest.raises(IndexError):
            chain[index] = a
    for wrong in (None, 3, Double):
        with pytest.raises(TypeError, match="expected a Module"):
            nn.Sequential(wrong)
        with pytest.raises(TypeError, match="expected a Module"):
            chain.insert(0, wrong)
    assert list(chain) == [a, b]


def test_sequential_with_names() -> None:
    chain = nn.Sequential(OrderedDict(in_=Double(), out=nn.Identity()))
    assert names(chain.named_children()) == ["in_", "out"]
    assert chain.out is chain[1]
    chain.out = Double()
    assert chain(1.0) == 4.0
    assert names(chain[1:].named_children()) == ["out"]
    with pytest.raises(KeyError, match="already exists"):
        nn.Sequential({"forward": Double()})


def test_sequential_runs_the_same_module_as_often_as_it_appears() -> None:
    double = Double()
    assert nn.Sequential(double, double, double)(1.0) == 8.0


def test_module_list() -> None:
    layers = nn.ModuleList(nn.Linear(i + 1, 1) for i in range(3))
    assert len(layers) == 3
    assert names(layers.named_parameters())[:2] == ["0.weight", "0.bias"]
    assert [m.in_features for m in layers[1:]] == [2, 3]
    assert type(layers[1:]) is nn.ModuleList
    with pytest.raises(NotImplementedError):
        layers(1)


def test_module_list_of_more_than_ten_keeps_its_order() -> None:
    layers = nn.ModuleList(nn.Linear(i + 1, 1) for i in range(12))
    layers.insert(0, nn.Linear(99, 1))
    assert [m.in_features for m in layers] == [99, *range(1, 13)]
    assert names(layers.named_children()) == [str(i) for i in range(13)]


def test_module_dict() -> None:
    a, b, c = nn.Identity(), nn.ReLU(), nn.Tanh()
    modules = nn.ModuleDict({"a": a, "b": b})
    modules["c"] = c
    assert list(modules) == ["a", "b", "c"]
    assert list(modules.keys()) == ["a", "b", "c"]
    assert list(modules.values()) == [a, b, c]
    assert dict(modules.items()) == {"a": a, "b": b, "c": c}
    assert "a" in modules
    assert "training" not in modules
    assert 1 not in modules
    assert modules.pop("a") is a
    del modules["b"]
    assert len(modules) == 1
    modules.update([("c", a)])  # pairs, as the constructor takes them too
    assert list(nn.ModuleDict([("x", a), ("y", b)])) == ["x", "y"]
    assert modules["c"] is a
    for missing in ("b", "training"):
        with pytest.raises(KeyError):
            modules[missing]
        with pytest.raises(KeyError):
            del modules[missing]
    for name in ("keys", "a.b", ""):
        with pytest.raises(KeyError):
            modules[name] = a
    with pytest.raises(TypeError, match="expected a Module for 'd', got int"):
        modules["d"] = 1  # type: ignore[assignment]
    modules.clear()
    assert len(modules) == 0
