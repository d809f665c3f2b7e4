# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark: its statistics, its checks, its rows, its files. No test here asks for a speed."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nervure as nv
from nervure import _core

pytest.importorskip("nervure.bench", reason="the benchmark comes with the wheel")

from nervure.bench import compare, memory, registry, report
from nervure.bench import run as bench
from nervure.bench.numpy_peers import NumpyAdam, NumpyMLP
from nervure.bench.registry import Contest, Peers, Row
from nervure.bench.roofline import Roofline
from nervure.bench.threads import Threads
from nervure.bench.timing import Budget, Timing, calls_per_round, time_rounds

TINY = Budget(seconds=0, round_seconds=0, min_rounds=1, least_rounds=3)
PEAK = Roofline(gflops=100.0, copy=10.0, triad=12.0)


def row_of(builder, name="row", group="group"):
    return Row("kernels", group, name, "what", True, builder, ())


def two_contestants(ours=1.0, theirs=1.0, **settings):
    contest = Contest(**settings)
    contest.add("nervure", lambda: ours)
    contest.add("numpy", lambda: theirs)
    return contest


# ---- timing --------------------------------------------------------------------------------------


def test_statistics():
    timing = Timing(4, [3.0, 1.0, 2.0, 5.0, 4.0])
    assert timing.median == 3
    assert timing.best == 1
    assert timing.iqr == 2
    assert timing.uncertainty == pytest.approx(0.93 * 2 / np.sqrt(5) / 3)
    assert timing.as_dict(per=2) == {
        "median": 1.5,
        "iqr": 1.0,
        "best": 0.5,
        "rounds": 5,
        "calls_per_round": 4,
    }
    assert Timing(1, [2.0]).iqr == 0


def test_rounds_are_interleaved():
    log = []
    calls = {name: lambda name=name: log.append(name) for name in "ABC"}
    timings = time_rounds(calls, replace(TINY, least_rounds=4))
    assert [len(timing.samples) for timing in timings.values()] == [4, 4, 4]
    turns = "".join(name for name, _ in itertools.groupby(log))
    assert turns == "ABC" * 5  # the first to find the number of calls


def test_every_round_has_an_untimed_call():
    count = itertools.count()
    timings = time_rounds({"A": lambda: next(count)}, replace(TINY, least_rounds=5))
    calls_in_rounds = 5 * (timings["A"].inner + 1)
    assert next(count) >= calls_in_rounds + 1


def test_pauses_stand_before_every_turn(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    time_rounds({"A": int, "B": int}, replace(TINY, max_rounds=3), pause=0.25)
    assert slept == [0.25] * 6


def test_calls_per_round():
    assert calls_per_round(lambda: time.sleep(2e-3), 1e-3) == 1
    assert calls_per_round(int, 1e-3) > 100


@pytest.mark.parametrize(
    ("budget", "rounds"),
    [
        (Budget(seconds=5.5, round_seconds=0, min_rounds=100, precision=0), 5),  # time is up
        (Budget(seconds=0, round_seconds=0, least_rounds=4), 4),  # never fewer
        (Budget(seconds=99, round_seconds=0, min_rounds=7, precision=1e9), 7),  # known well
        (Budget(seconds=99, round_seconds=0, max_rounds=9, precision=-1), 9),  # never more
    ],
)
def test_when_rounds_end(budget, rounds):
    ticks = itertools.count()  # one second per round
    timings = time_rounds({"A": int}, budget, clock=lambda: float(next(ticks)) - 1)
    assert len(timings["A"].samples) == rounds


def test_garbage_collection_is_off_while_timing_and_on_again():
    states = []

    def call():
        states.append(gc.isenabled())
        if len(states) > 20:
            raise RuntimeError

    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        time_rounds({"A": call}, replace(TINY, least_rounds=100))
    assert gc.isenabled()
    assert not any(states)


# ---- registry ------------------------------------------------------------------------------------


def test_every_row_says_what_it_computes():
    assert len(registry.REGISTRY) > 80
    for row in registry.REGISTRY:
        assert row.what
        assert "{" not in row.what
        assert len(row.name) <= report.NAME_WIDTH - 2
    for suite in ("kernels", "models"):
        assert 0 < len(registry.select(suite, None, quick=True)) <= 40


def test_select():
    names = {row.name for row in registry.select("all", "gemm n[nt] 512", quick=True)}
    assert names == {"gemm NN 512x512x512", "gemm NT 512x512x512"}
    assert all(row.suite == "models" for row in registry.select("models", None, quick=False))
    assert registry.select("kernels", "^models", quick=False) == []


def test_rows_refuses_mistakes(monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", [])
    with pytest.raises(ValueError, match=r"\['b'\]"):
        registry.rows("kernels", "group", {"a": 1}, quick=["b"])
    registry.rows("kernels", "group", {"a": 1})(lambda peers, n: Contest())
    with pytest.raises(ValueError, match="two rows called 'a'"):
        registry.rows("kernels", "other", {"a": 2})(lambda peers, n: Contest())


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1.0, 1.0, 0),
        (np.ones(4), nv.ones(4), 0),
        ((1.0, np.ones(4)), [1.0, np.full(4, 1.5)], 1 / 3),
        (np.zeros(3), np.zeros(3), 0),
        (np.ones(3), np.ones((3, 1)), np.inf),
        (np.ones(3), np.array([1, 1, np.nan]), np.inf),
        ((1.0, 2.0), (1.0,), np.inf),
    ],
)
def test_difference(a, b, expected):
    assert registry.difference(a, b) == pytest.approx(expected)


