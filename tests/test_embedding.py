# SPDX-License-Identifier: BSD-3-Clause
"""Embedding: lookup, gradients that hold only some rows, and optimisers that update only these."""

from __future__ import annotations

import numpy as np
import pytest

import nervure as nv
from nervure import _core, nn, optim
from nervure.nn.utils import clip_grad_norm_, clip_grad_value_, row_gradient

OPTIMIZERS = {
    "sgd": lambda p, **o: optim.SGD(p, lr=0.1, **o),
    "momentum": lambda p, **o: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, **o),
    "rmsprop": lambda p, **o: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True, **o),
    "adagrad": lambda p, **o: optim.Adagrad(p, lr=0.1, **o),
    "adam": lambda p, **o: optim.Adam(p, lr=0.01, amsgrad=True, **o),
    "adamw": lambda p, **o: optim.AdamW(p, lr=0.01, **o),
}


def table(rows, features, sparse=True, seed=0, **settings):
    layer = nn.Embedding(rows, features, sparse=sparse, **settings)
    values = np.random.default_rng(seed).standard_normal((rows, features)).astype(np.float32)
    layer.weight.detach().copy_(nv.tensor(values))
    return layer


def random_indices(shape, rows, seed=1):
    return np.random.default_rng(seed).integers(0, rows, shape)


def backward(layer, indices, seed=2):
    """Backward with a random gradient, which is returned as (n, features)."""
    y = layer(nv.tensor(indices))
    dy = np.random.default_rng(seed).standard_normal(y.shape).astype(np.float32)
    y.backward(nv.tensor(dy))
    return dy.reshape(-1, layer.embedding_dim)


