# SPDX-License-Identifier: BSD-3-Clause
"""Tables and texts from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure.data import Vocabulary, read_csv, read_text, windows


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


TABLE = 'a, b ,"c, d",kind\n1,2.5,-3e2,cat\n\n4,5,6,"dog"\r\n7,8,9,cat\n'


def test_a_table(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path, TABLE), "kind")
    assert table.columns == ["a", "b", "c, d"]
    assert table.x.dtype == np.float32
    assert table.x.tolist() == [[1, 2.5, -300], [4, 5, 6], [7, 8, 9]]
    assert table.classes == ["cat", "dog"]
    assert table.y is not None
    assert table.y.dtype == np.int64
    assert table.y.tolist() == [0, 1, 0]
    chosen = read_csv(written(tmp_path, TABLE), "b", columns=["c, d", "a"])
    assert chosen.x.tolist() == [[-300, 1], [6, 4], [9, 7]]
    assert chosen.y is not None
    assert chosen.y.tolist() == [2.5, 5, 8]
    assert chosen.classes == []


def test_a_table_without_header_or_with_other_signs(tmp_path: Path) -> None:
    bare = read_csv(written(tmp_path, "1;2;0\n3;4;1\n"), -1, delimiter=";", header=False)
    assert bare.columns == ["0", "1"]
    assert bare.x.tolist() == [[1, 2], [3, 4]]
    assert bare.y is not None
    assert bare.y.tolist() == [0, 1]
    assert bare.y.dtype == np.float32
    numbered = read_csv(written(tmp_path, "x,y\n1,10\n2,9\n"), "y", classes=True)
    assert numbered.classes == ["10", "9"]
    assert numbered.y is not None
    assert numbered.y.tolist() == [0, 1]
    filled = read_csv(written(tmp_path, "x,z\n1,\n ,4\n"), missing=float("nan"))
    np.testing.assert_array_equal(filled.x, [[1, np.nan], [np.nan, 4]])
    assert filled.y is None
    latin = read_csv(written(tmp_path, "größe\n1\n", "latin-1"), encoding="latin-1")
    assert latin.columns == ["größe"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("a,b\n", {}, "no lines of data"),
        ("a,a\n1,2\n", {}, "has a column twice"),
        ("a,b\n1,2\n3\n", {}, "line 3: expected 2 fields, got 1"),
        ("a,b\n1,2,3\n", {}, "line 2: expected 2 fields, got 3"),
        ("a,b\n1,2\n3,x4\n", {}, "line 3, column 'b': 'x4' is no number"),
        ("a,b\n1,\n", {}, r"line 2, column 'b': the field is empty \(see missing=\)"),
        ("a,y\n1,c\n2,\n", {"target": "y"}, "line 3, column 'y': the target is empty"),
        ("a,y\n1,c\n", {"target": "y", "classes": False}, "line 2, column 'y': 'c' is no number"),
        ('a,b\n1,"2\n', {}, "line 2: unexpected end of data"),
    ],
)
def test_tables_that_are_damaged(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(nv.FormatError, match=message):
        read_csv(written(tmp_path, text), **options)


def test_arguments_that_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE)
    with pytest.raises(ValueError, match="has no column 'z', it has a, b, c, d, kind"):
        read_csv(path, "z")
    with pytest.raises(ValueError, match="no column 4"):
        read_csv(path, 4)
    with pytest.raises(ValueError, match="columns must be a list of names"):
        read_csv(path, columns="ab")
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "nothing.csv")
    with pytest.raises(nv.FormatError, match="is not utf-8 after line"):
        read_csv(written(tmp_path, "größe\n1\n", "latin-1"))


def test_text_files(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Grüße\r\nund mehr".encode())
    assert read_text(path) == "Grüße\nund mehr"
    with pytest.raises(nv.FormatError, match="is not ascii: byte 2 cannot be read"):
        read_text(path, encoding="ascii")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothing.txt")


def test_vocabularies() -> None:
    characters = Vocabulary("hello")
    assert characters.tokens == ["e", "h", "l", "o"]
    assert characters.encode("hole").tolist() == [1, 3, 2, 0]
    assert characters.decode(characters.encode("hole")) == "hole"
    with pytest.raises(ValueError, match="'x' is not in the vocabulary"):
        characters.encode("hex")
    with pytest.raises(IndexError, match=r"0 \.\. 3"):
        characters.decode([4])
    words = Vocabulary("b a b c c d", "word", max_size=2, unknown="<?>")
    assert words.tokens == ["<?>", "b", "c"]  # of the frequent ones the first in the alphabet
    assert len(words) == 3
    assert "a" not in words
    assert words.encode("a b c").tolist() == [0, 1, 2]
    assert words.decode([1, 0]) == "b <?>"
    assert Vocabulary("aab", min_count=2).tokens == ["a"]
    for text, options, message in (
        ("", {}, "no token"),
        ("a", {"level": "line"}, "level must be"),
        ("a", {"min_count": 0}, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            Vocabulary(text, **options)  # type: ignore[arg-type]


def test_windows_of_a_text() -> None:
    x, y = windows(np.arange(10), 3, stride=2)
    assert x.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8]]
    np.testing.assert_array_equal(y, x + 1)
    x, y = windows(np.arange(7), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="at least 4 tokens, got 3"):
        windows([1, 2, 3], 3)
    with pytest.raises(ValueError, match="must be"):
        windows([1, 2, 3], 0)
    with pytest.raises(TypeError, match="tokens must be integers, got float64"):
        windows([0.1, 0.2, 0.3, 0.4], 2)  # a series: all zeros as integers
