# SPDX-License-Identifier: BSD-3-Clause
"""Data sets, loader, samplers, splits, padding, scaling, augmentation."""

from __future__ import annotations

import doctest
import importlib
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import data
from nervure.data import (
    ArrayDataset,
    BucketSampler,
    DataLoader,
    Padded,
    SequenceDataset,
    Subset,
    WeightedRandomSampler,
    collate,
    pad_sequences,
    random_split,
)


@pytest.mark.parametrize("name", ["sequence", "text"])
def test_examples_of_docstrings(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"nervure.data.{name}"))
    assert tried
    assert not failed


def test_every_public_name_exists() -> None:
    for name in data.__all__:
        assert getattr(data, name).__doc__


def rows(loader: Any) -> list[int]:
    """Numbers of the samples in the order in which the loader gives them; x holds them."""
    return [int(v) for batch in loader for v in batch[0].numpy().reshape(-1)]


def numbered(n: int) -> ArrayDataset:
    return ArrayDataset(np.arange(n, dtype=np.float32), np.arange(n))


# ---- data sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int64", "int32", "uint8", "bool", ">f4"]
)
def test_batches_have_the_rows_and_the_types_of_tensors(
    dtype: str, rng: np.random.Generator
) -> None:
    x = (10 * rng.random((17, 3, 2))).astype(dtype)
    y = np.arange(17).astype("uint8")
    dataset = ArrayDataset(x, y, np.ones(17))
    indices = np.array([16, 0, 3, 3])
    xb, yb, wb = dataset.batch(indices)
    np.testing.assert_array_equal(xb.numpy(), x[indices].astype(xb.numpy().dtype))
    assert xb.dtype == nv.tensor(x).dtype
    assert yb.dtype == nv.int64  # class numbers, whatever their width
    assert yb.tolist() == [16, 0, 3, 3]
    assert wb.dtype == nv.float32
    one_x, one_y, one_w = dataset[-1]
    np.testing.assert_array_equal(one_x.numpy(), xb[0].numpy())
    assert (one_y.item(), one_w.item()) == (16, 1.0)
    with pytest.raises(IndexError):
        dataset[17]


def test_float32_arrays_are_shared_and_read_only_ones_are_not_written() -> None:
    x = np.zeros((4, 2), np.float32)
    dataset = ArrayDataset(x)
    x[1] = 7
    assert dataset.batch(np.array([1]))[0].tolist() == [[7, 7]]
    frozen = np.ones((3, 2), np.float32)
    frozen.flags.writeable = False
    assert ArrayDataset(frozen).batch(np.array([2]))[0].tolist() == [[1, 1]]
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert ArrayDataset(turned).batch(np.array([2, 0]))[0].tolist() == [[2, 5], [0, 3]]


def test_memory_maps_are_read_batch_by_batch(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    dataset = ArrayDataset(mapped)
    assert dataset.batch(np.array([5, 1]))[0].tolist() == [[10, 11], [2, 3]]
    assert rows(DataLoader(dataset, 4)) == list(range(12))


def test_several_inputs_and_inputs_by_name() -> None:
    a, b = np.arange(4.0), np.arange(8).reshape(4, 2)
    (x1, x2), y = ArrayDataset((a, b), a).batch(np.array([2]))
    assert (x1.tolist(), x2.tolist(), y.tolist()) == ([2.0], [[4, 5]], [2.0])
    (named,) = ArrayDataset({"a": a, "b": b}).batch(np.array([1, 0]))
    assert named["b"].tolist() == [[2, 3], [0, 1]]


def test_data_frames() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4, 5, 6]})
    xb, yb = ArrayDataset(frame, frame["b"]).batch(np.array([2, 0]))
    assert xb.tolist() == [[3.0, 6.0], [1.0, 4.0]]
    assert yb.tolist() == [6, 4]
    text = pd.DataFrame({"a": [1.0], "city": ["Ulm"], "when": [None]})
    with pytest.raises(TypeError, match=r"x: columns must hold numbers, but 'city' holds .*'when'"):
        ArrayDataset(text)
    with pytest.raises(TypeError, match="y must hold numbers"):
        ArrayDataset(frame, text["city"].repeat(3))