def test_check_compares_results():
    assert registry.check(two_contestants()) == ""
    assert "numpy differs from nervure by 1.0e-02" in registry.check(two_contestants(1.0, 1.01))
    assert registry.check(two_contestants(1.0, 1.01, tolerance=0.1)) == ""
    assert "inf" in registry.check(two_contestants(1.0, np.nan))
    contest = two_contestants()
    contest.add("torch", lambda: 2.0, lambda: 1.0)
    assert registry.check(contest) == ""


def test_check_copies_ours():
    shared = np.zeros(3)

    def call(value):
        shared[:] = value
        return shared

    contest = Contest()
    contest.add("nervure", lambda: call(1))
    contest.add("numpy", lambda: call(2))
    assert "differs" in registry.check(contest)


# Rows that take no time; the others differ from one of these in the size only.
SMALL_ROWS = [
    pytest.param(row, id=row.name)
    for row in registry.REGISTRY
    if not any(
        mark in row.name
        for mark in ("MLPClassifier", "1e6", "2.5e7", "x1000", "2048", "32000", "60000")
    )
]


@pytest.mark.parametrize("row", SMALL_ROWS)
def test_numpy_computes_the_same(row):
    contest = row.build(Peers())
    assert "nervure" in contest.calls
    assert registry.check(contest) == ""


def test_scikit_learn_learns_as_much():
    sklearn = pytest.importorskip("sklearn")
    (row,) = registry.select("models", "MLPClassifier", quick=False)
    contest = row.build(Peers(sklearn=sklearn))
    assert set(contest.calls) == {"nervure", "sklearn"}
    assert registry.check(contest) == ""


@pytest.mark.torch
@pytest.mark.parametrize("row", [row for row in SMALL_ROWS if not row.id.endswith("compiled loop")])
def test_torch_computes_the_same(row):
    torch = pytest.importorskip("torch")
    contest = row.build(Peers(torch=torch))
    assert "torch" in contest.calls
    assert registry.check(contest) == ""


@pytest.mark.parametrize(
    "name",
    [
        "MLP 10-32-2",
        "sdpa . gradients 8x4x64x32",
        "training RNN 50x32",
        "greedy GRU seq2seq, batch 1, per",
        "greedy GPT, batch 1, compiled",
    ],
)
def test_jax_computes_the_same(name):
    jax = pytest.importorskip("jax")
    (row,) = registry.select("all", name, quick=False)
    contest = row.build(Peers(jax=jax))
    assert "jax" in contest.calls
    assert registry.check(contest) == ""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_peak_memory_of_attention(capsys):
    assert memory.main(["--lengths", "1024", "--against", "numpy"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    length, ours, numpys, matrix = map(float, line.split())
    assert length == 1024
    assert 0 < ours < matrix < numpys


def test_peak_memory_refuses():
    with pytest.raises(SystemExit, match="knows nervure, torch, jax, numpy, not abacus"):
        memory.main(["--against", "abacus"])


def test_numpy_network_has_the_gradients_of_ours():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 4), np.float32), np.array([0, 2, 1, 1, 0])
    layers = [
        (rng.standard_normal((n, m), np.float32), rng.standard_normal(n, np.float32))
        for m, n in [(4, 7), (7, 3)]
    ]
    network = NumpyMLP(layers, 5)
    network.step(x, y)
    w = [nv.tensor(part, requires_grad=True) for layer in layers for part in layer]
    hidden = (nv.tensor(x) @ w[0].transpose(0, 1) + w[1]).relu()
    logits = hidden @ w[2].transpose(0, 1) + w[3]
    nv.nn.functional.cross_entropy(logits, nv.tensor(y)).backward()
    parts = [w[0].grad.numpy().T, w[1].grad.numpy(), w[2].grad.numpy().T, w[3].grad.numpy()]
    expected = np.concatenate([part.ravel() for part in parts])
    np.testing.assert_allclose(network.gradients, expected, rtol=1e-4, atol=1e-6)


