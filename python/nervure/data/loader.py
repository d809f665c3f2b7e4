# SPDX-License-Identifier: BSD-3-Clause
"""DataLoader: the batches of a data set, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from nervure import _core
from nervure._core import Tensor
from nervure._numbers import plain
from nervure.data._ahead import ahead
from nervure.data._arrays import Indices, map_structure, sample_numbers
from nervure.data.dataset import ArrayDataset, Subset, take_batch
from nervure.data.sampler import BatchSampler, RandomSampler, Sampler, generator_of

Transform = Callable[[Any, Any, np.random.Generator], tuple[Any, Any]]


class DataLoader:
    """Goes through a data set in batches: tuples ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Which samples are in a batch, and what transforms draw, is a function of the seed, the epoch and
    the number of the batch. So a loader that was stopped goes on exactly where it was
    (:meth:`state_dict`), and prefetching changes nothing.

    Parameters
    ----------
    dataset : Dataset, or anything with ``len()`` and ``[i]``
        The samples.
    batch_size : int, default 1
        Samples of a batch.
    shuffle : bool, default False
        Whether the order is another one in every epoch.
    sampler : Sampler or iterable of int, optional
        Gives the order instead. Of an iterable that is no ``Sampler`` every epoch takes all it
        gives; it must be finite.
    batch_sampler : BatchSampler or iterable of sequences of int, optional
        Gives the batches instead of ``batch_size``, ``shuffle``, ``sampler`` and ``drop_last``.
    drop_last : bool, default False
        Whether a last batch that is not full is left out.
    seed : int, optional
        By default one that nervure's generator draws when the first epoch begins, if anything is
        random, so that ``nervure.manual_seed`` decides.
    transform : callable or list of callables, optional
        ``transform(x, y, rng) -> (x, y)`` of each batch as NumPy arrays (``y`` is None without
        targets), with a generator to draw from. See :class:`RandomCrop`.
    prefetch : int, optional
        Batches that a thread prepares ahead; 0 for no thread. By default 2 when there is a
        transform or the data set is not an :class:`ArrayDataset`, whose batches are there sooner
        than a thread wakes up.

    Raises
    ------
    ValueError
        For options that exclude each other or are impossible.
    TypeError
        For a data set without ``len()``.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Sampler | Iterable[int] | None = None,
        batch_sampler: BatchSampler | Iterable[Sequence[int]] | None = None,
        *,
        drop_last: bool = False,
        seed: int | None = None,
        transform: Transform | Sequence[Transform] | None = None,
        prefetch: int | None = None,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"[DataLoader] dataset needs len() and [i], got {type(dataset).__name__}"
            )
        _check_options(batch_size, shuffle, sampler, batch_sampler, drop_last, seed, prefetch)
        self.dataset = dataset
        self.batch_size = None if batch_sampler is not None else batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.sampler: Any = RandomSampler(dataset) if shuffle else sampler
        self.batch_sampler: Any = batch_sampler
        self.seed = seed
        self._transforms = _as_list(transform)
        self._source, self._outer = _unwrapped(dataset)
        if prefetch is None:
            prefetch = 2 if self._transforms or not isinstance(self._source, ArrayDataset) else 0
        self.prefetch = prefetch
        self._epoch = -1
        self._batch = 0
        self._goes_on = False

    def __len__(self) -> int:
        """Batches of an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        assert self.batch_size is not None
        count = len(self.dataset) if self.sampler is None else len(self.sampler)
        full, rest = divmod(count, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._goes_on:
            self._goes_on = False
        else:
            self._epoch += 1
            self._batch = 0
        if self.seed is None and self._is_random():
            self.seed = draw_seed()
        return self._counted(self._epoch, self._batch)

    def state_dict(self) -> dict[str, int | None]:
        """Where the loader is: the seed, the epoch, and how many of its batches were given out."""
        return {"seed": self.seed, "epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a place that :meth:`state_dict` gave: the next iteration begins there."""
        self.seed = state_dict["seed"]
        self._epoch = state_dict["epoch"]
        self._batch = state_dict["batch"]
        self._goes_on = self._epoch >= 0

    def samples(self, back: int = 0) -> Indices:
        """Numbers in the data set of the samples of the batch given out last, or ``back`` before.

        Raises
        ------
        IndexError
            If there was no such batch in this epoch.
        """
        number = self._batch - 1 - back
        if number < 0:
            raise IndexError("[DataLoader] no such batch has been given out in this epoch")
        rng = self._generator(self._epoch, 0)
        if self.batch_sampler is not None:
            return self._sampled_batches(rng)[number]
        order = self._order(rng)
        assert self.batch_size is not None
        first = number * self.batch_size
        if order is None:
            return np.arange(first, min(first + self.batch_size, len(self.dataset)))
        return order[first : first + self.batch_size]

    def end_epoch(self) -> None:
        """Leave the epoch under way: the next iteration begins a new one."""
        self._goes_on = False

    def _is_random(self) -> bool:
        samplers = (self.sampler, self.batch_sampler)
        return bool(self._transforms) or any(sampler is not None for sampler in samplers)

    # ---- batches ---------------------------------------------------------------------------------

    def _generator(self, epoch: int, *rest: int) -> np.random.Generator:
        return generator_of(self.seed or 0, epoch, *rest)

    def _counted(self, epoch: int, first: int) -> Iterator[tuple[Any, ...]]:
        batches = ahead(self._batches(epoch, first), self.prefetch)
        number = first
        while (batch := next(batches, None)) is not None:
            number += 1
            if self._epoch == epoch:  # and not an iteration that another one has replaced
                self._batch = number
            yield batch
            del batch  # before the next one is made, which can then have its memory

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[Any, ...]]:
        plain = self._plain(epoch, first)
        return self._through_transforms(plain, epoch, first) if self._transforms else plain

    def _through_transforms(
        self, plain: Iterator[tuple[Any, ...]], epoch: int, first: int
    ) -> Iterator[tuple[Any, ...]]:
        for number, batch in enumerate(plain, first):
            yield self._transformed(batch, self._generator(epoch, 1, number))

    def _plain(self, epoch: int, first: int) -> Iterator[tuple[Any, ...]]:
        rng = self._generator(epoch, 0)
        if self.batch_sampler is not None:
            for indices in self._sampled_batches(rng)[first:]:
                yield self._take(self._inner(indices))
            return
        order = self._order(rng)
        count = len(self.dataset) if order is None else len(order)
        assert self.batch_size is not None
        size = self.batch_size
        stop = count - count % size if self.drop_last else count
        starts = range(first * size, stop, size)
        if not isinstance(self._source, ArrayDataset):
            numbers = self._inner(np.arange(count) if order is None else order)
            for start in starts:
                yield take_batch(self._source, numbers[start : start + size])
        elif order is None and self._outer is None:
            for start in starts:
                yield self._source.rows(start, min(start + size, stop))
        else:
            rows = _core.tensor(self._inner(np.arange(count) if order is None else order))
            for start in starts:
                yield self._source.take(_core.slice(rows, 0, start, min(start + size, stop)))

    def _order(self, rng: np.random.Generator) -> Indices | None:
        if self.sampler is None:
            return None
        if isinstance(self.sampler, Sampler):
            order = self.sampler.sample(rng)
        else:
            order = sample_numbers("DataLoader", list(self.sampler))
        return np.asarray(order, np.int64)

    def _sampled_batches(self, rng: np.random.Generator) -> list[Indices]:
        if isinstance(self.batch_sampler, BatchSampler):
            return self.batch_sampler.batches(rng)
        return [sample_numbers("DataLoader", indices) for indices in self.batch_sampler]

    def _inner(self, indices: Indices) -> Indices:
        """Numbers in the innermost data set, of which the outer ones are parts."""
        return indices if self._outer is None else self._outer[indices]

    def _take(self, indices: Indices) -> tuple[Any, ...]:
        return take_batch(self._source, indices)

    def _transformed(self, batch: tuple[Any, ...], rng: np.random.Generator) -> tuple[Any, ...]:
        x = map_structure(_numpy, batch[0])
        y = map_structure(_numpy, batch[1]) if len(batch) > 1 else None
        for transform in self._transforms:
            found = transform(x, y, rng)
            if not isinstance(found, (tuple, list)) or len(found) != 2:  # no array of two
                raise TypeError(
                    f"[DataLoader] a transform must return (x, y), got {type(found).__name__}"
                )
            x, y = found
        parts = [x] if y is None else [x, y]
        return (*(map_structure(_tensor, part) for part in parts), *batch[2:])


