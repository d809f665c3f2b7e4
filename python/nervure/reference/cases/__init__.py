# SPDX-License-Identifier: BSD-3-Clause
"""THE CASE TABLE: what every operation is tested, compared and measured with.

One row says how to call one operation on one set of inputs. The tests run each row forward and
backward, on every instruction set and with several thread counts, against `nervure.reference` and
against PyTorch; finite differences run over the same rows to prove the reference. The benchmarks
take operations, inputs and PyTorch equivalents from here too. A new operation is a few new rows.
"""

from __future__ import annotations

from . import (
    attention,
    binary,
    conv,
    embedding,
    index,
    loss,
    matmul,
    norm,
    optim,
    pool,
    recurrent,
    reduce,
    scan,
    shape,
    softmax,
    unary,
)
from .optim import StepCase
from .table import Case

__all__ = ["CASES", "STEPS", "Case", "StepCase", "cases_of", "ops"]

FAMILIES = (
    binary,
    unary,
    reduce,
    scan,
    shape,
    index,
    matmul,
    softmax,
    loss,
    conv,
    pool,
    norm,
    attention,
    recurrent,
    embedding,
)

CASES: tuple[Case, ...] = tuple(case for family in FAMILIES for case in family.rows())
STEPS: tuple[StepCase, ...] = tuple(optim.rows())


def ops() -> tuple[str, ...]:
    """Names of the operations in the table, in its order."""
    return tuple(dict.fromkeys(case.op for case in CASES))


def cases_of(op: str) -> tuple[Case, ...]:
    """The rows of one operation."""
    return tuple(case for case in CASES if case.op == op)