def test_numpy_adam_block_by_block():
    rng = np.random.default_rng(1)
    start, gradient = (rng.standard_normal(40_000, np.float32) for _ in range(2))
    whole, parts = start.copy(), start.copy()
    adam = NumpyAdam(start.size)
    adam.step(whole, gradient)
    for part in (slice(0, 7), slice(7, None)):
        values = parts[part].copy()
        NumpyAdam(values.size).step(values, gradient[part])
        parts[part] = values
    np.testing.assert_array_equal(whole, parts)
    # the first step of Adam is the learning rate in the direction of the gradient
    np.testing.assert_allclose(whole - start, -1e-3 * np.sign(gradient), atol=1e-6)


# ---- one row -------------------------------------------------------------------------------------


def test_time_row():
    def build(peers):
        return two_contestants(flops=2e3, per=10)

    result = bench.time_row(row_of(build), Peers(), ("nervure", "numpy"), 1, PEAK, TINY)
    assert set(result.ratios) == {"numpy"}
    assert result.unit == "GFLOP/s"
    assert result.rate == pytest.approx(2e3 / (10 * result.ours["median"]) / 1e9)
    assert result.of_peak == pytest.approx(result.rate / 100)
    assert result.ours["rounds"] == 3


@pytest.mark.parametrize(("moved", "share"), [(1e3, False), (1e9, True)])
def test_memory_peak_holds_beyond_the_caches_only(moved, share):
    timings = {"nervure": Timing(1, [0.2, 0.2])}
    result = report.result_of(row_of(None), 1, Contest(bytes=moved), timings, PEAK)
    assert result.rate == moved / 0.2 / 1e9
    assert result.of_peak == (pytest.approx(result.rate / 12) if share else None)


def test_contestants_not_asked_for_are_not_run():
    def build(peers):
        contest = two_contestants()
        contest.add("torch", lambda: pytest.fail("called"))
        return contest

    result = bench.time_row(row_of(build), Peers(), ("nervure", "numpy"), 1, PEAK, TINY)
    assert "torch" not in result.contestants


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda peers: two_contestants(1, 2), "numpy differs from nervure"),
        (lambda peers: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_wrong_row_fails_loudly(build, message):
    with pytest.raises(bench.RowFailed, match=message):
        bench.time_row(row_of(build), Peers(), ("nervure", "numpy"), 1, PEAK, TINY)


# ---- a run ---------------------------------------------------------------------------------------


@pytest.fixture
def quickly(monkeypatch):
    """Next to no time for the machine and the rows."""
    monkeypatch.setattr(bench, "measure", lambda threads: PEAK)
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr(bench, "PAUSE", 0.0)


def test_run_writes_and_prints(quickly, tmp_path, capsys):
    path = tmp_path / "results.json"
    options = bench.Options(
        against=("numpy",), threads=(1, 2), filter=r" 4x4|gemm NN 37", quick=True, json=path
    )
    before = nv.get_num_threads()
    assert bench.run(options) == 0
    assert nv.get_num_threads() == before
    data = json.loads(path.read_text())
    assert data["format"] == report.FORMAT
    assert {"cpu", "cores", "isa", "date", "commit", "versions"} <= set(data["machine"])
    assert data["peaks"]["2"]["gflops"] == 100
    assert [row["threads"] for row in data["rows"]] == [1] * 4 + [2] * 4
    gemm = data["rows"][0]
    assert gemm["name"] == "gemm NN 37x53x71"
    assert gemm["ratios"]["numpy"] == pytest.approx(
        gemm["contestants"]["numpy"]["median"] / gemm["contestants"]["nervure"]["median"]
    )
    text = capsys.readouterr().out
    assert "gemm NN 37x53x71" in text
    assert "x numpy" in text
    assert "against numpy" in text
    assert "\x1b" not in text  # no colours, no bar: not a terminal


def test_a_failed_row_is_counted_and_the_others_run(quickly, monkeypatch, tmp_path, capsys):
    rows = [
        row_of(lambda peers: two_contestants(1, 2), "wrong"),
        row_of(lambda peers: two_contestants(), "right"),
    ]
    monkeypatch.setattr(registry, "REGISTRY", rows)
    path = tmp_path / "results.json"
    assert bench.run(bench.Options(against=("numpy",), threads=(1,), json=path)) == 1
    data = json.loads(path.read_text())
    assert [row["name"] for row in data["rows"]] == ["right"]
    assert [(row["name"], row["threads"]) for row in data["failed"]] == [("wrong", 1)]
    text = capsys.readouterr().out
    assert "wrong" in text
    assert "FAILED: numpy differs" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"against": ("matlab",)}, "not 'matlab'"),
        ({"filter": "no such row"}, "no row"),
        ({"threads": (0,)}, "must be positive"),
        ({"filter": "("}, "--filter"),
    ],
)
def test_bad_options(settings, message):
    with pytest.raises(bench.BenchError, match=message):
        bench.run(bench.Options(**settings))


