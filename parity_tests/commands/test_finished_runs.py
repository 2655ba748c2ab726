"""`python -m repro.report` and `python -m repro.compare` on runs of the small trainer that stands for a backend."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from parity_tests.commands.test_run import photos
from parity_tests.support.made_up import MODEL, QUICK, Backend
from repro import compare, report
from repro.data import Part, open_dataset
from repro.errors import ReproError
from repro.interface import discovery
from repro.plots.pictures import captioned, confusion, sheet
from repro.run import main as train
from repro.weights import safetensors_file


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs on digits: long of three epochs, short of one with the same recipe otherwise, again like short, and other
    with another seed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(discovery, "load_backend", lambda name: Backend)
        flags = [*QUICK, "--schedule", "constant"]
        train([*flags, "--epochs", "3", "--out", "runs/long"])
        train([*flags, "--epochs", "1", "--out", "runs/short"])
        train([*flags, "--epochs", "1", "--out", "runs/again"])
        train([*flags, "--epochs", "1", "--seed", "1", "--out", "runs/other"])
    return folder


@pytest.fixture(autouse=True)
def copied(made_up_backend, made):
    shutil.copytree(made, ".", dirs_exist_ok=True)


def fails(main, argv, message):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(ReproError, match=message) as error:
        main(argv)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_report_counts_every_class(capsys):
    Path("runs/short/report").mkdir()
    Path("runs/short/report/old").touch()  # an earlier report goes
    capsys.readouterr()
    assert report.main(["runs/short"]) == 0
    folder = Path("runs/short/report")
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.json", "classes.txt", "confusion.png", "mistakes.png", "probabilities.csv",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert (folder / "classes.txt").read_text() in out
    rows = list(csv.DictReader((folder / "probabilities.csv").read_text().splitlines()))
    dataset = open_dataset("digits")
    assert [row["file"] for row in rows] == list(dataset.val.names)
    assert [row["true"] for row in rows] == [str(label) for label in dataset.val.labels]
    right = [row["true"] == row["class"] for row in rows]
    top1 = json.loads(Path("runs/short/metrics.jsonl").read_text())["val_top1"]
    assert 0.1 < top1 < 1 and np.mean(right) == top1  # the same images and weights as in the run
    assert f"top-1 {top1:.2%} of 364 images on torch; the run itself, on torch, had {top1:.2%} in epoch 1" in out
    numbers = json.loads((folder / "classes.json").read_text())
    assert numbers["accuracy"] == top1 and list(numbers)[:10] == list("0123456789")
    for digit in "07":
        named = [row for row in rows if row["class"] == digit]
        there = [row for row in rows if row["true"] == digit]
        found = sum(row["true"] == digit for row in named)
        assert numbers[digit]["precision"] == pytest.approx(found / len(named))
        assert numbers[digit]["recall"] == pytest.approx(found / len(there)) and numbers[digit]["support"] == len(there)


def test_a_report_of_a_run_without_mistakes_has_no_sheet_of_them():
    photos("photos")
    train([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    arrays, metadata = safetensors_file.load("a/best.safetensors")
    arrays["classifier.weight"] = np.zeros((3, 1280), np.float32)
    arrays["classifier.weight"][[1, 2], [0, 0]] = 1, 2  # by the first pixel's red, which is 0, 60 or 120 of 255
    arrays["classifier.bias"] = np.array([0, 0.8, 1.2], np.float32)
    safetensors_file.save("a/best.safetensors", arrays, metadata)
    assert report.main(["a"]) == 0
    assert json.loads(Path("a/report/classes.json").read_text())["accuracy"] == 1
    assert Path("a/report/confusion.png").is_file() and not Path("a/report/mistakes.png").exists()


def test_the_sheet_shows_the_most_confident_mistakes_first(monkeypatch):
    told = []

    def captioned(image, lines, side):
        told.append((image, lines))
        return image

    monkeypatch.setattr("repro.plots.pictures.captioned", captioned)
    images = {name: Image.new("RGB", (4, 4), color) for name, color in (("a", 1), ("b", 2), ("c", 3))}
    part = Part(("a", "b", "c"), np.array([0, 0, 1]), images.get)  # type: ignore[arg-type]
    found = np.array([[0.4, 0.6, 0.0], [0.9, 0.1, 0.0], [0.03, 0.07, 0.9]])
    assert report.mistakes(part, found, ["cat", "dog", "eel"]) is not None
    assert told == [
        (images["c"], ["predicted 90.0% eel", "true 7.0% dog"]),
        (images["a"], ["predicted 60.0% dog", "true 40.0% cat"]),
    ]
    assert report.mistakes(part, np.eye(3)[[0, 0, 1]], ["cat", "dog", "eel"]) is None
    told.clear()
    many = Part(("a",) * 30, np.zeros(30, np.int64), images.get)  # type: ignore[arg-type]
    paper = report.mistakes(many, np.tile([0.2, 0.8], (30, 1)), ["cat", "dog"])
    assert paper is not None and paper.size == (80, 56)  # 24 in 6 columns


def test_reports_of_other_data_and_other_folders_are_refused():
    photos("photos")
    train([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    Path("photos").rename("moved")
    fails(report.main, ["a"], "no such folder: photos")
    shutil.copytree("moved", "fewer")
    Path("fewer/b/1.png").unlink()
    fails(report.main, ["a", "--data", "fewer"], "fewer does not hold the images that a was trained on")
    fails(report.main, ["moved"], "moved is not a run folder")
    assert report.main(["a", "--data", "moved"]) == 0
    shutil.copy("runs/short/best.safetensors", "a/best.safetensors")
    fails(report.main, ["a", "--data", "moved"], "a/best.safetensors is of 10 classes")
    Path("a/best.safetensors").unlink()
    fails(report.main, ["a", "--data", "moved"], "no such file: a/best.safetensors")
    Path("a/last/checkpoint.safetensors").write_bytes(b"no")
    fails(report.main, ["a", "--data", "moved"], "not a whole safetensors file")


def test_an_image_that_cannot_be_read_leaves_the_report_as_it_was():
    photos("photos")
    train([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    report.main(["a"])
    Path("photos/a/0.png").write_bytes(b"no image")  # the first of a class validates
    fails(report.main, ["a"], "cannot read photos/a/0.png")


def test_a_report_that_cannot_be_written_leaves_the_one_before(monkeypatch):
    report.main(["runs/short"])
    with monkeypatch.context() as full:
        full.setattr("repro.plots.pictures.confusion", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        fails(report.main, ["runs/short"], "cannot write runs/short/report: No space left")
    assert Path("runs/short/report/confusion.png").is_file()
    Path("runs/short/report/old").touch()
    rename = Path.rename

    def until_full(self, target):
        if self.name == f".report.{os.getpid()}":
            raise OSError(28, "No space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", until_full)
    fails(report.main, ["runs/short"], "cannot write runs/short/report: No space left")
    assert Path("runs/short/report/old").is_file() and not list(Path("runs/short").glob(".report*"))


@pytest.mark.parametrize("count", [2, 10, 100, 150])
def test_a_confusion_matrix_of_any_size_is_a_picture(count):
    names = [f"a class with a $long$ name and number {index}" for index in range(count)]
    confusion(np.eye(count, dtype=int) * 30, names, "title with $ and _", Path("c.png"))
    pixels = np.asarray(Image.open("c.png").convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 300 and max(pixels.shape[:2]) < 3000
    blue = ((pixels[..., 2] - pixels[..., 0]) > 60) & (pixels[..., 0] < 30)  # the diagonal, and the top of the scale
    assert blue.sum() > pixels.shape[0] * pixels.shape[1] * 0.2 / count


def test_captions_are_cut_to_fit_and_thin_images_stay_visible():
    short, long = (captioned(Image.new("RGB", (50, 50)), [text], 160) for text in ("daisy", "daisy " * 100))
    assert short.size == long.size == (160, short.height) and short.height > 170
    assert captioned(Image.new("RGB", (10_000, 1)), ["a"], 160).getpixel((80, 0)) == (0, 0, 0)
    assert sheet([short] * 7, 6).size == (6 * 168 + 8, 2 * (short.height + 8) + 8)
    assert sheet([short] * 2, 6).size == (2 * 168 + 8, short.height + 16)


def test_chinese_class_names_are_drawn_where_a_font_has_them(monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr("repro.plots.pictures.CHINESE", ("Drawn Here",))
    boxes = captioned(Image.new("RGB", (50, 50)), ["花"], 160)
    square = TTGlyphPen(None)
    square.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        square.lineTo(corner)
    square.closePath()
    font = FontBuilder(1000)  # one sign, all black
    font.setupGlyphOrder([".notdef", "flower"])
    font.setupCharacterMap({ord("花"): "flower"})
    font.setupGlyf(dict.fromkeys((".notdef", "flower"), square.glyph()))
    font.setupHorizontalMetrics({".notdef": (1000, 0), "flower": (1000, 0)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": "Drawn Here", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save("drawn.ttf")
    fonts = font_manager.fontManager
    monkeypatch.setattr(fonts, "ttflist", list(fonts.ttflist))
    fonts.addfont("drawn.ttf")
    drawn = captioned(Image.new("RGB", (50, 50)), ["花"], 160)
    ink = [(np.asarray(picture.convert("L"))[162:] < 128).sum() for picture in (boxes, drawn)]
    assert ink[1] > 100 > ink[0]
    mixed = captioned(Image.new("RGB", (50, 50)), ["daisy 花"], 160)  # which this font cannot spell
    assert (np.asarray(mixed.convert("L"))[162:] < 128).sum() < 150
    confusion(np.eye(2, dtype=int), ["花", "daisy"], "title", Path("c.png"))


def compared(capsys, *argv: str) -> str:
    capsys.readouterr()
    assert compare.main(list(argv)) == 0
    return capsys.readouterr().out


def test_runs_side_by_side(capsys):
    out = compared(capsys, "runs/long", "runs/short", "runs/other", "--out", "c.png").splitlines()
    assert out[0].split() == ["model", "backend", "epochs", "best", "top-1", "images/s", "seconds"]
    best = json.loads(Path("runs/long/summary.json").read_text())
    assert out[1].split()[:5] == ["long", MODEL, "torch", "3/3", f"{best['best_val_top1']:.2%}"]
    assert out[1].split()[5] == f"{best['images_per_second']:,.1f}"
    assert [line.split() for line in out[5:8]] == [
        ["recipe", "long", "short", "other"], ["epochs", "3", "1", "1"], ["seed", "0", "0", "1"],
    ]  # fmt: skip
    assert out[9] == "short and long: up to epoch 1, all numbers are equal to the bit"
    assert out[10].startswith("other and long: they part in epoch 1: training loss ")
    assert Image.open("c.png").size == (1000, 440)


def changed(run: str, epoch: int, **factors: float) -> None:
    """Multiplies numbers of an epoch of a run."""
    path = f"{run}/last/checkpoint.safetensors"
    arrays, metadata = safetensors_file.load(path)
    progress = json.loads(metadata["progress"])
    for name, factor in factors.items():
        progress["history"][epoch - 1][name] *= factor
    safetensors_file.save(
        path, {name: np.array(array) for name, array in arrays.items()}, metadata | {"progress": json.dumps(progress)}
    )


def test_where_runs_part(capsys):
    shutil.copytree("runs/long", "b")
    out = compared(capsys, "runs/long", "b")
    assert "the recipes are equal" in out and "b and runs/long: up to epoch 3, all numbers are equal to the bit" in out
    changed("b", 3, val_loss=2, seconds=7)
    assert "up to epoch 3, training losses are equal to the bit" in compared(capsys, "runs/long", "b")
    changed("b", 1, train_loss=1 + 5e-5)
    assert "training losses differ by rounding, at most 5.0e-05 of them" in compared(capsys, "runs/long", "b")
    changed("b", 2, train_loss=1.25)
    assert "they part in epoch 2: training loss " in compared(capsys, "runs/long", "b")
    assert compared(capsys, "runs/long", "b").rstrip().endswith(", 20.00%")


def test_runs_on_other_data_are_said_so(capsys):
    train([*QUICK, "--split", "0.2", "--epochs", "1", "--out", "b"])
    assert "; their data differ" in compared(capsys, "runs/short", "b")
    assert "; their data differ" not in compared(capsys, "runs/short", "runs/other")


def test_many_runs_have_a_colour_each(capsys):
    compared(capsys, *["runs/short"] * 12, "--out", "c.png")
    assert Image.open("c.png").size == (1000, 440)


def test_what_cannot_be_compared_is_one_line(capsys):
    Path("empty").mkdir()
    fails(compare.main, ["runs/long", "empty"], "empty is not a run folder")
    fails(compare.main, ["runs/long", "nowhere"], "nowhere is not a run folder")
    fails(compare.main, ["runs/long", "runs/short", "--out", "c.jpg"], "--out c.jpg: the picture is a .png")
    fails(compare.main, ["runs/long", "runs/short", "--out", "nowhere/c.png"], "cannot write nowhere/c.png")
    path = "runs/short/last/checkpoint.safetensors"
    arrays, metadata = safetensors_file.load("runs/other/last/checkpoint.safetensors")
    for text, message in (
        (json.dumps(json.loads(metadata["progress"]) | {"history": []}), "runs/short has no finished epoch yet"),
        ("{}", "was not written by a training run"),
        ("no JSON", "was not written by a training run"),
    ):
        safetensors_file.save(path, arrays, metadata | {"progress": text})
        fails(compare.main, ["runs/long", "runs/short"], message)
    with pytest.raises(SystemExit):
        compare.main(["runs/long"])
    assert "two runs or more" in capsys.readouterr().err