def test_anything_that_looks_like_a_frame() -> None:
    class Series:
        def __init__(self, values: list[Any]) -> None:
            self._values = values

        def to_numpy(self) -> np.ndarray:
            return np.array(self._values)

    class Frame:
        columns = ("a", "b")

        def __getitem__(self, name: str) -> Series:
            return Series([1.0, 2.0])

        def to_numpy(self) -> np.ndarray:
            return np.array([[1.0, 1.0], [2.0, 2.0]])

    xb, yb = ArrayDataset(Frame(), Series([0, 1])).batch(np.array([1]))
    assert (xb.tolist(), yb.tolist()) == ([[2.0, 2.0]], [1])


def test_polars_frames() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    xb, yb = ArrayDataset(frame, frame["b"]).batch(np.array([1]))
    assert (xb.tolist(), yb.tolist()) == ([[2.0, 4.0]], [4])
    with pytest.raises(TypeError, match="'t' holds"):
        ArrayDataset(pl.DataFrame({"a": [1.0], "t": ["text"]}))


@pytest.mark.parametrize(
    ("x", "more", "error", "message"),
    [
        (np.zeros(3), {"y": np.zeros(2)}, ValueError, "x has 3, y has 2"),
        (["a", "b"], {}, TypeError, "x must hold numbers, got text"),
        (np.array([1, None]), {}, TypeError, r"got objects \(NoneType, int\)"),
        (np.float32(1), {}, ValueError, "dimension of samples"),
        ([[1, 2], [3]], {}, ValueError, "unequal lengths: use nervure.data.SequenceDataset"),
        (SimpleNamespace(toarray=None), {}, TypeError, "sparse"),
        (np.zeros(2), {"sample_weight": [1, 1]}, ValueError, "sample_weight needs y"),
        (np.zeros(2), {"y": [0, 1], "sample_weight": [1, -1]}, ValueError, "not negative"),
        (np.zeros(2), {"y": [0, 1], "sample_weight": [[1, 1]]}, ValueError, r"must be \(N,\)"),
        (np.zeros((2, 3)), {"lengths": [1, 4]}, ValueError, r"in 0 .. 3, got 1 .. 4"),
        (np.zeros((2, 3)), {"lengths": [1.0, 2.0]}, ValueError, "integers"),
        (np.zeros(2), {"lengths": [1, 1]}, ValueError, "one dimension"),
        ((np.zeros(2), np.zeros(2)), {"lengths": [1, 1]}, ValueError, "single x"),
        ({}, {}, ValueError, "no array"),
    ],
)
def test_arrays_that_are_refused(
    x: Any, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ArrayDataset(x, **more)


def test_lengths_come_with_the_values() -> None:
    dataset = ArrayDataset(np.zeros((3, 5, 2)), np.arange(3), lengths=[5, 0, 2])
    x, y = dataset.batch(np.array([2, 1]))
    assert isinstance(x, Padded)
    assert x.values.shape == (2, 5, 2)
    assert x.lengths.tolist() == [2, 0]
    assert y.tolist() == [2, 1]


def test_sequences_are_padded_to_the_longest_of_the_batch() -> None:
    x = [[1.0], [2.0, 3.0], [], [4.0, 5.0, 6.0]]
    dataset = SequenceDataset(x, [[1], [2, 3], [], [4, 5, 6]], np.arange(4))
    (values, lengths), y, w = dataset.batch(np.array([1, 0, 2]))
    assert values.tolist() == [[2, 3], [1, 0], [0, 0]]
    assert lengths.tolist() == [2, 1, 0]
    assert y.dtype == nv.int64
    assert y.tolist() == [[2, 3], [1, -100], [-100, -100]]
    assert w.tolist() == [1, 0, 2]
    one = SequenceDataset(x, [0, 1, 1, 0])
    assert one.batch(np.array([3]))[1].tolist() == [0]
    assert [part.tolist() for part in one[1]] == [[2, 3], 1]
    assert SequenceDataset(x)[3].tolist() == [4, 5, 6]
    with pytest.raises(ValueError, match=r"x\[0\] has shape \(1, 2\), x\[1\] \(1, 3\)"):
        SequenceDataset([np.zeros((1, 2)), np.zeros((1, 3))])
    with pytest.raises(ValueError, match="x has 1, y has 2"):
        SequenceDataset([[1]], [0, 1])
    with pytest.raises(ValueError, match="no sequence"):
        SequenceDataset([])
    with pytest.raises(ValueError, match="needs y"):
        SequenceDataset([[1]], None, [1.0])


class Squares(data.Dataset):
    """Samples one by one."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Any:
        return np.float32(index), index * index


def test_samples_one_by_one_are_stacked() -> None:
    x, y = next(iter(DataLoader(Squares(), 3)))
    assert (x.tolist(), y.tolist()) == ([0, 1, 2], [0, 1, 4])
    foreign = SimpleNamespace()

    class Foreign:  # PyTorch's, for instance: no base class of ours
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return {"a": np.zeros(2) + index}, index

    (x2, y2), *_ = DataLoader(Foreign(), 2, prefetch=0)
    assert x2["a"].tolist() == [[0, 0], [1, 1]]
    assert y2.tolist() == [0, 1]
    with pytest.raises(TypeError, match=r"needs len\(\) and \[i\]"):
        DataLoader(foreign)

    class Ragged(Squares):
        def __getitem__(self, index: int) -> Any:
            return np.zeros(index)

    with pytest.raises(ValueError, match=r"one shape, got \(0,\), \(1,\)"):
        next(iter(DataLoader(Ragged(), 2)))


def test_parts_of_parts() -> None:
    whole = numbered(10)
    part = Subset(Subset(whole, [9, 8, 7, 6]), [3, 0])
    assert rows(DataLoader(part, 2)) == [6, 9]
    assert part.batch(np.array([1]))[0].tolist() == [9]
    assert part[0][0].item() == 6
    with pytest.raises(IndexError, match=r"0 \.\. 9"):
        Subset(whole, [10])


@pytest.mark.parametrize("bad", [[True, False] * 5, [1.0, 2.0], "12", [nv.tensor([1.5])]])
def test_numbers_of_samples_that_are_none(bad: Any) -> None:
    for call in (
        lambda: Subset(numbered(10), bad),
        lambda: list(DataLoader(numbered(10), 2, sampler=list(bad))),
        lambda: list(DataLoader(numbered(10), batch_sampler=[bad])),
    ):
        with pytest.raises(TypeError, match="list of the numbers of samples"):
            call()
    with pytest.raises(TypeError, match="list of the numbers of samples"):
        Subset(numbered(10), 3)


@pytest.mark.parametrize(
    "dataset",
    [numbered(4), Subset(numbered(9), range(4)), SequenceDataset([[1], [1, 2], [3], [4]])],
)
def test_one_sample_by_its_number(dataset: Any) -> None:
    np.testing.assert_equal(dataset[-1], dataset[np.int64(3)])
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 4 samples"):
            dataset[index]
    for wrong in (slice(2), [0, 1], 1.0, "a"):
        with pytest.raises(TypeError, match=r"has an integer for its number, .*batch\(numbers\)"):
            dataset[wrong]


def test_samples_that_make_no_batch() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        collate([])
    with pytest.raises(ValueError, match=r"as many parts, got \[1, 2\]"):
        collate([(1, 2), (3,)])


# ---- loader --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_once(n: int, drop_last: bool, shuffle: bool) -> None:
    loader = DataLoader(numbered(n), 4, shuffle, drop_last=drop_last, seed=1)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(x.tolist() == y.tolist() for x, y in batches)
    found = rows(batches)
    assert len(found) == (n - n % 4 if drop_last else n)
    assert len(set(found)) == len(found)
    if not shuffle:
        assert found == list(range(len(found)))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    loader, twin = (DataLoader(numbered(50), 8, True, seed=3) for _ in range(2))
    first, second = rows(loader), rows(loader)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))
    assert [rows(twin), rows(twin)] == [first, second]
    nv.manual_seed(11)
    drawn = rows(DataLoader(numbered(50), 8, True))
    nv.manual_seed(11)
    assert rows(DataLoader(numbered(50), 8, True)) == drawn


def loaders() -> dict[str, Any]:
    def doubled(x: Any, y: Any, rng: np.random.Generator) -> Any:
        return x + rng.integers(0, 3) * 100, y

    lengths = [[0.0] * (i % 5) for i in range(23)]
    return {
        "rows": lambda p: DataLoader(numbered(23), 4, True, seed=5, prefetch=p),
        "sequential": lambda p: DataLoader(numbered(23), 4, prefetch=p),
        "single": lambda p: DataLoader(Squares(), 2, True, seed=5, prefetch=p),
        "transform": lambda p: DataLoader(
            numbered(23), 4, True, seed=5, transform=doubled, prefetch=p
        ),
        "weighted": lambda p: DataLoader(
            numbered(9), 2, sampler=WeightedRandomSampler(np.arange(9), 20), seed=5, prefetch=p
        ),
        "bucket": lambda p: DataLoader(
            numbered(23),
            batch_sampler=BucketSampler([len(v) for v in lengths], 4, pool=2),
            seed=5,
            prefetch=p,
        ),
    }


@pytest.mark.parametrize("kind", loaders())
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_loader_goes_on_where_it_was(kind: str, stop: int) -> None:
    make = loaders()[kind]
    whole = make(0)
    expected = [[rows([b]) for b in whole] for _ in range(3)]
    for prefetch in (0, 2):
        loader = make(prefetch)
        assert [rows([b]) for b in loader] == expected[0]
        iterator = iter(loader)
        seen = [rows([next(iterator)]) for _ in range(stop)]
        state = loader.state_dict()
        assert (state["epoch"], state["batch"]) == (1, stop)
        again = make(prefetch)
        again.load_state_dict(state)
        assert seen + [rows([b]) for b in again] == expected[1]
        assert [rows([b]) for b in again] == expected[2]


def test_a_new_iteration_after_a_broken_one_is_a_new_epoch() -> None:
    loader = DataLoader(numbered(20), 4, True, seed=2)
    next(iter(loader))
    twin = DataLoader(numbered(20), 4, True, seed=2)
    list(twin)
    assert rows(loader) == rows(twin)


def test_the_loader_knows_whose_rows_it_gave() -> None:
    loader = DataLoader(Subset(numbered(20), np.arange(10, 20)), 4, True, seed=2)
    for x, _ in loader:
        assert (loader.samples() + 10).tolist() == x.tolist()
    plain = DataLoader(numbered(5), 2)
    given = [x.tolist() for x, _ in plain]
    assert [plain.samples(back).tolist() for back in (2, 1, 0)] == given
    with pytest.raises(IndexError, match="no such batch"):
        plain.samples(3)
    bucket = DataLoader(numbered(9), batch_sampler=BucketSampler(np.arange(9), 2), seed=0)
    for x, _ in bucket:
        assert bucket.samples().tolist() == x.tolist()


def test_prefetching_works_ahead_and_hands_errors_over() -> None:
    made: list[int] = []

    class Slow(Squares):
        def __getitem__(self, index: int) -> Any:
            if index == 5:
                raise RuntimeError("sample 5 is broken")
            made.append(threading.get_ident())
            return np.float32(index)

    iterator = iter(DataLoader(Slow(), 1, prefetch=3))
    next(iterator)
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(made) >= 4
    assert threading.get_ident() not in made
    with pytest.raises(RuntimeError, match="sample 5 is broken"):
        list(iterator)


def test_threads_end_with_their_iteration() -> None:
    before = set(threading.enumerate())
    iterator = iter(DataLoader(Squares(), 1, prefetch=1))
    next(iterator)
    (thread,) = set(threading.enumerate()) - before
    assert thread.is_alive()
    del iterator
    thread.join(5)
    assert not thread.is_alive()


def test_other_samplers_and_transforms() -> None:
    assert rows(DataLoader(numbered(5), 2, sampler=[4, 1, 1])) == [4, 1, 1]
    assert rows(DataLoader(numbered(5), batch_sampler=[[0], [3, 2]])) == [0, 3, 2]
    plus = lambda x, y, rng: (x + 1, y)  # noqa: E731
    loader = DataLoader(ArrayDataset(np.arange(3.0)), 2, transform=[plus, plus])
    assert rows(loader) == [2, 3, 4]
    weighted = DataLoader(
        ArrayDataset(np.arange(3.0), np.arange(3), np.arange(3)), 3, transform=plus
    )
    x, y, w = next(iter(weighted))
    assert (x.tolist(), y.tolist(), w.tolist()) == ([1, 2, 3], [0, 1, 2], [0, 1, 2])


def test_a_transform_returns_inputs_and_targets() -> None:
    loader = DataLoader(numbered(4), 2, transform=lambda x, y, rng: x)  # two rows are no pair
    with pytest.raises(TypeError, match=r"must return \(x, y\), got ndarray"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "positive integer, got 0"),
        ({"batch_size": 2.5}, ValueError, "positive integer, got 2.5"),
        ({"shuffle": True, "sampler": [0]}, ValueError, "exclude each other"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, ValueError, "batch_sampler excludes"),
        ({"prefetch": -1}, ValueError, "prefetch must be 0"),
        ({"seed": -1}, ValueError, "seed must be 0 or a positive integer, got -1"),
        ({"seed": "a"}, ValueError, "seed must be 0 or a positive integer, got 'a'"),
        ({"transform": 3}, TypeError, "transform must be callable"),
    ],
)
def test_loader_options_that_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DataLoader(numbered(4), **options)


# ---- samplers ------------------------------------------------------------------------------------


def test_weighted_sampling_follows_the_weights(rng: np.random.Generator) -> None:
    counts = np.bincount(WeightedRandomSampler([1, 0, 3], 40000).sample(rng), minlength=3)
    assert counts[1] == 0
    assert abs(counts[2] / counts[0] - 3) < 0.2
    once = WeightedRandomSampler([1, 2, 0, 5], 3, replacement=False).sample(rng)
    assert sorted(once) == [0, 1, 3]
    labels = np.array([0] * 90 + [1] * 10)
    drawn = labels[WeightedRandomSampler.balanced(np.tile(labels, 100)).sample(rng) % 100]
    assert abs(drawn.mean() - 0.5) < 0.02
    for weights, n, replacement, message in (
        ([1, -1], 1, True, "not negative"),
        ([0, 0], 1, True, "0 positive weights"),
        ([1, 0], 2, False, "1 positive weights are not enough"),
        ([1.0], 0, True, "num_samples must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            WeightedRandomSampler(weights, n, replacement)


def test_buckets_hold_sequences_of_similar_length(rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 100, 1003)
    sampler = BucketSampler(lengths, 10)
    batches = sampler.batches(np.random.default_rng(0))
    assert len(batches) == len(sampler) == 101
    assert sorted(np.concatenate(batches)) == list(range(1003))
    assert sorted(len(b) for b in batches)[:2] == [3, 10]

    def padding(found: list[Any]) -> int:
        return sum(int((lengths[b].max() - lengths[b]).sum()) for b in found)

    plain = np.array_split(rng.permutation(1003), 101)
    assert padding(batches) < 0.15 * padding(plain)
    other = sampler.batches(np.random.default_rng(1))
    assert [b.tolist() for b in other] != [b.tolist() for b in batches]
    in_order = BucketSampler(lengths, 10, shuffle=False, drop_last=True)
    sorted_batches = in_order.batches(rng)
    assert len(sorted_batches) == len(in_order) == 100
    assert (np.diff(lengths[np.concatenate(sorted_batches)]) >= 0).all()
    assert BucketSampler(np.zeros(0, int), 3).batches(rng) == []
    with pytest.raises(ValueError, match="integers"):
        BucketSampler([0.5], 1)
    with pytest.raises(ValueError, match="batch_size must be positive"):
        BucketSampler([1], 0)


# ---- splits --------------------------------------------------------------------------------------


def test_parts_do_not_overlap_and_cover_all() -> None:
    parts = random_split(numbered(10), [0.5, 0.3, 0.2], seed=0)
    assert [len(p) for p in parts] == [5, 3, 2]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))
    other = random_split(numbered(10), [5, 3, 2], seed=1)
    assert [p.indices.tolist() for p in other] != [p.indices.tolist() for p in parts]
    same = random_split(numbered(10), [5, 3, 2], seed=0)
    assert [p.indices.tolist() for p in same] == [p.indices.tolist() for p in parts]
    nv.manual_seed(1)
    drawn = random_split(numbered(10), [9, 1])[1].indices.tolist()
    nv.manual_seed(1)
    assert random_split(numbered(10), [9, 1])[1].indices.tolist() == drawn
    assert [len(p) for p in random_split(numbered(7), [0.5, 0.5])] == [4, 3]
    for lengths in ([5, 4], [0.5, 0.4], [], [-1, 11]):
        with pytest.raises(ValueError, match=r"(lengths|shares) must"):
            random_split(numbered(10), lengths)


def test_stratified_parts_have_the_classes_in_proportion(rng: np.random.Generator) -> None:
    labels = rng.choice([3, 5, 7], 1000, p=[0.9, 0.07, 0.03])
    parts = random_split(numbered(1000), [0.7, 0.2, 0.1], stratify=labels, seed=0)
    assert sorted(i for p in parts for i in p.indices) == list(range(1000))
    for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
        for label in (3, 5, 7):
            wanted = share * (labels == label).sum()
            assert abs((labels[part.indices] == label).sum() - wanted) <= 1
    chance = random_split(numbered(1000), [0.7, 0.2, 0.1], seed=0)
    assert parts[0].indices.tolist() != chance[0].indices.tolist()
    with pytest.raises(ValueError, match=r"stratify must be \(10,\), got \(9,\)"):
        random_split(numbered(10), [5, 5], stratify=np.zeros(9))


# ---- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [4, 5]]),
        ({"maxlen": 4, "value": 9}, [[9, 9, 9, 1], [9, 9, 2, 3], [9, 4, 5, 6]]),
        ({"maxlen": 0}, [[], [], []]),
    ],
)
def test_padding_is_that_of_keras(options: dict[str, Any], expected: list[list[int]]) -> None:
    padded = pad_sequences([[1], [2, 3], [4, 5, 6]], **options)
    assert padded.dtype == np.int32
    assert padded.tolist() == expected


def test_padding_of_vectors_text_and_nothing() -> None:
    padded = pad_sequences([[], [[1, 2]], [[3, 4], [5, 6]]], dtype="float32")
    assert padded.tolist() == [[[0, 0], [0, 0]], [[0, 0], [1, 2]], [[3, 4], [5, 6]]]
    words = pad_sequences([["a"], ["b", "c"]], dtype=object, value="-")
    assert words.tolist() == [["-", "a"], ["b", "c"]]
    assert pad_sequences([]).shape == (0, 0)
    with pytest.raises(ValueError, match="padding must be 'pre' or 'post', got 'left'"):
        pad_sequences([[1]], padding="left")
    with pytest.raises(ValueError, match="item 1 is no sequence: 5"):
        pad_sequences([[1], 5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        pad_sequences([[[1, 2]], [[1, 2, 3]]])
    with pytest.raises(ValueError, match="cannot hold the value '-'"):
        pad_sequences([[1]], value="-")
    with pytest.raises(ValueError, match="maxlen must not be negative"):
        pad_sequences([[1]], maxlen=-1)
