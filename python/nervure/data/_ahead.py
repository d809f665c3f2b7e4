# SPDX-License-Identifier: BSD-3-Clause
"""A thread that works ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from nervure import _core


def ahead(batches: Iterator[Any], depth: int) -> Iterator[Any]:
    """Batches that a thread has ready, up to ``depth`` of them; 0 means no thread."""
    return _Ahead(batches, depth) if depth else batches


class _Ahead:
    """Up to ``depth`` batches that a thread has made already; its exceptions come out here."""

    def __init__(self, batches: Iterator[Any], depth: int) -> None:
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        # The thread must not hold on to this object: when nobody wants more batches, it ends.
        self._thread = threading.Thread(
            target=_work, args=(batches, self._queue, self._stop), daemon=True
        )
        self._thread.start()
        self._done = False

    def __iter__(self) -> _Ahead:
        return self

    def __next__(self) -> Any:
        if self._done:
            raise StopIteration
        batch, error = self._queue.get()
        if error is None:
            return batch
        self._done = True
        self._thread.join()
        raise error

    def __del__(self) -> None:
        self._stop.set()


def _work(
    batches: Iterator[Any],
    ready: queue.Queue[tuple[Any, BaseException | None]],
    stop: threading.Event,
) -> None:
    def put(item: tuple[Any, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    try:
        with _no_grad_here():
            for batch in batches:
                if not put((batch, None)):
                    return
    except BaseException as error:
        put((None, error))
    else:
        put((None, StopIteration()))


class _no_grad_here:
    """Gradients are a matter of each thread; data needs none."""

    def __enter__(self) -> None:
        self._enabled = _core.grad_enabled()
        _core.set_grad_enabled(False)

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._enabled)
