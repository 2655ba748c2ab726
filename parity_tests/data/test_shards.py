"""Data sets in WebDataset's shards: their labels and subsets, the index that is made once, and bad shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import repro.data.shards as shards_module
from parity_tests.data.test_tar import member, png
from repro.data import Dataset, ImageCheck, Loader, Subset, Transform, check_images, open_dataset
from repro.errors import ReproError
from repro.files import user_cache

Contents = dict[str, bytes]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def write(path: Path, contents: Contents) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))


def samples(numbers: range, classes: int = 2) -> Contents:
    """Images whose red is their number, with the label number % classes in a .cls."""
    return {
        name: content
        for number in numbers
        for name, content in (
            (f"{number:04d}.png", png(number)),
            (f"{number:04d}.cls", f"{number % classes}\n".encode()),
        )
    }


def pairs(subset: Subset) -> list[tuple[int, int]]:
    """Return (red, label) of every image."""
    images = [np.asarray(subset.image(index)) for index in range(len(subset))]
    return [(int(image[0, 0, 0]), label) for image, label in zip(images, subset.labels.tolist(), strict=True)]


def every_image(data: Dataset) -> list[tuple[int, int]]:
    return sorted(pairs(data.train) + pairs(data.val))


def test_a_pattern_and_a_folder_of_shards(tmp_path: Path) -> None:
    for shard in range(3):
        write(tmp_path / f"pets-{shard:06d}.tar", samples(range(10 * shard, 10 * shard + 10)))
    (tmp_path / "README.md").touch()
    by_pattern, by_folder = open_dataset(tmp_path / "pets-{000000..000002}.tar"), open_dataset(tmp_path)
    assert by_pattern.digest == by_folder.digest
    for data in (by_pattern, by_folder):
        assert data.classes == ("0", "1")
        assert every_image(data) == [(number, number % 2) for number in range(30)]
        assert len(data.val) == 6
        assert data.ignored == ()
    assert every_image(open_dataset(tmp_path / "pets-{000001..000002}.tar")) == [(n, n % 2) for n in range(10, 30)]


@pytest.mark.parametrize("names", [("pets-train", "pets-val"), ("train", "validation"), ("in1k_train", "in1k_test")])
def test_shards_for_training_and_validation(tmp_path: Path, names: tuple[str, str]) -> None:
    for shard in range(2):
        write(tmp_path / f"{names[0]}-{shard:04d}.tar", samples(range(4 * shard, 4 * shard + 4)))
        write(tmp_path / f"{names[1]}-{shard}.tar", samples(range(100 + 2 * shard, 102 + 2 * shard)))
    data = open_dataset(tmp_path)
    assert pairs(data.train) == [(number, number % 2) for number in range(8)]
    assert pairs(data.val) == [(number, number % 2) for number in range(100, 104)]
    assert data.split == f"shards {names[0]} and {names[1]}"


def test_labels_are_numbers_names_or_in_json(tmp_path: Path) -> None:
    """Numbers are sorted as such; a .cls has priority; folders in a shard belong to the key."""
    contents: Contents = {}
    for number in range(33):
        label = {"label": number % 11, "width": 5} if number % 2 else number % 11
        contents[f"part/{number}.png"] = png(number)
        contents[f"part/{number}.json"] = json.dumps(label).encode()
    contents["part/3.cls"] = b"10"
    contents["part/3.txt"] = b"a caption"
    write(tmp_path / "data-0.tar", contents)
    data = open_dataset(tmp_path)
    assert data.classes == tuple(map(str, range(11)))
    assert every_image(data) == [(number, 10 if number == 3 else number % 11) for number in range(33)]
    assert data.ignored == ("files that belong to no image (1, such as data-0.tar/part/3.txt)",)
    named = {name: (b"dog" if content == b"1\n" else b"cat" if name.endswith("cls") else content)
             for name, content in samples(range(10)).items()}  # fmt: skip
    write(tmp_path / "data-0.tar", named)
    assert open_dataset(tmp_path).classes == ("cat", "dog")


def test_an_index_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed shard is read again, and an index that is damaged or cannot be written is ignored."""
    read: list[str] = []
    read_index = shards_module._read_index

    def counted(shard: Path) -> tuple[list[shards_module.Entry], list[str]]:
        read.append(shard.name)
        return read_index(shard)

    monkeypatch.setattr(shards_module, "_read_index", counted)
    for shard in range(2):
        write(tmp_path / f"pets-{shard}.tar", samples(range(10 * shard, 10 * shard + 10)))
    first = open_dataset(tmp_path)
    assert (open_dataset(tmp_path).digest, read) == (first.digest, ["pets-0.tar", "pets-1.tar"])
    check_images(ImageCheck(first))
    assert ImageCheck(open_dataset(tmp_path)).images == 0
    write(tmp_path / "pets-1.tar", samples(range(50, 62)))
    assert every_image(open_dataset(tmp_path)) == [(n, n % 2) for n in (*range(10), *range(50, 62))]
    assert read[2:] == ["pets-1.tar"]
    assert ImageCheck(open_dataset(tmp_path)).images == 12
    for damage in (b"", b"[1, 2]", b'[[1, 2], [["a"]], []]', b"\xff"):
        for index in user_cache("shards").iterdir():
            index.write_bytes(damage)
        assert len(every_image(open_dataset(tmp_path))) == 22
    assert len(read) == 3 + 2 * 4
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert len(every_image(open_dataset(tmp_path))) == 22


