"""Data sets in idx files: their images and splits, and damaged or hostile files."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from repro.data import open_dataset
from repro.errors import ReproError


def refused(path: Path, message: str) -> None:
    with pytest.raises(ReproError, match=message) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, name: str, labels: list[int], *, packed: bool = False) -> np.ndarray:
    """Write images of 3 x 2 pixels, and a label for each."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 3, 2), np.uint8)
    for kind, array in (("images-idx3", pixels), ("labels-idx1", np.array(labels))):
        data = idx_bytes(array)
        path = folder / f"{name}-{kind}-ubyte{'.gz' * packed}"
        path.write_bytes(gzip.compress(data) if packed else data)
    return pixels


@pytest.mark.parametrize("packed", [False, True])
def test_one_set_of_idx_files_is_split(tmp_path: Path, packed: bool) -> None:
    pixels = write_idx(tmp_path / "mnist", "t10k", [7, 3] * 6, packed=packed)
    data = open_dataset(tmp_path / "mnist")
    assert (data.name, data.classes, data.split) == ("mnist", ("3", "7"), "every-fifth")
    assert tuple(data.val.names) == ("00000", "00001", "00010", "00011")
    assert data.val.labels.tolist() == [1, 0, 1, 0]
    assert data.val.labels.dtype == np.int64
    image = data.val.image(2)
    assert (image.size, image.mode) == ((2, 3), "RGB")
    assert np.asarray(image).tolist() == np.repeat(pixels[10][:, :, None], 3, 2).tolist()
    assert len(open_dataset(tmp_path / "mnist", split=0.5).val) == 6


def test_two_sets_of_idx_files_train_and_validate(tmp_path: Path) -> None:
    train, val = write_idx(tmp_path, "train", [0, 1, 2, 2], packed=True), write_idx(tmp_path, "t10k", [2, 1, 0])
    data = open_dataset(tmp_path)
    assert data.split == "files train and t10k"
    assert (data.train.labels.tolist(), data.val.labels.tolist()) == ([0, 1, 2, 2], [2, 1, 0])
    for part, pixels in ((data.train, train), (data.val, val)):
        assert [np.asarray(part.image(i))[:, :, 1].tolist() for i in range(len(part))] == pixels.tolist()
    with pytest.raises(ReproError, match=r"is already split into files train and t10k; leave the split 0\.2 out"):
        open_dataset(tmp_path, split=0.2)


def test_other_names_of_idx_files(tmp_path: Path) -> None:
    write_idx(tmp_path, "emnist-letters-train", [1, 2])
    write_idx(tmp_path, "emnist-letters-test", [2, 1, 1])
    data = open_dataset(tmp_path)
    assert (len(data.train), len(data.val), data.split) == (2, 3, "files emnist-letters-train and emnist-letters-test")
    write_idx(tmp_path, "emnist-digits-train", [1, 2])
    refused(tmp_path, "emnist-digits-train-images-idx3-ubyte, .*; leave train and t10k, or one")


def test_idx_of_other_classes(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", [0, 1, 2])
    write_idx(tmp_path, "t10k", [0, 1, 3])
    refused(tmp_path, r"different classes \(only in train: 2; only in t10k: 3\)")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    write_idx(tmp_path, "t10k", [4, 4, 4])
    refused(tmp_path, "t10k of .* has images of only one class")


GOOD = idx_bytes(np.zeros((4, 3, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "requires a buffer of 16 bytes"), (GOOD[:9], "requires a buffer"),
        (GOOD[:-1], r"shape \(4, 3, 2\) and type u1 has 24 bytes, not 23"), (GOOD + b"1", "has 24 bytes, not 25"),
        (b"\x89PNG" + GOOD[4:], "begins with 89 50 4e 47, not with 00 00 08 03"),
        (idx_bytes(np.zeros((3, 3))), "begins with 00 00 08 02"),
        (struct.pack(">4I", 0x803, 2**31, 2**31, 2**31), "claims to hold 2147483648 x"),
        (struct.pack(">4I", 0x803, 2**18, 2**6, 2**6), "has 1073741824 bytes, not 0"),
        (struct.pack(">4I", 0x803, 2, 2**14, 2**14), "claims to hold 2 x 16384 x 16384 bytes"),
        (struct.pack(">4I", 0x803, 0, 28, 28), "claims to hold 0 x 28 x 28"),
        (idx_bytes(np.zeros((5, 3, 2))), "has 5 images and 4 labels"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    write_idx(tmp_path, "train", [0, 1, 0, 1])
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' * packed}"
    (tmp_path / "train-images-idx3-ubyte").unlink()
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        refused(tmp_path, message)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_damaged_gzip(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", [0, 1, 0, 1], packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    flipped = good[:20] + bytes([good[20] ^ 0xFF]) + good[21:]
    for content in (good[:25], good[:-3], b"<html>", b"", flipped):
        path.write_bytes(content)
        refused(tmp_path, "cannot read .*train-images-idx3-ubyte.gz as an idx3 file of bytes: ")
    path.write_bytes(gzip.compress(GOOD + bytes(2**28)))  # 256 MiB of zeros from 256 KiB
    tracemalloc.start()
    try:
        refused(tmp_path, "has 24 bytes, not 25")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_idx_without_labels(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", [0, 1])
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    refused(tmp_path, "train-labels-idx1-ubyte is missing; give an idx1 file of bytes")