def _check_options(
    batch_size: Any,
    shuffle: bool,
    sampler: Any,
    batch_sampler: Any,
    drop_last: bool,
    seed: Any,
    prefetch: Any,
) -> None:
    batch_size, seed, prefetch = plain(batch_size), plain(seed), plain(prefetch)
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"[DataLoader] batch_size must be a positive integer, got {batch_size!r}")
    if shuffle and sampler is not None:
        raise ValueError("[DataLoader] shuffle and sampler exclude each other")
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ValueError(
            "[DataLoader] batch_sampler excludes batch_size, shuffle, sampler and drop_last"
        )
    if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
        raise ValueError(f"[DataLoader] seed must be 0 or a positive integer, got {seed!r}")
    if prefetch is not None and (not isinstance(prefetch, int) or prefetch < 0):
        raise ValueError(f"[DataLoader] prefetch must be 0 or a positive integer, got {prefetch!r}")


def _as_list(transform: Any) -> list[Transform]:
    if transform is None:
        return []
    transforms = list(transform) if isinstance(transform, (list, tuple)) else [transform]
    for item in transforms:
        if not callable(item):
            raise TypeError(f"[DataLoader] transform must be callable, got {type(item).__name__}")
    return transforms


def _unwrapped(dataset: Any) -> tuple[Any, Indices | None]:
    """The innermost data set, and the numbers there of what the outermost has."""
    outer: Indices | None = None
    while type(dataset) is Subset:
        outer = dataset.indices if outer is None else dataset.indices[outer]
        dataset = dataset.dataset
    return dataset, outer


def _numpy(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Tensor) else np.asarray(leaf)


def _tensor(leaf: Any) -> Tensor:
    return leaf if isinstance(leaf, Tensor) else _core.tensor(leaf)


def draw_seed() -> int:
    """Draw a seed with nervure's generator."""
    return int(_core.randint(0, 2**62, (1,)).item())
