# SPDX-License-Identifier: BSD-3-Clause
"""NumPy's numbers where Python's are expected."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """A number of NumPy (scalar or array without dimensions) as one of Python; others as they are.

    Booleans stay what they are: they are refused where numbers are meant.
    """
    if type(value).__module__ != "numpy" or getattr(value, "ndim", None) != 0:
        return value
    number = value.item()
    return number if type(number) in (int, float) else value


def plain_list(values: Any) -> Any:
    """The same for the elements of a tuple, a list or an array with one dimension."""
    if type(values).__module__ == "numpy" and getattr(values, "ndim", None) == 1:
        values = list(values)
    return type(values)(map(plain, values)) if type(values) in (list, tuple) else plain(values)
