# SPDX-License-Identifier: BSD-3-Clause
"""Gradients through time, against what they are known to be."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import nervure as nv
from nervure import diagnostics, nn, plot
from nervure.diagnostics import gradient_flow
from nervure.models import Seq2Seq, ViT

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
    for module in (diagnostics._inside, diagnostics._through_time):
        failed, tried = doctest.testmod(module)
        assert tried
        assert not failed


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


# ---- outputs, attention and gradients ------------------------------------------------------------


def attributes(model):
    return [
        (type(module), sorted({"_forward_hooks", *vars(module)}), module._forward_hooks)
        for module in model.modules()
    ], [module.training for module in model.modules()]


def test_activations():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(4, 8), layer, nn.Linear(8, 2))
    layer.eval()
    before = attributes(model)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f4")
    found = diagnostics.activations(model, x)
    assert attributes(model) == before
    # Also layers whose forward() the layers around them call themselves.
    assert list(found)[:2] == ["0", "1.self_attn.out_proj"]
    assert {"1.linear1", "1.linear2", "1.norm2", "2"} <= set(found)
    model.eval()
    np.testing.assert_array_equal(found["0"], model[0](nv.tensor(x)).detach().numpy())
    np.testing.assert_array_equal(found["2"], model(nv.tensor(x)).detach().numpy())
    named = diagnostics.activations(model, x, layers=["1.self_attn", ""])
    assert {name: array.shape for name, array in named.items()} == {
        "1.self_attn": (2, 5, 8),
        "Sequential": (2, 5, 2),
    }
    with pytest.raises(ValueError, match=r"no module '3', it has 0, 1, 1.self_attn"):
        diagnostics.activations(model, x, layers=["3"])


def test_watching_ends_with_an_error():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 2))
    before = attributes(model)
    with pytest.raises(ValueError, match="linear"):
        diagnostics.activations(model, nv.ones(1, 4))
    assert attributes(model) == before


def test_activations_keep_hooks_and_own_forwards():
    model = nn.Linear(2, 3)
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    assert diagnostics.activations(model, np.ones((1, 2)))["Linear"].shape == (1, 3)
    assert seen == [(1, 3)]
    model(nv.ones(4, 2))
    assert seen == [(1, 3), (4, 3)]


def test_attention_weights_are_those_of_the_layer():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x, lengths, wanted):
            y, self.given = self.attention.forward(x, lengths=lengths, need_weights=wanted)
            return y

    model = Net().eval()
    x = nv.tensor(np.random.default_rng(0).normal(size=(2, 5, 8)))
    lengths = nv.tensor([5, 3])
    _, expected = attention(x, lengths=lengths, need_weights=True, average_attn_weights=False)
    (weights,) = diagnostics.attention_weights(model, x, lengths=lengths, wanted=False).values()
    assert model.given is None
    np.testing.assert_array_equal(weights, expected.detach().numpy())
    assert (weights[1, :, :, 3:] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    diagnostics.attention_weights(model, x, lengths=lengths, wanted=True)
    np.testing.assert_allclose(model.given.numpy(), expected.detach().numpy().mean(1), rtol=1e-6)
    alone = diagnostics.attention_weights(attention, x[0])["MultiheadAttention"]
    assert alone.shape == (1, 2, 5, 5)
    np.testing.assert_allclose(alone[0], expected.detach().numpy()[0], rtol=1e-5)
    by_position = diagnostics.attention_weights(attention, x, x, x, None, False, None, True, True)
    assert (np.triu(by_position["MultiheadAttention"], 1) == 0).all()


def test_attention_weights_of_vision_transformers():
    nv.manual_seed(0)
    model = ViT(8, 4, 1, 3, dim=8, depth=2, heads=2).eval()
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("f4")
    found = diagnostics.attention_weights(model, x)
    assert list(found) == ["blocks.0.attn", "blocks.1.attn"]
    block = model.blocks[0]
    inputs = diagnostics.activations(model, x, layers=["pos_drop"])["pos_drop"]
    normed = block.norm1(nv.tensor(inputs))
    values = block.attn.qkv(normed)[..., 16:].reshape(2, 5, 2, 4).transpose(1, 2).detach().numpy()
    mixed = (found["blocks.0.attn"] @ values).transpose(0, 2, 1, 3).reshape(2, 5, 8)
    expected = block.attn(normed).detach().numpy()
    np.testing.assert_allclose(
        block.attn.proj(nv.tensor(mixed)).detach().numpy(), expected, atol=1e-5
    )


@pytest.mark.parametrize("attention", ["additive", "dot", "general"])
def test_attention_weights_of_decoders(attention):
    model = Seq2Seq(9, 9, embed_dim=4, hidden_size=6, attention=attention)
    source, target = nv.tensor([[3, 4, 5, 6]] * 2), nv.tensor([[3, 4, 5]] * 2)
    (weights,) = diagnostics.attention_weights(model, source, target).values()
    assert weights.shape == (2, 1, 3, 4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_parameter_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    model[0].bias.requires_grad_(False)
    x = nv.ones(2, 3)
    model[1].bias.grad = nv.full((1,), 7.0)
    with nv.no_grad():
        found = diagnostics.parameter_gradients(model, lambda: model(x).sum())
        assert not nv.is_grad_enabled()
    assert list(found) == ["0.weight", "1.weight", "1.bias"]
    assert found["1.bias"].tolist() == [2.0]
    assert model[1].bias.grad.numpy().tolist() == [7.0]
    assert model[0].weight.grad is None
    model(x).sum().backward()
    np.testing.assert_array_equal(found["0.weight"], model[0].weight.grad.numpy())
    alone = diagnostics.parameter_gradients(model, lambda: model[1].bias.sum())
    assert not alone["0.weight"].any()
