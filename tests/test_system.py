# SPDX-License-Identifier: BSD-3-Clause
"""Living in a process: fork, environment, Ctrl-C, memory, other processors."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ISAS
from subprocesses import clean_environment, output_of, run_python

import nervure as nv
from nervure import _core

BACKENDS = ("pool", "openmp")

# ---- fork ----------------------------------------------------------------------------------------

PARALLEL_WORK = """
import os, sys, time
import numpy as np
import nervure as nv
from nervure import _core
nv.set_num_threads(2)
a = nv.tensor(np.ones((600, 600), np.float32))

def work(n=0):
    y = a @ a
    return float((y.tanh() + y).sum().item()) + n

expected = work()
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_fork_after_parallel_work(backend: str) -> None:
    output = output_of(
        PARALLEL_WORK
        + textwrap.dedent(
            """
            for _ in range(3):
                child = os.fork()
                if child == 0:
                    os._exit(0 if work() == expected else 1)
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline:
                    done, status = os.waitpid(child, os.WNOHANG)
                    if done:
                        break
                    time.sleep(0.01)
                else:
                    os.kill(child, 9)
                    sys.exit("the child hangs")
                assert os.waitstatus_to_exitcode(status) == 0
                assert work() == expected
            print("done", nv._core.config()["threading"])
            """
        ),
        {"NERVURE_THREADING": backend},
    )
    assert output == f"done {backend}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_fork_pool_after_parallel_work(backend: str) -> None:
    output = output_of(
        PARALLEL_WORK
        + textwrap.dedent(
            """
            import multiprocessing
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map_async(work, range(6)).get(timeout=40) == [
                    expected + n for n in range(6)
                ])
            """
        ),
        {"NERVURE_THREADING": backend},
    )
    assert output == "True"


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_fork_while_another_thread_computes(backend: str) -> None:
    output = output_of(
        PARALLEL_WORK
        + textwrap.dedent(
            """
            import threading
            stop = threading.Event()
            def busy():
                while not stop.is_set():
                    work()
            threading.Thread(target=busy, daemon=True).start()
            for _ in range(10):
                child = os.fork()
                if child == 0:
                    os._exit(0 if work() == expected else 1)
                deadline = time.monotonic() + 20
                while not (done := os.waitpid(child, os.WNOHANG))[0]:
                    if time.monotonic() > deadline:
                        os.kill(child, 9)
                        sys.exit("the child hangs")
                    time.sleep(0.005)
                assert os.waitstatus_to_exitcode(done[1]) == 0
            stop.set()
            print("done")
            """
        ),
        {"NERVURE_THREADING": backend},
    )
    assert output == "done"


# ---- threads -------------------------------------------------------------------------------------

SHOW_THREADS = """
from nervure import _core
config = _core.config()
print(config["threads"], config["threads_from"])
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"NERVURE_NUM_THREADS": "1"}, "1 NERVURE_NUM_THREADS"),
        ({"NERVURE_NUM_THREADS": "3"}, "3 NERVURE_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "3"}, "3 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "3,1"}, "3 OMP_NUM_THREADS"),
        ({"NERVURE_NUM_THREADS": "1", "OMP_NUM_THREADS": "3"}, "1 NERVURE_NUM_THREADS"),
        ({"NERVURE_NUM_THREADS": "nonsense", "OMP_NUM_THREADS": "3"}, "3 OMP_NUM_THREADS"),
    ],
)
def test_threads_from_the_environment(environment: dict[str, str], expected: str) -> None:
    assert output_of(SHOW_THREADS, environment) == expected


@pytest.mark.parametrize("value", ["0", "-2", "", "many", "99999999999999999999"])
def test_odd_thread_counts_in_the_environment(value: str) -> None:
    threads = int(output_of(SHOW_THREADS, {"NERVURE_NUM_THREADS": value}).split()[0])
    assert 1 <= threads <= 4096


def test_threads_follow_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + SHOW_THREADS
    assert output_of(code) == "1 affinity"


@pytest.mark.parametrize("threads", [0, -1, 10**6])
def test_set_num_threads_is_checked(threads: int) -> None:
    with pytest.raises(ValueError, match=r"^\[set_num_threads\]"):
        nv.set_num_threads(threads)


def test_set_num_threads() -> None:
    for n in (1, 3, 2):
        nv.set_num_threads(n)
        assert nv.get_num_threads() == n


# ---- instruction sets ----------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
def test_isa_from_the_environment(isa: str) -> None:
    code = "from nervure import _core; print(_core.config()['isa'])"
    assert output_of(code, {"NERVURE_ISA": isa}) == isa
    assert output_of(code, {"NERVURE_ISA": ""}) == ISAS[-1]


@pytest.mark.parametrize("isa", ["sse9", "AVX 2", "avx5120"])
def test_bad_isa_is_an_error_at_import(isa: str) -> None:
    done = run_python("import nervure", {"NERVURE_ISA": isa})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert isa in last
    assert "baseline" in last
    assert "avx2" in last


def test_select_isa_is_checked() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        _core.select_isa("nonsense")
    for isa in ISAS:
        _core.select_isa(isa)
        assert _core.config()["isa"] == isa
    _core.select_isa("")
    assert _core.config()["isa"] == ISAS[-1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-x86_64 is not installed")
@pytest.mark.parametrize(("cpu", "isa"), [("Nehalem", "baseline"), ("Haswell", "avx2")])
def test_on_an_older_processor(cpu: str, isa: str) -> None:
    """Emulated: an instruction the processor lacks ends the process with SIGILL."""
    tests = Path(__file__).parent
    run = (
        "import sys, pytest; from nervure import _core; print(_core.config()['isa'])\n"
        f"sys.exit(pytest.main(['-q', '-m', 'isa_smoke', '-p', 'no:cacheprovider', '-x',"
        f" '--rootdir', {str(tests.parent)!r}, {str(tests / 'test_ops.py')!r}]))"
    )
    done = run_python(run, timeout=300.0, prefix=("qemu-x86_64", "-cpu", cpu))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[0] == isa


# ---- Ctrl-C --------------------------------------------------------------------------------------

# A process started in the background by a shell ignores Ctrl-C, and so do its children: ask for it.
INTERRUPTED = """
import signal
import time
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)
import nervure as nv
from nervure import _core
nv.set_num_threads({threads})
_core.select_isa("baseline")
{prepare}
print("ready", flush=True)
try:
    while True:
        {work}
