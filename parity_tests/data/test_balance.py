"""Data sets with small and large classes: balanced sampling and a balanced loss."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import QUICK, metrics
from repro.data import Dataset, Loader, Mixing, Transform, open_dataset
from repro.data.loader import balanced_order
from repro.data.rng import random_stream
from repro.run import main

TRANSFORM = Transform(image_size=8, rotation=20)
COUNTS = (72, 6, 3)  # images to train on


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("balance") / "photos"
    for name, count in zip("abc", (90, 8, 4), strict=True):
        write_photos(folder / name, classes=name, count=count)
        for file in (folder / name / name).iterdir():
            file.rename(folder / name / file.name)
        (folder / name / name).rmdir()
    return folder


@pytest.fixture(scope="module")
def data(photos: Path) -> Dataset:
    dataset = open_dataset(photos)
    assert tuple(np.bincount(dataset.train.labels)) == COUNTS
    return dataset


def test_balanced_sampling_draws_as_many_images_of_each_class(data: Dataset) -> None:
    labels = data.train.labels
    for epoch in range(3):
        order = balanced_order(labels, 3, 80, random_stream(0, epoch))
        assert sorted(np.bincount(labels[order % 81]).tolist()) == [26, 27, 27]
        assert len(set(order.tolist())) == 80  # each repetition has a number of its own
        for label, count in enumerate(COUNTS):
            drawn = Counter((order[labels[order % 81] == label] % 81).tolist())
            assert len(drawn) == min(count, drawn.total())
            assert max(drawn.values()) - min(drawn.values()) <= 1
    assert not np.array_equal(order, balanced_order(labels, 3, 80, random_stream(0, 0)))
    few = balanced_order(labels, 3, 2, random_stream(0))  # fewer images than classes
    assert len(set(labels[few % 81].tolist())) == 2


def test_repetitions_are_augmented_anew(data: Dataset) -> None:
    with Loader(data, batch_size=80, balance="sampling") as loader:
        ((images, labels),) = loader.train(0, TRANSFORM)
        names = loader.names(0, 1)
    smallest = [image.tobytes() for image, label in zip(images, labels, strict=True) if label == 2]
    assert len({name for name in names if name.startswith("c/")}) == 3
    assert len(set(smallest)) > 3  # of three images, whose corners become black by the angle


@pytest.mark.parametrize("balance", ["sampling", "loss"])
@pytest.mark.parametrize("mixing", [None, Mixing(mixup=0.5, mode="elem")])
def test_balanced_batches_are_the_same_for_ranks_and_processes(
    data: Dataset, balance: str, mixing: Mixing | None
) -> None:
    with Loader(data, batch_size=8, balance=balance) as loader:
        whole = list(loader.train(1, TRANSFORM, mixing))
    ranks = []
    for rank in range(2):
        with Loader(data, batch_size=8, balance=balance, rank=rank, world_size=2, workers=rank) as loader:
            ranks.append(list(loader.train(1, TRANSFORM, mixing)))
    for batch, *shares in zip(whole, *ranks, strict=True):
        for array, *parts in zip(batch, *shares, strict=True):
            assert np.array_equal(array, np.concatenate(parts))


def test_a_balanced_loss_weights_the_targets(data: Dataset) -> None:
    weights = 81 / (3 * np.array(COUNTS))
    with Loader(data, batch_size=81, balance="loss") as loader, Loader(data, batch_size=81) as plain:
        ((images, targets),) = loader.train(0, TRANSFORM)
        ((plain_images, labels),) = plain.train(0, TRANSFORM)
        assert np.array_equal(images, plain_images)
        assert targets == pytest.approx(np.eye(3)[labels] * weights)
        assert targets.dtype == np.float32
        assert targets.sum(axis=0) == pytest.approx([27, 27, 27])
        ((_, mixed),) = loader.train(0, TRANSFORM, Mixing(mixup=1))
        ((_, plain_mixed),) = plain.train(0, TRANSFORM, Mixing(mixup=1))
        assert mixed == pytest.approx(plain_mixed * weights, rel=1e-6)
        assert next(loader.val(TRANSFORM))[1].dtype == np.int64


@pytest.mark.usefixtures("made_up_backend")
def test_runs_with_balance(photos: Path) -> None:
    for number, balance in enumerate((None, "sampling")):
        flags = ["--balance", balance] if balance else []
        main([*QUICK, "--batch-size", "8", "--data", str(photos), "--epochs", "1", *flags, "--out", f"{number}"])
    (plain,), (balanced,) = metrics("0"), metrics("1")
    assert plain["train_loss"] != balanced["train_loss"]
