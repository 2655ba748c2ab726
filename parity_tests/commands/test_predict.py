"""Tests of repro.predict on a run of the made-up backend: what it prints and writes, and its errors."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.made_up import MODEL, QUICK
from parity_tests.support.runs import assert_refused
from repro.evaluation.classifier import read_classifier
from repro.evaluation.prediction import predict_images
from repro.evaluation.prediction_files import class_lines
from repro.predict import main
from repro.run import main as train
from repro.weights import safetensors_file
from repro.weights.porting import read_weights, write_weights

pytestmark = pytest.mark.usefixtures("photo_run")

BEST = "a/best.safetensors"
SETTINGS = ["--image-size", "8", "--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5", "--classes", "names.txt"]


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Return the lines that the command prints."""
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out.splitlines()


def test_a_missing_framework_is_reported_before_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paddle", None)
    argv = ["torchvision:mobilenet_v2", "photos/red/0.png", "--backend", "paddle"]
    assert_refused(main, argv, "backend paddle cannot import its framework")


def test_one_image_is_shown_with_every_class(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in printed(capsys, BEST, "photos/red/0.png")]
    assert lines[0][1] == "red" and {name for _, name in lines} == {"red", "green", "blue"}
    percentages = [float(percentage.rstrip("%")) for percentage, _ in lines]
    assert percentages == sorted(percentages, reverse=True) and sum(percentages) == pytest.approx(100, abs=0.02)


def test_the_ten_most_probable_of_many_classes_are_shown() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000))
    lines = class_lines([f"class {label}" for label in range(1000)], probabilities)
    labels = [int(line.split()[-1]) for line in lines]
    assert labels == sorted(range(1000), key=lambda label: -probabilities[label])[:10]


def test_grey_and_cropped_images_are_prepared_as_in_training(capsys: pytest.CaptureFixture[str]) -> None:
    train([*QUICK, "--data", "photos", "--channels", "1", "--resize", "crop", "--epochs", "1", "--out", "grey"])
    classifier = read_classifier(Path("grey/best.safetensors"))
    assert (classifier.transform.channels, classifier.transform.resize, classifier.transform.mean) == (
        1,
        "crop",
        (0.5,),
    )
    lines = printed(capsys, "grey/best.safetensors", "photos")
    write_weights("grey.pth", classifier.spec, classifier.weights)  # without metadata
    Path("names.txt").write_text("blue\ngreen\nred\n")
    flags = ["--image-size", "8", "--mean", "0.5", "--std", "0.5", "--classes", "names.txt"]
    assert printed(capsys, "grey.pth", "photos", "--model", MODEL, *flags, "--resize", "crop") == lines


def test_several_images_are_one_line_each_and_accuracy_is_printed_for_class_folders(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, BEST, "photos")
    assert [line.split()[:2] for line in lines[:2]] == [
        ["photos/blue/0.png", "blue"], ["photos/blue/1.png", "blue"],
    ]  # fmt: skip
    assert lines[-1] == "top-1 100.00%: 15 of 15 images"
    Path("photos/red/0.png").rename("photos/blue/9.png")
    assert printed(capsys, BEST, "photos")[-1] == "top-1 93.33%: 14 of 15 images"
    assert "top-1" not in printed(capsys, BEST, "photos/red")[-1]  # has no subfolders
    assert "top-1" not in printed(capsys, BEST, "photos", "photos/red/1.png")[-1]
    Path("photos/blue").rename("photos/azure")  # not a class
    assert "top-1" not in printed(capsys, BEST, "photos")[-1]


def test_csv_has_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, BEST, "photos", "--csv", "p.csv")
    rows = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    assert list(rows[0]) == ["file", "class", "probability", "blue", "green", "red"] and len(rows) == 15
    classifier = read_classifier(Path(BEST))
    probabilities = predict_images(classifier, "torch", [Image.open(row["file"]) for row in rows])
    assert probabilities.dtype == np.float64 and probabilities.shape == (15, 3)
    assert np.array_equal(probabilities, [[float(row[name]) for name in classifier.classes] for row in rows])
    assert all(float(row["probability"]) == max(float(row[name]) for name in classifier.classes) for row in rows)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-15)


def test_copies_are_captioned_by_the_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    Path("copies").mkdir()  # an empty folder is accepted
    printed(capsys, BEST, "photos", "--out", "copies")
    assert sorted(path.name for path in Path("copies").iterdir())[::14] == ["01_0.png", "15_4.png"]
    copy = Image.open("copies/01_0.png")
    assert copy.width == 256 and copy.height > 270  # 10 x 12 pixels, enlarged, with a line of text below
    assert np.asarray(copy)[:256].std(axis=(0, 1)).max() < 128 < np.asarray(copy)[-20:].max()
    assert np.asarray(copy)[-20:].min() < 100  # ink


