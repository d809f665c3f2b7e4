# SPDX-License-Identifier: BSD-3-Clause
"""Where batches come from: arrays, data sets, loaders, generators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nervure.data._arrays import leaves, map_structure, to_structure
from nervure.data.dataset import ArrayDataset
from nervure.data.loader import DataLoader
from nervure.data.sequence import Padded

Parts = tuple[Any, Any, Any, Any]  # x, y, sample_weight, lengths


class Options(NamedTuple):
    """How batches are made of what is no loader yet."""

    batch_size: int | None = None
    shuffle: bool = False
    steps: int | None = None
    epochs: int = 1


_END = object()


class Feed:
    """Batches, epoch by epoch, from a place that can be kept and gone back to.

    Parameters
    ----------
    source : iterable, or callable that gives iterators
        The batches.
    steps : int, optional
        Batches of an epoch; by default all that the source gives in one go.
    """

    def __init__(self, source: Any, steps: int | None) -> None:
        self._source = source
        self._once = hasattr(source, "__next__")
        self._iterator: Iterator[Any] | None = None
        self._taken = 0  # batches since training began, of sources that keep no place
        self._length = steps if steps is not None else _length(source)
        self._asked = steps

    @property
    def steps(self) -> int | None:
        """Batches of an epoch; None when not known."""
        return self._length

    @property
    def source(self) -> Any:
        """What gives the batches."""
        return self._source

    @property
    def dataset(self) -> Any:
        """The data set behind the batches, if there is one."""
        return getattr(self._source, "dataset", None)

    @property
    def is_used_up(self) -> bool:
        """Whether the source was a generator that cannot be gone through again."""
        return self._once

    def epoch(self, done: int = 0) -> Iterator[Any]:
        """Batches of an epoch of which ``done`` have been used up before.

        Raises
        ------
        ValueError
            If a generator ends before its ``steps`` are there.
        """
        if self._asked is None:
            iterator = self._begin()
            while (item := next(iterator, _END)) is not _END:
                self._taken += 1
                yield item
                del item  # before the next one is made, which can then have its memory
            self._iterator = None
            return
        for _ in range(self._asked - done):
            item = self._next()
            self._taken += 1
            yield item
            del item

    def _begin(self) -> Iterator[Any]:
        if self._iterator is None:
            self._iterator = self._new()
        return self._iterator

    def _new(self) -> Iterator[Any]:
        return iter(self._source() if callable(self._source) else self._source)

    def _next(self) -> Any:
        try:
            return next(self._begin())
        except StopIteration:
            pass
        if not self._once:
            self._iterator = self._new()
            try:
                return next(self._iterator)
            except StopIteration:
                pass
        raise ValueError(
            f"[Trainer] the data ran out after {self._taken} batches: a generator must give "
            "steps_per_epoch * epochs of them"
        )

    def samples(self, back: int) -> Any:
        """Numbers in the data set of the samples of a batch, ``back`` before the last; or None."""
        if isinstance(self._source, DataLoader):
            return self._source.samples(back)
        return None

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the feed is."""
        keeps = hasattr(self._source, "state_dict")
        return {"taken": self._taken, "loader": self._source.state_dict() if keeps else None}

    def load_state_dict(self, state: dict[str, Any], done: int) -> None:
        """Go to a place: by the loader's own means, or by passing over the batches before it.

        ``done`` is how many batches of the epoch under way have been used up.
        """
        self._taken = state["taken"]
        self._iterator = None
        if state["loader"] is not None and hasattr(self._source, "load_state_dict"):
            self._source.load_state_dict(state["loader"])
            if done or self._asked is not None:
                self._iterator = self._new()
            elif isinstance(self._source, DataLoader):
                self._source.end_epoch()
            return
        passed = self._taken if self._once or self._asked is not None else done
        count, self._taken = self._taken, 0
        for _ in range(passed):
            self._next()
            self._taken += 1
        self._taken = count


def _length(source: Any) -> int | None:
    try:
        return len(source)
    except TypeError:
        return None


