# SPDX-License-Identifier: BSD-3-Clause
"""Numbers as users have them: NumPy's scalars, arrays without dimensions, integers of 64 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import data, metrics, nn, optim
from nervure._numbers import plain
from nervure.nn import functional as F
from nervure.optim import lr_scheduler as schedules

REALS = (np.float32(0.5), np.float64(0.5), np.array(0.5), np.array(0.5, np.float32))
COUNTS = (np.int64(2), np.int32(2), np.array(2))


def _sgd(**options: Any) -> optim.SGD:
    return optim.SGD([nn.Parameter(nv.ones(3))], **{"lr": 0.1, **options})


def _adam(**options: Any) -> optim.Adam:
    return optim.Adam([nn.Parameter(nv.ones(3))], **options)


TAKE_REALS: dict[str, Callable[[Any], Any]] = {
    "lr": lambda v: _sgd(lr=v).param_groups[0]["lr"],
    "group": lambda v: _sgd(momentum=v, weight_decay=v, dampening=v).param_groups[0]["momentum"],
    "betas": lambda v: _adam(betas=(v, v)).param_groups[0]["betas"][1],
    "betas in an array": lambda v: _adam(betas=np.array([v, v])).param_groups[0]["betas"][1],
    "gamma": lambda v: schedules.StepLR(_sgd(), 3, v).gamma,
    "max_lr": lambda v: schedules.OneCycleLR(_sgd(), v, 10).get_last_lr()[0] * 25,
    "LambdaLR": lambda v: schedules.LambdaLR(_sgd(lr=1.0), lambda epoch: v).get_last_lr()[0],
    "full": lambda v: nv.full((2,), v)[0].item(),
    "arange": lambda v: nv.arange(0, 2, v)[1].item(),
    "dropout": lambda v: (F.dropout(nv.ones(999), v) > 1).any().item() / 2,
    "clip": lambda v: nv.ones(1).clip(max=v).item(),
    "norm": lambda v: nn.LayerNorm(4, eps=v).eps,
}

TAKE_COUNTS: dict[str, Callable[[Any], Any]] = {
    "zeros": lambda v: nv.zeros(v).shape[0],
    "zeros of two": lambda v: nv.zeros(v, 3).shape[0],
    "randint": lambda v: nv.randint(5, v).shape[0],
    "full": lambda v: nv.full(v, 1.0).shape[0],
    "full of an integer": lambda v: nv.full((1,), v).item(),
    "dim": lambda v: nv.ones(3, 4, 2).sum((v,))[0, 0].item(),
    "unsqueeze": lambda v: nv.ones(3, 4).unsqueeze(v).ndim - 1,
    "step_size": lambda v: schedules.StepLR(_sgd(), v).step_size,
    "T_max": lambda v: schedules.CosineAnnealingLR(_sgd(), v).T_max,
    "topk": lambda v: nv.ones(5).topk(v)[0].shape[0],
    "metric": lambda v: (metrics.TopK(v), 2)[1],
    "batch_size": lambda v: data.DataLoader(data.ArrayDataset(np.zeros(4)), v).batch_size,
    "random_split": lambda v: len(data.random_split(data.ArrayDataset(np.zeros(4)), [v, v])[0]),
    "Unflatten": lambda v: nn.Unflatten(v, (2, 2)).dim,
}


@pytest.mark.parametrize("value", REALS, ids=repr)
@pytest.mark.parametrize("name", TAKE_REALS)
def test_reals_of_numpy(name: str, value: Any) -> None:
    assert TAKE_REALS[name](value) == pytest.approx(0.5)


@pytest.mark.parametrize("value", COUNTS, ids=repr)
@pytest.mark.parametrize("name", TAKE_COUNTS)
def test_counts_of_numpy(name: str, value: Any) -> None:
    assert TAKE_COUNTS[name](value) == 2


@pytest.mark.parametrize("name", ["lr", "gamma", "betas"])
def test_optimisers_keep_numbers_of_python(name: str) -> None:
    """Which a checkpoint can hold, and whose products do not lose digits."""
    assert type(TAKE_REALS[name](np.float32(0.5))) is float


def test_a_rate_from_a_function_of_numpy_is_a_number_of_python() -> None:
    optimizer = _sgd(lr=1.0)
    schedules.LambdaLR(optimizer, lambda epoch: np.float32(0.5))
    assert type(optimizer.param_groups[0]["lr"]) is float


@pytest.mark.parametrize("value", [np.True_, np.array([0.5]), "0.5", None], ids=repr)
def test_others_stay(value: Any) -> None:
    assert plain(value) is value


@pytest.mark.parametrize("value", [np.bool_(True), np.array([0.1]), "0.1"], ids=repr)
def test_no_rates(value: Any) -> None:
    with pytest.raises(ValueError, match="lr must be"):
        _sgd(lr=value)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.unsqueeze(np.float32(1.7)),
        lambda x: x.max(np.float32(0.5)),
        lambda x: x.softmax(np.array(0.5)),
        lambda x: x.chunk(np.float32(2.5)),
        lambda x: nv.randperm(np.float32(2.5)),
        lambda x: x.topk(1.5),
    ],
)
def test_fractions_are_no_integers(call: Callable[[nv.Tensor], Any]) -> None:
    with pytest.raises(TypeError):
        call(nv.ones(3, 4))


@pytest.mark.parametrize("call", [lambda x: x.sum(axis=0), lambda x: x.cumsum(axis=0)])
def test_axis_is_called_dim(call: Callable[[nv.Tensor], Any]) -> None:
    with pytest.raises(TypeError, match="dim: int"):
        call(nv.ones(3, 4))


# ---- all 64 bits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_integers_keep_their_digits(value: int) -> None:
    like = nv.zeros(2, dtype=nv.int64)
    assert nv.full((2,), value).tolist() == [value] * 2
    assert nv.full_like(like, value).tolist() == [value] * 2
    assert like.masked_fill(nv.tensor([True, False]), value).tolist() == [value, 0]
    assert like.fill_(value).tolist() == [value] * 2


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        (2**53, 2**53 + 5, 1),
        (2**63 - 4, 2**63 - 1, 2),
        (-(2**63), 2**63 - 1, 2**62),
        (2**63 - 1, -(2**63), -(2**63)),
        (5, 0, -2),
        (3, 3, 1),
    ],
)
def test_ranges_of_integers(start: int, end: int, step: int) -> None:
    assert nv.arange(start, end, step).tolist() == list(range(start, end, step))


@pytest.mark.parametrize(
    "call",
    [
        lambda: nv.full((1,), 2**63),
        lambda: nv.full((1,), -(2**63) - 1),
        lambda: nv.arange(0, 2**63 - 1),
        lambda: nv.arange(2**63, 2**63 + 3),
        lambda: nv.arange(0, 1, 0),
    ],
)
def test_integers_that_do_not_fit(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot hold|too many elements|not zero"):
        call()


# ---- the new reductions beyond the case table ----------------------------------------------------


def test_norm_refuses_other_powers() -> None:
    assert nv.tensor([3.0, 4.0]).norm("fro").item() == 5.0
    for p in (3, "nuc"):
        with pytest.raises(ValueError, match=r"\[norm\] p must be"):
            nv.ones(3).norm(p)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norm_whose_squares_leave_float32(scale: float, isa: str) -> None:
    x = np.array([3.0, 4.0, 12.0], np.float32) * np.float32(scale)
    assert nv.tensor(x).norm().item() == pytest.approx(13 * scale, rel=1e-6)
    assert nv.tensor([np.inf, 1.0]).norm().item() == np.inf


def test_topk_unsorted_and_out_of_range(isa: str) -> None:
    x = nv.tensor(np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32))
    values, index = x.topk(7, sorted=False)
    np.testing.assert_array_equal(np.sort(values.numpy()), np.sort(x.topk(7)[0].numpy()))
    np.testing.assert_array_equal(x.gather(1, index).numpy(), values.numpy())
    assert x.topk(0)[1].shape == (5, 0)
    for k in (-1, 41):
        with pytest.raises(ValueError, match="k must lie between 0 and 40"):
            x.topk(k)
