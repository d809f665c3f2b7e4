# SPDX-License-Identifier: BSD-3-Clause
"""Calls every operation of the compiled module with random arguments, plausible and senseless.

Run in a process of its own by test_errors.py. Anything but a result or a ValueError, TypeError or
IndexError is a defect: the offending call is printed, and a crash leaves its last line on stdout.
"""

from __future__ import annotations

import faulthandler
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import nervure as nv
from nervure import _core

SIZES = [0, 1, 1, 2, 3, 3, 4, 5, 8, 9, 17]
INTEGERS = [-9, -3, -2, -1, 0, 0, 1, 1, 2, 3, 4, 5, 8, 17, 2**40, 2**62, 2**63 - 1, -(2**63), 2**70]
NUMBERS = [0.0, -0.0, 0.5, 1.0, -1.0, 3.0, 0.1, 1e-40, 1e30, -1e30, np.inf, -np.inf, np.nan]
SENSELESS: list[Any] = [None, "text", "", 1.5, True, [], (), {}, object(), b"x", 1j, np.zeros(2)]
SENSELESS += [[1, None], (1.5, 2), [[1], 2], nv.float32, nv.tensor, slice(1, 2), np.int8(3)]
ALLOWED = (ValueError, TypeError, IndexError)

# They set the process, not a result.
EXCLUDED = {"set_num_threads", "select_isa", "set_grad_enabled", "set_rng_state", "config"}
# Called with a class of the user's; run for as long as their arguments say.
EXCLUDED |= {"apply_function", "fma_peak"}


class Source:
    """Random arguments."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def shape(self) -> tuple[int, ...]:
        rank = int(self.pick([0, 1, 1, 2, 2, 2, 3, 3, 4, 8]))
        return tuple(min(int(self.pick(SIZES)), 2 if rank > 4 else 17) for _ in range(rank))

    def array(self) -> np.ndarray:
        shape = self.shape()
        kind = self.rng.random()
        if kind < 0.15:
            return self.rng.integers(-3, 9, shape)
        if kind < 0.25:
            return np.asarray(self.rng.random(shape) < 0.5)
        values = self.rng.standard_normal(shape).astype(np.float32)
        if kind < 0.35 and values.size:
            values.flat[0] = self.pick(NUMBERS)
        return np.asarray(values)

    def tensor(self, shape: tuple[int, ...] | None = None) -> nv.Tensor:
        array = self.array() if shape is None else self.rng.standard_normal(shape)
        t = nv.tensor(array)
        if t.ndim and self.rng.random() < 0.3:
            t = _core.to_order(t, tuple(int(d) for d in self.rng.permutation(t.ndim)))
        if t.dtype == nv.float32 and self.rng.random() < 0.5:
            t.requires_grad_()
            if self.rng.random() < 0.3:
                t.grad = nv.tensor(np.ones(t.shape, np.float32))
        return t

    def integers(self) -> Any:
        kind = self.rng.random()
        if kind < 0.4:
            return int(self.pick(INTEGERS[:14]))
        if kind < 0.5:
            return int(self.pick(INTEGERS))
        return tuple(int(self.pick(INTEGERS[:14])) for _ in range(self.rng.integers(4)))

    def argument(self, name: str, kind: str, like: list[tuple[int, ...]]) -> Any:
        """By the type that the signature states; shapes of earlier tensors are often used again."""
        if self.rng.random() < 0.04:
            return self.pick(SENSELESS)
        if "Tensor]" in kind or ("Sequence" in kind and "Tensor" in kind):
            shape = self.shape()
            return [
                self.tensor(shape if self.rng.random() < 0.8 else None)
                for _ in range(self.rng.integers(4))
            ]
        if "Tensor" in kind:
            if "None" in kind and self.rng.random() < 0.3:
                return None
            again = like and self.rng.random() < 0.6
            t = self.tensor(self.pick(like) if again else None)
            like.append(t.shape)
            return t
        if name in ("reduction", "activation", "approximate"):
            options = ("mean", "sum", "none", "batchmean", "tanh", "", "relu", "gelu_tanh", "x")
            return self.pick(options)
        if "dtype" in kind:
            return self.pick([nv.float32, nv.int64, nv.bool])
        if kind.startswith("bool"):
            return bool(self.rng.integers(2))
        if "Sequence[int]" in kind or "list[int]" in kind or name in ("shape", "order"):
            return self.integers()
        if "int" in kind and "float" not in kind.replace("SupportsFloat", ""):
            return int(self.pick(INTEGERS[:14])) if self.rng.random() < 0.8 else self.integers()
        return self.pick(NUMBERS)


def signature(name: str, doc: str) -> list[tuple[str, str, bool]]:
    """Name, type and whether there is a default, of every parameter in pybind11's first line."""
    inner = doc.split("\n")[0].removeprefix(f"{name}(").rsplit(") ->", 1)[0]
    depth, parts, start = 0, [], 0
    for i, c in enumerate(inner + ","):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append(inner[start:i].strip())
            start = i + 1
    found = []
    for part in parts:
        match = re.match(r"(\w+): (.*?)( = .*)?$", part)
        if match:
            found.append((match[1], match[2], match[3] is not None))
    return found


