# SPDX-License-Identifier: BSD-3-Clause
"""What docstrings say of parameters is what the signatures say."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

MODULES = ["", "callbacks", "data", "diagnostics", "files", "kernels", "metrics", "models", "nn"]
MODULES += ["nn.functional", "nn.init", "nn.utils", "onnx", "optim", "optim.lr_scheduler"]
MODULES += ["plot", "reference", "serialize", "sklearn", "train"]
# Their docstrings name the class whose other parameters they have.
PARTLY = {"nervure.sklearn.MLPRegressor", "nervure.sklearn.NeuralNetRegressor"}


def public(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions, classes and their own methods, as far as they are written in Python."""
    path = f"nervure.{module}".rstrip(".")
    if module == "onnx":
        pytest.importorskip("onnx")
    if module == "sklearn":
        pytest.importorskip("sklearn")
    found = importlib.import_module(path)
    names = getattr(found, "__all__", [n for n in vars(found) if not n.startswith("_")])
    for name in names:
        value = getattr(found, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            yield f"{path}.{name}", value
        if inspect.isclass(value):
            for method, function in vars(value).items():
                function = getattr(function, "__func__", function)
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{path}.{name}.{method}", function


def documented(function: Callable[..., Any]) -> dict[str, str]:
    """Names of the section Parameters, and what stands behind the colon; none without it."""
    text = inspect.cleandoc(function.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.M | re.S)
    found = {}
    for line in section[1].splitlines() if section else ():
        if match := re.match(r"([*\w][*\w, ]*?)(?: : (.*))?$", line):
            found |= {name.strip(" *"): match[2] or "" for name in match[1].split(",")}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_parameters_are_those_of_the_signature(module: str) -> None:
    wrong = []
    for name, function in public(module):
        if not (said := documented(function)):
            continue
        try:
            parameters = dict(inspect.signature(function).parameters)
        except ValueError:  # of a compiled base class
            continue
        parameters.pop("self", None)
        missing = [] if name in PARTLY else [p for p in parameters if p not in said]
        unknown = [p for p in said if p not in parameters]
        if missing or unknown:
            wrong.append(f"{name}: lacks {missing}, has {unknown}")
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_defaults_are_those_of_the_signature(module: str) -> None:
    wrong = []
    for name, function in public(module):
        said = documented(function)
        for parameter, text in said.items():
            alone = list(said.values()).count(text) == 1  # not "a, b : int, default 1 and 2"
            match = re.search(r", default (\S+)$", text)
            if not match or not alone:
                continue
            try:
                default = ast.literal_eval(match[1])
            except (ValueError, SyntaxError):
                continue
            actual = inspect.signature(function).parameters[parameter].default
            if actual is not inspect.Parameter.empty and actual != default and actual is not None:
                wrong.append(f"{name}: {parameter} is {actual!r}, said to be {default!r}")
    assert not wrong


@pytest.mark.parametrize("name", ["_gradcheck", "models.lenet"])
def test_examples(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"nervure.{name}"))
    assert tried
    assert not failed
