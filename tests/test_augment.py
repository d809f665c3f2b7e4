# SPDX-License-Identifier: BSD-3-Clause
"""Augmentation of images: crops, flips, mixup."""

from __future__ import annotations

import numpy as np
import pytest

from nervure.data import (
    ArrayDataset,
    DataLoader,
    Mixup,
    RandomCrop,
    RandomHorizontalFlip,
)

# ---- augmentation --------------------------------------------------------------------------------


def test_crops_are_windows_of_their_images(rng: np.random.Generator) -> None:
    images = np.arange(2 * 2 * 5 * 6, dtype=np.float32).reshape(2, 2, 5, 6)
    places = set()
    for _ in range(60):
        out, y = RandomCrop((4, 3))(images, "y", rng)
        assert out.shape == (2, 2, 4, 3)
        assert y == "y"
        for image, crop in zip(images, out, strict=True):
            top, left = divmod(int(crop[0, 0, 0] - image[0, 0, 0]), 6)
            np.testing.assert_array_equal(crop, image[:, top : top + 4, left : left + 3])
            places.add((top, left))
    assert places == {(t, l) for t in range(2) for l in range(4)}  # noqa: E741
    padded, _ = RandomCrop(9, padding=2, fill=-1.0)(images, None, rng)
    assert padded.shape == (2, 2, 9, 9)
    assert (padded[:, :, 0] == -1).all()
    with pytest.raises(ValueError, match="images of 5 x 6 are smaller than 6 x 6"):
        RandomCrop(6)(images, None, rng)
    with pytest.raises(ValueError, match="size must be positive"):
        RandomCrop(0)
    with pytest.raises(ValueError, match=r"must be images \(N, C, H, W\), got \(5, 6\)"):
        RandomCrop(2)(images[0, 0], None, rng)


def test_flips(rng: np.random.Generator) -> None:
    images = rng.random((400, 1, 2, 3)).astype(np.float32)
    out, _ = RandomHorizontalFlip(0.25)(images, None, rng)
    flipped = (out == images[..., ::-1]).all(axis=(1, 2, 3))
    kept = (out == images).all(axis=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 60 < flipped.sum() < 140
    assert (RandomHorizontalFlip(1)(images, None, rng)[0] == images[..., ::-1]).all()
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\]"):
        RandomHorizontalFlip(1.5)


def test_mixup_mixes_inputs_and_targets_alike(rng: np.random.Generator) -> None:
    x = np.eye(6, dtype=np.float32)
    mixed, y = Mixup(1.0, num_classes=6)(x, np.arange(6), rng)
    np.testing.assert_allclose(mixed, y, rtol=1e-6)  # for x is the one-hot form of y
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    assert (y != np.eye(6)).any()
    assert mixed.dtype == y.dtype == np.float32
    _, numbers = Mixup()(x, np.arange(6.0), rng)
    assert numbers.shape == (6,)
    with pytest.raises(ValueError, match="need num_classes"):
        Mixup()(x, np.arange(6), rng)
    with pytest.raises(IndexError, match=r"0 \.\. 4"):
        Mixup(num_classes=5)(x, np.arange(6), rng)
    with pytest.raises(ValueError, match="needs a single array x, and targets"):
        Mixup()(x, None, rng)
    with pytest.raises(ValueError, match="must be positive"):
        Mixup(0)


def test_augmentation_in_a_loader_depends_on_seed_epoch_and_batch() -> None:
    images = np.random.default_rng(0).random((10, 3, 8, 8)).astype(np.float32)
    make = lambda prefetch: DataLoader(  # noqa: E731
        ArrayDataset(images, np.arange(10)),
        4,
        seed=1,
        transform=[RandomCrop(8, padding=2), RandomHorizontalFlip(), Mixup(0.3, 10)],
        prefetch=prefetch,
    )
    loader = make(0)
    first, second = ([x.numpy() for x, _ in loader] for _ in range(2))
    assert all((a != b).any() for a, b in zip(first, second, strict=True))
    ahead = make(2)
    for expected in (first, second):
        for a, (b, _) in zip(expected, ahead, strict=True):
            np.testing.assert_array_equal(a, b.numpy())
