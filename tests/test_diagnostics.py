# SPDX-License-Identifier: BSD-3-Clause
"""Gradients through time, against what they are known to be."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import nervure as nv
from nervure import diagnostics, nn, plot
from nervure.diagnostics import gradient_flow

STEPS = 6


def linear_rnn(factors, layers=1, bidirectional=False):
    """ReLU that never bends: h_t = diag(factors) h_{t-1} + x_t, and all layers alike."""
    size = len(factors)
    rnn = nn.RNN(size, size, layers, nonlinearity="relu", bias=False, bidirectional=bidirectional)
    for name, weight in rnn.named_parameters():
        value = np.diag(factors) if "hh" in name else np.eye(*weight.shape)
        weight.detach().copy_(nv.tensor(value.astype(np.float32)))
    return rnn


def positive(*shape):
    return nv.tensor(np.random.default_rng(0).uniform(0.5, 1.0, shape).astype(np.float32))


@pytest.mark.parametrize("factors", [[0.5], [1.5], [0.9, 0.2, 1.1]])
def test_gradient_of_the_last_state_is_a_power(factors):
    rnn, x = linear_rnn(factors), positive(4, STEPS, len(factors))
    flow = gradient_flow(rnn, lambda: rnn(x)[1].sum())
    powers = np.array(factors) ** np.arange(STEPS)[::-1, None]
    expected = np.sqrt(4 * (powers**2).sum(axis=1))
    assert flow.hidden["RNN"].shape == (1, 1, STEPS)
    np.testing.assert_allclose(flow.hidden["RNN"][0, 0], expected, rtol=1e-5)
    assert flow.cell == {}
    assert flow.loss == pytest.approx(rnn(x)[1].sum().item(), rel=1e-5)


def test_gradient_of_all_outputs_is_a_geometric_series():
    rnn, x = linear_rnn([0.5]), positive(1, STEPS, 1)
    flow = gradient_flow(rnn, lambda: rnn(x)[0].sum())
    expected = (1 - 0.5 ** np.arange(STEPS, 0, -1)) / (1 - 0.5)
    np.testing.assert_allclose(flow.hidden["RNN"][0, 0], expected, rtol=1e-6)


def test_layers_are_told_apart():
    rnn, x = linear_rnn([0.5], layers=2), positive(1, STEPS, 1)
    flow = gradient_flow(rnn, lambda: rnn(x)[0][:, -1].sum())
    left = np.arange(STEPS)[::-1]
    # from t to the end of layer 0 and layer 1: the step upwards may be at any of left + 1 places
    np.testing.assert_allclose(flow.hidden["RNN"][0, 0], (left + 1) * 0.5**left, rtol=1e-6)
    np.testing.assert_allclose(flow.hidden["RNN"][1, 0], 0.5**left, rtol=1e-6)


def test_rows_count_until_their_end_and_padding_is_not_read():
    rnn = linear_rnn([0.5], bidirectional=True)
    values = positive(3, STEPS, 1).numpy().copy()
    lengths = np.array([STEPS, 2, 0])
    for row, length in enumerate(lengths):
        values[row, length:] = np.nan
    x = nv.tensor(values)
    flow = gradient_flow(rnn, lambda: rnn(x, lengths=lengths)[1].sum())
    t = np.arange(STEPS)
    forward = np.zeros(STEPS)
    backward = np.zeros(STEPS)
    for length in lengths:
        alive = t < length
        forward += np.where(alive, 0.25 ** (length - 1.0 - t), 0)
        backward += np.where(alive, 0.25**t, 0)
    np.testing.assert_allclose(flow.hidden["RNN"][0, 0], np.sqrt(forward), rtol=1e-6)
    np.testing.assert_allclose(flow.hidden["RNN"][0, 1], np.sqrt(backward), rtol=1e-6)


def from_a_leaf(module, x, t):
    """dL/dh_t for L = sum of squares of all outputs, from a run that starts at step t + 1."""
    with nv.no_grad():
        out, state = module(x[:, : t + 1])
    h = state[0] if isinstance(module, nn.LSTM) else state
    h.requires_grad = True
    own = h.reshape(out.shape[0], 1, -1)
    loss = (own * own).sum()
    if t + 1 < x.shape[1]:
        rest, _ = module(x[:, t + 1 :], state)
        loss = loss + (rest * rest).sum()
    loss.backward()
    return float(np.linalg.norm(h.grad.numpy()))


@pytest.mark.parametrize(
    "module",
    [
        nn.RNN(3, 5),
        nn.LSTM(3, 5),
        nn.LSTM(3, 5, proj_size=2, peepholes=True),
        nn.LSTM(3, 5, layer_norm=True),
        nn.LSTM(3, 5, zoneout=(0.2, 0.1)).eval(),
        nn.GRU(3, 5),
        nn.GRU(3, 5, reset_after=False),
    ],
    ids=["rnn", "lstm", "lstm-proj", "lstm-norm", "lstm-zoneout", "gru", "gru-before"],
)
def test_whole_derivative_of_each_state(module):
    x = nv.tensor(np.random.default_rng(1).standard_normal((2, STEPS, 3)).astype(np.float32))

    def loss():
        out, _ = module(x)
        return (out * out).sum()

    flow = gradient_flow(module, loss)
    (name,) = flow.hidden
    expected = [from_a_leaf(module, x, t) for t in range(STEPS)]
    np.testing.assert_allclose(flow.hidden[name][0, 0], expected, rtol=2e-5)
    assert flow.loss == pytest.approx(loss().item(), rel=1e-6)
    assert set(flow.cell) == ({"LSTM"} if isinstance(module, nn.LSTM) else set())


def test_a_model_is_left_as_it_was():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lower = nn.GRU(3, 4, batch_first=False)
            self.upper = nn.LSTM(4, 5, 2, dropout=0.3)
            self.frozen = nn.Linear(5, 1)
            self.frozen.weight.requires_grad = False

        def forward(self, x):
            y, _ = self.lower(x)
            y, _ = self.upper(y.permute(1, 0, 2))
            return self.frozen(y).sum()

    model = Tagger()
    x = nv.randn(STEPS, 2, 3)
    flow = gradient_flow(model, lambda: model(x))
    assert {k: v.shape for k, v in flow.hidden.items()} == {
        "lower": (1, 1, STEPS),
        "upper": (2, 1, STEPS),
    }
    assert all((norms > 0).all() for norms in flow.hidden.values())
    assert all(p.grad is None for p in model.parameters())
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["frozen.weight"]
    assert "_layers" not in vars(model.lower)
    model(x).backward()
    assert model.lower.weight_ih_l0.grad is not None


def test_calls_follow_each_other():
    rnn, x = linear_rnn([0.5]), positive(1, STEPS, 1)

    def loss():
        state = None
        for t in range(STEPS):
            y, state = rnn.step(x[:, t], state)
        return y.sum()

    flow = gradient_flow(rnn, loss)
    np.testing.assert_allclose(flow.hidden["RNN"][0, 0], 0.5 ** np.arange(STEPS)[::-1])


def test_errors():
    linear = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="no RNN, LSTM or GRU"):
        gradient_flow(linear, lambda: linear(nv.ones(1, 2)).sum())
    assert linear.weight.requires_grad
    lstm = nn.LSTM(2, 3, zoneout=0.1)
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        gradient_flow(lstm, lambda: lstm(nv.ones(1, 2, 2))[0].sum())
    assert "_layers" not in vars(lstm)


def test_docstring():
    assert doctest.testmod(diagnostics).failed == 0


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    rnn, x = linear_rnn([0.5], layers=2, bidirectional=True), positive(1, STEPS, 1)
    flow = gradient_flow(rnn, lambda: rnn(x)[0].sum())
    figure = plot.gradient_flow(flow, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    labels = [f"RNN layer {i}{end}" for i in (0, 1) for end in ("", " reverse")]
    assert [line.get_label() for line in axes.lines] == labels
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), flow.hidden["RNN"][0, 0])
    with pytest.raises(ValueError, match="at least one layer"):
        plot.gradient_flow({})
    with pytest.raises(ValueError, match="layers, directions, steps"):
        plot.gradient_flow({"RNN": [1.0, 2.0]})
