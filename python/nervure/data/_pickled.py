# SPDX-License-Identifier: BSD-3-Clause
"""Data from a pickle without running what is in it.

A pickle is a program. Of its instructions, this reader carries out those that build numbers, text,
lists, tuples, dictionaries and NumPy arrays of bytes, on its own stack; any other is an error.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nervure.serialize import FormatError

_ARRAY, _DTYPE = "array", "dtype"
_NAMES = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy dtype": _DTYPE,
    "numpy ndarray": "class",
}


class _Name:
    """A function or class that the file refers to, known to be harmless; never called."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Made:
    """What a call gave: an array or a dtype, as far as it has been told."""

    def __init__(self, kind: str, arguments: tuple[Any, ...]) -> None:
        self.kind = kind
        self.arguments = arguments
        self.array: np.ndarray[Any, Any] | None = None


class _Mark:
    pass


def read_pickled(path: Path) -> Any:
    """Give what a pickle holds; text of Python 2 as bytes.

    Raises
    ------
    FormatError
        If it is no pickle, damaged, or holds anything but plain data and arrays of bytes.
    """
    try:
        return _Reader(path.read_bytes()).run()
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise FormatError(f"{path}: damaged or not a pickle: {error}") from error


class _Reader:
    """The stack and the memo of one file."""

    def __init__(self, data: bytes) -> None:
        self._program = pickletools.genops(data)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for operation, argument, _ in self._program:
            if operation.name == "STOP":
                return _finished(self._stack.pop())
            self._carry_out(operation.name, argument)
        raise FormatError("no end")

    def _carry_out(self, name: str, argument: Any) -> None:
        push = self._stack.append
        if name in _VALUES:
            push(_VALUES[name](argument))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self._memo[argument])
        elif name == "GLOBAL":
            if argument not in _NAMES:
                raise FormatError(f"it wants to call {argument!r}: not data")
            push(_Name(_NAMES[argument]))
        elif name in _BUILDERS:
            _BUILDERS[name](self)
        elif name not in ("PROTO", "FRAME"):
            raise FormatError(f"instruction {name}: not data")

    def _pop_to_mark(self) -> list[Any]:
        for i in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[i], _Mark):
                items = self._stack[i + 1 :]
                del self._stack[i:]
                return items
        raise FormatError("damaged: no mark")

    def _tuple(self, count: int | None) -> None:
        if count is None:
            items = self._pop_to_mark()
        else:
            items = self._stack[len(self._stack) - count :]
            if len(items) != count:
                raise FormatError("damaged: too few values")
            del self._stack[len(self._stack) - count :]
        self._stack.append(tuple(items))

    def _append(self, items: list[Any]) -> None:
        self._top(list).extend(_finished(item) for item in items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = _finished(value)

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise FormatError(f"damaged: no {kind.__name__} to add to")
        return self._stack[-1]

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Name) or function.kind not in (_ARRAY, _DTYPE):
            raise FormatError("it wants to call something: not data")
        self._stack.append(_Made(function.kind, arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        made = self._top(_Made)
        if made.kind == _ARRAY:
            made.array = _byte_array(state)


def _byte_array(state: Any) -> np.ndarray[Any, Any]:
    """The array of NumPy's state (version, shape, dtype, column-major, bytes)."""
    _, shape, dtype, column_major, data = state
    if not isinstance(dtype, _Made) or dtype.arguments[0] not in (b"u1", "u1"):
        raise FormatError("an array of something else than bytes")
    if not isinstance(data, bytes) or not all(type(n) is int and n >= 0 for n in shape):
        raise FormatError("damaged: an array without its bytes")
    if math.prod(shape) != len(data):
        raise FormatError(f"damaged: {len(data)} bytes for an array of {shape}")
    flat: np.ndarray[Any, Any] = np.frombuffer(data, np.uint8)
    return np.asarray(flat.reshape(shape[::-1]).T if column_major else flat.reshape(shape))


def _finished(value: Any) -> Any:
    """The array itself where one was being built."""
    if isinstance(value, _Made):
        if value.array is None:
            raise FormatError("damaged: an array without contents")
        return value.array
    return value


def _bytes_of_text(text: str) -> bytes:
    return text.encode("latin-1")


_VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "MARK": lambda _: _Mark(),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG1"), lambda value: value),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES"), lambda value: value),
    **dict.fromkeys(("STRING", "SHORT_BINSTRING", "BINSTRING"), _bytes_of_text),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"), lambda value: value),
}

_BUILDERS: dict[str, Callable[[_Reader], None]] = {
    "TUPLE": lambda r: r._tuple(None),
    "TUPLE1": lambda r: r._tuple(1),
    "TUPLE2": lambda r: r._tuple(2),
    "TUPLE3": lambda r: r._tuple(3),
    "APPEND": lambda r: r._append([r._stack.pop()]),
    "APPENDS": lambda r: r._append(r._pop_to_mark()),
    "SETITEM": lambda r: r._set_items([r._stack.pop(-2), r._stack.pop()]),
    "SETITEMS": lambda r: r._set_items(r._pop_to_mark()),
    "REDUCE": lambda r: r._call(),
    "BUILD": lambda r: r._build(),
}
