# SPDX-License-Identifier: BSD-3-Clause
"""The command line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import nervure as nv
from nervure import _core, cli


def test_info(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    config = _core.config()
    for expected in (
        nv.__version__,
        config["cpu"],
        config["isa"],
        *config["available_isas"],
        f"{config['threads']} (from {config['threads_from']}",
        config["compiler"],
        config["build_type"],
        np.__version__,
    ):
        assert expected in text


def test_module_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "nervure", "--version"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == f"nervure {nv.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["paint"], ["bench", "--suite", "all of them"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: nervure" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["info"], ["convert"], ["bench"], ["demo"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: nervure" in capsys.readouterr().out


def test_bench_lists_rows(capsys):
    pytest.importorskip("nervure.bench", reason="the benchmark comes with the wheel")
    assert cli.main(["bench", "--list", "--filter", "gemm NN 64x64x64"]) == 0
    assert "gemm NN 64x64x64 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "matlab"], "matlab"),
        (["--filter", "no such row"], "--filter"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_bench_refuses(arguments, message, capsys):
    pytest.importorskip("nervure.bench", reason="the benchmark comes with the wheel")
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nervure bench: ")
    assert message in error


def test_bench_gives_its_options(monkeypatch):
    pytest.importorskip("nervure.bench", reason="the benchmark comes with the wheel")
    from nervure.bench import run as bench

    asked = []
    monkeypatch.setattr(bench, "run", lambda options: asked.append(options) or 3)
    command = (
        "--suite models --against numpy,jax --threads 1,2 --filter x --quick --json a --plot b"
    )
    assert cli.main(["bench", *command.split()]) == 1  # rows failed
    (options,) = asked
    assert options.suite == "models"
    assert options.against == ("numpy", "jax")
    assert options.threads == (1, 2)
    assert options.filter == "x"
    assert options.quick
    assert (str(options.json), str(options.plot)) == ("a", "b")


def test_interrupt(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(nv, "show_config", interrupted)
    assert cli.main(["info"]) == 130
    assert "stopped" in capsys.readouterr().err
