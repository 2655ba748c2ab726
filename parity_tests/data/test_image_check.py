"""Images are checked once: the next check decodes those of folders in which a file has changed."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from parity_tests.support.made_up import QUICK
from repro.data import ImageCheck, check_images, image_check, open_dataset
from repro.dataset import main as dataset_command
from repro.errors import ReproError
from repro.run import main


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of three classes with ten images each."""
    for name in ("cat", "cow", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (5, 4), (number, 10, 20)).save(tmp_path / "pets" / name / f"{number:02d}.png")
    return tmp_path / "pets"


def pending(source: Path | str, **split: str | float) -> int:
    """Return the number of images that a check would decode now."""
    return ImageCheck(open_dataset(source, **split)).images  # type: ignore[arg-type]


def check(source: Path) -> None:
    check_images(ImageCheck(open_dataset(source)))


def test_images_are_checked_once(pets: Path) -> None:
    assert pending(pets) == 30
    check(pets)
    assert pending(pets) == pending(pets, split=0.3) == 0  # another split has the same images
    assert ImageCheck(open_dataset(pets), fresh=True).images == 30
    shutil.copytree(pets, pets.parent / "copy")
    assert pending(pets.parent / "copy") == 30


@pytest.mark.parametrize("change", ["content", "time", "new", "removed", "renamed", "link"])
def test_a_change_voids_the_check_of_its_folder(pets: Path, change: str) -> None:
    check(pets)
    file = pets / "cow" / "03.png"
    if change == "content":
        status = file.stat()
        file.write_bytes(file.read_bytes() + b"x")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    elif change == "new":
        shutil.copy2(file, file.with_name("99.png"))
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("99.png"))
    else:
        file.unlink()
        file.symlink_to("missing.png")
    assert pending(pets) == {"new": 11, "removed": 9}.get(change, 10)
    if change == "link":
        with pytest.raises(ReproError, match=r"cannot read .*03\.png \(a broken link\)"):
            check(pets)
        assert pending(pets) == 10
        file.unlink()
    check(pets)
    assert pending(pets) == 0


def test_what_was_checked_before_an_error_is_kept(pets: Path) -> None:
    file = pets / "cow" / "03.png"
    content = file.read_bytes()
    file.write_bytes(content[:40])
    with pytest.raises(ReproError, match=r"cannot read .*cow/03\.png"):
        check(pets)
    assert pending(pets) == 10
    file.write_bytes(content)

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_images(ImageCheck(open_dataset(pets), fresh=True), interrupt)
    assert pending(pets) == 10


def test_ranks_share_the_check(pets: Path) -> None:
    checks = [ImageCheck(open_dataset(pets), rank=rank, world_size=2) for rank in range(2)]
    assert [part.images for part in checks] == [20, 10]
    check_images(checks[0])
    assert pending(pets) == 10
    assert [ImageCheck(open_dataset(pets), rank=rank, world_size=2).images for rank in range(2)] == [0, 10]
    check_images(checks[1])
    assert pending(pets) == 0


def test_both_subsets_and_archives_are_checked(pets: Path) -> None:
    split = pets.parent / "split"
    for name in ("train", "val"):
        shutil.copytree(pets, split / name)
    archive = pets.parent / "pets.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(pets, "pets")
    for source, images in ((split, 60), (archive, 30)):
        assert pending(source) == images
        check(source)
        assert pending(source) == 0
    os.utime(archive, ns=(0, 0))
    assert pending(archive) == 30
    (split / "val/cat/00.png").write_bytes(b"")
    assert pending(split) == 10
    assert pending("digits") == 0  # they are in memory


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"0" * 64 + b"\n"])
def test_a_foreign_record_says_nothing(pets: Path, content: bytes) -> None:
    check(pets)
    (record,) = image_check.record_folder().iterdir()
    record.write_bytes(content)
    assert pending(pets) == 30


def test_a_record_that_cannot_be_written_is_said(
    pets: Path, made_up_backend: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = pets.parent / "file"
    blocked.touch()
    monkeypatch.setattr("repro.data.image_check.record_folder", lambda: blocked / "images")
    main([*QUICK, "--batch-size", "8", "--data", str(pets), "--epochs", "1", "--out", "a"])
    assert (
        f"the images will be checked again at the next start: cannot write {blocked}/images" in capsys.readouterr().out
    )


def test_the_command_checks_all_images_and_runs_profit(pets: Path, made_up_backend: None) -> None:
    assert dataset_command(["check", str(pets)]) == 0
    assert pending(pets) == 0
    (pets / "dog" / "01.png").write_bytes(b"")
    assert dataset_command(["check", str(pets)]) == 1
    assert pending(pets) == 10


def test_the_first_epoch_may_check(pets: Path, made_up_backend: None, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*QUICK, "--batch-size", "8", "--data", str(pets), "--epochs", "1"]
    (pets / "dog" / "00.png").write_bytes(b"")  # the first image of each class validates
    with pytest.raises(ReproError, match=r"cannot read .*dog/00\.png"):
        main([*argv, "--out", "a"])
    assert not Path("a").exists()
    with pytest.raises(ReproError, match=r"cannot read .*dog/00\.png"):
        main([*argv, "--check", "first-epoch", "--out", "a"])
    assert Path("a/last/checkpoint.safetensors").exists()
