# SPDX-License-Identifier: BSD-3-Clause
"""Every chapter of docs/tutorial runs from top to bottom, and prints what it says it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from test_docs import ROOT, Block, blocks_of

import nervure as nv

TUTORIAL = ROOT / "docs/tutorial"
INDEX = TUTORIAL / "index.md"
CHAPTERS = sorted(page for page in TUTORIAL.glob("*.md") if page != INDEX)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def run(block: Block, namespace: dict[str, object]) -> str:
    """What the block prints. Line numbers of a traceback are those of the page."""
    program = "\n" * block.line + block.text
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, str(block.page), "exec"), namespace)
    return printed.getvalue()


def same_number(told: str, found: str) -> bool:
    """Whole numbers are exact; others may differ from processor to processor in the last digits."""
    if "." not in told and "e" not in told:
        return told == found
    digits = len(told.partition("e")[0].partition(".")[2])
    power = int(told.partition("e")[2] or 0)
    return abs(float(told) - float(found)) <= max(
        1.5 * 10.0 ** (power - digits), 0.03 * abs(float(told))
    )


def assert_quoted(told: str, found: str, where: str) -> None:
    """Spaces are not compared: a number with one digit more moves them."""
    words = [NUMBER.sub("#", text).split() for text in (told, found)]
    assert words[0] == words[1], f"{where} quotes\n{told}\nbut what is printed is\n{found}"
    numbers = zip(NUMBER.findall(told), NUMBER.findall(found), strict=True)
    different = [pair for pair in numbers if not same_number(*pair)]
    assert not different, f"{where}: {different}\n{found}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda page: page.stem)
def test_chapter_runs(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "from sklearn" in chapter.read_text(encoding="utf-8"):
        pytest.importorskip("sklearn", reason="the chapter uses scikit-learn's digits")
    monkeypatch.chdir(tmp_path)
    nv.set_num_threads(1)  # the models are small; results do not depend on it
    namespace: dict[str, object] = {"__name__": chapter.stem}
    printed = ""
    for block in blocks_of(chapter):
        if block.language == "python":
            assert not printed, f"what the block before {block} prints is not quoted"
            printed = run(block, namespace)
        elif block.language == "output":
            assert_quoted(block.text, printed, str(block))
            printed = ""
    assert not printed, f"{chapter.name}: what the last block prints is not quoted"


def test_quotes_are_compared() -> None:
    assert_quoted("loss 0.123\n", "loss  0.124\n", "")
    assert_quoted("1e-09 and -2.5\n", "1e-09 and -2.55\n", "")
    for told, found in (("0.10", "0.20"), ("3 left", "4 left"), ("a 1", "b 1"), ("1", "")):
        with pytest.raises(AssertionError):
            assert_quoted(told, found, "")


def test_chapters_are_listed() -> None:
    index = INDEX.read_text(encoding="utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(CHAPTERS) == 15
    for number, chapter in enumerate(CHAPTERS, 1):
        title = chapter.read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith(f"# {number}. ")
        assert f"]({chapter.name})" in index
        assert f"tutorial/{chapter.name}" in navigation


def test_names_of_the_map_exist() -> None:
    spaces = {"nv": nv, "nn": nv.nn, "F": nv.nn.functional, "optim": nv.optim}
    spaces |= {
        name: getattr(nv, name) for name in ("models", "metrics", "callbacks", "diagnostics")
    }
    table = [row for row in INDEX.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    names = re.findall(r"`(\w+)\.([\w.]+)`", "\n".join(table))
    assert len(names) > 50
    for space, path in names:
        value: object = spaces[space]
        for part in path.split("."):
            value = getattr(value, part)