def try_call(call: Callable[[], Any], described: Callable[[], str]) -> None:
    try:
        result = call()
        outputs = result if isinstance(result, tuple | list) else (result,)
        for y in outputs:
            if isinstance(y, nv.Tensor):
                y.numpy().sum()
                if y.requires_grad and y.dtype == nv.float32:
                    y.backward(nv.tensor(np.ones(y.shape, np.float32)), retain_graph=True)
    except ALLOWED:
        pass
    except MemoryError:
        if not re.search(r"\d{7,}|inf|1e\+?30", described()):
            raise
    except RuntimeError as error:
        if not str(error).startswith("[backward]"):
            raise
    except Exception:
        print("offending call:", described(), flush=True)
        raise


def run(seed: int, calls: int) -> None:
    source = Source(seed)
    functions = {n: getattr(_core, n) for n in dir(_core) if not n.startswith("_")}
    builtin = type(_core.add)
    names = [n for n, fn in functions.items() if isinstance(fn, builtin) and n not in EXCLUDED]
    parameters = {n: signature(n, functions[n].__doc__ or "") for n in names}
    subscripts = [0, -1, 3, slice(1, 3), slice(None, None, 2), None, ..., 2**62, True, 1.5]
    faulthandler.enable()
    np.seterr(all="ignore")
    for count in range(calls):
        if count % 1000 == 0:
            faulthandler.dump_traceback_later(40, exit=True)  # a hang shows where
        if source.rng.random() < 0.1:
            x = source.tensor()
            key: Any = tuple(source.pick(subscripts) for _ in range(source.rng.integers(1, 4)))
            if source.rng.random() < 0.3:
                key = source.tensor() if source.rng.random() < 0.5 else source.array()
            try_call(lambda x=x, key=key: x[key], lambda x=x, key=key: f"{x}[{key}]")
            continue
        name = source.pick(names)
        like: list[tuple[int, ...]] = []
        arguments = {
            parameter: source.argument(parameter, kind, like)
            for parameter, kind, optional in parameters[name]
            if not optional or source.rng.random() < 0.6
        }

        def described(name: str = name, arguments: dict[str, Any] = arguments) -> str:
            shown = {
                k: (v.shape, v.order, v.dtype) if isinstance(v, nv.Tensor) else v
                for k, v in arguments.items()
            }
            return f"{name}({shown})"

        if "-v" in sys.argv:
            print(described(), flush=True)
        try_call(lambda n=name, a=arguments: functions[n](**a), described)
    faulthandler.cancel_dump_traceback_later()
