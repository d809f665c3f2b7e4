# SPDX-License-Identifier: BSD-3-Clause
"""StandardScaler: by formula and beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from nervure.data import StandardScaler

# ---- standardisation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis", "features"),
    [((50, 3), None, 3), ((50, 4, 6), None, 6), ((20, 3, 5, 7), None, 3), ((20, 5, 7, 3), -1, 3)],
)
def test_standardised_features(
    shape: tuple[int, ...], axis: int | None, features: int, rng: np.random.Generator
) -> None:
    x = rng.normal(5, 3, shape) * 10.0
    scaler = StandardScaler(axis)
    z = scaler.fit_transform(x)
    assert z.dtype == np.float32
    assert scaler.mean_ is not None
    assert scaler.mean_.shape == (features,)
    where = axis if axis is not None else 1 if len(shape) == 4 else -1
    others = tuple(i for i in range(len(shape)) if i != where % len(shape))
    np.testing.assert_allclose(z.mean(axis=others), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=others), 1, atol=1e-5)
    np.testing.assert_allclose(scaler.inverse_transform(z), x, rtol=1e-4, atol=1e-4)


def test_standardisation_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    sklearn = pytest.importorskip("sklearn.preprocessing")
    train = rng.normal(size=(40, 5)) * [1, 10, 1e-6, 1e4, 0] + [0, 1e6, 0, 0, 0.1]
    test = rng.normal(size=(7, 5))
    theirs = sklearn.StandardScaler().fit(train)
    ours = StandardScaler().fit(train)
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-9)
    np.testing.assert_allclose(ours.transform(test), theirs.transform(test), rtol=1e-5)
    copy = StandardScaler()
    copy.load_state_dict(ours.state_dict())
    np.testing.assert_array_equal(copy.transform(test), ours.transform(test))


def test_standardisation_that_is_impossible() -> None:
    for call in ("transform", "inverse_transform"):
        with pytest.raises(RuntimeError, match=r"call fit\(\) before"):
            getattr(StandardScaler(), call)(np.zeros((2, 2)))
    with pytest.raises(RuntimeError, match="before state_dict"):
        StandardScaler().state_dict()
    with pytest.raises(ValueError, match="in features 1"):
        StandardScaler().fit([[1.0, np.nan], [2.0, 3.0]])
    with pytest.raises(ValueError, match="no samples"):
        StandardScaler().fit(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="no dimension of features"):
        StandardScaler().fit(np.zeros(4))
    with pytest.raises(ValueError, match="must have 2 features"):
        StandardScaler().fit(np.zeros((3, 2))).transform(np.zeros((3, 3)))
