# SPDX-License-Identifier: BSD-3-Clause
"""Texts from files, and as numbers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from nervure.data._arrays import Indices
from nervure.serialize import FormatError

Path = str | os.PathLike[str]


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
    TypeError
        For tokens that are no integers, the values of a series for instance.

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
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"[windows] tokens must be integers, got {numbers.dtype}")
    if len(numbers) < length + 1:
        raise ValueError(f"[windows] needs at least {length + 1} tokens, got {len(numbers)}")
    whole = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::stride]
    return whole[:, :-1].astype(np.int64), whole[:, 1:].astype(np.int64)
