# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a seeded generator, every instruction set of this machine, several thread counts."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from nervure import _core

ISAS: tuple[str, ...] = tuple(_core.available_isas())
THREADS = (1, 2, 3)


@pytest.fixture(autouse=True)
def _leave_as_found() -> Iterator[None]:
    """Whatever a test sets for the whole process is set back."""
    isa, threads, grad = _core.config()["isa"], _core.get_num_threads(), _core.grad_enabled()
    yield
    _core.select_isa(isa)
    _core.set_num_threads(threads)
    _core.set_grad_enabled(grad)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that depend on the name of the test only."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set of this machine in turn, selected."""
    _core.select_isa(request.param)
    return str(request.param)


@pytest.fixture(params=THREADS)
def threads(request: pytest.FixtureRequest) -> int:
    """Each thread count in turn, selected."""
    _core.set_num_threads(request.param)
    return int(request.param)
