"""Data sets: their images and splits, and the messages about unusable images."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.data import Dataset, ImageCheck, Loader, Transform, check_images, open_dataset
from repro.data.decode import decode
from repro.errors import ReproError

ROOT = Path(__file__).parents[2]


def write(path: Path, colour: int = 0, size: tuple[int, int] = (5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 10, 20)).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Class dog has 11 images and class cat 7; the red of an image is its number."""
    for name, count in (("dog", 11), ("cat", 7)):
        for number in range(count):
            write(tmp_path / "pets" / name / f"{number:02d}.png", number)
    return tmp_path / "pets"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


def grey(*rows: list[int]) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8)).convert("RGB")


# Images and splits


def test_every_fifth_of_each_class_in_the_order_of_names(pets: Path) -> None:
    data = open_dataset(pets)
    assert data.name == "pets"
    assert data.classes == ("cat", "dog")
    assert tuple(data.val.names) == ("cat/00.png", "cat/05.png", "dog/00.png", "dog/05.png", "dog/10.png")
    assert data.val.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.val.labels.dtype == np.int64
    assert data.train.names[:5] == ("cat/01.png", "cat/02.png", "cat/03.png", "cat/04.png", "cat/06.png")
    assert len(data.train) == 13
    assert data.train.image(4).getpixel((0, 0)) == (6, 10, 20)


@pytest.mark.parametrize(("split", "cats", "dogs"), [(0.3, 2, 3), ("0.5", 4, 6), (0.01, 1, 1), (0.99, 6, 10)])
def test_fraction_is_taken_from_each_class(pets: Path, split: str | float, cats: int, dogs: int) -> None:
    data = open_dataset(pets, split=split, seed=1)
    assert np.bincount(data.val.labels).tolist() == [cats, dogs]
    assert sorted((*data.train.names, *data.val.names)) == sorted(
        (*open_dataset(pets).train.names, *open_dataset(pets).val.names)
    )
    assert data.digest == open_dataset(pets, split=split, seed=1).digest
    if split == 0.3:
        assert tuple(data.val.names) != tuple(open_dataset(pets, split=split, seed=2).val.names)


@pytest.mark.parametrize("split", ["every-sixth", 0, 1, -0.5, "nan", 20])
def test_other_splits_are_refused(pets: Path, split: str | float) -> None:
    with pytest.raises(ReproError, match=r"split must be every-fifth or a fraction between 0 and 1"):
        open_dataset(pets, split=split)


