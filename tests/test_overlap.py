# SPDX-License-Identifier: BSD-3-Clause
"""Arrays that share memory, in whole or in part, with what is written, and arrays out of step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import nervure as nv
from nervure import _core, kernels


@pytest.mark.parametrize("n", [5, 17, 100_000])
@pytest.mark.parametrize("shift", [1, 2, 16])
@pytest.mark.parametrize("forward", [True, False])
def test_copy_between_overlapping_views(n: int, shift: int, forward: bool, threads: int) -> None:
    memory = np.arange(n + shift, dtype=np.float32)
    first, second = memory[:n], memory[shift:]
    target, source = (second, first) if forward else (first, second)
    expected = source.copy()
    _core.from_numpy(target).copy_(_core.from_numpy(source))
    np.testing.assert_array_equal(target, expected)


def test_copy_of_a_row_over_its_matrix() -> None:
    memory = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = np.tile(memory[1], (3, 1))
    _core.from_numpy(memory).copy_(_core.from_numpy(memory[1]))
    np.testing.assert_array_equal(memory, expected)


def test_copy_of_a_view_in_another_order() -> None:
    memory = np.arange(20, dtype=np.float32)
    target, source = memory[:16].reshape(4, 4), memory[2:18].reshape(4, 4).T
    expected = source.copy()
    _core.from_numpy(target).copy_(_core.from_numpy(source))
    np.testing.assert_array_equal(target, expected)
    x = nv.tensor(np.arange(12, dtype=np.float32))
    x.copy_(_core.from_numpy(x.numpy()[::-1].copy()))
    part = _core.from_numpy(x.numpy()[1:])
    part.copy_(nv.tensor(x.numpy()[:-1]))
    np.testing.assert_array_equal(x.numpy(), [11, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1])


def misaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    result = raw[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def test_from_numpy_refuses_misaligned_arrays() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    with pytest.raises(ValueError, match=r"\[from_numpy\] .* multiples of their size"):
        _core.from_numpy(misaligned(values))
    np.testing.assert_array_equal(nv.tensor(misaligned(values)).numpy(), values)


Call = Callable[[np.ndarray, np.ndarray, np.ndarray], object]


def four(x: np.ndarray) -> np.ndarray:
    """One batch and one head of attention."""
    return x.reshape(1, 1, *x.shape)


# Each call with (read, other, written), all of one shape.
IN_PLACE: dict[str, Call] = {
    "activation_forward": lambda x, other, out: kernels.activation_forward("tanh", x, out),
    "activation_backward dy": lambda x, other, out: kernels.activation_backward(
        "tanh", x, other, out
    ),
    "activation_backward saved": lambda x, other, out: kernels.activation_backward(
        "tanh", other, x, out
    ),
    "softmax_forward": lambda x, other, out: kernels.softmax_forward(x, out),
    "log_softmax_forward": lambda x, other, out: kernels.log_softmax_forward(x, out),
    "softmax_backward dy": lambda x, other, out: kernels.softmax_backward(x, other, out),
    "softmax_backward y": lambda x, other, out: kernels.softmax_backward(other, x, out),
    "log_softmax_backward": lambda x, other, out: kernels.log_softmax_backward(x, other, out),
    "batch_norm_forward": lambda x, other, out: kernels.batch_norm_forward(x, out=out),
    "batch_norm_backward dy": lambda x, other, out: kernels.batch_norm_backward(
        x, other, other[:4].copy(), out=out
    ),
    "batch_norm_backward x": lambda x, other, out: kernels.batch_norm_backward(
        other, x, other[:4].copy(), out=out
    ),
    "layer_norm_forward": lambda x, other, out: kernels.layer_norm_forward(x, out=out),
    "layer_norm_backward dy": lambda x, other, out: kernels.layer_norm_backward(
        x, other, other[:, :3].copy(), out=out
    ),
    "layer_norm_backward x": lambda x, other, out: kernels.layer_norm_backward(
        other, x, other[:, :3].copy(), out=out
    ),
}
APART: dict[str, Call] = {
    "gemm a": lambda x, other, out: kernels.gemm(x, other, out),
    "gemm b": lambda x, other, out: kernels.gemm(other, x, out),
    "batch_norm_forward weight": lambda x, other, out: kernels.batch_norm_forward(
        other, x[0], out=out
    ),
    "layer_norm_forward bias": lambda x, other, out: kernels.layer_norm_forward(
        other, None, x[0], out=out
    ),
    "layer_norm_backward weight": lambda x, other, out: kernels.layer_norm_backward(
        other, other, other[:, :3].copy(), x[0], out=out
    ),
    "attention_forward q": lambda x, other, out: kernels.attention_forward(
        four(x), four(other), four(other), out=four(out)
    ),
    "attention_forward v": lambda x, other, out: kernels.attention_forward(
        four(other), four(other), four(x), out=four(out)
    ),
    "attention_forward mask": lambda x, other, out: kernels.attention_forward(
        four(other), four(other), four(other), four(x), out=four(out)
    ),
    "attention_backward dy": lambda x, other, out: kernels.attention_backward(
        four(x),
        *[four(other)] * 4,
        other[0].reshape(1, 1, 5).copy(),
        out=(np.empty((1, 1, 5, 5), np.float32), four(out), np.empty((1, 1, 5, 5), np.float32)),
    ),
    "attention_backward k": lambda x, other, out: kernels.attention_backward(
        *(four(other), four(other), four(x), four(other), four(other)),
        other[0].reshape(1, 1, 5).copy(),
        out=(four(out), np.empty((1, 1, 5, 5), np.float32), np.empty((1, 1, 5, 5), np.float32)),
    ),
    "gemm bias": lambda x, other, out: kernels.gemm(other, other, out, bias=x[0]),
    "sgd_step": lambda x, other, out: kernels.sgd_step(out, x, lr=0.1),
    "sgd_step momentum": lambda x, other, out: kernels.sgd_step(out, other, x, lr=0.1),
    "rmsprop_step": lambda x, other, out: kernels.rmsprop_step(other, x, out, lr=0.1),
    "adam_step": lambda x, other, out: kernels.adam_step(
        np.empty_like(x), other, x, out, step=1, lr=0.1
    ),
    "cross_entropy_forward": lambda x, other, out: kernels.cross_entropy_forward(
        x, np.zeros(len(x), np.int64), None, out
    ),
    "cross_entropy_forward loss": lambda x, other, out: kernels.cross_entropy_forward(
        other, np.zeros(len(x), np.int64), x[0], out
    ),
}


@pytest.mark.parametrize("name", [*IN_PLACE, *APART])
def test_bare_kernels_refuse_partial_overlap(name: str) -> None:
    call = {**IN_PLACE, **APART}[name]
    memory = np.random.default_rng(0).random(30, np.float32)
    read, written = memory[:25].reshape(5, 5), memory[4:29].reshape(5, 5)
    other = np.ones((5, 5), np.float32)
    before = memory.copy()
    with pytest.raises(ValueError, match=r"overlap in part|must not share memory"):
        call(read, other, written)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize("name", IN_PLACE)
def test_bare_kernels_work_in_place(name: str) -> None:
    memory, other = np.random.default_rng(0).random((2, 5, 5), np.float32)
    memory, expected = memory.copy(), np.empty((5, 5), np.float32)
    IN_PLACE[name](memory, other, expected)
    IN_PLACE[name](memory, other, memory)
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("name", [*IN_PLACE, *APART])
def test_bare_kernels_refuse_misaligned_arrays(name: str) -> None:
    call = {**IN_PLACE, **APART}[name]
    for odd in (0, 2):
        arrays = [np.ones((5, 5), np.float32) for _ in range(3)]
        arrays[odd] = misaligned(arrays[odd])
        with pytest.raises(ValueError, match=r"aligned|multiples of their size"):
            call(*arrays)
    with pytest.raises(ValueError, match=r"target must be aligned"):
        kernels.cross_entropy_forward(
            np.ones((3, 4), np.float32), misaligned(np.zeros(3, np.int64))
        )


def test_bare_recurrent_kernels_refuse_misaligned_arrays() -> None:
    x, w_ih, w_hh = np.ones((2, 5, 3), np.float32), np.ones((3, 4), np.float32), np.eye(4)
    with pytest.raises(ValueError, match=r"\[rnn_forward\] x must be aligned"):
        kernels.rnn_forward(misaligned(x), None, w_ih, w_hh.astype(np.float32), None, None)


def test_gemm_sees_the_extent_of_strided_matrices() -> None:
    """A block of a larger array reaches further than its own bytes, backwards too."""
    memory = np.ones((9, 8), np.float32)
    b = np.ones((3, 8), np.float32)
    with pytest.raises(ValueError, match=r"\[gemm\] out must not share memory with a"):
        kernels.gemm(memory[::2, :3], b, memory[4:])
    with pytest.raises(ValueError, match=r"\[gemm\] out must not share memory with b"):
        kernels.gemm(np.ones((2, 8), np.float32), memory[:8].T, memory[6:8])
    separate = kernels.gemm(memory[:4, :3], b, memory[4:8])
    np.testing.assert_array_equal(separate, np.full((4, 8), 3.0, np.float32))
