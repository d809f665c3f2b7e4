# SPDX-License-Identifier: BSD-3-Clause
"""The rules of the house as checks on its sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nervure import _core, reference
from nervure.reference import cases

ROOT = Path(__file__).resolve().parents[1]
CPP, PYTHON = ROOT / "cpp", ROOT / "python" / "nervure"

pytestmark = pytest.mark.skipif(not CPP.is_dir(), reason="the sources are not at hand")

FLOORS = ("core", "kernels", "ops", "bindings")  # lowest first

KERNEL_HEADERS = {"core/dispatch.h", "core/parallel.h", "core/scratch.h", "core/vec.h"}
KERNEL_HEADERS |= {"core/vmath.h", "cstdint", "cstddef", "cstring"}

# Where instructions are named: vectors and their functions, the control register, and a pause.
INTRINSICS = {"core/vec.h", "core/vmath.h", "core/cpu.cpp", "core/launch.cpp", "core/spin_lock.h"}
INTRINSICS |= {"kernels/gemm_tile.cpp", "kernels/gemm_tile.h"}
INTRINSICS |= {"kernels/transpose.h", "kernels/horizontal.h", "kernels/bytes.h"}

# What the compiled module offers besides the operations of ops.h.
RUNTIME = {
    "apply_function",
    "available_isas",
    "clear_gradients",
    "config",
    "copy_bandwidth",
    "empty",
    "fma_peak",
    "from_numpy",
    "get_conv_accuracy",
    "get_conv_algorithm",
    "get_num_threads",
    "grad_enabled",
    "has_gradient",
    "initial_seed",
    "manual_seed",
    "memory_stats",
    "reset_peak_memory",
    "rng_state",
    "row_gradient",
    "select_isa",
    "set_conv_accuracy",
    "set_conv_algorithm",
    "set_grad_enabled",
    "set_num_threads",
    "set_rng_state",
    "tensor",
    "triad_bandwidth",
    "trim_memory",
    "writes_into",
}

# Declared in ops.h for other files of ops/ and for the module itself.
INTERNAL = {"initialise", "parse_activation"}

# Operations of ops.h that compute nothing the reference could repeat, or only move or draw values.
WITHOUT_REFERENCE = {
    "arange",
    "bernoulli_",
    "cast",
    "copy_",
    "fill_",
    "full",
    "normal_",
    "rand",
    "randint",
    "randn",
    "randperm",
    "trunc_normal_",
    "uniform_",
}


def _sources(*suffixes: str) -> list[Path]:
    found = []
    for folder in ("cpp", "python", "bench", "tests", "examples", "cmake"):
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in suffixes and p.is_file()]
    return sorted(p for p in found if "__pycache__" not in p.parts and not p.is_symlink())


def _cpp(folder: str = "") -> list[Path]:
    return [p for p in _sources(".h", ".cpp") if p.is_relative_to(CPP / folder)]


def _place(path: Path) -> str:
    return path.relative_to(CPP).as_posix()


def _code(path: Path) -> str:
    """The C++ text without comments and without the contents of strings."""
    text = path.read_text()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"(?<![:\"])//[^\n]*", " ", text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def _includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M)


def _offences(paths: list[Path], pattern: str) -> list[str]:
    found = []
    for path in paths:
        for number, line in enumerate(_code(path).splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{_place(path)}:{number}: {line.strip()}")
    return found


# ---- floors --------------------------------------------------------------------------------------


def test_there_are_sources() -> None:
    assert {p.relative_to(CPP).parts[0] for p in _cpp()} == set(FLOORS)


def test_includes_go_down_only() -> None:
    found = []
    for path in _cpp():
        floor = FLOORS.index(path.relative_to(CPP).parts[0])
        for name in _includes(path):
            top = name.split("/")[0]
            if top in FLOORS and FLOORS.index(top) > floor:
                found.append(f"{_place(path)} includes {name}")
            if name.startswith("."):
                found.append(f"{_place(path)} includes {name}: paths start at cpp/")
    assert not found


def test_python_is_known_to_the_bindings_only() -> None:
    others = [p for p in _cpp() if p.relative_to(CPP).parts[0] != "bindings"]
    found = [f"{_place(p)}: {n}" for p in others for n in _includes(p) if re.match("py|Py", n)]
    assert not found
    assert not _offences(others, r"\b(PyObject|py::|pybind11|PyErr_|PyGILState)")


def test_kernels_include_little() -> None:
    found = []
    for path in _cpp("kernels"):
        for name in _includes(path):
            if name not in KERNEL_HEADERS and not name.startswith("kernels/"):
                found.append(f"{_place(path)} includes {name}")
    assert not found


def test_kernels_hold_nothing_shared_between_instruction_sets() -> None:
    kernels = _cpp("kernels")
    containers = "vector|string|map|set|list|array|deque|function|unique_ptr|shared_ptr|optional"
    assert not _offences(kernels, rf"\bstd::({containers}|sort|atomic|mutex|thread|move)\b")
    assert not _offences(
        kernels, r"\b(throw|try|catch|new|delete|malloc|free|Tensor|thread_local)\b"
    )
    assert not _offences(kernels, r"\bstatic\b(?!\s+(constexpr|inline)\b)")


def test_kernels_lie_in_the_namespace_of_their_instruction_set() -> None:
    for path in _cpp("kernels"):
        if path.suffix == ".cpp":
            assert "namespace nervure::kernels::NV_ISA {" in path.read_text(), _place(path)


def test_openmp_is_behind_one_door() -> None:
    doors = {"core/parallel.cpp", "core/parallel.h"}
    others = [p for p in _cpp() if _place(p) not in doors]
    assert not _offences(others, r"#\s*pragma\s+omp|\bomp_\w+\(")
    assert not [p for p in others if "omp.h" in _includes(p)]


def test_intrinsics_stay_in_their_files() -> None:
    others = [p for p in _cpp() if _place(p) not in INTRINSICS]
    assert not _offences(others, r"\b_mm\d*_|\b__m(128|256|512)|__builtin_ia32|\bv(ld|st)1q_")
    headers = ("immintrin.h", "x86intrin.h", "arm_neon.h", "cpuid.h")
    assert not [_place(p) for p in others for n in _includes(p) if n in headers]


def test_nothing_prints_or_aborts() -> None:
    assert not _offences(
        _cpp(), r"\b(printf|fprintf|puts|abort|_?exit|terminate)\s*\(|std::c(out|err)"
    )


def test_environment_variables_are_few() -> None:
    text = "".join(p.read_text() for p in _cpp())
    named = set(re.findall(r'"((?:NERVURE|OMP|GOMP|MKL)_\w+)"', text))
    allowed = {"NERVURE_ISA", "NERVURE_NUM_THREADS", "OMP_NUM_THREADS"}
    allowed |= {"NERVURE_ALLOC", "NERVURE_THREADING"}  # of which no result depends
    assert named <= allowed
    assert len(re.findall(r"\bgetenv\(", text)) <= len(allowed)


# ---- build ---------------------------------------------------------------------------------------


def test_no_flag_changes_arithmetic_or_ties_to_this_machine() -> None:
    found = []
    for path in [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", *(ROOT / "cmake").glob("*")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"-ffast-math|-Ofast|-march=native|-mtune=native", line.split("#")[0]):
                found.append(f"{path.name}:{number}")
    assert not found
    assert not _offences(_cpp(), r"#\s*pragma\s+GCC\s+optimize|__attribute__\(\(optimize")


def test_no_link_time_optimisation() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    assert "CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF" in text
    assert "-flto" not in text
    assert "NO_EXTRAS" in text  # pybind11 would turn it on


# ---- Python --------------------------------------------------------------------------------------


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_layers_and_optimisers_do_not_use_numpy() -> None:
    paths = [p for name in ("nn", "optim") for p in (PYTHON / name).rglob("*.py")]
    paths += [p for p in (PYTHON / "optim.py",) if p.exists()]
    assert paths
    found = [
        f"{p.name} imports {n}" for p in paths for n in _imports(p) if n.split(".")[0] == "numpy"
    ]
    assert not found


def test_reference_knows_numpy_only() -> None:
    found = []
    for path in (PYTHON / "reference").glob("*.py"):
        for name in _imports(path):
            allowed = ("numpy", "math", "collections", "typing", "dataclasses", "itertools")
            allowed += ("__future__", "builtins")
            if not name.startswith(".") and name.split(".")[0] not in allowed:
                found.append(f"{path.name} imports {name}")
    assert not found


def test_numpy_is_the_only_dependency() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    match = re.search(r"^dependencies = \[(.*?)\]", text, re.M | re.S)
    assert match
    assert re.findall(r'"([a-z]+)', match[1]) == ["numpy"]


# ---- catalogue, bindings and stub ----------------------------------------------------------------


def _catalogue() -> dict[str, list[str]]:
    """The operations of ops.h and the names of their parameters, options spelled out."""
    text = _code(CPP / "ops" / "ops.h")
    options = {}
    for name, body in re.findall(r"struct (\w+Options) \{(.*?)\};", text, re.S):
        fields = re.findall(r"(?:double|bool|std::int64_t)\s+([^;]+);", body)
        options[name] = [f.split("=")[0].strip() for group in fields for f in group.split(",")]
    found = {}
    declaration = r"^(?:[\w:]+(?:<[^;()]*>)?)\s+(\w+)\(([^;]*)\);"
    for name, parameters in re.findall(declaration, text, re.M):
        names: list[str] = []
        for parameter in re.split(r",(?![^<]*>)", parameters):
            words = parameter.split()
            if not words:
                continue
            kind = next((o for o in options if o in parameter), None)
            names += options[kind] if kind else [words[-1].lstrip("&*")]
        found[name] = names
    return {name: names for name, names in found.items() if name not in INTERNAL}


def _bound() -> dict[str, str]:
    """Functions of the compiled module and the signature that it states."""
    functions = {n: getattr(_core, n) for n in dir(_core) if not n.startswith("_")}
    builtin = type(_core.add)
    return {n: f.__doc__ or "" for n, f in functions.items() if isinstance(f, builtin)}


def _stub() -> ast.Module:
    return ast.parse((PYTHON / "_core.pyi").read_text())


def _stated_parameters(name: str, doc: str) -> tuple[list[str], list[bool]]:
    """Names, and which have a default, from the first line pybind11 writes."""
    inner = doc.split("\n")[0].removeprefix(f"{name}(").rsplit(") ->", 1)[0]
    depth, parts, start = 0, [], 0
    for i, c in enumerate(inner + ","):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append(inner[start:i].strip())
            start = i + 1
    parts = [p for p in parts if p and p not in ("/", "*")]
    names = [re.match(r"\**\w+", p).group() for p in parts]  # type: ignore[union-attr]
    return names, ["=" in re.sub(r"\[[^\]]*\]", "", p) for p in parts]


def test_every_operation_is_bound_and_nothing_else() -> None:
    assert set(_bound()) - RUNTIME == set(_catalogue())
    assert set(_bound()) >= RUNTIME


def test_bindings_name_parameters_as_the_catalogue() -> None:
    wrong = []
    reductions = {"sum", "mean", "var", "standard_deviation", "amax", "amin", "logsumexp"}
    reductions |= {"any", "all", "norm"}
    for name, parameters in _catalogue().items():
        expected = [("dim" if p == "dims" and name in reductions else p) for p in parameters]
        stated, _ = _stated_parameters(name, _bound()[name])
        if stated != expected:
            wrong.append(f"{name}: ops.h {expected}, _core {stated}")
    assert not wrong


def test_stub_agrees_with_the_module() -> None:
    functions: dict[str, ast.FunctionDef] = {}
    for node in _stub().body:
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, node)
    bound = _bound()
    assert set(functions) == set(bound)
    wrong = []
    for name, node in functions.items():
        if bound[name].startswith(f"{name}(*args") or node.decorator_list:  # overloads
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        with_default = len(node.args.defaults) + sum(d is not None for d in node.args.kw_defaults)
        names, defaults = _stated_parameters(name, bound[name])
        plain = [n for n in names if not n.startswith("*")]
        if [a.arg for a in arguments] != plain or with_default != sum(defaults):
            wrong.append(f"{name}: stub {[a.arg for a in arguments]}, _core {names}")
    assert not wrong


def test_stub_has_every_method_of_tensor() -> None:
    (cls,) = (n for n in _stub().body if isinstance(n, ast.ClassDef) and n.name == "Tensor")
    stated = {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
    stated |= {
        n.target.id
        for n in cls.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    actual = {n for n in vars(_core.Tensor) if not n.startswith("_")}
    assert {n for n in stated if not n.startswith("_")} == actual
    special = {n for n in vars(_core.Tensor) if n.startswith("__") and not hasattr(object, n)}
    own = {n for n in special if callable(getattr(_core.Tensor, n))}
    assert own <= stated


def test_every_operation_with_arithmetic_has_a_reference_and_rows() -> None:
    needed = set(_catalogue()) - WITHOUT_REFERENCE
    assert not {name for name in needed if not hasattr(reference, name)}
    rows = {case.op for case in cases.CASES} | {step.op for step in cases.STEPS}
    # Random, without a backward, or they write to what they are given: they have their own tests.
    assert needed - rows == {
        "attend_cached",
        "attentive_memory",
        "attentive_step",
        "clip_grad_norm_",
        "clip_grad_value_",
        "dropout",
        "dropout2d",
        "transformer_step",
    }


def test_public_names_exist() -> None:
    import nervure

    for name in nervure.__all__:
        assert hasattr(nervure, name), name


# ---- every file ----------------------------------------------------------------------------------


def test_every_file_names_its_licence() -> None:
    found = []
    for path in _sources(".h", ".cpp", ".py", ".pyi"):
        lines = path.read_text().splitlines()
        first = lines[1 if lines and lines[0].startswith("#!") else 0] if lines else ""
        if first not in (
            "// SPDX-License-Identifier: BSD-3-Clause",
            "# SPDX-License-Identifier: BSD-3-Clause",
        ):
            found.append(str(path.relative_to(ROOT)))
    assert not found


def test_lines_are_short() -> None:
    found = []
    for path in _sources(".h", ".cpp", ".py", ".pyi", ".cmake"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > 120:
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert not found


def test_nothing_is_left_undone() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _sources(".h", ".cpp", ".py", ".pyi", ".cmake")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert not found