except KeyboardInterrupt:
    caught = time.monotonic()
_core.select_isa("")
a = nv.tensor(np.ones((300, 300), np.float32), requires_grad=True)
(a @ a).sum().backward()
assert (a.grad.numpy() == 600).all()
print(caught, flush=True)
"""

LONG_WORK = {
    "product": (
        "a = nv.tensor(np.ones((4000, 4000), np.float32))",
        "a @ a",
    ),
    "elementwise": (
        "a = nv.tensor(np.ones(60_000_000, np.float32))",
        "a.tanh()",
    ),
    "backward": (
        "x = nv.tensor(np.ones(4_000_000, np.float32), requires_grad=True)\n"
        "y = x\n"
        "for _ in range(60): y = -y\n"
        "g = nv.tensor(np.ones(4_000_000, np.float32))",
        "y.backward(g, retain_graph=True)",
    ),
    "small nodes": (
        "x = nv.tensor([1.0], requires_grad=True)\ny = x\nfor _ in range(300_000): y = y + 1.0",
        "y.backward(retain_graph=True)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", list(LONG_WORK))
def test_ctrl_c_within_a_second(kind: str, threads: int) -> None:
    prepare, work = LONG_WORK[kind]
    code = INTERRUPTED.format(threads=threads, prepare=prepare, work=work)
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.4)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, errors
    assert float(output) - sent < 1.0


# ---- memory --------------------------------------------------------------------------------------


def _training_step(w: list[nv.Tensor], states: list[list[nv.Tensor]], step: int) -> None:
    h = nv.tensor(np.ones((64, 100), np.float32))
    for weight in w[:-1]:
        h = _core.linear(h, weight, None, "relu")
    loss = _core.cross_entropy(
        _core.dropout(_core.linear(h, w[-1], None), 0.2), nv.tensor(np.zeros(64, np.int64))
    )
    loss.backward()
    _core.clip_grad_norm_(w, 1.0)
    options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    options |= {"l1": 0.0, "decoupled_weight_decay": False, "amsgrad": False, "maximize": False}
    _core.adam_step(w, *states, None, **options, step=step)
    for weight in w:
        weight.grad = None


@pytest.mark.parametrize("threads", [1, 2])
def test_training_takes_nothing_from_the_system_after_the_second_step(threads: int) -> None:
    nv.set_num_threads(threads)
    rng = np.random.default_rng(0)
    sizes = [100, 300, 200, 10]
    w = [
        nv.tensor(rng.standard_normal((o, i)).astype(np.float32) * 0.05, requires_grad=True)
        for i, o in itertools.pairwise(sizes)
    ]
    states = [[nv.tensor(np.zeros(t.shape, np.float32)) for t in w] for _ in range(2)]
    for step in (1, 2):
        _training_step(w, states, step)
    before = nv.memory_stats()
    for step in range(3, 30):
        _training_step(w, states, step)
    after = nv.memory_stats()
    assert after["system_allocations"] == before["system_allocations"]
    assert after["live_bytes"] == before["live_bytes"]
    assert after["allocations"] > before["allocations"]


def test_memory_stats_count() -> None:
    nv.trim_memory()
    before = nv.memory_stats()
    t = nv.tensor(np.zeros(1_000_000, np.float32))
    held = nv.memory_stats()["live_bytes"] - before["live_bytes"]
    assert 4_000_000 <= held <= 5_100_000
    del t
    after = nv.memory_stats()
    assert after["live_bytes"] == before["live_bytes"]
    assert after["cached_bytes"] >= before["cached_bytes"] + 4_000_000
    nv.trim_memory()
    assert nv.memory_stats()["cached_bytes"] == 0
    assert nv.memory_stats()["peak_bytes"] >= held


def test_arrays_keep_the_memory_of_a_tensor_alive() -> None:
    t = nv.tensor(np.arange(1000, dtype=np.float32))
    whole, part = t.numpy(), t.detach().reshape(10, 100).numpy()[3]
    del t
    nv.trim_memory()
    others = [nv.tensor(np.full(1000, -1.0, np.float32)) for _ in range(20)]
    np.testing.assert_array_equal(whole, np.arange(1000, dtype=np.float32))
    np.testing.assert_array_equal(part, np.arange(300, 400, dtype=np.float32))
    assert len(others) == 20


@pytest.mark.parametrize(
    "shape",
    [(2**40,), (2**62,), (2**40, 2**40), (2**31, 2**31, 2**31), (2**45,), (-1,), (3, -2), (1,) * 9],
)
def test_impossible_sizes(shape: tuple[int, ...]) -> None:
    """Refused at once, not when the memory is touched."""
    overcommit = Path("/proc/sys/vm/overcommit_memory")
    if shape == (2**40,) and overcommit.exists() and overcommit.read_text().strip() == "1":
        pytest.skip("this system promises any amount of memory")
    for make in (nv.zeros, nv.rand, lambda s: nv.full(s, 1.0)):
        with pytest.raises((ValueError, MemoryError)):
            make(shape)
    if shape != (-1,):  # which keeps the size
        with pytest.raises((ValueError, MemoryError)):
            nv.tensor([1.0]).expand(shape)


def test_zero_sizes_beside_huge_ones() -> None:
    """Nothing is nothing, however much of it; sizes whose product overflows are refused."""
    assert nv.zeros((0, 2**40)).shape == (0, 2**40)
    assert nv.zeros((0, 2**40)).numpy().size == 0
    for shape in ((0, 2**40, 2**40), (2**40, 2**40, 0)):
        try:
            assert nv.zeros(shape).numel() == 0
        except (ValueError, MemoryError):
            pass


def test_denormals_of_the_process_are_left_alone() -> None:
    tiny = np.float32(1e-40)
    x = nv.tensor(np.ones(100_000, np.float32), requires_grad=True)
    (x * 2.0).sum().backward()
    assert tiny * np.float32(1.0) == tiny
    assert tiny > 0


def test_sanitizer_mode_of_the_allocator() -> None:
    """Without the cache every block comes from the system, and results are the same."""
    code = """
        import numpy as np, nervure as nv
        x = nv.tensor(np.ones((50, 50), np.float32), requires_grad=True)
        for _ in range(5):
            x.grad = None
            (x @ x).sum().backward()
        print(x.grad.numpy().sum(), nv.memory_stats()["cached_bytes"])
        """
    assert output_of(code, {"NERVURE_ALLOC": "system"}) == "250000.0 0"


def test_exit_with_tensors_alive() -> None:
    """Static data, arrays and graphs that hold Python objects, when the interpreter ends."""
    output_of(
        """
        import numpy as np, nervure as nv
        class Twice(nv.Function):
            @staticmethod
            def forward(ctx, x): return 2 * x
            @staticmethod
            def backward(ctx, dy): return 2 * dy
        x = nv.tensor(np.ones(1000, np.float32), requires_grad=True)
        y = Twice.apply(x * 2.0)
        z = x.numpy()
        """
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_exit_while_threads_compute(backend: str) -> None:
    """The interpreter ends threads that wait for its lock; that must not abort the process."""
    for _ in range(4):
        output_of(
            """
            import threading, time
            import numpy as np, nervure as nv
            a = nv.tensor(np.ones((300, 300), np.float32), requires_grad=True)
            def work():
                while True:
                    (a @ a).tanh().sum().backward()
            for _ in range(3):
                threading.Thread(target=work, daemon=True).start()
            time.sleep(0.3)
            """,
            {"NERVURE_THREADING": backend},
        )


@pytest.mark.slow
@pytest.mark.parametrize("held", ["array", "context"])
def test_exit_while_threads_drop_python_objects(held: str) -> None:
    """A graph lets go of an array, or of a Function's context, without the interpreter's lock."""
    for _ in range(4):
        output_of(
            f"""
            import threading, time
            import numpy as np, nervure as nv
            from nervure import _core

            class Same(nv.Function):
                @staticmethod
                def forward(ctx, x): return x
                @staticmethod
                def backward(ctx, dy): return dy

            w = nv.tensor(np.ones((100, 100), np.float32), requires_grad=True)

            def graph():
                if {held!r} == "array":
                    return (w * _core.from_numpy(np.ones((100, 100), np.float32))).sum()
                return Same.apply(w).sum()

            def work():
                while True:
                    graph().backward()

            for _ in range(3):
                threading.Thread(target=work, daemon=True).start()
            time.sleep(0.3)
            """
        )


@pytest.mark.slow
def test_fork_while_another_thread_accumulates_gradients() -> None:
    """The lock of the leaves is free in the child, whoever held it."""
    output = output_of(
        """
        import os, threading, time
        import numpy as np, nervure as nv
        w = nv.tensor(np.ones(4, np.float32), requires_grad=True)

        def work():
            while True:
                w.sum().backward()
                w.grad = None

        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(200):
            child = os.fork()
            if child == 0:
                w.grad = None
                w.sum().backward()
                os._exit(0 if w.grad is not None else 1)
            deadline = time.monotonic() + 20
            while not (done := os.waitpid(child, os.WNOHANG))[0]:
                assert time.monotonic() < deadline, "the child hangs"
                time.sleep(0.001)
            assert done[1] == 0
        print("ok")
        """
    )
    assert output == "ok"


def test_cpu_count_is_not_exceeded_by_default() -> None:
    threads = int(output_of(SHOW_THREADS).split()[0])
    assert 1 <= threads <= len(os.sched_getaffinity(0))


# ---- found in review -----------------------------------------------------------------------------


def test_transpose_of_a_number() -> None:
    assert nv.tensor(1.0).transpose(0, -1).shape == ()


def test_targets_changed_before_backward_do_no_harm() -> None:
    x = nv.tensor(np.zeros((4, 3), np.float32), requires_grad=True)
    target = nv.tensor(np.zeros(4, np.int64))
    loss = _core.nll_loss(_core.log_softmax(x, 1), target)
    target.numpy()[:] = 10**12
    loss.backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_gradient_is_not_a_borrowed_array() -> None:
    buffer = np.zeros(3, np.float32)

    class Borrow(nv.Function):
        @staticmethod
        def forward(ctx: object, x: np.ndarray) -> np.ndarray:
            return x * 2

        @staticmethod
        def backward(ctx: object, dy: np.ndarray) -> nv.Tensor:
            buffer[:] = 2 * dy
            return _core.from_numpy(buffer)

    p = nv.tensor(np.ones(3, np.float32), requires_grad=True)
    Borrow.apply(p).sum().backward()
    buffer[:] = 77
    assert p.grad.numpy().tolist() == [2, 2, 2]


def test_out_of_memory_in_a_parallel_region() -> None:
    """An error, with any number of threads, and the next product is right again."""
    output_of(
        """