def test_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: name == "numpy" or None)
    with pytest.raises(bench.BenchError, match="pip install 'torch'"):
        bench.run(bench.Options(against=("torch",)))
    with pytest.raises(bench.BenchError, match=r"pip install 'nervure\[plot\]'"):
        bench.run(bench.Options(plot="chart.png"))


def test_list(capsys):
    bench.list_rows(bench.Options(filter="dropout 1e3"))
    assert "inverted dropout" in capsys.readouterr().out


def test_results_of_processes_are_put_together(quickly, tmp_path):
    whole = report.Run({"cpu": "some"})
    for threads in (1, 2):
        path = tmp_path / f"{threads}.json"
        options = bench.Options(
            against=("numpy",), threads=(threads,), filter="gemm NN 32x32x32", json=path
        )
        bench.run(options)
        whole.add_file(path)
    assert [result.threads for result in whole.results] == [1, 2]
    assert list(whole.peaks) == [1, 2]
    assert whole.as_dict()["rows"][1] == json.loads(path.read_text())["rows"][0]


def test_processes_get_their_number_of_threads(monkeypatch, tmp_path):
    """JAX reads NPROC when it starts: one process each."""
    started = []

    def fake(command, env, check):
        started.append((command[command.index("--threads") + 1], env["NPROC"]))
        run = report.Run({"cpu": "some"}, {int(env["NPROC"]): PEAK})
        path = command[command.index("--json") + 1]
        with open(path, "w") as file:
            json.dump(run.as_dict(), file)

    monkeypatch.setattr(bench.subprocess, "run", fake)
    monkeypatch.setattr(bench, "_require", lambda *arguments: None)
    monkeypatch.delenv("NPROC", raising=False)
    bench.run(bench.Options(against=("numpy", "jax"), threads=(1, 2)))
    assert started == [("1", "1"), ("2", "2")]


def test_threads_are_put_back():
    before = nv.get_num_threads()
    with Threads(Peers()) as threads:
        threads.set(1)
        assert nv.get_num_threads() == 1
        threads.set(2)
        assert nv.get_num_threads() == 2
    assert nv.get_num_threads() == before


def test_blas_of_numpy_is_set():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with Threads(Peers()) as threads:
        if not threads.blas:
            pytest.skip("threadpoolctl does not know this NumPy's BLAS")
        threads.set(1)
        pools = threadpoolctl.threadpool_info()
        assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} == {1}


def test_without_threadpoolctl_the_table_says_so(quickly, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    path = tmp_path / "results.json"
    options = bench.Options(
        against=("numpy",), threads=(1,), filter="gemm NN 32x32x32", quick=True, json=path
    )
    assert bench.run(options) == 0
    text = capsys.readouterr().out
    assert "x numpy*" in text
    assert "threadpoolctl is not installed" in text
    assert "threadpoolctl" in json.loads(path.read_text())["notes"][0]


# ---- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.0, "2.00 s"),
        (0.0123, "12.3 ms"),
        (999.4e-6, "999 µs"),
        (999.9e-6, "1.00 ms"),
        (1e-6, "1.00 µs"),
        (431e-9, "431 ns"),
        (4.31e-9, "4.31 ns"),
    ],
)
def test_format_seconds(seconds, text):
    assert report.format_seconds(seconds) == text


