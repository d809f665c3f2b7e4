# SPDX-License-Identifier: BSD-3-Clause
"""Cutting a data set into parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nervure._numbers import plain
from nervure.data._arrays import Indices
from nervure.data.dataset import Subset
from nervure.data.loader import draw_seed
from nervure.data.sampler import generator_of


def random_split(
    dataset: Any,
    lengths: Sequence[int | float],
    *,
    stratify: ArrayLike | None = None,
    seed: int | None = None,
) -> list[Subset]:
    """Cut a data set at random into parts that do not overlap.

    Parameters
    ----------
    dataset : Dataset, or anything with ``len()`` and ``[i]``
        The whole.
    lengths : sequence of int, or of float
        Sizes of the parts, which add up to the size of the whole; or shares that add up to one.
        What rounding down leaves goes to the first parts, one sample each, as in PyTorch.
    stratify : (N,) array, optional
        Labels: every part gets each class in the proportion of the whole, to within one sample.
    seed : int, optional
        By default one that nervure's generator draws.

    Returns
    -------
    list of Subset
        One for each length.

    Raises
    ------
    ValueError
        For sizes that do not add up, or labels that are not one per sample.
    """
    count = len(dataset)
    sizes = _sizes(count, lengths)
    rng = generator_of(draw_seed() if seed is None else seed)
    order = rng.permutation(count)
    if stratify is not None:
        order = _interleaved(order, np.asarray(stratify), count)
    ends = np.cumsum(sizes)
    return [
        Subset(dataset, np.sort(order[end - size : end]))
        for size, end in zip(sizes, ends, strict=True)
    ]


def _sizes(count: int, lengths: Sequence[int | float]) -> list[int]:
    values = list(map(plain, lengths))
    if not values or any(value < 0 for value in values):
        raise ValueError(f"[random_split] lengths must not be negative, got {values}")
    if all(isinstance(value, (int, np.integer)) for value in values):
        sizes = [int(value) for value in values]
        if sum(sizes) != count:
            raise ValueError(
                f"[random_split] lengths must add up to {count}, the size of the data set, got "
                f"{values} with sum {sum(sizes)}"
            )
        return sizes
    if abs(sum(values) - 1.0) > 1e-6:
        raise ValueError(f"[random_split] shares must add up to 1, got {values}")
    # 0.3 * 10 is a little less than 3.
    sizes = [int(np.floor(count * value + 1e-9)) for value in values]
    for i in range(count - sum(sizes)):
        sizes[i % len(sizes)] += 1
    return sizes


def _interleaved(order: Indices, labels: Any, count: int) -> Indices:
    """Sort a random order so that every stretch of it holds the classes in proportion.

    The r-th of the n samples of a class gets the place (r + 1/2) / n between 0 and 1: whatever
    comes before a place x holds n x of each class, to within half a sample.
    """
    if labels.shape != (count,):
        raise ValueError(f"[random_split] stratify must be ({count},), got {labels.shape}")
    _, classes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    classes = classes.reshape(-1)
    by_class = np.argsort(classes, kind="stable")
    first = np.cumsum(counts) - counts
    rank = np.empty(count, np.int64)
    rank[by_class] = np.arange(count) - first[classes[by_class]]
    places = (rank + 0.5) / counts[classes]
    return order[np.argsort(places, kind="stable")]
