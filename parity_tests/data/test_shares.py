"""A rank reads its share of each global batch, and the global batches are the same for any number of ranks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image

from repro.data import Batch, Dataset, Loader, Mixing, Transform, open_dataset
from repro.data.decode import Divisor
from repro.data.subset import Read
from repro.errors import ReproError

SIZE = 12  # images in a global batch, and in each of 3 steps
TRANSFORM = Transform(image_size=8, rotation=10, flip=0.5)
MIXINGS = [None, *(Mixing(mixup=0.8, cutmix=1, mode=mode, probability=0.8) for mode in ("batch", "pair", "elem"))]


@dataclass
class CountingRead:
    """A reader of images that counts how often it reads each."""

    read: Read
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        self.counts[name] += 1
        return self.read(name, divisor)


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = open_dataset("digits")
    train, val = (part.select(np.arange(len(part)) < 40) for part in (digits.train, digits.val))
    return replace(digits, train=train, val=val)


def digests(batches: Iterator[Batch]) -> list[str]:
    return [hashlib.sha256(images.tobytes() + targets.tobytes()).hexdigest() for images, targets in batches]


def joined(parts: list[Iterator[Batch]]) -> Iterator[Batch]:
    """Yield global batches from the shares of the ranks."""
    for shares in zip(*parts, strict=True):
        images, targets = zip(*shares, strict=True)
        yield np.concatenate(images), np.concatenate(targets)


@pytest.mark.parametrize("mixing", MIXINGS, ids=lambda mixing: mixing.mode if mixing else "unmixed")
def test_shares_make_up_the_global_batches(data: Dataset, mixing: Mixing | None) -> None:
    with Loader(data, batch_size=SIZE, seed=3) as loader:
        expected = [digests(loader.train(epoch, TRANSFORM, mixing)) for epoch in (0, 1)]
    assert len({*expected[0], *expected[1]}) == 6
    for world_size in (2, 3, 4, 6):
        with ExitStack() as stack:
            loaders = [
                stack.enter_context(Loader(data, batch_size=SIZE, seed=3, rank=rank, world_size=world_size))
                for rank in range(world_size)
            ]
            for epoch in (0, 1):
                parts = [loader.train(epoch, TRANSFORM, mixing) for loader in loaders]
                assert digests(joined(parts)) == expected[epoch], world_size


def test_shares_do_not_depend_on_the_loading_processes(data: Dataset) -> None:
    with Loader(data, batch_size=SIZE, rank=1, world_size=2, workers=2) as several:
        for mixing in MIXINGS[::3]:
            with Loader(data, batch_size=SIZE, rank=1, world_size=2) as single:
                assert digests(several.train(0, TRANSFORM, mixing)) == digests(single.train(0, TRANSFORM, mixing))
                assert digests(several.val(TRANSFORM)) == digests(single.val(TRANSFORM))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_a_rank_reads_no_more_than_it_needs(data: Dataset, world_size: int) -> None:
    """Image i is mixed with image 11 - i: the middle rank of three needs no others, and each of two needs all."""
    read = CountingRead(data.train.read)
    counted = replace(data, train=replace(data.train, read=read), val=replace(data.val, read=read))
    for rank in range(world_size):
        loader = Loader(counted, batch_size=SIZE, rank=rank, world_size=world_size)
        for mixing in (None, MIXINGS[1]):
            read.counts.clear()
            assert len(list(loader.train(0, TRANSFORM, mixing))) == 3
            own = SIZE // world_size
            is_middle = world_size % 2 and rank == world_size // 2
            assert set(read.counts.values()) == {1}
            assert len(read.counts) == 3 * (own if mixing is None or is_middle else 2 * own)


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_validation_batches_are_dealt_out(data: Dataset, world_size: int) -> None:
    read = CountingRead(data.val.read)
    counted = replace(data, val=replace(data.val, read=read))
    whole = digests(Loader(data, batch_size=SIZE).val(TRANSFORM))
    assert len(whole) == 4
    for rank in range(world_size):
        loader = Loader(counted, batch_size=SIZE, rank=rank, world_size=world_size)
        batches = digests(loader.val(TRANSFORM))
        assert batches == whole[rank::world_size]
        assert loader.val_steps == len(batches)  # 0 for the last of six ranks
    assert set(read.counts.values()) == {1}
    assert len(read.counts) == len(data.val)


def test_fewer_images_than_a_batch_are_shared_too(data: Dataset) -> None:
    whole = digests(Loader(data, batch_size=64).train(0, TRANSFORM))
    parts = [Loader(data, batch_size=64, rank=rank, world_size=4).train(0, TRANSFORM) for rank in range(4)]
    assert digests(joined(parts)) == whole
    with pytest.raises(ReproError, match="a batch of 40 images has no equal parts for 3 processes"):
        Loader(data, batch_size=64, rank=0, world_size=3)
