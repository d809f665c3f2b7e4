# SPDX-License-Identifier: BSD-3-Clause
"""What attention remembers of the positions before, in decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

from nervure import _core
from nervure._core import Tensor


class _Versions(tuple[tuple[Tensor, int], ...]):
    """Tensors and their versions. A copy has the same tensors: they belong to a model."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Versions:
        return self


class KeyValueCache:
    """Keys and values of the positions decoded so far, for :class:`MultiheadAttention`.

    Room for ``capacity`` positions is taken at the first call; when it is full, it doubles.

    Parameters
    ----------
    capacity : int, default 64
        Positions to make room for at first.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = max(1, index(capacity))
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._memory: Tensor | None = None
        self._sides: Tensor | None = None
        self._version = self._batch = self._room = 0
        self._weights = _Versions()  # of what made the sides
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add (B, n, E) keys and values behind those there are.

        Returns
        -------
        tuple of Tensor
            All keys and values, (B, capacity, E), and how many positions count, (B,) int64.
        """
        batch, n, features = keys.shape
        *stores, start = self.reserve(batch, n, features)
        for store, rows in zip(stores, (keys, values), strict=True):
            _core.writes_into(store)
            store.numpy()[:, start : self.length] = rows.detach().numpy()
        return stores[0], stores[1], _core.full((batch,), self.length, _core.dtype.int64)

    def reserve(self, batch: int, n: int, features: int) -> tuple[Tensor, Tensor, int]:
        """Count ``n`` more positions, which the caller then writes.

        Returns
        -------
        tuple of Tensor, Tensor and int
            All keys and values, (batch, capacity, features), and the first of the new positions.
        """
        start, end = self.length, self.length + n
        if self._keys is None or self._values is None or end > self._room or batch != self._batch:
            self._make_room(batch, end, features)
        assert self._keys is not None
        assert self._values is not None
        self.length = end
        return self._keys, self._values, start

    def _make_room(self, batch: int, end: int, features: int) -> None:
        keys = self._keys
        if keys is not None and batch != keys.shape[0]:
            raise ValueError(f"[KeyValueCache] expected a batch of {keys.shape[0]}, got {batch}")
        if keys is None or end > keys.shape[1]:
            self._keys = self._grown(self._keys, batch, end, features)
            self._values = self._grown(self._values, batch, end, features)
        assert self._keys is not None
        self._batch, self._room = batch, self._keys.shape[1]

    def _grown(self, store: Tensor | None, batch: int, end: int, features: int) -> Tensor:
        if store is None:
            return _core.full((batch, max(self._capacity, end), features), 0.0)
        batch, capacity, features = store.shape
        grown = _core.full((batch, max(2 * capacity, end), features), 0.0)
        grown.numpy()[:, : self.length] = store.numpy()[:, : self.length]
        return grown

    def sides(
        self,
        memory: Tensor,
        project: Callable[[Tensor], Tensor],
        weights: Sequence[Tensor | None] = (),
    ) -> Tensor:
        """Keys and values of an encoder's output side by side, (B, S, 2 E).

        ``project(memory)`` at the first call, and again when ``memory`` or one of the ``weights``
        it is projected with is another tensor or was changed in place.
        """
        same = memory is self._memory and memory._version == self._version
        if self._sides is None or not same or not self._made_with(weights):
            self._memory, self._version, self._sides = memory, memory._version, project(memory)
            self._weights = _Versions((w, w._version) for w in weights if w is not None)
        return self._sides

    def _made_with(self, weights: Sequence[Tensor | None]) -> bool:
        given = [w for w in weights if w is not None]
        return len(given) == len(self._weights) and all(
            w is known and w._version == version
            for w, (known, version) in zip(given, self._weights, strict=True)
        )

    def select(self, rows: Tensor, memory: Tensor | None = None) -> None:
        """Keep these rows of the batch, in this order (they may repeat): what beam search needs.

        Parameters
        ----------
        rows : Tensor, (B,), int64
        memory : Tensor, optional
            The encoder's output after the same selection, if the layer attends to one.
        """
        if self._keys is not None and self._values is not None:
            self._keys = _core.take_rows(self._keys, rows)
            self._values = _core.take_rows(self._values, rows)
            self._batch = rows.shape[0]
        if self._sides is not None and memory is not None:
            self._memory, self._version = memory, memory._version
            self._sides = _core.take_rows(self._sides, rows)


class LayerCaches:
    """The caches of a stack of layers, which are always changed together."""

    def __init__(self, caches: Sequence[KeyValueCache]) -> None:
        self._caches = caches
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._room = 0

    def reserve(self, batch: int, n: int, features: int) -> tuple[list[Tensor], list[Tensor], int]:
        """As :meth:`KeyValueCache.reserve`, of every layer."""
        first = self._caches[0]
        start = first.length
        if start + n > self._room or first._keys is not self._keys[0]:
            stores = [cache.reserve(batch, n, features) for cache in self._caches]
            self._keys = [keys for keys, _, _ in stores]
            self._values = [values for _, values, _ in stores]
            self._room = self._keys[0].shape[1]
        else:
            for cache in self._caches:
                cache.length = start + n
        return self._keys, self._values, start