# ---- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [1, 7, 8, 16, 33, 130])
@pytest.mark.parametrize("shape", [(), (1,), (40,), (3, 17), (0,), (2, 0)])
def test_rows_and_their_gradients(shape, features):
    layer, indices = table(23, features), random_indices(shape, 23)
    y = layer(nv.tensor(indices))
    np.testing.assert_array_equal(y.numpy(), layer.weight.numpy()[indices])
    dy = backward(layer, indices)
    rows, values = row_gradient(layer.weight)
    np.testing.assert_array_equal(rows.numpy(), np.unique(indices))
    expected = np.zeros((23, features))
    np.add.at(expected, indices.ravel(), dy)
    np.testing.assert_allclose(values.numpy(), expected[rows.numpy()], rtol=1e-5, atol=1e-6)
    dense = table(23, features, sparse=False)
    backward(dense, indices)
    assert row_gradient(dense.weight) is None
    np.testing.assert_array_equal(layer.weight.grad.numpy(), dense.weight.grad.numpy())
    np.testing.assert_allclose(dense.weight.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_large_row_numbers_are_sorted():
    layer, indices = table(5_000_000, 1), random_indices(3000, 5_000_000)
    backward(layer, indices)
    np.testing.assert_array_equal(row_gradient(layer.weight)[0].numpy(), np.unique(indices))


@pytest.mark.parametrize("sparse", [True, False])
def test_padding_gets_no_gradient(sparse):
    layer = table(5, 3, sparse, padding_idx=-2)
    indices = np.array([[3, 1, 3], [0, 1, 3]])
    dy = backward(layer, indices)
    if sparse:
        np.testing.assert_array_equal(row_gradient(layer.weight)[0].numpy(), [0, 1])
    expected = np.zeros((5, 3), np.float32)
    expected[0], expected[1] = dy[3], dy[1] + dy[4]
    np.testing.assert_array_equal(layer.weight.grad.numpy(), expected)
    only = table(5, 3, sparse, padding_idx=3)
    backward(only, np.array([3, 3]))
    assert not only.weight.grad.numpy().any()


def test_padding_row_starts_as_zeros_and_stays():
    layer = nn.Embedding(5, 3, padding_idx=3)
    assert not layer.weight.numpy()[3].any()
    backward(layer, np.arange(5))
    optim.AdamW(layer.parameters(), lr=0.1).step()
    assert not layer.weight.numpy()[3].any()


@pytest.mark.parametrize("sparse", [True, False])
def test_gradcheck(sparse):
    indices = nv.tensor(np.array([[1, 2], [2, 3]]))
    weight = nv.tensor(np.random.default_rng(0).standard_normal((4, 3)), dtype=nv.float32)
    weight.requires_grad = True
    assert nv.gradcheck(lambda w: _core.embedding(w, indices, -1, sparse), (weight,))


def test_the_same_bits_for_any_number_of_threads():
    before = nv.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            nv.set_num_threads(threads)
            layer = table(1000, 96)
            for seed in (1, 2):
                backward(layer, random_indices((64, 50), 700, seed))
            optimizer = optim.Adam(layer.parameters(), lr=0.01)
            optimizer.step()
            rows, values = row_gradient(layer.weight)
            found.append((rows.numpy().tobytes(), values.numpy().tobytes(),
                          layer.weight.numpy().tobytes()))  # fmt: skip
    finally:
        nv.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_gradients_add_up():
    indices = [np.array([4, 1, 4]), np.array([0, 1, 6]), np.array([], np.int64)]
    layers = table(7, 5), table(7, 5, sparse=False)
    for layer in layers:
        for seed, rows in enumerate(indices):
            backward(layer, rows, seed)
    rows, _ = row_gradient(layers[0].weight)
    np.testing.assert_array_equal(rows.numpy(), [0, 1, 4, 6])
    np.testing.assert_array_equal(layers[0].weight.grad.numpy(), layers[1].weight.grad.numpy())


@pytest.mark.parametrize("dense_first", [True, False])
def test_a_dense_gradient_makes_the_sum_dense(dense_first):
    layer, indices = table(6, 3), np.array([2, 2, 5])
    if dense_first:
        (layer.weight * 2.0).sum().backward()
    dy = backward(layer, indices)
    if not dense_first:
        assert row_gradient(layer.weight) is not None
        (layer.weight * 2.0).sum().backward()
    assert row_gradient(layer.weight) is None
    expected = np.full((6, 3), 2.0)
    np.add.at(expected, indices, dy)
    np.testing.assert_allclose(layer.weight.grad.numpy(), expected, rtol=1e-6)


def test_tied_weights_in_one_pass():
    layer = table(6, 3)
    indices = nv.tensor(np.array([1, 4]))
    (layer(indices) @ layer.weight.T).sum().backward()
    assert row_gradient(layer.weight) is None
    w = layer.weight.numpy()
    expected = np.tile(w[[1, 4]].sum(0), (6, 1))
    expected[[1, 4]] += w.sum(0)
    np.testing.assert_allclose(layer.weight.grad.numpy(), expected, rtol=1e-5)


def test_dampening_acts_on_rows_that_are_not_in_the_first_gradient():
    """As with a dense gradient, for which such a row's first gradient is zero."""
    sparse, dense = table(6, 2), table(6, 2, sparse=False)
    options = {"lr": 0.5, "momentum": 0.9, "dampening": 0.4}
    for layer in (sparse, dense):
        optimizer = optim.SGD(layer.parameters(), **options)
        for rows in ([1, 3], [3, 1, 4]):  # rows in use at every step: nothing decays meanwhile
            optimizer.zero_grad()
            backward(layer, np.array(rows))
            optimizer.step()
    np.testing.assert_allclose(sparse.weight.numpy(), dense.weight.numpy(), rtol=1e-6)


def test_a_table_that_is_no_leaf_gets_a_dense_gradient():
    w = nv.ones(4, 2, requires_grad=True)
    _core.embedding(w * 3.0, nv.tensor(np.array([1, 1])), -1, True).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [[0, 0], [6, 6], [0, 0], [0, 0]])


def test_reading_the_gradient_makes_it_dense():
    layer = table(6, 2)
    backward(layer, np.array([3]))
    assert _core.has_gradient(layer.weight)
    assert row_gradient(layer.weight) is not None
    layer.weight.grad.fill_(2.0)
    assert row_gradient(layer.weight) is None
    before = layer.weight.numpy().copy()
    optim.SGD(layer.parameters(), lr=1.0).step()
    np.testing.assert_array_equal(layer.weight.numpy(), before - layer.weight.grad.numpy())


def test_rows_of_a_gradient_may_be_changed():
    layer = table(6, 2)
    backward(layer, np.array([3, 3, 1]))
    _, values = row_gradient(layer.weight)
    values.fill_(1.0)
    before = layer.weight.numpy().copy()
    optim.SGD(layer.parameters(), lr=1.0).step()
    before[[1, 3]] -= 1
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_two_passes_through_a_retained_graph():
    layer = table(6, 2)
    y = layer(nv.tensor(np.array([3, 1]))).sum()
    y.backward(retain_graph=True)
    first = row_gradient(layer.weight)[1]
    y.backward()
    np.testing.assert_array_equal(row_gradient(layer.weight)[1].numpy(), np.full((2, 2), 2.0))
    np.testing.assert_array_equal(first.numpy(), np.ones((2, 2)))


