# SPDX-License-Identifier: BSD-3-Clause
"""The bare attention kernels against the reference, on views, into arrays given, and refusing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import EPS, difference

import nervure as nv
from nervure import kernels, reference

SHAPES = [  # batch, heads, queries, keys, head size, value size
    (1, 1, 1, 1, 1, 1),
    (2, 3, 7, 9, 8, 5),
    (1, 2, 33, 31, 16, 17),
    (2, 2, 65, 130, 32, 32),
    (0, 2, 3, 4, 5, 6),
    (2, 1, 0, 4, 3, 3),
    (2, 1, 4, 0, 3, 3),
]
KINDS = ["plain", "causal", "lengths", "allowed", "bias"]


def arguments(shape: tuple[int, ...], kind: str) -> tuple[list[np.ndarray], dict[str, Any]]:
    rng = np.random.default_rng(0)
    batch, heads, queries, keys, size, value_size = shape
    draw = lambda *sizes: rng.standard_normal(sizes, np.float32)  # noqa: E731
    arrays = [draw(batch, heads, n, d) for n, d in ((queries, size), (keys, size))]
    arrays.append(draw(batch, heads, keys, value_size))
    options: dict[str, Any] = {}
    if kind == "causal":
        options["is_causal"] = True
    elif kind == "lengths":
        options["lengths"] = rng.integers(0, keys + 1, batch)
    elif kind == "allowed":
        options["mask"] = rng.random((batch, 1, queries, keys)) < 0.7
    elif kind == "bias":
        options["mask"] = draw(heads, queries, keys)
        options["scale"] = 0.3
    return arrays, options


def in_reference(options: dict[str, Any]) -> dict[str, Any]:
    renamed = dict(options)
    if "mask" in renamed:
        renamed["attn_mask"] = renamed.pop("mask")
    return renamed


def assert_close(actual: np.ndarray, expected: np.ndarray, terms: int) -> None:
    error = difference(actual, expected, 6 * EPS * max(terms, 1) ** 0.5, floor=8 * EPS)
    assert not error, error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_attention(shape: tuple[int, ...], kind: str) -> None:
    arrays, options = arguments(shape, kind)
    y, log_sum = kernels.attention_forward(*arrays, **options)
    doubles = [x.astype(np.float64) for x in arrays]
    named = in_reference(options)
    assert_close(y, reference.scaled_dot_product_attention(*doubles, **named), shape[3])
    assert log_sum.shape == shape[:3]
    dy = np.random.default_rng(1).standard_normal(y.shape, np.float32)
    found = kernels.attention_backward(dy, *arrays, y, log_sum, **options)
    expected = reference.scaled_dot_product_attention_backward(
        dy.astype(np.float64), *doubles, **named
    )
    for gradient, true in zip(found, expected[:3], strict=True):
        assert_close(gradient, true, 4 * (shape[2] + shape[3]))


def test_the_same_bits_as_the_operation() -> None:
    arrays, _ = arguments((2, 3, 20, 30, 16, 16), "plain")
    tensors = [nv.tensor(x, requires_grad=True) for x in arrays]
    expected = nv.nn.functional.scaled_dot_product_attention(*tensors)
    dy = np.random.default_rng(1).standard_normal(expected.shape, np.float32)
    expected.backward(nv.tensor(dy))
    y, log_sum = kernels.attention_forward(*arrays)
    np.testing.assert_array_equal(y, expected.numpy())
    for found, tensor in zip(
        kernels.attention_backward(dy, *arrays, y, log_sum), tensors, strict=True
    ):
        assert tensor.grad is not None
        np.testing.assert_array_equal(found, tensor.grad.numpy())


def test_log_sum_and_rows_without_keys() -> None:
    (q, k, v), _ = arguments((2, 1, 5, 6, 4, 4), "plain")
    y, log_sum = kernels.attention_forward(q, k, v, lengths=[6, 0])
    scores = q[0, 0] @ k[0, 0].T / 2
    np.testing.assert_allclose(log_sum[0, 0], np.log(np.exp(scores).sum(axis=1)), rtol=1e-5)
    assert (y[1] == 0).all()
    dq, dk, dv = kernels.attention_backward(y + 1, q, k, v, y, log_sum, lengths=[6, 0])
    for gradient in (dq, dk, dv):
        assert np.isfinite(gradient).all()
        assert (gradient[1] == 0).all()


def test_views_of_one_array_are_not_copied() -> None:
    batch, steps, heads, size = 2, 9, 3, 8
    packed = np.random.default_rng(0).standard_normal((batch, steps, 3, heads, size), np.float32)
    views = [packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    expected, expected_sum = kernels.attention_forward(*(x.copy() for x in views))
    y, log_sum = kernels.attention_forward(*views)
    np.testing.assert_array_equal(y, expected)
    backwards = [x[:, ::-1] for x in views]  # heads in the other order
    y, _ = kernels.attention_forward(*backwards)
    np.testing.assert_array_equal(y[:, ::-1], expected)
    dy = np.ones((batch, steps, heads, size), np.float32).transpose(0, 2, 1, 3)
    found = kernels.attention_backward(dy, *views, expected, log_sum)
    copies = [x.copy() for x in (dy, *views)]
    for a, b in zip(
        found, kernels.attention_backward(*copies, expected, expected_sum), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_out() -> None:
    arrays, _ = arguments((2, 2, 5, 6, 8, 3), "plain")
    expected, expected_sum = kernels.attention_forward(*arrays)
    out, log_sum = np.empty_like(expected), np.empty_like(expected_sum)
    found = kernels.attention_forward(*arrays, out=out, log_sum=log_sum)
    assert found[0] is out
    assert found[1] is log_sum
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(log_sum, expected_sum)
    gradients = tuple(np.empty_like(x) for x in arrays)
    found = kernels.attention_backward(out, *arrays, out, log_sum, out=gradients)
    for a, b, c in zip(
        found,
        gradients,
        kernels.attention_backward(out, *arrays, out, log_sum),
        strict=True,
    ):
        assert a is b
        np.testing.assert_array_equal(b, c)


Q, K, V = arguments((2, 3, 4, 5, 8, 6), "plain")[0]
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "dtype": ({"q": Q.astype(np.float64)}, TypeError, "q must be float32, got float64"),
    "rank": ({"q": Q[0]}, ValueError, r"q must be \(batch, heads, steps, features\)"),
    "head size": ({"k": K[..., :7]}, ValueError, r"k must have shape \(2, 3, 5, 8\)"),
    "keys": ({"v": V[:, :, :4]}, ValueError, r"v must have shape \(2, 3, 5, 6\)"),
    "columns": ({"k": np.asfortranarray(K)}, ValueError, "k must have the columns of a row side"),
    "mask's dtype": ({"mask": np.ones((4, 5), np.int64)}, TypeError, "mask must be bool or float"),
    "mask's shape": (
        {"mask": np.ones((4, 4), bool)},
        ValueError,
        r"mask must broadcast to \(2, 3, 4, 5\), got \(4, 4\)",
    ),
    "mask's columns": ({"mask": np.ones((4, 1), bool)}, ValueError, "mask must have the columns"),
    "number of lengths": ({"lengths": [1]}, ValueError, r"lengths must have shape \(2,\)"),
    "kind of lengths": ({"lengths": [1.0, 2.0]}, TypeError, "lengths must be integers"),
    "lengths": ({"lengths": [1, 6]}, ValueError, r"lengths must lie in \[0, 5\], got 6"),
    "negative lengths": ({"lengths": [-1, 5]}, ValueError, r"lengths must lie in \[0, 5\], got -1"),
    "scale": ({"scale": float("inf")}, ValueError, "scale must be finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refuses(name: str) -> None:
    given, error, words = WRONG[name]
    options: dict[str, Any] = {"q": Q, "k": K, "v": V, **given}
    with pytest.raises(error, match=rf"\[attention_forward\] {words}"):
        kernels.attention_forward(**options)
    y, log_sum = kernels.attention_forward(Q, K, V)
    with pytest.raises(error, match=rf"\[attention_backward\] {words}"):
        kernels.attention_backward(dy=y, y=y, log_sum=log_sum, **options)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"out": np.empty((2, 3, 4, 5), np.float32)}, ValueError, "out must have shape"),
        ({"out": np.empty((2, 3, 4, 6))}, TypeError, "out must be float32"),
        ({"out": np.empty((6, 4, 3, 2), np.float32).T}, ValueError, "out must be C-contiguous"),
        ({"log_sum": np.empty((2, 3, 5), np.float32)}, ValueError, "log_sum must have shape"),
    ],
)
def test_refuses_to_write(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=rf"\[attention_forward\] {words}"):
        kernels.attention_forward(Q, K, V, **given)


def test_backward_refuses() -> None:
    y, log_sum = kernels.attention_forward(Q, K, V)
    read_only = np.empty_like(Q)
    read_only.flags.writeable = False
    call = kernels.attention_backward
    with pytest.raises(ValueError, match="dy must have shape"):
        call(y[:, :, :3], Q, K, V, y, log_sum)
    with pytest.raises(ValueError, match="log_sum must have shape"):
        call(y, Q, K, V, y, log_sum[:1])
    with pytest.raises(ValueError, match="dq is read-only"):
        call(y, Q, K, V, y, log_sum, out=(read_only, np.empty_like(K), np.empty_like(V)))
    with pytest.raises(ValueError, match="dk must have shape"):
        call(y, Q, K, V, y, log_sum, out=(np.empty_like(Q), np.empty_like(Q), np.empty_like(V)))
    memory = np.empty(300, np.float32)
    dk, dq = memory[:240].reshape(K.shape), memory[100:292].reshape(Q.shape)
    with pytest.raises(ValueError, match="dk must not share memory with dq"):
        call(y, Q, K, V, y, log_sum, out=(dq, dk, np.empty_like(V)))
    dv = np.concatenate([y.reshape(-1), np.empty(36, np.float32)])
    inside = dv[:144].reshape(y.shape)
    with pytest.raises(ValueError, match="dv must not share memory with y"):
        call(
            y,
            Q,
            K,
            V,
            inside,
            log_sum,
            out=(np.empty_like(Q), np.empty_like(K), dv.reshape(V.shape)),
        )


def test_the_lowest_number_of_a_mask_is_not_minus_infinity(isa: str) -> None:
    (q, k, v), _ = arguments((1, 2, 17, 33, 8, 8), "plain")
    mask = np.zeros((17, 33), np.float32)
    mask[3, 20:] = np.finfo(np.float32).min
    mask[9:] = np.finfo(np.float32).min  # no key is better than another
    mask[10, 5] = -np.inf
    y, log_sum = kernels.attention_forward(q, k, v, mask)
    expected = reference.scaled_dot_product_attention(q, k, v, attn_mask=mask.astype(np.float64))
    assert_close(y, expected, 33)
    for gradient in kernels.attention_backward(np.ones_like(y), q, k, v, y, log_sum, mask):
        assert np.isfinite(gradient).all()


def test_no_weight_exceeds_one_where_scores_are_huge(isa: str) -> None:
    """Sums of such scores are whole numbers, and rounded ones; their exponentials were 1e19."""
    (q, k, v), _ = arguments((1, 1, 17, 33, 8, 8), "plain")
    dy = np.ones_like(q)
    for value in np.linspace(1e8, 2e9, 100, dtype=np.float32):
        for bias in (-value, value):
            mask = np.full((17, 33), bias, np.float32)
            y, log_sum = kernels.attention_forward(6 * q, 6 * k, v, mask)
            _, _, dv = kernels.attention_backward(dy, 6 * q, 6 * k, v, y, log_sum, mask)
            assert np.abs(dv).max() <= 17