@pytest.mark.parametrize("suffix", [".pth", ".pdparams", ".ckpt"])
def test_weights_without_metadata_need_a_run_or_flags(capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    spec, arrays, _ = read_weights(BEST)
    ported = f"b{suffix}"
    write_weights(ported, spec, arrays)
    Path("names.txt").write_text("blue\ngreen\n\nred\n")
    expected = printed(capsys, BEST, "photos")
    flags = ["--model", MODEL]  # the arrays fit other variants, too
    assert printed(capsys, ported, "photos", *flags, *SETTINGS) == expected
    assert printed(capsys, ported, "photos", "--run", "a") == expected
    Path("names.json").write_text('{"0": "bleu", "1": "vert", "2": "rouge"}')  # flags have priority
    assert printed(capsys, ported, "photos/red/0.png", "--run", "a", "--classes", "names.json")[0].endswith("rouge")
    assert_refused(
        main,
        [ported, "photos", *flags],
        "does not record its classes, image_size, mean, std; give --classes, --image-size",
    )
    Path("a/class_indices.json").unlink()  # as in runs of an older version
    assert_refused(main, [ported, "photos", "--run", "a"], "does not record its classes; give --classes, or")


def test_the_last_checkpoint_of_a_run_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "a/last/checkpoint.safetensors", "photos")[-1] == "top-1 100.00%: 15 of 15 images"


def test_unreadable_images_are_listed_and_the_others_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/red/1.png").write_bytes(b"no image")
    Path("photos/green/2.png").unlink()
    Path("photos/green/2.png").symlink_to("nowhere")
    capsys.readouterr()
    assert main([BEST, "photos", "--csv", "p.csv", "--out", "copies"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "top-1 100.00%: 13 of 13 images" and len(out.splitlines()) == 14
    assert len(Path("p.csv").read_text().splitlines()) == 14 and len(list(Path("copies").iterdir())) == 13
    assert "cannot read photos/green/2.png (a broken link)" in err
    assert "cannot read photos/red/1.png (not an image of a known format)" in err
    assert main([BEST, "photos/red/1.png", "--csv", "q.csv", "--out", "none"]) == 1
    assert capsys.readouterr().out == "" and not Path("q.csv").exists() and not Path("none").exists()


def test_hidden_files_and_folders_are_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/.cache").mkdir()
    Path("photos/.cache/1.png").write_bytes(b"no image")
    Path("photos/red/._1.png").write_bytes(b"no image")
    assert printed(capsys, BEST, "photos")[-1] == "top-1 100.00%: 15 of 15 images"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([BEST, "nowhere"], "no such image or folder: nowhere"),
        ([BEST, "empty"], "empty and its subfolders contain no images"),
        (["nowhere.safetensors", "photos"], "nowhere.safetensors"),
        (["photos/red/0.png", "photos"], "is not a weight file: its content and its extension are unknown"),
        ([BEST, "photos", "--csv", "nowhere/p.csv"], "--csv nowhere/p.csv: give the name of a file"),
        ([BEST, "photos", "--csv", "empty"], "--csv empty: give the name of a file"),
        ([BEST, "photos", "--out", "photos"], "--out photos: give the name of a new or empty folder"),
        ([BEST, "photos", "--out", "a/config.yaml"], "--out a/config.yaml: give the name of a new"),
        ([BEST, "photos", "--run", "photos"], "photos is not a run folder"),
        ([BEST, "photos", "--image-size", "many"], "--image-size must be a whole number"),
        ([BEST, "photos", "--std", "0", "1", "1"], "--std must be one number or three"),
        ([BEST, "photos", "--model", "asymnet_small"], "unknown model 'asymnet_small': did you mean"),
        ([BEST, "photos", "--classes", "nowhere.txt"], "cannot read the classes in nowhere.txt"),
        ([BEST, "photos", "--classes", "two.txt"], "distinguishes 3 classes, but 2 names are given"),
        ([BEST, "photos", "--classes", "twice.txt"], "class a occurs twice in twice.txt"),
        ([BEST, "photos", "--classes", "none.txt"], "the classes in none.txt are not a list of names"),
        ([BEST, "photos", "--classes", "photos/red/0.png"], "is not a list of classes"),
        ([BEST, "photos", "--classes", "gap.json"], "gap.json is not a list of classes"),
        ([BEST, "photos", "--classes", "number.json"], "number.json is not a list of classes"),
        ([BEST, "photos", "--classes", "numbers.json"], "the classes in numbers.json are not a list of names"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(argv: list[str], message: str) -> None:
    Path("empty").mkdir()
    texts = {
        "two.txt": "a\nb\n", "twice.txt": "a\nb\na\n", "none.txt": "\n", "gap.json": '{"0": "a", "2": "b", "3": "c"}',
        "number.json": "3", "numbers.json": '{"0": 1, "1": 2, "2": 3}',
    }  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    assert_refused(main, argv, message)


def test_names_that_would_confuse_a_terminal_are_shown_without_harm(capsys: pytest.CaptureFixture[str]) -> None:
    arrays, metadata = safetensors_file.load(BEST)
    safetensors_file.save("b.safetensors", arrays, metadata | {"classes": json.dumps(["a\x1b[2J", "\ud800", "c\nd"])})
    lines = printed(capsys, "b.safetensors", "photos/red/0.png", "--csv", "p.csv")
    assert {line.split(None, 1)[1] for line in lines} == {"a?[2J", "?", "c?d"}