@pytest.mark.parametrize("owner", ["module", "optimizer"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(owner, set_to_none):
    layer = table(6, 2)
    optimizer = optim.Adam(layer.parameters())
    backward(layer, np.array([3]))
    before = layer.weight.numpy().copy()
    (layer if owner == "module" else optimizer).zero_grad(set_to_none=set_to_none)
    assert not _core.has_gradient(layer.weight)
    optimizer.step()
    np.testing.assert_array_equal(layer.weight.numpy(), before)


# ---- optimisers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "l1": 0.01}], ids=["", "decay"])
def test_touched_rows_as_if_they_were_the_table(name, settings):
    """The same rows at each step: they behave as a table of their own with dense gradients."""
    touched = np.array([2, 3, 7, 30])
    layer = table(40, 19)
    small = table(4, 19, sparse=False)
    small.weight.detach().copy_(nv.tensor(layer.weight.numpy()[touched]))
    before = layer.weight.numpy().copy()
    big, own = (OPTIMIZERS[name](m.parameters(), **settings) for m in (layer, small))
    for step in range(4):
        places = np.concatenate([random_indices(9, 4, step), np.arange(4)])
        for module, indices, optimizer in ((layer, touched[places], big), (small, places, own)):
            optimizer.zero_grad()
            backward(module, indices, seed=step)
            optimizer.step()
        assert row_gradient(layer.weight) is not None
    after = layer.weight.numpy()
    np.testing.assert_array_equal(after[touched], small.weight.numpy())
    others = np.setdiff1d(np.arange(40), touched)
    np.testing.assert_array_equal(after[others], before[others])
    for key, value in own.state.get(small.weight, {}).items():
        state = big.state[layer.weight][key]
        if isinstance(value, nv.Tensor):
            np.testing.assert_array_equal(state.numpy()[touched], value.numpy())
            assert len(np.unique(state.numpy()[others])) == 1  # what it was at the start
        else:
            assert state == value


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_where_nothing_happens_without_a_gradient_lazy_is_exact(name):
    layers = table(50, 17), table(50, 17, sparse=False)
    optimizers = [OPTIMIZERS[name](layer.parameters()) for layer in layers]
    for step in range(5):
        for layer, optimizer in zip(layers, optimizers, strict=True):
            optimizer.zero_grad()
            backward(layer, random_indices(12, 50, step), step)
            optimizer.step()
    np.testing.assert_array_equal(layers[0].weight.numpy(), layers[1].weight.numpy())


def test_other_parameters_are_updated_as_ever():
    nv.manual_seed(0)
    layers = [nn.Sequential(table(9, 6, sparse), nn.Linear(6, 2)) for sparse in (True, False)]
    layers[1][1].load_state_dict(layers[0][1].state_dict())
    for layer in layers:
        optimizer = optim.Adam(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer(nv.tensor(np.arange(9))).sum().backward()
            norm = clip_grad_norm_(layer.parameters(), 0.5)
            optimizer.step()
        layer.norm = norm
    assert layers[0].norm == pytest.approx(layers[1].norm, rel=1e-6)
    for p, q in zip(*(layer.parameters() for layer in layers), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("order", [1.0, 2.0, np.inf])
def test_clipping(order):
    layers = table(300, 33), table(300, 33, sparse=False)
    norms = []
    for layer in layers:
        backward(layer, random_indices(200, 300))
        norms.append(clip_grad_norm_(layer.parameters(), 3.0, order))
        clip_grad_value_(layer.parameters(), 0.05)
    assert row_gradient(layers[0].weight) is not None
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    sparse, dense = (layer.weight.grad.numpy() for layer in layers)
    np.testing.assert_allclose(sparse, dense, rtol=1e-5, atol=1e-9)
    assert np.abs(sparse).max() <= np.float32(0.05)


def test_nadam_refuses():
    layer = table(9, 4)
    optimizer = optim.NAdam(layer.parameters())
    backward(layer, np.array([2]))
    before = layer.weight.numpy().copy()
    with pytest.raises(ValueError, match=r"row-sparse gradient.*Embedding\(\.\.\., sparse=False\)"):
        optimizer.step()
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    assert layer.weight.grad is not None  # dense from here on
    optimizer.step()
    assert (layer.weight.numpy()[2] != before[2]).all()


def test_a_step_takes_no_memory_for_rows_that_are_not_touched():
    layer = nn.Embedding(100_000, 32)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    nv._core.reset_peak_memory()
    before = nv.memory_stats()["live_bytes"]
    for step in range(3):
        optimizer.zero_grad()
        backward(layer, random_indices(64, 100_000, step))
        clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
    assert nv.memory_stats()["peak_bytes"] - before < 1_000_000  # the table has 12.8 MB


def test_trainer():
    nv.manual_seed(0)
    model = nn.Sequential(nn.Embedding(200, 8), nn.Flatten(), nn.Linear(8, 2))
    untouched = model[0].weight.numpy()[100:].copy()
    x = np.random.default_rng(0).integers(0, 100, (400, 1))
    trainer = nv.Trainer(
        model, "cross_entropy", optim.AdamW(model.parameters(), lr=0.05), ["accuracy"],
        clip_norm=1.0, accumulation_steps=2,
    )  # fmt: skip
    history = trainer.fit(x, x[:, 0] % 2, epochs=8, batch_size=20, verbose=0)
    assert history.history["accuracy"][-1] > 0.95
    np.testing.assert_array_equal(model[0].weight.numpy()[100:], untouched)


# ---- PyTorch -------------------------------------------------------------------------------------


def twin(torch, layer, **settings):
    theirs = torch.nn.Embedding(layer.num_embeddings, layer.embedding_dim, sparse=True, **settings)
    theirs.weight.data = torch.from_numpy(layer.weight.numpy().copy())
    return theirs


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        ("Adam", "SparseAdam", {"lr": 0.01, "betas": (0.8, 0.95)}),
        ("SGD", "SGD", {"lr": 0.1}),
        ("Adagrad", "Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    ],
)
def test_as_torch(ours, theirs, settings):
    torch = pytest.importorskip("torch")
    layer = table(30, 13, padding_idx=4)
    peer = twin(torch, layer, padding_idx=4)
    optimizer = getattr(optim, ours)(layer.parameters(), **settings)
    peer_optimizer = getattr(torch.optim, theirs)(peer.parameters(), **settings)
    for step in range(6):
        indices = random_indices((4, 5), 30, step)
        optimizer.zero_grad()
        dy = backward(layer, indices, step)
        peer_optimizer.zero_grad()
        peer(torch.from_numpy(indices)).backward(torch.from_numpy(dy.reshape(4, 5, 13)))
        gradient = peer.weight.grad.coalesce()
        rows, values = row_gradient(layer.weight)
        expected = gradient.to_dense().numpy()
        np.testing.assert_array_equal(rows.numpy(), np.setdiff1d(np.unique(indices), 4))
        np.testing.assert_allclose(values.numpy(), expected[rows.numpy()], rtol=1e-5, atol=1e-6)
        optimizer.step()
        peer_optimizer.step()
        np.testing.assert_allclose(
            layer.weight.numpy(), peer.weight.detach().numpy(), rtol=2e-5, atol=1e-6
        )


# ---- errors, description -------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [True, False])
def test_errors(sparse):
    layer = table(5, 3, sparse)
    for bad in (5, -1, -6, -100):
        with pytest.raises(IndexError, match=rf"\[embedding\] index {bad} is out of range"):
            layer(nv.tensor(np.array([0, bad])))
    with pytest.raises(TypeError, match=r"\[embedding\] indices"):
        layer(nv.ones(2))
    with pytest.raises(ValueError, match="padding_idx must name one of 5 rows, got 5"):
        nn.Embedding(5, 3, padding_idx=5)
    with pytest.raises(ValueError, match="sizes must not be negative"):
        nn.Embedding(-1, 3)
    with pytest.raises(ValueError, match=r"weight must be \(rows, features\)"):
        _core.embedding(nv.ones(3), nv.tensor(np.array([0])), -1, sparse)


def test_description():
    assert repr(nn.Embedding(5, 3)) == "Embedding(5, 3)"
    text = repr(nn.Embedding(5, 3, padding_idx=-1, sparse=False))
    assert text == "Embedding(5, 3, padding_idx=4, sparse=False)"


def test_an_empty_table():
    layer = nn.Embedding(0, 3)
    assert layer(nv.tensor(np.zeros((2, 0), np.int64))).shape == (2, 0, 3)
    backward(layer, np.zeros(0, np.int64))
    optim.Adam(layer.parameters()).step()


def test_row_numbers_given_out_are_a_copy() -> None:
    """Other numbers would make a step write beyond the table."""
    layer = nn.Embedding(4, 2)
    layer(nv.tensor([3, 1])).sum().backward()
    rows, _ = row_gradient(layer.weight)
    rows.fill_(1 << 40)
    np.testing.assert_array_equal(row_gradient(layer.weight)[0].numpy(), [1, 3])
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0.0, 1.0, 0.0, 1.0])