def open_feed(x: Any, y: Any, weight: Any, lengths: Any, options: Options) -> Feed:
    """Make a feed of whatever ``fit``, ``evaluate`` or ``predict`` was given.

    Raises
    ------
    ValueError
        For arguments that do not go together.
    TypeError
        For a source that gives no batches.
    """
    size = 32 if options.batch_size is None else options.batch_size
    if is_dataset(x):
        _refuse_parts(y, weight, lengths, "a data set")
        return Feed(DataLoader(x, size, options.shuffle), options.steps)
    if is_source(x):
        _refuse_parts(y, weight, lengths, "a loader or generator")
        if options.batch_size is not None:
            raise ValueError("[Trainer] a loader or generator makes its own batches: no batch_size")
        if hasattr(x, "__next__") and options.steps is None and options.epochs > 1:
            raise ValueError(
                "[Trainer] a generator can be gone through once: give steps_per_epoch, or a "
                "function that returns a new generator for each epoch"
            )
        return Feed(x, options.steps)
    dataset = ArrayDataset(x, y, weight, lengths=lengths)
    return Feed(DataLoader(dataset, size, options.shuffle), options.steps)


def is_dataset(x: Any) -> bool:
    """Whether this gives samples by number, and is no array, frame, list or loader."""
    if isinstance(x, (np.ndarray, list, tuple, dict, DataLoader)) or hasattr(x, "to_numpy"):
        return False
    sized = hasattr(x, "__len__") and hasattr(x, "__getitem__")
    return sized and not hasattr(x, "__array__")


def is_source(x: Any) -> bool:
    """Whether this gives batches: a loader, generator, or function that returns one."""
    if isinstance(x, (np.ndarray, list, tuple, dict)) or hasattr(x, "__array__"):
        return False
    return isinstance(x, DataLoader) or hasattr(x, "__iter__") or callable(x)


def _refuse_parts(y: Any, weight: Any, lengths: Any, what: str) -> None:
    for name, value in (("y", y), ("sample_weight", weight), ("lengths", lengths)):
        if value is not None:
            raise ValueError(f"[Trainer] {what} has its own targets and weights: no {name}")


def split_off(x: Any, y: Any, weight: Any, lengths: Any, share: float) -> tuple[Parts, Parts]:
    """Training and validation part of arrays: the last ``share`` of the samples validates.

    Raises
    ------
    ValueError
        For a share that leaves one part empty, or for what is not made of arrays.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"[Trainer] validation_split must be in [0, 1), got {share}")
    if is_dataset(x) or is_source(x):
        raise ValueError(
            "[Trainer] validation_split needs arrays; cut a data set with random_split and give "
            "the part as validation_data"
        )
    parts = [
        None if part is None else to_structure(name, part)
        for name, part in (("x", x), ("y", y), ("sample_weight", weight), ("lengths", lengths))
    ]
    count = len(leaves(parts[0])[0])
    at = int(np.floor(count * (1.0 - share)))
    if at == 0 or at == count:
        raise ValueError(
            f"[Trainer] validation_split={share} of {count} samples leaves a part empty"
        )
    return _rows(parts, slice(None, at)), _rows(parts, slice(at, None))


def _rows(parts: list[Any], rows: slice) -> Parts:
    def cut(values: Any) -> Any:
        return values[rows]

    x, y, weight, lengths = (None if p is None else map_structure(cut, p) for p in parts)
    return x, y, weight, lengths


def validation_feed(data: Any, options: Options) -> Feed:
    """Feed of ``validation_data``: ``(x, y)``, ``(x, y, sample_weight)``, data set or loader."""
    if isinstance(data, (tuple, list)) and not isinstance(data, Padded):
        if len(data) not in (2, 3):
            raise ValueError(
                f"[Trainer] validation_data must be (x, y) or (x, y, sample_weight), got "
                f"{len(data)} parts"
            )
        x, y = data[0], data[1]
        weight = data[2] if len(data) == 3 else None
        if isinstance(x, Padded):
            return open_feed(x.values, y, weight, x.lengths, options)
        return open_feed(x, y, weight, None, options)
    if is_source(data) and not is_dataset(data):
        options = options._replace(batch_size=None)
    return open_feed(data, None, None, None, options)
