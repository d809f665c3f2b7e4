# SPDX-License-Identifier: BSD-3-Clause
"""What README and docs/ say is true: their programs run, their excerpts and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import nervure as nv

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

# An HTML comment right before a block says that it is an excerpt of a file.
FENCE = re.compile(
    r"^(?:<!-- from (?P<source>\S+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    source: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: m.start()].count("\n") + 1, m["language"], m["text"], m["source"])
        for m in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# A chapter of the tutorial is one program in several blocks: tests/test_tutorial.py.
PROGRAMS = [
    b
    for b in BLOCKS
    if b.language == "python" and b.source is None and b.page.parent.name != "tutorial"
]
EXCERPTS = [b for b in BLOCKS if b.source is not None]


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_program_runs(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.text, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, f"{block}\n{run.stdout}{run.stderr}"


def lines_of(text: str) -> list[str]:
    """Lines without indentation, and no empty ones: an excerpt may stand further left."""
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("block", EXCERPTS, ids=str)
def test_excerpt_is_current(block: Block) -> None:
    assert block.source is not None
    source = "\n".join(lines_of((ROOT / block.source).read_text(encoding="utf-8")))
    position = 0
    for part in re.split(r"^\s*\.\.\.$", block.text, flags=re.MULTILINE):
        excerpt = "\n".join(lines_of(part))
        found = source.find(excerpt, position)
        assert found >= 0, f"{block}: {block.source} no longer has\n{part}"
        position = found + len(excerpt)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    linked = [target.split("#")[0] for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)]
    missing = [target for target in linked if target and not (page.parent / target).exists()]
    named = re.findall(r"`((?:cpp|python|tests|bench|docs|tools|examples)/[\w./-]+)`", text)
    missing += [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_readme_has_its_commands() -> None:
    commands = [
        line
        for block in BLOCKS
        if block.page.name == "README.md" and block.language == "sh"
        for line in block.text.splitlines()
    ]
    assert [c for c in commands if c.endswith("nervure demo")]
    assert [c for c in commands if c.endswith("-m pytest")]
    assert all(c.startswith("python3 -m venv .venv && ") for c in commands)


def describes_itself(name: str) -> bool:
    """Whether mkdocstrings finds a docstring: in Python, not in the compiled module."""
    value = getattr(nv, name)
    return getattr(value, "__module__", "nervure._core") != "nervure._core" and bool(value.__doc__)


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs/api/nervure.md").read_text(encoding="utf-8")
    missing = [
        n
        for n in nv.__all__
        if not (describes_itself(n) or f"`nv.{n}`" in page or f"`nv.{n}(" in page)
    ]
    methods = (ROOT / "docs/api/tensor.md").read_text(encoding="utf-8")
    missing += [
        name
        for name in dir(nv.Tensor)
        if not name.startswith("_") and not re.search(rf"`{name}[`(]", methods)
    ]
    assert not missing
