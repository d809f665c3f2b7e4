# SPDX-License-Identifier: BSD-3-Clause
"""One number of threads for every contestant."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import nervure as nv

from .registry import Peers


class Threads:
    """Sets the threads of Nervure, torch and NumPy's BLAS; puts them back at the end.

    NumPy's BLAS is reached through threadpoolctl; without it, ``blas`` is False and NumPy's
    products run on as many threads as its BLAS likes. JAX takes its number from the environment
    variable NPROC when it is first used (see ``run.py``).
    """

    def __init__(self, peers: Peers) -> None:
        self._torch = peers.torch
        try:
            import threadpoolctl
        except ImportError:
            self._controller: Any = None
        else:
            self._controller = threadpoolctl.ThreadpoolController()
        self._limit: Any = None
        self._before = (nv.get_num_threads(), peers.torch and peers.torch.get_num_threads())

    @property
    def blas(self) -> bool:
        """Whether NumPy's BLAS could be told."""
        return self._controller is not None and any(
            pool["user_api"] == "blas" for pool in self._controller.info()
        )

    def set(self, count: int) -> None:
        nv.set_num_threads(count)
        if self._torch:
            self._torch.set_num_threads(count)
        if self._controller:
            self._release()
            self._limit = self._controller.limit(limits=count, user_api="blas")

    def _release(self) -> None:
        if self._limit is not None:
            self._limit.restore_original_limits()
            self._limit = None

    def __enter__(self) -> Threads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ours, torch = self._before
        nv.set_num_threads(ours)
        if self._torch:
            self._torch.set_num_threads(torch)
        self._release()
