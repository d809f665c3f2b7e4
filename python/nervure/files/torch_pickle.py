# SPDX-License-Identifier: BSD-3-Clause
"""An unpickler that makes dictionaries, lists, numbers, text and tensors, and nothing else.

Python's own unpickler calls what a file names; this one calls nothing. It walks over the opcodes
and knows, of all functions, those that PyTorch's files use to describe a tensor.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nervure.serialize import FormatError

MAX_OPCODES = 20_000_000
MAX_NAME = 4096


@dataclass(frozen=True)
class Name:
    """A function or class that the file names; it is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Mark:
    """Where a list of arguments begins on the stack."""


_MARK = _Mark()
Rebuild = Callable[[tuple[Any, ...]], Any]

_PUSHED = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    def __init__(self, functions: dict[str, Rebuild], storage: Rebuild) -> None:
        self.functions = functions
        self.storage = storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise FormatError("[load] the pickle takes more than it has")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise FormatError(f"[load] the pickle adds to what is no {kind.__name__}")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise FormatError("[load] the pickle takes more than it has")

    def step(self, name: str, arg: Any) -> None:
        if name in _PUSHED:
            self.stack.append(arg)
        elif name in _MADE:
            self.stack.append(_MADE[name]())
        elif name in _TUPLES:
            self.stack.append(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name == "TUPLE":
            self.stack.append(tuple(self.pop_mark()))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if arg is None else arg] = self.peek()
        elif name in ("BINGET", "LONG_BINGET"):
            if arg not in self.memo:
                raise FormatError(f"[load] the pickle refers to {arg}, which it does not have")
            self.stack.append(self.memo[arg])
        else:
            self.change(name, arg)

    def peek(self) -> Any:
        if not self.stack:
            raise FormatError("[load] the pickle takes more than it has")
        return self.stack[-1]

    def change(self, name: str, arg: Any) -> None:
        if name == "GLOBAL":
            self.stack.append(Name(*arg.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            self.stack.append(Name(str(module), str(attribute)))
        elif name in ("REDUCE", "NEWOBJ"):  # the latter: objects of classes, whole models say
            arguments, function = self.pop(), self.pop()
            self.stack.append(self.call(function, arguments))
        elif name == "BINPERSID":
            self.stack.append(self.storage(self.pop()))
        elif name == "BUILD":
            self.pop()  # attributes of an OrderedDict, such as _metadata of a state dict
            self.top(dict)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if name == "SETITEM" else self.pop_mark()
            self.set_items(items)
        elif name in ("APPEND", "APPENDS"):
            items = [self.pop()] if name == "APPEND" else self.pop_mark()
            self.top(list).extend(items)
        elif name == "POP":
            self.pop()
        elif name not in ("PROTO", "FRAME"):
            raise FormatError(f"[load] the pickle uses {name}, which no file of tensors needs")

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise FormatError("[load] the pickle has a key without a value")
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, int, float, bool)):
                raise FormatError(f"[load] the pickle has a key of type {type(key).__name__}")
            if isinstance(key, str) and len(key) > MAX_NAME:
                raise FormatError(f"[load] the pickle has a key of {len(key)} characters")
            target[key] = value

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise FormatError("[load] the pickle calls what is no function")
        rebuild = self.functions.get(str(function))
        if rebuild is None:
            raise FormatError(
                f"[load] the file asks for {function}, which is no tensor; in PyTorch, save the "
                "state_dict() only"
            )
        return rebuild(arguments)


def _run(machine: _Machine, data: bytes) -> None:
    for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
        if opcode.name == "STOP":
            return
        if count > MAX_OPCODES:
            raise FormatError(f"[load] the pickle has more than {MAX_OPCODES} steps")
        machine.step(opcode.name, arg)


def unpickle(data: bytes, functions: dict[str, Rebuild], storage: Rebuild) -> Any:
    """What a pickle describes.

    Parameters
    ----------
    data
        The pickle.
    functions
        By full name, what may be "called": each gets the arguments as a tuple.
    storage
        Gets the persistent identifiers.

    Raises
    ------
    FormatError
        For any other function, and for every pickle that is damaged.
    """
    machine = _Machine(functions, storage)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the text of damaged files
            _run(machine, data)
    except FormatError:
        raise
    except (ValueError, TypeError, UnicodeError, OverflowError) as error:
        raise FormatError(f"[load] the pickle is damaged: {error}") from None
    if len(machine.stack) != 1 or machine.stack[0] is _MARK:
        raise FormatError("[load] the pickle does not end with one value")
    return machine.stack[0]
