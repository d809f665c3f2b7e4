# SPDX-License-Identifier: BSD-3-Clause
"""Tables from files."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nervure.data._arrays import Array
from nervure.serialize import FormatError

Path = str | os.PathLike[str]


class Table(NamedTuple):
    """What :func:`read_csv` gives."""

    x: Array  #: (N, F) float32
    y: Array | None  #: (N,): float32, or int64 numbers of ``classes``; None without a target
    columns: list[str]  #: names of the features
    classes: list[str]  #: what the class numbers of ``y`` stand for; empty for numbers


def read_csv(
    path: Path,
    target: str | int | None = None,
    *,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    header: bool = True,
    classes: bool | None = None,
    missing: float | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Read a table of numbers from a text file.

    Parameters
    ----------
    path : str or PathLike
        The file.
    target : str or int, optional
        Name or number of the column that becomes ``y``.
    columns : sequence of str, optional
        The features, in this order; by default all columns but the target.
    delimiter : str, default ","
        What stands between the fields: one character.
    header : bool, default True
        Whether the first line names the columns; otherwise they are called "0", "1", ...
    classes : bool, optional
        Whether the target holds classes, which are sorted and numbered, or numbers. By default
        classes if some of its fields are no numbers.
    missing : float, optional
        What stands for empty fields; by default they are an error. Often NaN, to be filled later.
    encoding : str, default "utf-8"
        Encoding of the file.

    Returns
    -------
    Table
        ``x, y, columns, classes``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        For lines with too many or few fields, fields that are no numbers or empty, text in another
        encoding, with the line and the column; for a file without data.
    ValueError
        For columns that the file does not have.
    """
    with open(path, encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        rows = _rows(path, reader)
        _, first = next(rows, (0, []))
        if not first:
            raise FormatError(f"[read_csv] {os.fspath(path)} is empty")
        names = [name.strip() for name in first] if header else [str(i) for i in range(len(first))]
        if len(set(names)) != len(names):
            raise FormatError(f"[read_csv] {os.fspath(path)} has a column twice: {names}")
        if not header:
            rows = itertools.chain([(reader.line_num, first)], rows)
        target_at = None if target is None else _column(path, names, target)
        features = _features(path, names, columns, target_at)
        x, labels = _parse(path, rows, names, features, target_at, missing)
    if not len(x):
        raise FormatError(f"[read_csv] {os.fspath(path)} has no lines of data")
    kept = [names[i] for i in features]
    if target_at is None:
        return Table(x, None, kept, [])
    y, found = _target(path, labels, names[target_at], classes)
    return Table(x, y, kept, found)


def _rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not blank, with their numbers."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            raise FormatError(
                f"[read_csv] {os.fspath(path)} is not {error.encoding} after line "
                f"{reader.line_num}: give its encoding"
            ) from None
        except csv.Error as error:
            raise FormatError(
                f"[read_csv] {os.fspath(path)}, line {reader.line_num}: {error}"
            ) from None
        if row:
            yield reader.line_num, row


def _column(path: Path, names: list[str], wanted: str | int) -> int:
    if isinstance(wanted, int) and -len(names) <= wanted < len(names):
        return wanted % len(names)
    if wanted in names:
        return names.index(str(wanted))
    raise ValueError(
        f"[read_csv] {os.fspath(path)} has no column {wanted!r}, it has {', '.join(names)}"
    )


def _features(
    path: Path, names: list[str], columns: Sequence[str] | None, target: int | None
) -> list[int]:
    if columns is None:
        return [i for i in range(len(names)) if i != target]
    if isinstance(columns, str):
        raise ValueError(f"[read_csv] columns must be a list of names, got {columns!r}")
    return [_column(path, names, name) for name in columns]


def _parse(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    names: list[str],
    features: list[int],
    target: int | None,
    missing: float | None,
) -> tuple[Array, list[tuple[int, str]]]:
    numbers: list[list[float]] = []
    labels: list[tuple[int, str]] = []
    for line, row in rows:
        if len(row) != len(names):
            raise FormatError(
                f"[read_csv] {os.fspath(path)}, line {line}: expected {len(names)} fields, "
                f"got {len(row)}"
            )
        try:
            numbers.append([float(row[i]) for i in features])
        except ValueError:
            numbers.append([_number(path, line, names[i], row[i], missing) for i in features])
        if target is not None:
            labels.append((line, row[target].strip()))
    return np.array(numbers, np.float32).reshape(len(numbers), len(features)), labels


def _number(path: Path, line: int, column: str, field: str, missing: float | None) -> float:
    text = field.strip()
    if not text and missing is not None:
        return missing
    try:
        return float(text)
    except ValueError:
        problem = f"{text!r} is no number" if text else "the field is empty (see missing=)"
        raise FormatError(
            f"[read_csv] {os.fspath(path)}, line {line}, column {column!r}: {problem}"
        ) from None


def _target(
    path: Path, labels: list[tuple[int, str]], name: str, classes: bool | None
) -> tuple[Array, list[str]]:
    for line, text in labels:
        if not text:
            raise FormatError(
                f"[read_csv] {os.fspath(path)}, line {line}, column {name!r}: the target is empty"
            )
    if classes is None:
        classes = not all(_is_number(text) for _, text in labels)
    if not classes:
        values = [_number(path, line, name, text, None) for line, text in labels]
        return np.array(values, np.float32), []
    found, numbers = np.unique([text for _, text in labels], return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), found.tolist()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
