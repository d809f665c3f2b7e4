# SPDX-License-Identifier: BSD-3-Clause
"""Which samples come when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nervure.data._arrays import Indices


def generator_of(*numbers: int) -> np.random.Generator:
    """Random numbers that are a function of some integers: seed, epoch, batch."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))


class Sampler(ABC):
    """Gives the numbers of the samples of an epoch, in order.

    The order is a function of the generator alone, which :class:`DataLoader` makes from its seed
    and the number of the epoch: so a training that goes on sees what it would have seen.
    """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Indices:
        """Numbers of the samples of one epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[int]:
        return iter(self.sample(np.random.default_rng()).tolist())


class SequentialSampler(Sampler):
    """All samples in order.

    Parameters
    ----------
    data_source : sized
        The data set.
    """

    def __init__(self, data_source: Any) -> None:
        self._count = len(data_source)

    def sample(self, rng: np.random.Generator) -> Indices:
        """Give ``0, 1, 2, ...``."""
        return np.arange(self._count)

    def __len__(self) -> int:
        return self._count


class RandomSampler(Sampler):
    """All samples, shuffled anew in every epoch.

    Parameters
    ----------
    data_source : sized
        The data set.
    """

    def __init__(self, data_source: Any) -> None:
        self._count = len(data_source)

    def sample(self, rng: np.random.Generator) -> Indices:
        """Give a permutation."""
        return rng.permutation(self._count)

    def __len__(self) -> int:
        return self._count


class WeightedRandomSampler(Sampler):
    """Samples drawn with given weights: rare classes as often as frequent ones.

    Parameters
    ----------
    weights : (N,) array
        Weight of each sample; they need not add up to one. See :meth:`balanced`.
    num_samples : int
        Samples of an epoch.
    replacement : bool, default True
        Whether a sample may come several times in an epoch.

    Raises
    ------
    ValueError
        For weights that are negative, not finite or all zero, or, without replacement, fewer
        positive ones than samples are wanted.
    """

    def __init__(self, weights: ArrayLike, num_samples: int, replacement: bool = True) -> None:
        values = np.asarray(weights, np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError("[WeightedRandomSampler] weights must be (N,), finite, not negative")
        if num_samples < 1:
            raise ValueError(
                f"[WeightedRandomSampler] num_samples must be positive, got {num_samples}"
            )
        positive = int(np.count_nonzero(values))
        if positive == 0 or (not replacement and positive < num_samples):
            raise ValueError(
                f"[WeightedRandomSampler] {positive} positive weights are not enough for "
                f"{num_samples} samples"
            )
        self._probabilities = values / values.sum()
        self._count = num_samples
        self._replacement = replacement

    @classmethod
    def balanced(cls, labels: ArrayLike) -> WeightedRandomSampler:
        """As many samples as there are labels, every class equally often on average."""
        _, inverse, counts = np.unique(
            np.asarray(labels).reshape(-1), return_inverse=True, return_counts=True
        )
        return cls(1.0 / counts[inverse.reshape(-1)], len(inverse))

    def sample(self, rng: np.random.Generator) -> Indices:
        """Draw the samples of an epoch."""
        return rng.choice(
            len(self._probabilities), self._count, self._replacement, self._probabilities
        )

    def __len__(self) -> int:
        return self._count


class BatchSampler(ABC):
    """Gives the numbers of the samples of an epoch, batch by batch."""

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> list[Indices]:
        """Numbers of the samples of each batch of one epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches."""


class BucketSampler(BatchSampler):
    """Batches of sequences of similar length, so that little is padded.

    The sequences are shuffled, cut into pools of ``pool`` batches, sorted by length within each
    pool and cut into batches; then the batches are shuffled.

    Parameters
    ----------
    lengths : (N,) array of int
        Length of each sequence, for instance ``dataset.lengths``.
    batch_size : int
        Sequences of a batch; the last one has the rest.
    shuffle : bool, default True
        False sorts all sequences by length: the least padding, the same batches in every epoch.
    drop_last : bool, default False
        Whether batches that are not full are left out.
    pool : int, default 50
        Batches of a pool: more means less padding and less chance.

    Raises
    ------
    ValueError
        For an impossible option.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        *,
        pool: int = 50,
    ) -> None:
        self._lengths = np.asarray(lengths)
        if self._lengths.ndim != 1 or self._lengths.dtype.kind not in "iu":
            raise ValueError("[BucketSampler] lengths must be integers (N,)")
        for name, value in (("batch_size", batch_size), ("pool", pool)):
            if value < 1:
                raise ValueError(f"[BucketSampler] {name} must be positive, got {value}")
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._pool = pool

    def batches(self, rng: np.random.Generator) -> list[Indices]:
        """Numbers of the sequences of each batch of one epoch."""
        count, size = len(self._lengths), self._batch_size
        order = rng.permutation(count) if self._shuffle else np.arange(count)
        pool = size * self._pool if self._shuffle else max(count, 1)
        batches = []
        for start in range(0, count, pool):
            part = order[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        if self._drop_last:
            batches = [batch for batch in batches if len(batch) == size]
        if self._shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def __len__(self) -> int:
        # A pool is a whole number of batches: only the last one of all can be short.
        full, rest = divmod(len(self._lengths), self._batch_size)
        return full + (rest > 0 and not self._drop_last)
