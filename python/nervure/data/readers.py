# SPDX-License-Identifier: BSD-3-Clause
"""Tables and texts from files."""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nervure.data._arrays import Array, Indices
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


# ---- text ----------------------------------------------------------------------------------------


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file whole; all line ends become that of Unix.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is not in this encoding, with the place.
    """
    with open(path, encoding=encoding) as file:
        try:
            return file.read()
        except UnicodeDecodeError as error:
            raise FormatError(
                f"[read_text] {os.fspath(path)} is not {error.encoding}: byte {error.start} cannot "
                "be read; give its encoding"
            ) from None


class Vocabulary:
    """Numbers for tokens: characters or words.

    Parameters
    ----------
    text : str
        What the tokens are taken from: of *training* data.
    level : {"char", "word"}, default "char"
        Single characters, or what stands between blanks.
    max_size : int, optional
        At most so many tokens, the most frequent ones.
    min_count : int, default 1
        Rarer tokens are left out.
    unknown : str, optional
        A token, number 0, that stands for all that are not known; without it they are errors.

    Attributes
    ----------
    tokens : list of str
        Token of each number: ``unknown`` first, the others sorted.

    Raises
    ------
    ValueError
        For impossible options, or no token at all.

    Examples
    --------
    >>> vocabulary = Vocabulary("abba", unknown="?")
    >>> vocabulary.encode("abc").tolist()
    [1, 2, 0]
    >>> vocabulary.decode([2, 1, 2])
    'bab'
    """

    def __init__(
        self,
        text: str,
        level: str = "char",
        *,
        max_size: int | None = None,
        min_count: int = 1,
        unknown: str | None = None,
    ) -> None:
        if level not in ("char", "word"):
            raise ValueError(f"[Vocabulary] level must be 'char' or 'word', got {level!r}")
        if (max_size is not None and max_size < 1) or min_count < 1:
            raise ValueError("[Vocabulary] max_size and min_count must be positive")
        self.level = level
        self.unknown = unknown
        counts = Counter(self.split(text))
        # Equally frequent ones by the alphabet, so that the choice is always the same.
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [token for token, count in ranked if count >= min_count and token != unknown]
        self.tokens = ([] if unknown is None else [unknown]) + sorted(kept[:max_size])
        if not self.tokens:
            raise ValueError("[Vocabulary] there is no token in the text")
        self._numbers = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._numbers

    def split(self, text: str) -> list[str]:
        """Give the tokens of a text."""
        return list(text) if self.level == "char" else text.split()

    def encode(self, text: str) -> Indices:
        """Give the numbers of a text's tokens, int64.

        Raises
        ------
        ValueError
            For a token that is not known, if there is no ``unknown``.
        """
        tokens = self.split(text)
        if self.unknown is not None:
            return np.array([self._numbers.get(token, 0) for token in tokens], np.int64)
        try:
            return np.array([self._numbers[token] for token in tokens], np.int64)
        except KeyError as error:
            raise ValueError(
                f"[Vocabulary] {error.args[0]!r} is not in the vocabulary; unknown= gives a token "
                "for such"
            ) from None

    def decode(self, numbers: Iterable[Any]) -> str:
        """Give the text of numbers, words with blanks between them.

        Raises
        ------
        IndexError
            For a number that no token has.
        """
        indices = [int(number) for number in numbers]
        if any(not 0 <= i < len(self.tokens) for i in indices):
            raise IndexError(f"[Vocabulary] numbers must be in 0 .. {len(self.tokens) - 1}")
        return ("" if self.level == "char" else " ").join(self.tokens[i] for i in indices)


def windows(tokens: Any, length: int, stride: int | None = None) -> tuple[Indices, Indices]:
    """Cut a text into stretches, and these moved on by one token: for language models.

    Parameters
    ----------
    tokens : (N,) array of int
        A text in numbers.
    length : int
        Tokens of a stretch.
    stride : int, optional
        From one beginning to the next; by default ``length``, so that stretches do not overlap.

    Returns
    -------
    (x, y) : numpy.ndarray, (M, length)
        ``y`` is ``x`` one token later. What is left at the end is not used.

    Raises
    ------
    ValueError
        For fewer than ``length + 1`` tokens, or an impossible option.

    Examples
    --------
    >>> x, y = windows([1, 2, 3, 4, 5], 2)
    >>> x.tolist(), y.tolist()
    ([[1, 2], [3, 4]], [[2, 3], [4, 5]])
    """
    numbers = np.asarray(tokens)
    stride = length if stride is None else stride
    if numbers.ndim != 1 or length < 1 or stride < 1:
        raise ValueError(
            f"[windows] tokens must be (N,), length and stride positive, got {numbers.shape}, "
            f"{length}, {stride}"
        )
    if len(numbers) < length + 1:
        raise ValueError(f"[windows] needs at least {length + 1} tokens, got {len(numbers)}")
    whole = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::stride]
    return whole[:, :-1].astype(np.int64), whole[:, 1:].astype(np.int64)
