"""Images with `decode: fast`, decoded in a smaller size and resized by another package: how close the pixels are."""

from __future__ import annotations

import io
import platform
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import cykooz_resizer
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_sample_image

from repro.data import Loader, Transform, open_dataset
from repro.data import fast_resize as fast_resize_module
from repro.data.decode import decode
from repro.data.fast_resize import FILTERS, fast_resize
from repro.data.rng import random_stream
from repro.errors import ReproError

Require = Callable[[bool, str], None]


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


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


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


def test_images_that_cannot_be_smaller_are_only_resized(tmp_path: Path) -> None:
    small, other = photo(tmp_path / "small.jpg", (190, 400)), photo(tmp_path / "large.png", (900, 900))
    exact, fast = (Transform(image_size=96, resize="crop", decode=how) for how in ("exact", "fast"))
    for path in (small, other):
        for index in (None, *range(5)):
            assert np.abs(loaded(exact, path, index) - loaded(fast, path, index)).max() <= 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_are_resized_as_by_pillow(interpolation: str, channels: int) -> None:
    """Values differ by at most 2 of 255, except at sharp edges, where bicubic overshoots and is clipped."""
    resampling = Image.Resampling[interpolation.upper()]
    for name, size in product(("china", "flower"), ((224, 224), (50, 300), (900, 700))):
        image = Image.fromarray(load_sample_image(f"{name}.jpg"))
        image = image.convert("L") if channels == 1 else image
        for box in ((0, 0, 640, 427), (100, 50, 240, 170), (3.25, 1.5, 600.75, 420.5)):
            expected, actual = (
                np.asarray(resize(image, size, resampling, box)).astype(int)
                for resize in (Image.Image.resize, fast_resize)
            )
            difference = np.abs(expected - actual)
            assert difference.mean() < 0.25
            assert (difference > 2).mean() <= (0.001 if interpolation == "bicubic" else 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (8, 8), (224, 224), (900, 30)])
def test_images_of_any_shape_are_resized_bilinearly_as_by_pillow(size: tuple[int, int]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
    results = [
        np.asarray(resize(noise, (224, 96), Image.Resampling.BILINEAR, (0, 0, *size))).astype(int)
        for resize in (Image.Image.resize, fast_resize)
    ]
    assert np.abs(results[0] - results[1]).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_bits_do_not_depend_on_the_processor(interpolation: str, require_machine: Require) -> None:
    require_machine(platform.machine() == "x86_64", "SSE4.1 and AVX2 are instructions of x86-64")
    photograph = Image.fromarray(load_sample_image("flower.jpg"))
    algorithm = cykooz_resizer.ResizeAlg.convolution(
        cykooz_resizer.FilterType[FILTERS[Image.Resampling[interpolation.upper()]]]
    )
    for image, size in product((photograph, photograph.convert("L")), ((224, 224), (1000, 333), (31, 17))):
        chosen = fast_resize(image, size, Image.Resampling[interpolation.upper()], (0, 0, *image.size)).tobytes()
        for instructions in ("none", "sse4_1", "avx2"):
            resizer = cykooz_resizer.Resizer()
            resizer.cpu_extensions = cykooz_resizer.CpuExtensions[instructions]
            resized = Image.new(image.mode, size)
            resizer.resize_pil(image, resized, cykooz_resizer.ResizeOptions(resize_alg=algorithm))
            assert resized.tobytes() == chosen, instructions


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fast_resize_module._package.cache_clear()
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    with pytest.raises(ReproError, match=r"needs the package cykooz-resizer .*; pip install -e '\.\[fast\]'"):
        Transform(image_size=8, decode="fast")
    Transform(image_size=8)


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


def test_batches_are_the_same_for_any_number_of_processes_and_every_source(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number in range(12):
        photo(folder / "ab"[number % 2] / f"{number:02d}.jpg", (400 + 50 * number, 300), number)
    exact, fast = (Transform(image_size=32, resize="crop", flip=0.5, decode=how) for how in ("exact", "fast"))

    def batches(transform: Transform, workers: int, source: Path = folder) -> list[bytes]:
        with Loader(open_dataset(source), batch_size=4, workers=workers) as loader:
            parts = loader.train(0, transform), loader.val(transform)
            return [images.tobytes() for part in parts for images, _ in part]

    alone = batches(fast, 0)
    assert len(set(alone) | set(batches(exact, 0))) == 2 * len(alone)
    assert batches(fast, 1) == alone
    assert batches(fast, 2) == alone
    files = sorted(folder.glob("?/*.jpg"))
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(folder, "photos")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "photos-000000.tar", "w") as shard:
        for number, file in enumerate(files):
            add_file(shard, f"{number:02d}.jpg", file.read_bytes())
            add_file(shard, f"{number:02d}.cls", file.parent.name.encode())
    rows = {"image": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "photos.parquet")
    for source in ("photos.tar", "shards", "photos.parquet"):
        assert batches(fast, 0, tmp_path / source) == alone, source


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