def test_ranks_and_processes_read_the_same_batches(tmp_path: Path) -> None:
    for shard in range(3):
        write(tmp_path / f"pets-{shard}.tar", samples(range(10 * shard, 10 * shard + 10)))
    data, transform = open_dataset(tmp_path), Transform(image_size=8)

    def batches(workers: int, rank: int = 0, world_size: int = 1) -> list[np.ndarray]:
        with Loader(data, batch_size=8, workers=workers, rank=rank, world_size=world_size) as loader:
            return [images for images, _ in loader.train(0, transform)]

    whole = batches(0)
    assert len(whole) == 3
    for other in (
        batches(1),
        [np.concatenate(parts) for parts in zip(batches(0, 0, 2), batches(0, 1, 2), strict=True)],
    ):
        assert all(map(np.array_equal, whole, other))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"0001.png": b"x"}, "0001 has no .cls, and no .json with a label"),
        ({"0001.png": b"x", "0001.json": b'{"width": 4}'}, "0001 has no .cls, and no .json with a label"),
        ({"0001.png": b"x", "0001.json": b"{"}, "Expecting property name"),
        ({"0001.png": b"x", "0001.json": b"[" * 100_000}, "0001|recursion"),
        ({"0001.png": b"x", "0001.cls": b"\xff"}, "utf-8"),
        ({"0001.png": b"x", "0001.cls": b"a\x00b"}, "it holds the label"),
        ({"0001.png": b"x", "0001.cls": b"9" * 300}, "it holds the label"),
        ({"0001.png": b"x", "0001.jpg": b"x", "0001.cls": b"1"}, "two images with the key 0001"),
        ({"../0001.png": b"x", "../0001.cls": b"1"}, "not a path in a folder"),
        ({"0001.cls": b"1"}, "it holds no images"),
        ({"0001.png": b"x", "0001.cls": b"1"}, "only one class"),
    ],
)
def test_bad_shards_are_refused(tmp_path: Path, contents: Contents, message: str) -> None:
    write(tmp_path / "pets-0.tar", contents)
    with pytest.raises(ReproError, match=message) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_links_damage_and_bad_names_are_refused(tmp_path: Path) -> None:
    shard = tmp_path / "pets-0.tar"
    link = member("0001.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with tarfile.open(shard, "w") as archive:
        archive.addfile(link)
        archive.addfile(member("0001.cls", size=1), io.BytesIO(b"1"))
    with pytest.raises(ReproError, match=r"0001.png is not a regular file"):
        open_dataset(tmp_path)
    write(shard, samples(range(10)))
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(ReproError, match=r"pets-0.tar as a shard of WebDataset.*unexpected end of data"):
        open_dataset(tmp_path)
    for pattern in ("pets-{3..1}.tar", "pets-{0..100000}.tar"):
        with pytest.raises(ReproError, match=r"does not name from 1 to 100,000 shards; give NAME-\{FIRST..LAST\}.tar"):
            open_dataset(tmp_path / pattern)
    with pytest.raises(ReproError, match=r"pets-1.tar is missing; give a shard of WebDataset"):
        write(shard, samples(range(10)))
        open_dataset(tmp_path / "pets-{0..1}.tar")
    write(tmp_path / "cars-0.tar", samples(range(10)))
    with pytest.raises(ReproError, match="holds shards of 'cars', 'pets'; keep those of one name, or of two"):
        open_dataset(tmp_path)
