# SPDX-License-Identifier: BSD-3-Clause
"""What every function and layer with ``lengths=`` takes: tensors, arrays, lists; and refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import models, nn
from nervure.nn import functional as F

BATCH, STEPS, SIZE = 3, 5, 8
LENGTHS = [2, 5, 0]


def _x() -> nv.Tensor:
    return nv.tensor(np.random.default_rng(0).standard_normal((BATCH, STEPS, SIZE), np.float32))


def _tokens() -> nv.Tensor:
    return nv.tensor(np.random.default_rng(0).integers(3, 9, (BATCH, STEPS)))


def _seq2seq(make: Any) -> Any:
    def call(lengths: Any) -> nv.Tensor:
        nv.manual_seed(0)
        return make().eval().forward(_tokens(), _tokens(), lengths)

    return call


def _layer(make: Any, *arguments: Any, **options: Any) -> Any:
    def call(lengths: Any) -> nv.Tensor:
        nv.manual_seed(0)
        found = make().eval().forward(_x(), *arguments, lengths=lengths, **options)
        return found[0] if isinstance(found, tuple) else found

    return call


SIZES = {"d_model": SIZE, "nhead": 2, "dim_feedforward": 16}

CALLS: dict[str, Any] = {
    "RNN": _layer(lambda: nn.RNN(SIZE, 4)),
    "GRU": _layer(lambda: nn.GRU(SIZE, 4, bidirectional=True)),
    "LSTM": _layer(lambda: nn.LSTM(SIZE, 4, 2)),
    "scaled_dot_product_attention": lambda n: F.scaled_dot_product_attention(
        *[_x().unsqueeze(1)] * 3, lengths=n
    ),
    "attention_weights": lambda n: F.attention_weights(*[_x().unsqueeze(1)] * 2, lengths=n),
    "MultiheadAttention": _layer(lambda: nn.MultiheadAttention(SIZE, 2)),
    "MultiheadAttention, weights": _layer(
        lambda: nn.MultiheadAttention(SIZE, 2), need_weights=True
    ),
    "AdditiveAttention": _layer(lambda: nn.AdditiveAttention(SIZE, SIZE, 4), _x()),
    "DotAttention": _layer(lambda: nn.DotAttention(SIZE, SIZE), _x()),
    "TransformerEncoder": _layer(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(**SIZES), 2)
    ),
    "TransformerDecoder": lambda n: nn.TransformerDecoderLayer(dropout=0.0, **SIZES).forward(
        _x(), _x(), tgt_lengths=n, memory_lengths=n
    ),
    "Seq2Seq": _seq2seq(lambda: models.Seq2Seq(9, 9, hidden_size=8)),
    "Seq2Seq, additive": _seq2seq(
        lambda: models.Seq2Seq(9, 9, hidden_size=8, attention="additive")
    ),
    "TransformerSeq2Seq": _seq2seq(
        lambda: models.TransformerSeq2Seq(9, 9, d_model=16, nhead=2, dim_feedforward=16)
    ),
}

FORMS: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "int64": lambda n: np.array(n, np.int64),
    "int32": lambda n: np.array(n, np.int32),
    "uint8": lambda n: np.array(n, np.uint8),
    "not contiguous": lambda n: np.array([n, n]).T[:, 0],
    "of NumPy's numbers": lambda n: [np.int64(length) for length in n],
}


@pytest.mark.parametrize("name", CALLS)
def test_every_form_means_the_same(name: str) -> None:
    expected = _seeded(name, nv.tensor(np.array(LENGTHS)))
    assert (_seeded(name, nv.tensor(np.full(BATCH, STEPS))) != expected).any()
    for form in FORMS.values():
        np.testing.assert_array_equal(_seeded(name, form(LENGTHS)), expected)


def _seeded(name: str, lengths: Any) -> Any:
    nv.manual_seed(1)
    return CALLS[name](lengths).numpy()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([2, 5], ValueError, r"lengths must be .*got \(2,\)"),
        ([[2, 5, 0]], ValueError, r"lengths must be .*got \(1, 3\)"),
        ([2, 6, 0], ValueError, r"lengths must (be|lie) in \[0, 5\], got 6"),
        ([2, -1, 0], ValueError, r"lengths must (be|lie) in \[0, 5\], got -1"),
        ([2.0, 5.0, 0.0], TypeError, "lengths must be int64, got float32"),
        (np.array([2.0, 5.0, 0.0]), TypeError, "lengths must be int64, got float32"),
        ([True, True, False], TypeError, "lengths must be int64, got bool"),
        ("250", TypeError, "lengths must be integers, one per row of the batch, got '250'"),
        ([2, None, 1], TypeError, "lengths must be integers, one per row"),
        ([[2], [5, 0]], TypeError, "lengths must be integers, one per row"),
        (3, ValueError, r"lengths must be .*got \(\)"),
    ],
)
def test_wrong_lengths(name: str, lengths: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        CALLS[name](lengths)


@pytest.mark.parametrize("name", ["plain", "additive", "transformer"])
def test_decoding_and_loss_take_lists(name: str) -> None:
    nv.manual_seed(0)
    model: Any
    if name == "transformer":
        model = models.TransformerSeq2Seq(9, 9, d_model=16, nhead=2, dim_feedforward=16)
    else:
        attention = None if name == "plain" else name
        model = models.Seq2Seq(9, 9, hidden_size=8, attention=attention)
    model.eval()
    lengths = [2, 5, 1]
    tensor = nv.tensor(np.array(lengths))
    source = _tokens()
    for method in ("greedy", "beam"):
        a, b = (model.generate(source, n, 4, method=method) for n in (lengths, tensor))
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.scores, b.scores)
    a, b = (model.loss(source, source, n, n).item() for n in (lengths, tensor))
    assert a == b
    assert model.loss(source, source, lengths, tensor + 0).item() == a  # + gives float32
    with pytest.raises(ValueError, match=r"must be whole numbers, got \[2.5, "):
        model.loss(source, source, lengths, tensor + 0.5)
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, 5\], got 9 for row 2"):
        model.loss(source, source, lengths, [1, 2, 9])


def test_no_rows() -> None:
    y, h = nn.GRU(SIZE, 4)(nv.zeros(0, STEPS, SIZE), lengths=[])
    assert y.shape == (0, STEPS, 4)
    assert h.shape == (1, 0, 4)
    q = nv.zeros(0, 2, STEPS, SIZE)
    assert F.scaled_dot_product_attention(q, q, q, lengths=[]).shape == q.shape
    assert F.attention_weights(q, q, lengths=[]).shape == (0, 2, STEPS, STEPS)
