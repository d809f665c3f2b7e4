# SPDX-License-Identifier: BSD-3-Clause
"""The generator: Philox4x32-10 against its published answers, and what is drawn from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from conftest import ISAS

from nervure import _core
from nervure._core import Tensor

SIZES = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 1000, 100_003]
SEED = 0x0123_4567_89AB_CDEF


def philox(counter: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Philox4x32-10: four words of 32 bits for each counter of four words."""
    mask, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [np.asarray(x, np.uint64) for x in counter]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (p1 >> high) ^ c[1] ^ np.uint64(k0),
            p1 & mask,
            (p0 >> high) ^ c[3] ^ np.uint64(k1),
            p0 & mask,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def stream(seed: int, offset: int, n: int) -> np.ndarray:
    """The first n numbers of 32 bits of a stream, dealt as cpp/core/rng.h says."""
    i = np.arange(n, dtype=np.uint64)
    counter = np.uint64(offset) + np.uint64(16) * (i // np.uint64(64)) + i % np.uint64(16)
    zero = np.zeros_like(counter)
    words = philox([counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32), zero, zero], seed)
    return np.stack(words)[((i // np.uint64(16)) % np.uint64(4)).astype(int), np.arange(n)]


@pytest.mark.parametrize(
    ("counter", "seed", "answer"),
    [
        ([0] * 4, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, 0xFFFFFFFFFFFFFFFF, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers(counter: list[int], seed: int, answer: str) -> None:
    """Those that come with the authors' Random123 library."""
    words = philox([np.array([c], np.uint64) for c in counter], seed)
    assert " ".join(f"{int(w[0]):08x}" for w in words) == answer


@pytest.mark.isa_smoke
@pytest.mark.parametrize("n", SIZES)
def test_uniform_bits(isa: str, n: int) -> None:
    _core.manual_seed(SEED)
    for offset in (0, 16 * math.ceil(n / 64)):
        expected = (stream(SEED, offset, n) >> np.uint64(8)).astype(np.float32) * np.float32(
            2.0**-24
        )
        np.testing.assert_array_equal(_core.rand((n,)).numpy(), expected)


def test_all_64_bits_of_integers(isa: str) -> None:
    _core.manual_seed(SEED)
    high, low = stream(SEED, 0, 200).reshape(100, 2).T
    r = [(int(h) << 32) | int(w) for h, w in zip(high, low, strict=True)]
    drawn = _core.randint(-(2**63), 2**63 - 1, (100,)).numpy()
    assert drawn.tolist() == [-(2**63) + (x * (2**64 - 1) >> 64) for x in r]
    _core.manual_seed(SEED)
    assert _core.randint(-3, 97, (100,)).numpy().tolist() == [-3 + (x * 100 >> 64) for x in r]


def test_offset_beyond_32_bits(isa: str) -> None:
    offset = 2**32 - 16
    _core.set_rng_state(SEED, offset)
    expected = (stream(SEED, offset, 256) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
    np.testing.assert_array_equal(_core.rand((256,)).numpy(), expected)
    assert tuple(_core.rng_state()) == (SEED, offset + 64)


def _filled(fill: Callable[[Tensor], None], n: int) -> np.ndarray:
    x = _core.empty((n,))
    fill(x)
    return np.array(x.numpy())


DRAWS: dict[str, Callable[[int], np.ndarray]] = {
    "rand": lambda n: _core.rand((n,)).numpy(),
    "uniform": lambda n: _filled(lambda x: _core.uniform_(x, -0.3, 1.7), n),
    "bernoulli": lambda n: _filled(lambda x: _core.bernoulli_(x, 0.3), n),
    "randint": lambda n: _core.randint(-5, 1000, (n,)).numpy(),
    "randperm": lambda n: _core.randperm(n).numpy(),
    "dropout": lambda n: _core.dropout(_core.full((n,), 2.0), 0.4).numpy(),
    "randn": lambda n: _core.randn((n,)).numpy(),
    "trunc_normal": lambda n: _filled(lambda x: _core.trunc_normal_(x, 0.5, 2.0, -1.0, 3.0), n),
}


@pytest.mark.parametrize("name", DRAWS)
def test_same_numbers_everywhere(name: str) -> None:
    """The same bits for any number of threads, and but for the normals on any instruction set."""
    by_isa = []
    for isa in ISAS:
        _core.select_isa(isa)
        by_threads = []
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            _core.manual_seed(7)
            by_threads.append(DRAWS[name](100_003))
        for other in by_threads[1:]:
            np.testing.assert_array_equal(by_threads[0], other)
        by_isa.append(by_threads[0])
    for other in by_isa[1:]:
        if name in ("randn", "trunc_normal"):
            np.testing.assert_allclose(by_isa[0], other, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(by_isa[0], other)


def test_one_number_each_in_memory_order() -> None:
    """Numbers are dealt to elements as they lie in memory, and do not depend on the length."""
    _core.manual_seed(3)
    flat = _core.rand((24,)).numpy()
    for order in ([0, 1, 2], [2, 0, 1]):
        _core.manual_seed(3)
        x = _core.empty((2, 3, 4), order)
        _core.uniform_(x)
        lying = np.transpose(x.numpy(), order).ravel()
        np.testing.assert_array_equal(lying, flat)
    _core.manual_seed(3)
    np.testing.assert_array_equal(_core.rand((1000,)).numpy()[:24], flat)


N = 400_000


def _assert_share(hits: np.ndarray, p: float) -> None:
    """Within five standard deviations of a binomial distribution."""
    assert abs(hits.mean() - p) < 5.0 * math.sqrt(p * (1.0 - p) / hits.size)


def test_uniform_distribution() -> None:
    _core.manual_seed(11)
    x = DRAWS["uniform"](N)
    assert -0.3 <= x.min() < -0.2999
    assert 1.6999 < x.max() < 1.7
    for edge in np.linspace(-0.2, 1.6, 10):
        _assert_share(x < edge, (edge + 0.3) / 2.0)
    for lag in (1, 4, 16, 64):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5.0 / math.sqrt(N)


def test_uniform_stays_below_high() -> None:
    """Where low + u (high - low) would round up to high."""
    low, high = np.float32(1.0), np.float32(1.0 + 2**-22)
    x = _filled(lambda t: _core.uniform_(t, float(low), float(high)), 10_000)
    assert x.min() == low
    assert x.max() < high
    assert (_filled(lambda t: _core.uniform_(t, 2.5, 2.5), 100) == 2.5).all()


def test_normal_distribution(isa: str) -> None:
    _core.manual_seed(12)
    x = _core.randn((N,)).numpy().astype(np.float64)
    assert abs(x.mean()) < 5.0 / math.sqrt(N)
    assert abs(x.var() - 1.0) < 5.0 * math.sqrt(2.0 / N)
    assert abs((x**3).mean()) < 5.0 * math.sqrt(15.0 / N)
    assert abs((x**4).mean() - 3.0) < 5.0 * math.sqrt(96.0 / N)
    for edge in (-4.0, -2.0, -1.0, -0.1, 0.3, 1.5, 3.0):
        _assert_share(x < edge, NormalDist().cdf(edge))
    for lag in (1, 16, 32):  # 16: radius and angle of one pair
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5.0 / math.sqrt(N)
    y = _filled(lambda t: _core.normal_(t, 3.0, 0.5), N)
    assert abs(y.mean() - 3.0) < 2.5 / math.sqrt(N)
    assert (_filled(lambda t: _core.normal_(t, -1.5, 0.0), 9) == -1.5).all()


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.5, 2.0, -1.0, 0.7),
        (0.0, 1.0, 4.0, 5.0),
        (0.0, 0.1, -9.0, -0.55),
        (1.0, 3.0, -99.0, 99.0),
    ],
)
def test_truncated_normal(mean: float, std: float, low: float, high: float) -> None:
    _core.manual_seed(13)
    x = _filled(lambda t: _core.trunc_normal_(t, mean, std, low, high), N)
    assert low <= x.min()
    assert x.max() <= high
    normal = NormalDist(mean, std)
    # Upper tails by symmetry: 1 - cdf has no digits there.
    if low > mean:
        normal, x, low, high = NormalDist(-mean, std), -x, -high, -low
    below, all_of_it = normal.cdf(low), normal.cdf(high) - normal.cdf(low)
    for edge in np.quantile(x, [0.05, 0.3, 0.5, 0.8, 0.99]):
        _assert_share(x < edge, (normal.cdf(float(edge)) - below) / all_of_it)


def test_integers_are_uniform() -> None:
    _core.manual_seed(14)
    counts = np.bincount(_core.randint(10, 17, (N,)).numpy() - 10)
    assert counts.size == 7
    for count in counts:
        assert abs(count / N - 1 / 7) < 5.0 * math.sqrt(6.0 / 49.0 / N)
    assert (_core.randint(5, 6, (100,)).numpy() == 5).all()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 1000])
def test_permutations(n: int) -> None:
    assert sorted(_core.randperm(n).numpy().tolist()) == list(range(n))


def test_permutations_are_uniform() -> None:
    _core.manual_seed(15)
    draws = 12_000
    found: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        key = tuple(_core.randperm(3).numpy().tolist())
        found[key] = found.get(key, 0) + 1
    assert len(found) == 6
    for count in found.values():
        assert abs(count / draws - 1 / 6) < 5.0 * math.sqrt(5.0 / 36.0 / draws)


@pytest.mark.parametrize("p", [0.0, 1e-4, 0.3, 0.999, 1.0])
def test_bernoulli(p: float) -> None:
    _core.manual_seed(16)
    x = _filled(lambda t: _core.bernoulli_(t, p), N)
    assert set(np.unique(x)) <= {0.0, 1.0}
    if p in (0.0, 1.0):
        assert (x == p).all()
    else:
        _assert_share(x == 1.0, p)


def test_dropout_gradient_has_the_same_mask(isa: str) -> None:
    for order in ([0, 1], [1, 0]):
        x = _core.to_order(_core.tensor(np.full((37, 29), 2.0, np.float32)), order).detach()
        x.requires_grad = True
        y = _core.dropout(x, 0.25)
        assert y.order == tuple(order)
        assert set(np.unique(y.detach().numpy())) == {
            np.float32(0.0),
            np.float32(2.0) * np.float32(4.0 / 3.0),
        }
        _core.dropout(x, 0.5)  # numbers drawn in between change nothing
        dy = np.arange(37 * 29, dtype=np.float32).reshape(37, 29) + 1.0
        y.backward(_core.tensor(dy))
        kept = y.detach().numpy() != 0.0
        np.testing.assert_allclose(
            x.grad.numpy(), np.where(kept, dy * np.float32(4.0 / 3.0), 0.0), rtol=1e-6
        )


def test_dropout_ends() -> None:
    x = _core.tensor(np.float32([1.0, np.nan, np.inf]), requires_grad=True)
    np.testing.assert_array_equal(_core.dropout(x, 0.0).detach().numpy(), x.detach().numpy())
    y = _core.dropout(x, 1.0)
    np.testing.assert_array_equal(y.detach().numpy(), np.zeros(3))
    y.backward(_core.full((3,), 1.0))
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros(3))
    assert _core.dropout(_core.rand((0, 3)), 0.5).shape == (0, 3)
    assert _core.dropout(_core.rand(()), 0.5).shape == ()


def test_seed_and_state() -> None:
    _core.manual_seed(21)
    assert _core.initial_seed() == 21
    first = _core.rand((100,)).numpy()
    state = _core.rng_state()
    second = _core.randn((77,)).numpy()
    assert _core.initial_seed() == 21
    _core.set_rng_state(*state)
    np.testing.assert_array_equal(_core.randn((77,)).numpy(), second)
    _core.manual_seed(21)
    np.testing.assert_array_equal(_core.rand((100,)).numpy(), first)
    _core.manual_seed(2**64 - 1)
    assert _core.initial_seed() == 2**64 - 1


def test_empty_fillings_draw_nothing() -> None:
    state = _core.rng_state()
    assert _core.rand((0,)).shape == (0,)
    assert _core.randint(0, 3, (2, 0)).shape == (2, 0)
    assert tuple(_core.rng_state()) == tuple(state)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: _core.uniform_(x, 1.0, 0.0),
        lambda x: _core.uniform_(x, 0.0, float("inf")),
        lambda x: _core.uniform_(x, float("nan"), 1.0),
        lambda x: _core.uniform_(x, -3e38, 3e38),
        lambda x: _core.normal_(x, 0.0, -1.0),
        lambda x: _core.normal_(x, float("nan"), 1.0),
        lambda x: _core.trunc_normal_(x, 0.0, 0.0),
        lambda x: _core.trunc_normal_(x, 0.0, 1.0, 2.0, -2.0),
        lambda x: _core.trunc_normal_(x, 0.0, 1.0, 50.0, 60.0),
        lambda x: _core.bernoulli_(x, 1.5),
        lambda x: _core.bernoulli_(x, float("nan")),
        lambda x: _core.randint(3, 3, (2,)),
        lambda x: _core.randperm(-1),
        lambda x: _core.dropout(x, -0.1),
        lambda x: _core.dropout(x, float("nan")),
    ],
)
def test_bad_arguments(call: Callable[[Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"^\[\w+\] "):
        call(_core.empty((3,)))