def test_folders_train_and_val_are_taken_as_they_are(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    shutil.copytree(pets, tmp_path / "both" / "train")
    for name in ("cat", "dog"):
        write(tmp_path / "both" / "val" / name / "00.jpg")
    data = open_dataset(tmp_path / "both")
    assert (len(data.train), len(data.val)) == (18, 2)
    assert tuple(data.val.names) == ("val/cat/00.jpg", "val/dog/00.jpg")
    assert data.train.image(3).getpixel((0, 0)) == (3, 10, 20)
    with pytest.raises(ReproError, match=r"leave the split 0\.2 out"):
        open_dataset(tmp_path / "both", split=0.2)
    write(tmp_path / "both" / "train" / "emu" / "1.png")
    write(tmp_path / "both" / "val" / "fox" / "1.png")
    with pytest.raises(ReproError, match=r"different classes \(only in train: emu; only in val: fox\)"):
        open_dataset(tmp_path / "both")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_comes_before_test(name: str, pets: Path, tmp_path: Path) -> None:
    for folder in ("train", name, "test"):
        shutil.copytree(pets, tmp_path / "split" / folder)
    (tmp_path / "split" / name / "cat" / "00.png").unlink()
    data = open_dataset(tmp_path / "split")
    assert (len(data.train), len(data.val)) == (18, 17)
    assert data.split == f"folders train and {name}"
    assert data.ignored == ("folder test",)


def test_digest_is_that_of_the_whole_json(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints hold it, so that it must stay the same."""
    data = open_dataset(pets)
    subsets = [[tuple(subset.names), subset.labels.tolist()] for subset in (data.train, data.val)]
    expected = hashlib.sha256(json.dumps([data.classes, subsets]).encode()).hexdigest()[:12]
    for piece in (1, 3, 13, 1000):
        monkeypatch.setattr("repro.data.dataset.PIECE", piece)
        assert data.digest == expected


def test_digest_depends_only_on_the_split(pets: Path, tmp_path: Path) -> None:
    digest = open_dataset(pets).digest
    shutil.copytree(pets, tmp_path / "elsewhere" / "pets")
    assert open_dataset(tmp_path / "elsewhere" / "pets").digest == digest
    assert open_dataset(pets, split=0.2).digest != digest
    data = open_dataset(pets)
    assert replace(data, train=replace(data.train, labels=1 - data.train.labels)).digest != digest
    (pets / "cat" / "03.png").rename(pets / "dog" / "99.png")
    assert open_dataset(pets).digest != digest


def test_digits(digits: Dataset) -> None:
    assert digits.classes == tuple("0123456789")
    assert (len(digits.train), len(digits.val)) == (1433, 364)
    assert np.bincount(digits.val.labels).tolist() == [36, 37, 36, 37, 37, 37, 37, 36, 35, 36]
    first = np.asarray(digits.val.image(0))
    assert first.shape == (8, 8, 3)
    # the first row of the first image in grey levels 0..16: 0 0 5 13 9 1 0 0
    assert first[0].tolist() == [[v] * 3 for v in (0, 0, 80, 207, 143, 16, 0, 0)]
    assert open_dataset("digits", split=0.2, seed=3).digest != digits.digest


def test_hidden_and_other_files_are_left_out(pets: Path) -> None:
    before = open_dataset(pets).digest
    assert open_dataset(pets).ignored == ()
    (pets / "cat" / "._01.png").write_bytes(b"what macOS leaves")
    (pets / "cat" / "notes.txt").write_text("")
    (pets / "cat" / "folder.png").mkdir()
    (pets / "labels.csv").write_text("")
    (pets / ".cache").mkdir()
    assert open_dataset(pets).digest == before
    assert open_dataset(pets).ignored == (
        "folders inside class folders (1, such as cat/folder.png)",
        "files without an image's extension (1, such as cat/notes.txt)",
    )
    write(pets / "stray.png")
    write(pets / "cat" / "kittens" / "1.png")
    assert open_dataset(pets).digest == before
    assert open_dataset(pets).ignored[:2] == (
        "images outside class folders (1, such as stray.png)",
        "folders inside class folders (2, such as cat/folder.png)",
    )
    write(pets / "cat" / "UPPER.JPG")
    (pets / "cat" / "link.png").symlink_to(pets / "cat" / "01.png")
    names = (*open_dataset(pets).train.names, *open_dataset(pets).val.names)
    assert {"cat/UPPER.JPG", "cat/link.png"} < set(names)
    assert len(names) == 20
    write(pets / "cat" / "98.png").rename(pets / "cat" / "98.jfif")
    assert len(open_dataset(pets).train) + len(open_dataset(pets).val) == 21


def test_folders_of_another_layout(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(ReproError, match="give a folder of CLASS/IMAGE") as caught:
            open_dataset(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    folder = tmp_path / "data"
    assert "no such folder" in refusal(folder)
    folder.mkdir()
    assert "has no class folders" in refusal(folder)
    image = write(folder / "1.png")
    assert "has no class folders" in refusal(folder)
    assert "is not a folder" in refusal(image)
    write(folder / "cat" / "1.png")
    assert "only one class folder, cat" in refusal(folder)
    (folder / "dog").mkdir()
    assert f"{folder / 'dog'} holds no images" in refusal(folder)
    (folder / "dog" / "brown").mkdir()
    assert ".pnm), only folders such as brown; give" in refusal(folder)
    write(folder / "dog" / "1.png")
    with pytest.raises(ReproError, match=r"class cat of .* has one image"):
        open_dataset(folder)


# Decoding


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    grey([0, 50, 255]).save(tmp_path / "turned.png", exif=exif)
    assert np.asarray(decode(tmp_path / "turned.png"))[:, :, 0].tolist() == [[0], [50], [255]]


@pytest.mark.parametrize("kind", ["bmp", "ppm", "png", "gif"])
def test_pixels_stay_when_the_file_changes(kind: str, tmp_path: Path) -> None:
    """Pillow maps some formats into memory, and a mapped file that is cut short kills the process."""
    image = decode(write(tmp_path / f"image.{kind}", 70, (300, 200)))
    (tmp_path / f"image.{kind}").write_bytes(b"")
    assert (image.mode, image.size, image.readonly) == ("RGB", (300, 200), 0)
    assert (np.asarray(image)[:, :, 0] == 70).all()


def png_of_claimed_size(path: Path, width: int, height: int) -> Path:
    """Write a file of about 100 bytes that claims to hold this number of pixels."""
    data = bytearray(write(path).read_bytes())
    data[16:24] = struct.pack(">II", width, height)  # IHDR begins at 12 with its type
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return path


def broken_file(kind: str, path: Path) -> None:
    if kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut short":
        whole = write(path, size=(300, 200)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "other format":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    elif kind == "16 bits":
        Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(path)
    elif kind == "broken link":
        path.symlink_to("gone.png")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "long":
        png_of_claimed_size(path, 9, 70_000)
    else:
        side = int(kind.rsplit(maxsplit=1)[-1])
        png_of_claimed_size(path, side, side)


REASONS = {
    "text": "not an image of a known format",
    "empty": "not an image of a known format",
    "cut short": "truncated",
    "other format": "not an image of a known format",
    "16 bits": "more than 8 bits",
    "broken link": "a broken link",
    "pipe": "no such file",
    "bomb of 9000": "9000 x 9000 pixels, more than 67,108,864",
    "long": "9 x 70000 pixels, more than .* or 65,536 on a side",
    "bomb of 10000": "10000 x 10000 pixels",  # Pillow warns about it
    "bomb of 60000": "decompression bomb",  # Pillow refuses it
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest undoes the filter that is set
@pytest.mark.parametrize("kind", REASONS)
def test_unusable_images_are_named_with_what_to_do(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    broken_file(kind, path)
    with pytest.raises(ReproError, match=REASONS[kind]) as caught:
        decode(path)
    assert str(caught.value).startswith(f"cannot read {path} (")
    assert str(caught.value).endswith("; replace or remove it")
    assert "\n" not in str(caught.value)


def test_nothing_is_printed_about_odd_images(tmp_path: Path) -> None:
    png_of_claimed_size(tmp_path / "bomb.png", 10000, 10000)
    palette = Image.new("P", (4, 4))
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x80")
    command = [sys.executable, "-W", "always", "-m", "parity_tests.programs.image_modes"]
    done = subprocess.run(
        [*command, tmp_path / "bomb.png", tmp_path / "palette.png"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["refused", "RGB"]
    assert done.stderr == ""


def test_check_images_lists_all_that_are_unreadable(pets: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_images(ImageCheck(open_dataset(pets)), lambda done, total: seen.append((done, total)))
    assert seen == [(number, 18) for number in range(1, 19)]

    (pets / "dog" / "07.png").write_bytes(b"")
    with pytest.raises(ReproError, match=r"^cannot read .*dog/07\.png \(not an image .*; replace or remove it"):
        check_images(ImageCheck(open_dataset(pets)))
    for number in range(6):
        (pets / "cat" / f"{number:02d}.png").write_bytes(b"")
    with pytest.raises(ReproError, match=r"^cannot read 7 of 18 images: .*, \.\.\.; replace or remove them") as caught:
        check_images(ImageCheck(open_dataset(pets)))
    assert str(caught.value).count(".png") == 5


# Photographs


def test_real_photographs(photographs: Path) -> None:
    data = open_dataset(photographs / "caltech16")
    assert len(data.classes) == 16
    assert (len(data.train), len(data.val)) == (1447, 370)
    check_images(ImageCheck(data))
    with Loader(data, batch_size=16) as loader:
        images, labels = next(loader.train(0, Transform(image_size=64, rotation=10)))
    assert len(set(labels.tolist())) > 4
    assert np.abs(images.mean()) < 0.7  # ImageNet's mean and std roughly fit any photographs
    assert 0.7 < images.std() < 1.5
