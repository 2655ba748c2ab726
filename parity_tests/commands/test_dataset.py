"""`python -m repro.dataset`: its output, and splits that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from repro.data import open_dataset
from repro.data.sheet import SIDE
from repro.data.stats import statistics
from repro.dataset import main
from repro.errors import ReproError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of noise: class dog has 10 images and class cat 5, with sides of 4 to 13 pixels."""
    rng = np.random.default_rng(0)
    for name, count in (("dog", 10), ("cat", 5)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (4 + number, 13 - number, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# stats


@pytest.mark.parametrize("size", [None, 6])
def test_statistics_are_those_of_all_pixels(pets: Path, size: int | None) -> None:
    part = open_dataset(pets).train
    images = [part.image(index) for index in range(len(part))]
    if size:
        images = [image.resize((size, size), Image.Resampling.BILINEAR) for image in images]
    pixels = np.concatenate([np.asarray(image, float).reshape(-1, 3) for image in images]) / 255
    mean, std = statistics(part, size)
    assert mean == pytest.approx(pixels.mean(axis=0), abs=1e-12)
    assert std == pytest.approx(pixels.std(axis=0), abs=1e-12)


def test_statistics_of_one_colour(pets: Path) -> None:
    for path in pets.rglob("*.png"):
        Image.new("RGB", (3, 3), (255, 51, 0)).save(path)
    assert statistics(open_dataset(pets).train) == ([1, 0.2, 0], [0, 0, 0])


def test_stats_prints_lines_for_a_recipe(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", str(pets), "--image-size", "6"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# pets: 12 training images\nmean: [0.")
    mean, std = statistics(open_dataset(pets).train, 6)
    values = yaml.safe_load(printed)
    assert values == {"mean": pytest.approx(mean, abs=5e-5), "std": pytest.approx(std, abs=5e-5)}
    with pytest.raises(ReproError, match="image_size must be a whole number from 1"):
        main(["stats", str(pets), "--image-size", "0"])
    (pets / "dog" / "3.png").write_bytes(b"")
    with pytest.raises(ReproError, match=r"cannot read .*dog/3\.png"):
        main(["stats", str(pets)])


# split


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_the_split_is_that_of_training(pets: Path, link: bool, there: bool, capsys: pytest.CaptureFixture[str]) -> None:
    (pets / "labels.csv").write_text("not copied")
    out = pets.parent / "out"
    if there:
        out.mkdir()
    assert main(["split", str(pets), str(out), "--seed", "4", *["--link"] * link]) == 0
    assert capsys.readouterr().out == f"{out}: 10 images in train, 5 in val, 2 classes\n"
    whole, data = open_dataset(pets, split=0.3, seed=4), open_dataset(out)
    assert data.split == "folders train and val"
    for side, ours, reference in (("train", data.train, whole.train), ("val", data.val, whole.val)):
        assert tuple(ours.names) == tuple(f"{side}/{name}" for name in reference.names)
        assert [ours.image(i).tobytes() for i in range(len(ours))] == [
            reference.image(i).tobytes() for i in range(len(ours))
        ]
        assert {(out / name).is_symlink() for name in ours.names} == {link}
    assert names(out) == sorted(
        {
            str(parent)
            for name in (*data.train.names, *data.val.names)
            for parent in [Path(name), *Path(name).parents][:-1]
        }
    )
    assert len(names(pets)) == 18  # the source is unchanged
    assert [path.name for path in sorted(pets.parent.iterdir())] == ["out", "pets"]
    assert oct(out.stat().st_mode) == oct(pets.stat().st_mode)


def test_split_of_another_fraction_and_seed(pets: Path) -> None:
    for name, flags in (("a", []), ("b", ["--seed", "1"]), ("c", ["--fraction", "0.5"])):
        main(["split", str(pets), str(pets.parent / name), *flags])
    a, b, c = (open_dataset(pets.parent / name).val.names for name in "abc")
    assert (len(a), len(b), len(c)) == (5, 5, 7)
    assert a != b


def test_split_that_cannot_be_written(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(b"")
    shutil.copytree(pets, tmp_path / "both" / "train")
    shutil.copytree(pets, tmp_path / "both" / "val")
    before = names(tmp_path)
    for source, out, message in (
        ("pets", "full", "full already exists; give a new or an empty folder"),
        ("pets", "file", "file already exists"),
        ("pets", "gone/out", "cannot write .*gone/out: No such file or directory"),
        ("pets", "pets/split", "is inside .*pets, and would become a class of it"),
        ("pets", "pets", "is inside"),
        ("nothing", "out", "no such folder"),
        ("mnist", "out", "is not a folder of CLASS/IMAGE"),
        ("file", "out", "is not a folder of CLASS/IMAGE"),
        ("both", "out", "is already split into folders train and val"),
    ):
        with pytest.raises(ReproError, match=message) as caught:
            main(["split", str(tmp_path / source), str(tmp_path / out)])
        assert "\n" not in str(caught.value)
    with pytest.raises(ReproError, match="--fraction must be between 0 and 1"):
        main(["split", str(pets), str(tmp_path / "out"), "--fraction", "1"])
    (pets / "dog" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(ReproError, match=r"cannot read .*dog/gone\.png; remove it"):
        main(["split", str(pets), str(tmp_path / "out")])
    (pets / "dog" / "gone.png").unlink()
    assert names(tmp_path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("there", [False, True])
def test_split_that_ends_early_leaves_nothing(
    pets: Path, error: BaseException, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def fail(source: Path, target: Path) -> None:
        if source.name == "3.png":
            raise error
        copy(source, target)

    monkeypatch.setattr("shutil.copyfile", fail)
    out = pets.parent / "out"
    if there:
        out.mkdir()
    before = names(pets.parent)
    with pytest.raises((KeyboardInterrupt, ReproError)) as caught:
        main(["split", str(pets), str(out)])
    assert isinstance(caught.value, KeyboardInterrupt) or "out: No space left on device" in str(caught.value)
    assert names(pets.parent) == before


# grid


def test_grid_is_a_picture(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheets = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = pets.parent / f"{name}.png"
        assert main(["grid", str(pets), str(out), "--rows", "2", "--columns", "3", "--seed", seed]) == 0
        with Image.open(out) as sheet:
            assert sheet.size == (3 * (SIDE + 8) + 8, 2 * (SIDE + 22 + 8) + 8)  # tall images are as high as wide ones
            sheets.append(np.asarray(sheet.convert("RGB")))
    assert np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[0], sheets[2])
    assert capsys.readouterr().out.splitlines() == [str(pets.parent / f"{name}.png") for name in "abc"]
    main(["grid", str(pets), str(pets.parent / "more.png"), "--rows", "5", "--columns", "4"])  # than there are images


def test_grid_that_cannot_be_drawn(pets: Path) -> None:
    before = names(pets.parent)
    for out, flags, message in (
        ("sheet.jpg", [], "does not end in .png"), ("sheet.png", ["--rows", "0"], "must be from 1 to 50, not 0 x 8"),
        ("gone/sheet.png", [], "cannot write"), ("sheet.png", ["--seed", "-1"], "must be at least 0"),
    ):  # fmt: skip
        with pytest.raises(ReproError, match=message):
            main(["grid", str(pets), str(pets.parent / out), *flags])
    assert names(pets.parent) == before


# check


def test_check_lists_every_unreadable_image(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(pets)]) == 0
    assert capsys.readouterr().out == "pets: 15 images in 2 classes, 0 cannot be read\n"
    for number in range(8):
        (pets / "dog" / f"{number}.png").write_bytes(b"")
    assert main(["check", str(pets)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines[:-1]) == [f"{pets}/dog/{number}.png (not an image of a known format)" for number in range(8)]
    assert lines[-1] == "pets: 15 images in 2 classes, 8 cannot be read"
    (pets / "dog" / "notes.txt").touch()
    main(["check", str(pets)])
    ignored = "ignored: files without an image's extension (1, such as dog/notes.txt)"
    assert capsys.readouterr().out.splitlines()[-2] == ignored


# The command itself


def test_a_mistake_is_one_line(pets: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "repro.dataset", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
        return done.returncode, done.stderr

    code, message = run("check", str(pets / "nothing"))
    assert (code, message.count("\n")) == (1, 1)
    assert message.startswith("error: no such folder: ")
    code, message = run()
    assert code == 2
    assert "COMMAND" in message
