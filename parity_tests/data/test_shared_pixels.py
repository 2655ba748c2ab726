"""Loading processes leave the pixels of a batch in memory that they share, and send them where they cannot."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from repro.data import Dataset, Loader, Transform, open_dataset, shared_pixels
from repro.data.shared_pixels import Place, SharedPixels

TRANSFORM = Transform(image_size=32)


@pytest.fixture(autouse=True)
def _linux(require_machine: Callable[[bool, str], None]) -> None:
    require_machine(sys.platform.startswith("linux"), "files in memory are Linux's")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The places whose pixels are used."""
    used: list[Place] = []
    array = SharedPixels.array

    def record(self: SharedPixels, place: Place, shape: shared_pixels.Shape) -> np.ndarray:
        used.append(place)
        return array(self, place, shape)

    monkeypatch.setattr(SharedPixels, "array", record)
    return used


def batches(dataset: Dataset, workers: int) -> Iterator[bytes]:
    """Yield the bytes of 14 training batches and of all validation batches, of which the last one is smaller."""
    with Loader(dataset, batch_size=100, workers=workers) as loader:
        for epoch in (loader.train(0, TRANSFORM), loader.val(TRANSFORM)):
            for images, labels in epoch:
                yield images.tobytes() + labels.tobytes()


def test_every_batch_is_shared(digits: Dataset, shared: list[Place]) -> None:
    loaded = list(batches(digits, workers=2))
    assert loaded == list(batches(digits, workers=0))
    assert len(shared) == len(loaded) == 18
    assert len(set(shared)) <= 2 * 5  # places are used again


@pytest.mark.parametrize("refusal", ["no such files", "no files", "no access"])
def test_pixels_are_sent_where_nothing_can_be_shared(
    digits: Dataset, shared: list[Place], monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    def no_files(_: str) -> int:
        raise OSError

    if refusal == "no such files":
        monkeypatch.delattr("os.memfd_create")
    elif refusal == "no files":
        monkeypatch.setattr("os.memfd_create", no_files)
    else:
        monkeypatch.setattr("os.getpid", lambda: 1 << 30)
    assert list(batches(digits, workers=1)) == list(batches(digits, workers=0))
    assert not shared


def test_an_epoch_that_is_left_disturbs_no_other(digits: Dataset) -> None:
    """Processes still write the batches of the first epoch when those of the second are read."""
    with Loader(digits, batch_size=100) as alone, Loader(digits, batch_size=100, workers=2) as loader:
        left = loader.train(0, TRANSFORM)
        next(left)
        at_the_same_time = zip(loader.train(1, TRANSFORM), left, alone.train(1, TRANSFORM), strict=False)
        for number, ((images, _), _, (expected, _)) in enumerate(at_the_same_time):
            assert np.array_equal(images, expected)
            if number == 5:
                left.close()  # type: ignore[attr-defined]
                break
        for (images, _), (expected, _) in zip(loader.val(TRANSFORM), alone.val(TRANSFORM), strict=True):
            assert np.array_equal(images, expected)


def test_memory_serves_the_next_epoch_and_ends_with_the_loader(digits: Dataset) -> None:
    def mappings() -> list[str]:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        return [line.partition(" ")[0] for line in lines if "memfd:pixels" in line]

    with Loader(digits, batch_size=100, workers=1) as loader:
        first = loader.train(0, TRANSFORM)
        next(first)
        (mapping,) = mappings()
        for _ in first:
            pass
        second = loader.train(1, TRANSFORM)
        next(second)
        assert mappings() == [mapping]
        at_the_same_time = loader.val(TRANSFORM)
        next(at_the_same_time)
        assert len(mappings()) == 2
        second.close()  # type: ignore[attr-defined]
        assert len(mappings()) == 1 and mapping not in mappings()
        for _ in at_the_same_time:
            pass
        for _ in loader.train(2, Transform(image_size=40)):  # needs more memory
            assert len(mappings()) == 1
    del first, second, at_the_same_time, _
    assert not mappings()


def test_another_file_under_the_same_path_is_left_alone(tmp_path: Path) -> None:
    """The path names a number that the process gives to the next file that it opens."""
    shared = SharedPixels(1, 1000)
    (place,) = shared.places
    shared.close()
    file = tmp_path / "file"
    file.write_bytes(bytes(1000))
    opened = [file.open("r+b") for _ in range(20)]
    assert place.path in [f"/proc/{os.getpid()}/fd/{other.fileno()}" for other in opened]
    assert place.array((1, 1, 10, 100)) is None
    for other in opened:
        other.close()
