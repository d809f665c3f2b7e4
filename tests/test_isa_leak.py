# SPDX-License-Identifier: BSD-3-Clause
"""Code compiled for one instruction set must not be reachable from another: checked on the objects.

Two object files may hold the same inline function; the linker keeps one of them. If that is the one
compiled for AVX-512, the baseline crashes on a processor without it. So the objects of kernels
define nothing that could be merged, and the others hold no wide instructions. Wheels are stripped:
this needs a build tree.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ISAS = ("baseline", "avx2", "avx512")


def _build_tree() -> Path | None:
    """The most recently built tree with objects of all instruction sets."""
    trees = {p.parents[1] for p in ROOT.glob("build/**/CMakeFiles/kernels_avx512_o1.dir")}
    built = [
        (max(m.stat().st_mtime for m in t.glob("_core*.so")), t)
        for t in trees
        if any(t.glob("_core*.so"))
    ]
    return max(built)[1] if built else None


TREE = _build_tree()

pytestmark = [
    pytest.mark.skipif(TREE is None, reason="no build tree with x86-64 objects at hand"),
    pytest.mark.skipif(
        not (shutil.which("nm") and shutil.which("objdump")), reason="binutils are not installed"
    ),
]


def _objects(target: str) -> list[Path]:
    """Objects whose source still exists, of the targets whose names begin so."""
    assert TREE is not None
    found = [
        p
        for folder in sorted((TREE / "CMakeFiles").glob(f"{target}*.dir"))
        for p in sorted(folder.rglob("*.o"))
        if (ROOT / p.relative_to(folder).with_suffix("")).exists()
    ]
    assert found, target
    return found


def _symbols(path: Path, *options: str) -> list[tuple[str, str]]:
    """Type letter and demangled name."""
    done = subprocess.run(
        ["nm", "-C", *options, str(path)], capture_output=True, text=True, check=True
    )
    lines = [re.sub(r"^[0-9a-f]* *", "", line) for line in done.stdout.splitlines()]
    return [(line[0], line[2:]) for line in lines if line]


def _registers(path: Path, pattern: str) -> list[str]:
    done = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.strip() for line in done.stdout.splitlines() if re.search(pattern, line)][:3]


@pytest.mark.parametrize("isa", ISAS)
def test_objects_define_only_their_own_names(isa: str) -> None:
    for path in _objects(f"kernels_{isa}"):
        for kind, name in _symbols(path, "--defined-only", "--extern-only"):
            assert kind not in "WVu", f"{path.name}: {name} may be merged with another's"
            assert f"nervure::kernels::{isa}::" in name, f"{path.name} defines {name}"


@pytest.mark.parametrize("isa", ISAS)
def test_objects_use_no_library_code_that_could_be_merged(isa: str) -> None:
    for path in _objects(f"kernels_{isa}"):
        for _, name in _symbols(path, "--undefined-only"):
            assert not re.search(r"\bstd::|operator (new|delete)|__cxa|_Unwind", name), (
                f"{path.name} uses {name}"
            )
            others = [i for i in ISAS if i != isa and f"nervure::kernels::{i}::" in name]
            assert not others, f"{path.name} uses {name}"


def test_kernels_are_compiled_for_every_instruction_set() -> None:
    names = [{p.name for p in _objects(f"kernels_{isa}")} for isa in ISAS]
    assert names[0] == names[1] == names[2]
    sources = {f"{p.name}.o" for p in (ROOT / "cpp" / "kernels").glob("*.cpp")}
    assert names[0] == sources


@pytest.mark.parametrize("target", ["kernels_baseline", "_core"])
def test_baseline_has_no_wide_registers(target: str) -> None:
    for path in _objects(target):
        assert not _registers(path, r"%[yz]mm\d"), path.name


def test_avx2_has_no_avx512() -> None:
    for path in _objects("kernels_avx2"):
        assert not _registers(path, r"%zmm\d|%[xy]mm(1[6-9]|2\d|3[01])\b|%k[1-7]\b"), path.name


def test_wide_kernels_are_wide() -> None:
    """The check above can see what it looks for."""
    assert any(_registers(path, r"%zmm\d") for path in _objects("kernels_avx512"))
    assert any(_registers(path, r"%ymm\d") for path in _objects("kernels_avx2"))