import resource
import numpy as np
import nervure as nv
nv.set_num_threads(2)
a = nv.tensor(np.ones((3000, 3000), np.float32))
(nv.tensor(np.ones((64, 64), np.float32)) @ nv.tensor(np.ones((64, 64), np.float32))).sum()
y = np.ones((600, 600), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), limit[1]))
try:
    a @ a
except MemoryError:
    pass
resource.setrlimit(resource.RLIMIT_AS, limit)
product = nv.tensor(y) @ nv.tensor(y)
assert (product.numpy() == 600).all()
"""
    )


def test_uninitialised_tensor_in_a_list() -> None:
    with pytest.raises(TypeError):
        _core.clear_gradients([nv.Tensor.__new__(nv.Tensor)])


def test_idle_blocks_are_given_back_when_memory_runs_out() -> None:
    code = """
        import resource
        import nervure as nv
        kept = nv.zeros(200 << 18)  # 200 MiB: what was live at most bounds what lies idle
        del kept
        assert nv.memory_stats()["cached_bytes"] > 190 << 20
        with open("/proc/self/statm") as f:
            mapped = int(f.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + (100 << 20),) * 2)
        print(nv.ones(260 << 18).sum().item() / 2**18)
        try:
            nv.zeros(1 << 34)
        except MemoryError:
            print("refused", nv.ones(3).sum().item())
    """
    assert output_of(code).split() == ["260.0", "refused", "3.0"]
