"""Listings of folders are kept in the user's cache, and a folder that changes is listed again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repro.data import Dataset, listing, open_dataset
from repro.data.listing import SECOND, cached_lister
from repro.errors import ReproError
from repro.files import user_cache

Scanned = Callable[[], list[str]]


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three classes with ten images each. The times of folders count at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("repro.data.listing.user_cache", user_cache)
    monkeypatch.setattr("repro.data.listing.RECENT", 0)
    for name in ("cat", "cow", "dög"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "pets" / name / f"{number:02d}.png").touch()
    return tmp_path / "pets"


@pytest.fixture
def scanned(pets: Path, monkeypatch: pytest.MonkeyPatch) -> Scanned:
    """A function that opens the data set, and returns which of its folders were listed anew."""
    folders: list[str] = []
    list_folder = listing._list_folder

    def record(folder: Path) -> listing.Listing:
        folders.append(folder.relative_to(pets).as_posix())
        return list_folder(folder)

    def opened() -> list[str]:
        folders.clear()
        with monkeypatch.context() as patch:
            patch.setattr("repro.data.listing._list_folder", record)
            open_dataset(pets)
        return sorted(set(folders))

    return opened


def contents(dataset: Dataset) -> tuple[object, ...]:
    return dataset.classes, dataset.digest, dataset.ignored


def kept() -> Path:
    """Return the file that keeps the listings of the only data set."""
    (path,) = (path for path in user_cache("listings").iterdir() if not path.suffix)
    return path


def test_a_folder_is_listed_once(pets: Path, scanned: Scanned) -> None:
    (pets / "cat" / "bad\udcff\n.png").touch()  # neither UTF-8 nor one line
    (pets / "cow" / "notes.txt").touch()
    (pets / "cow" / "more").mkdir()
    first = contents(open_dataset(pets))
    assert scanned() == []
    assert contents(open_dataset(pets)) == first
    written = kept().stat()
    assert open_dataset(pets) and kept().stat() == written  # nothing new to write


@pytest.mark.parametrize("change", ["new", "removed", "renamed", "folder", "times set back"])
def test_a_folder_that_changes_is_listed_again(pets: Path, scanned: Scanned, change: str) -> None:
    before = open_dataset(pets)
    status = (pets / "cow").stat()
    file = pets / "cow" / "03.png"
    if change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("33.png"))
    elif change == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.with_name("99.png").touch()
    if change == "times set back":  # as rsync and tar do
        os.utime(pets / "cow", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scanned() == ["cow"]
    assert scanned() == []
    after = contents(open_dataset(pets))
    shutil.rmtree(user_cache("listings"))
    assert after == contents(open_dataset(pets)) != contents(before)


def test_a_class_that_comes_or_goes_is_seen(pets: Path, scanned: Scanned) -> None:
    open_dataset(pets)
    shutil.copytree(pets / "cow", pets / "hen")
    assert scanned() == [".", "hen"]
    shutil.rmtree(pets / "hen")
    assert scanned() == ["."]
    assert open_dataset(pets).classes == ("cat", "cow", "dög")
    assert b"hen" not in kept().read_bytes()


def test_a_link_whose_target_becomes_a_folder_is_seen(pets: Path, scanned: Scanned) -> None:
    """A disk is mounted after the first start."""
    (pets / "hen").symlink_to(pets.with_name("disk"))
    (pets / "cow" / "link.png").symlink_to(pets / "cow" / "00.png")
    assert open_dataset(pets).classes == ("cat", "cow", "dög")
    assert scanned() == ["."]
    shutil.copytree(pets / "cow", pets.with_name("disk"))
    assert scanned() == [".", "hen"]
    assert scanned() == []
    assert open_dataset(pets).classes == ("cat", "cow", "dög", "hen")


def test_another_folder_under_the_same_path_is_listed(pets: Path, scanned: Scanned) -> None:
    open_dataset(pets)
    shutil.copytree(pets, pets.with_name("others"))
    pets.rename(pets.with_name("before"))
    pets.with_name("others").rename(pets)
    assert scanned() == [".", "cat", "cow", "dög"]


@pytest.mark.parametrize("ctime", ["just now", "whole seconds"])
def test_times_that_need_not_change_are_not_trusted(
    pets: Path, scanned: Scanned, monkeypatch: pytest.MonkeyPatch, ctime: str
) -> None:
    if ctime == "just now":
        monkeypatch.setattr("repro.data.listing.RECENT", 3600 * SECOND)
    else:
        monkeypatch.setattr("repro.data.listing.SECOND", 1)
    open_dataset(pets)
    assert scanned() == [".", "cat", "cow", "dög"]


@pytest.mark.parametrize("content", [b"", b"\xff\n", b"{\n", b"[]\t[]\n", b'"cow/"\t\n', "cut", "other"])
def test_damaged_listings_are_made_anew(pets: Path, scanned: Scanned, content: bytes | str) -> None:
    whole = contents(open_dataset(pets))
    sound = kept().read_bytes()
    if content == "cut":
        content = sound[: len(sound) // 2]
    elif content == "other":
        content = sound.replace(b'["00.png"', b'"cow"], ["00.png"')
        assert content != sound
    assert isinstance(content, bytes)
    kept().write_bytes(content)
    assert scanned()
    assert kept().read_bytes() == sound
    assert contents(open_dataset(pets)) == whole


def test_a_cache_that_cannot_be_written_to_is_done_without(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert len(open_dataset(pets).classes) == 3


def test_a_data_set_with_an_error_keeps_no_listings(pets: Path) -> None:
    (pets / "none").mkdir()
    with pytest.raises(ReproError, match="holds no images"):
        open_dataset(pets)
    assert [path.suffix for path in user_cache("listings").iterdir()] == [".lock"]


def test_one_process_lists_and_others_read(pets: Path) -> None:
    program = (
        "from repro.data import listing, open_dataset; listing.RECENT = 0; list_folder = listing._list_folder\n"
        "listing._list_folder = lambda folder: print('listed', flush=True) or list_folder(folder)\n"
        f"print(len(open_dataset({str(pets)!r}).classes))"
    )
    with cached_lister(pets) as list_folder:
        others = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
        for folder in ("", "cat/", "cow/", "dög/"):
            list_folder(folder)
        with pytest.raises(subprocess.TimeoutExpired):
            others[0].wait(3)
    assert [(process.communicate()[0], process.returncode) for process in others] == [(b"3\n", 0)] * 2