def test_table():
    timings = {"nervure": Timing(1, [1e-3] * 3), "torch": Timing(1, [2e-3] * 3)}
    result = report.result_of(row_of(None, "some row"), 2, Contest(flops=9e7), timings, PEAK)
    table = report.Table(["numpy", "torch"], colours=False, unlimited=("numpy",))
    line, heading = table.line(result), table.heading("group", 2)
    assert line.split() == [
        "some",
        "row",
        "1.00",
        "ms",
        "0",
        "%",
        "90.0",
        "GFLOP/s",
        "90",
        "%",
        "2.00",
    ]
    assert "2 threads" in heading
    assert "x numpy*" in heading
    assert len(heading) == len(line)
    coloured = report.Table(["numpy", "torch"], colours=True).line(result)
    assert "\x1b[32m      2.00\x1b[0m" in coloured
    run = report.Run({}, {2: PEAK}, [result])
    (summary,) = table.summary(run)
    assert "against torch  2 threads: ahead in 1 of 1 rows, geometric mean 2.00 x" in summary


# ---- compare -------------------------------------------------------------------------------------


def results(cpu="some", **medians):
    return {
        "format": 1,
        "machine": {"cpu": cpu},
        "rows": [
            {
                "suite": "kernels",
                "group": "group",
                "name": name,
                "threads": 1,
                "contestants": {"nervure": {"median": median, "iqr": 0.1}},
            }
            for name, median in medians.items()
        ],
    }


def test_compare():
    a, b = results(x=2.0, y=1.0, z=1.0, gone=1.0), results(x=1.0, y=1.05, z=2.0, new=1.0)
    lines = {line.split()[0]: line for line in compare.compare(a, b)}
    assert lines["x"].endswith("2.000 +")
    assert lines["y"].endswith("0.952 ~")
    assert lines["z"].endswith("0.500 -")
    assert "geometric mean A / B 0.984" in lines["3"]
    text = "\n".join(compare.compare(a, b))
    assert "only in A: gone" in text
    assert "only in B: new" in text
    assert compare.differences(a, results("other")) == ["cpu: A some, B other"]


def test_compare_runs_as_a_script(tmp_path):
    for name, data in (("a", results(x=2.0)), ("b", results("other", x=1.0))):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    done = subprocess.run(
        [sys.executable, compare.__file__, tmp_path / "a.json", tmp_path / "b.json"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "cpu: A some, B other" in done.stdout
    assert "2.000 +" in done.stdout


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}'])
def test_compare_refuses_other_files(tmp_path, capsys, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    assert compare.main([str(path), str(path)]) == 2
    assert "file.json" in capsys.readouterr().err


# ---- the chart, the roofline ---------------------------------------------------------------------


def test_chart(tmp_path):
    pytest.importorskip("matplotlib")
    from nervure.bench.chart import draw

    timings = {"nervure": Timing(1, [1e-3]), "torch": Timing(1, [3e-3])}
    found = [
        report.result_of(row_of(None, name), threads, Contest(), timings, PEAK)
        for threads in (1, 2)
        for name in ("one", "two")
    ]
    machine = {"cpu": "some", "isa": "avx2", "versions": {"nervure": "0"}}
    draw(report.Run(machine, {1: PEAK, 2: PEAK}, found), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.isa_smoke
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 31, 33, 65536, 65537, 200_003])
def test_bandwidth_kernels(isa, n):
    x, y, z = (np.arange(n, dtype=np.float32) + i for i in range(3))
    copied, summed = nv.zeros(n), nv.zeros(n)
    _core.copy_bandwidth(nv.tensor(x), copied)
    _core.triad_bandwidth(nv.tensor(y), nv.tensor(z), 0.5, summed)
    np.testing.assert_array_equal(copied.numpy(), x)
    np.testing.assert_allclose(summed.numpy(), y + 0.5 * z)


@pytest.mark.isa_smoke
def test_fma_peak_counts_its_operations(isa):
    one = _core.fma_peak(10, 1)
    assert one >= 2 * 8 * 4 * 10  # at least 8 chains of 4 lanes
    assert _core.fma_peak(30, 7) == 21 * one


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: _core.fma_peak(0, 1), ValueError, "fma_peak"),
        (lambda: _core.copy_bandwidth(nv.zeros(3), nv.zeros(4)), ValueError, r"\(3,\), got \(4,\)"),
        (lambda: _core.copy_bandwidth(nv.tensor([1]), nv.zeros(1)), TypeError, "float32"),
    ],
)
def test_roofline_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
