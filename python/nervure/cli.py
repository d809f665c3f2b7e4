# SPDX-License-Identifier: BSD-3-Clause
"""The command ``nervure``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nervure as nv


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process); returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) went away
        sys.stderr.close()
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nervure", description="Train and run neural networks on a CPU."
    )
    parser.add_argument("--version", action="version", version=f"nervure {nv.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    _add_info(commands.add_parser("info", help="how it computes; what a file holds"))
    _add_convert(commands.add_parser("convert", help="write tensors in another format"))
    _add_bench(commands.add_parser("bench", help="measure it against NumPy, PyTorch and JAX"))
    _add_demo(commands.add_parser("demo", help="train a network, with a report"))
    return parser


# ---- info ----------------------------------------------------------------------------------------


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show version, processor, instruction set, threads, compiler, build type and NumPy; or, of "
        "a safetensors, PyTorch, npz or ONNX file, its tensors, shapes, sizes and metadata."
    )
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="describe this file")
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    if options.file is not None:
        return _with_files("info", lambda: print(nv.files.describe(options.file)))
    import numpy as np

    nv.show_config()
    print(f"{'numpy':<16} {np.__version__}")
    return 0


def _with_files(command: str, action: Callable[[], None]) -> int:
    try:
        action()
    except (OSError, ValueError, TypeError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"nervure {command}: {error}", file=sys.stderr)
        return 2
    return 0


# ---- convert -------------------------------------------------------------------------------------


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write the tensors of a safetensors, PyTorch (.pt, .pth), npz or ONNX file to a "
        ".safetensors or .npz file. Nothing in the file is executed."
    )
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    def run() -> None:
        count = nv.files.convert(options.source, options.target)
        print(f"{count} tensors written to {options.target}")

    return _with_files("convert", run)


# ---- bench ---------------------------------------------------------------------------------------


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(count) for count in _names(text))


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Time Nervure and its peers side by side, in interleaved rounds, after checking that they "
        "compute the same."
    )
    add = parser.add_argument
    add("--suite", choices=("kernels", "models", "all"), default="all")
    add("--against", type=_names, default=(), metavar="PEERS", help="of numpy, torch, jax, "
        "sklearn, with commas between (default: numpy, and torch if installed)")  # fmt: skip
    add("--threads", type=_counts, default=(), metavar="N,N", help="numbers of threads (default: "
        "1 and what Nervure takes here)")  # fmt: skip
    add("--filter", metavar="REGEX", help="only rows whose suite, group and name match")
    add("--quick", action="store_true", help="few rows, few rounds: does it run, and about how "
        "fast")  # fmt: skip
    add("--list", action="store_true", help="list the rows and what they compute, run nothing")
    add("--json", type=Path, metavar="FILE", help="write the results there (bench/compare.py "
        "compares two)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help="draw a bar chart (PNG; needs matplotlib)")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    from nervure.bench.run import BenchError, Options, list_rows, run

    asked = Options(
        options.suite,
        options.against,
        options.threads,
        options.filter,
        options.quick,
        options.json,
        options.plot,
    )
    if options.list:
        list_rows(asked)
        return 0
    try:
        return 1 if run(asked) else 0
    except BenchError as error:
        print(f"nervure bench: {error}", file=sys.stderr)
        return 2


# ---- demo ----------------------------------------------------------------------------------------


def _add_demo(parser: argparse.ArgumentParser) -> None:
    from nervure.demo import TASKS

    parser.description = (
        "Train a network and leave its learning curves, other pictures and weights in a folder. "
        "Needs the extra: pip install 'nervure[demo]'"
    )
    add = parser.add_argument
    tasks = "; ".join(f"{name}: {what}" for name, what in TASKS.items())
    add("--task", choices=tuple(TASKS), default="digits", help=f"{tasks} (default: digits)")
    add("--epochs", type=int, metavar="N")
    add("--seed", type=int, default=0, metavar="N")
    add("--output", type=Path, default=Path("nervure-demo"), metavar="FOLDER", help="default: "
        "nervure-demo")  # fmt: skip
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from nervure import demo

    try:
        demo.run(options.task, epochs=options.epochs, seed=options.seed, output=options.output)
    except demo.DemoError as error:
        print(f"nervure demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
