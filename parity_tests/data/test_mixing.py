"""Mixup and CutMix by hand, and compared with timm on the same draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.data import Loader, Mixing, Transform, open_dataset
from repro.data.rng import random_stream
from repro.errors import ReproError

Run = Callable[..., Any]
Require = Callable[[str], None]

MODES = ("batch", "pair", "elem")


def batch(count: int, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` images and labels. Image i has the value i + 1 everywhere, and the label i."""
    images = (
        np.ones((count, 3, side, side), np.float32) * np.arange(1, count + 1, dtype=np.float32)[:, None, None, None]
    )
    return images, np.arange(count)


def shares(targets: np.ndarray) -> np.ndarray:
    """Return the share that each image keeps of itself, where image i has the label i."""
    return np.diagonal(targets)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_mixup_by_hand(mode: str, count: int) -> None:
    images, labels = batch(count)
    before = images.copy()
    mixed, targets = Mixing(mixup=0.8, mode=mode).mix(images, labels, count + 2, random_stream(1))
    assert np.array_equal(images, before)
    assert (mixed.dtype, targets.dtype) == (np.float32, np.float32)
    assert targets.shape == (count, count + 2)
    assert targets.sum(axis=1) == pytest.approx(1)
    values = targets[:, :count] @ np.arange(1, count + 1)  # the mixture of the values
    assert mixed.min(axis=(1, 2, 3)) == pytest.approx(values, rel=1e-6)
    assert mixed.max(axis=(1, 2, 3)) == pytest.approx(values, rel=1e-6)
    for i in range(count):
        assert set(np.flatnonzero(targets[i])) <= {i, count - 1 - i}
    if count % 2:
        assert shares(targets)[count // 2] == pytest.approx(1)  # it is mixed with itself
    if count > 4:
        paired = np.delete(shares(targets), count // 2) if count % 2 else shares(targets)
        assert len(np.unique(paired)) == {"batch": 1, "pair": count // 2, "elem": 2 * (count // 2)}[mode]
        assert mode == "elem" or np.array_equal(paired, paired[::-1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 7, 8])
def test_cutmix_by_hand(mode: str, count: int) -> None:
    images, labels = batch(count, 32)
    for seed in range(20):
        mixed, targets = Mixing(cutmix=1, mode=mode).mix(images, labels, count, random_stream(seed))
        for i in range(count):
            other = count - 1 - i
            from_self = (mixed[i] == i + 1).all(axis=0)
            from_partner = (mixed[i] == other + 1).all(axis=0)
            assert (from_self | from_partner).all()
            if i != other:
                assert targets[i, i] == pytest.approx(from_self.mean(), abs=1e-6)  # even if the rectangle is clipped
                assert targets[i, other] == pytest.approx(from_partner.mean(), abs=1e-6)
                rows, columns = from_partner.any(axis=1).sum(), from_partner.any(axis=0).sum()
                assert rows * columns == from_partner.sum()  # one rectangle
            else:
                assert targets[i, i] == pytest.approx(1)


def test_area_of_cutmix_is_drawn_from_beta() -> None:
    """The mean area is that of squares of a uniform share of the area, around any pixel, clipped at the border."""
    images, labels = batch(400, 64)
    kept_shares = [
        shares(Mixing(cutmix=1, mode="elem").mix(images, labels, 400, random_stream(seed))[1]) for seed in range(20)
    ]
    rng = np.random.default_rng(0)
    half, centre = np.sqrt(rng.random(100_000)) / 2, rng.random((2, 100_000))
    area = (np.minimum(centre + half, 1) - np.maximum(centre - half, 0)).prod(axis=0)
    assert np.mean(kept_shares) == pytest.approx(1 - area.mean(), abs=0.02)


def test_probability_and_switch() -> None:
    images, labels = batch(2)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for seed in range(2000):
        mixed, targets = Mixing(mixup=5, cutmix=1, probability=0.5, switch=0.25).mix(
            images, labels, 2, random_stream(seed)
        )
        if np.array_equal(targets, np.eye(2)):
            kinds["none"] += 1
            assert np.array_equal(mixed, images)
        else:
            kinds["cutmix" if set(np.unique(mixed)) <= {1, 2} else "mixup"] += 1
    assert 900 < kinds["none"] < 1160  # including empty rectangles
    assert 680 < kinds["mixup"] < 820
    assert 150 < kinds["cutmix"] < 290
    never, _ = Mixing(mixup=1, probability=0).mix(images, labels, 2, random_stream(0))
    assert np.array_equal(never, images)
    only = [Mixing(mixup=1, cutmix=1, switch=switch).mix(images, labels, 2, random_stream(3))[0] for switch in (0, 1)]
    assert [set(np.unique(mixed)) <= {1, 2} for mixed in only] == [False, True]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "mixup and cutmix are both 0, so nothing is mixed"),
        ({"mixup": -1}, "mixup must be a number from 0 to 1000"),
        ({"cutmix": float("nan")}, "cutmix must be a number from 0"),
        ({"mixup": float("inf")}, "mixup must be a number from 0"),
        ({"mixup": 1, "probability": 1.5}, "probability must be a number from 0 to 1"),
        ({"mixup": 1, "switch": float("nan")}, "switch must be a number from 0"),
        ({"mixup": 1, "mode": "half"}, "mode must be one of batch, pair, elem, not 'half'"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        Mixing(**wrong)


# Batches


def test_mixed_batches_are_the_same_for_any_number_of_processes() -> None:
    data, transform = open_dataset("digits"), Transform(image_size=8, rotation=10)
    mixing = Mixing(mixup=0.8, cutmix=1, mode="elem", probability=0.8)
    with Loader(data, batch_size=7, seed=3) as loader, Loader(data, batch_size=7, seed=3, workers=2) as many:
        first = [loader.train(epoch, transform, mixing) for epoch in (0, 1, 1)]
        epochs = (*first, many.train(1, transform, mixing))
        batches = [[next(epoch) for _ in range(3)] for epoch in epochs]
        plain = loader.train(1, transform)
        for (images, targets), (whole, labels) in zip(batches[1], plain, strict=False):
            assert (targets.dtype, targets.shape) == (np.float32, (7, 10))
            assert (images.dtype, images.shape) == (np.float32, (7, 3, 8, 8))
            assert np.allclose(images[3], whole[3], atol=1e-6)  # the image in the middle
            assert targets[3].argmax() == labels[3]
        whole, labels = next(loader.val(transform))
        assert labels.dtype == np.int64
    digests = [[targets.tobytes() + images.tobytes() for images, targets in epoch] for epoch in batches]
    assert digests[1] == digests[2] == digests[3]
    assert not set(digests[0]) & set(digests[1])
    draws = [targets.max(axis=1).round(5).tolist() for _, targets in batches[1]]
    assert draws[0] != draws[1] != draws[2]  # each step has its own draws


def test_mixing_never_shares_a_generator_with_a_sample() -> None:
    keys = [(), *((a,) for a in range(4)), *((a, b) for a in range(4) for b in range(4))]
    keys += [(a, b, 0) for a in range(4) for b in range(4)]
    assert len({random_stream(seed, *key).integers(2**62) for seed in range(3) for key in keys}) == 3 * len(keys)


def test_unmixed_batches_have_soft_targets_too() -> None:
    with Loader(open_dataset("digits"), batch_size=16) as loader:
        images, targets = next(loader.train(0, Transform(image_size=8), Mixing(mixup=1, probability=0)))
        plain, labels = next(loader.train(0, Transform(image_size=8)))
    assert np.array_equal(images, plain)
    assert np.array_equal(targets, np.eye(10, dtype=np.float32)[labels])


# Compared with timm


def test_mixing_is_that_of_timm(run_program: Run, require_backend: Require) -> None:
    """timm's draws are replaced by ours."""
    require_backend("torch")
    assert len(run_program("torch", "mixing:compare_with_timm")) >= 7
