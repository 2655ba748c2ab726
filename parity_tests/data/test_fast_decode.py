"""JPEG files that are decoded in a smaller size, with `decode: fast`: how close the pixels are, and bad files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.data import Loader, Transform, open_dataset
from repro.data.decode import decode
from repro.data.rng import random_stream
from repro.errors import ReproError


def photo(path: Path, size: tuple[int, int], seed: int = 0, orientation: int = 1) -> Path:
    """Write an image whose details are the weaker the smaller they are, as in photographs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for side, weight in ((4, 0.6), (16, 0.25), (64, 0.1), (256, 0.05)):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        total += np.asarray(noise.resize(size, Image.Resampling.BICUBIC)) * weight
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(total.astype(np.uint8)).save(path, quality=90, exif=exif)
    return path


def loaded(transform: Transform, path: Path, index: int | None = None) -> np.ndarray:
    rng = None if index is None else random_stream(0, 0, index)
    return np.asarray(transform.load(partial(decode, path, None), rng)).astype(int)


@pytest.mark.parametrize(
    ("size", "orientation"),
    [((1203, 806), 1), ((517, 1100), 1), ((1200, 808), 3), ((1200, 808), 6), ((520, 1104), 7)],
)
def test_pixels_are_nearly_those_of_exact(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    """The mean difference stays below 1.5 of 255, with the same crops."""
    path = photo(tmp_path / "photo.jpg", size, orientation=orientation)
    changed = 0
    for resize, channels, index in (("squash", 3, None), ("crop", 1, None), *(("crop", 3, n) for n in range(12))):
        mean = (0.5,) * channels
        exact, fast = (
            Transform(image_size=96, resize=resize, decode=how, flip=0.5, channels=channels, mean=mean, std=mean)
            for how in ("exact", "fast")
        )
        difference = np.abs(loaded(exact, path, index) - loaded(fast, path, index))
        assert difference.mean() < 1.5
        changed += bool(difference.any())
    assert changed > 8


def test_images_that_cannot_be_smaller_keep_their_bits(tmp_path: Path) -> None:
    small, other = photo(tmp_path / "small.jpg", (190, 400)), photo(tmp_path / "large.png", (900, 900))
    exact, fast = (Transform(image_size=96, resize="crop", decode=how) for how in ("exact", "fast"))
    for path in (small, other):
        for index in (None, *range(5)):
            assert np.array_equal(loaded(exact, path, index), loaded(fast, path, index))


def test_the_size_is_the_smallest_that_suffices(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.jpg", (801, 410), orientation=6)
    sizes: list[tuple[int, ...]] = []

    def watched(transform: Transform, divisor) -> Image.Image:
        image = decode(path, divisor=divisor)
        sizes.append((transform.image_size, *image.size))
        return image

    for size in (205, 206, 102, 51, 10):
        transform = Transform(image_size=size, decode="fast")
        transform.load(partial(watched, transform))
    assert sizes == [(205, 205, 401), (206, 410, 801), (102, 103, 201), (51, 52, 101), (10, 52, 101)]


def test_batches_are_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    for number in range(12):
        photo(tmp_path / "ab"[number % 2] / f"{number}.jpg", (400 + 50 * number, 300), number)
    data = open_dataset(tmp_path)
    exact, fast = (Transform(image_size=32, resize="crop", flip=0.5, decode=how) for how in ("exact", "fast"))

    def batches(transform: Transform, workers: int) -> list[bytes]:
        with Loader(data, batch_size=4, workers=workers) as loader:
            parts = loader.train(0, transform), loader.val(transform)
            return [images.tobytes() for part in parts for images, _ in part]

    alone = batches(fast, 0)
    assert len(set(alone) | set(batches(exact, 0))) == 2 * len(alone)
    assert batches(fast, 1) == alone
    assert batches(fast, 2) == alone


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest undoes the filter that is set
@pytest.mark.parametrize("damage", ["cut short", "too large", "other"])
def test_bad_files_are_refused_as_with_exact(tmp_path: Path, damage: str) -> None:
    path = photo(tmp_path / "photo.jpg", (900, 700))
    content = bytearray(path.read_bytes())
    if damage == "too large":
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = bytes([0x30, 0, 0x30, 0])  # 12,288 x 12,288
    path.write_bytes(content[:9000] if damage == "cut short" else b"text" if damage == "other" else content)
    messages = []
    for how in ("exact", "fast"):
        with pytest.raises(ReproError, match=r"photo\.jpg \(.*replace or remove it") as error:
            loaded(Transform(image_size=32, decode=how), path)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert ("12288 x 12288 pixels, more than" in messages[0]) == (damage == "too large")


def test_other_values_are_refused() -> None:
    with pytest.raises(ReproError, match="decode must be exact or fast, not 'slow'"):
        Transform(image_size=8, decode="slow")
