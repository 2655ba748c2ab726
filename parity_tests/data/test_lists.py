"""Labels in lists: a CSV of paths and labels, and ImageNet's validation folder with a list."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from repro.data import ImageCheck, check_images, open_dataset
from repro.errors import ReproError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of ten images, whose red is their number."""
    (tmp_path / "images").mkdir()
    for number in range(10):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return path


def labels(subset) -> list[tuple[int, int]]:
    """Return (red, label) of every image."""
    return [(subset.image(index).getpixel((0, 0))[0], int(subset.labels[index])) for index in range(len(subset))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_of_paths_and_labels(images: Path, encoding: str) -> None:
    rows = [f"{'dog' if number % 2 else 'Hauskatze, müde'!r}".replace("'", '"') for number in range(10)]
    lines = ["label,path,width", *(f"{rows[number]},images/{number}.png,4" for number in reversed(range(10)))]
    data = open_dataset(write(images / "labels.csv", *lines, encoding=encoding))
    assert data.classes == ("Hauskatze, müde", "dog")
    assert labels(data.val) == [(0, 0), (1, 1)]
    assert labels(data.train) == [(number, number % 2) for number in range(2, 10)]
    check = ImageCheck(data)
    assert check.images == 10
    check_images(check)
    assert ImageCheck(open_dataset(images / "labels.csv")).images == 0
    lines[0] = lines[0].replace("path", "file_name")
    assert open_dataset(write(images / "metadata.csv", *lines, encoding=encoding)).digest == data.digest


@pytest.mark.parametrize("name", ["val", "validation", "valid", "test"])
def test_a_csv_with_a_split(images: Path, name: str) -> None:
    absolute = [f"{images}/images/{number}.png,{number % 2},{name if number < 4 else 'train'}" for number in range(10)]
    data = open_dataset(write(images / "labels.csv", " Path, Label ,split", *absolute, ""))
    assert data.classes == ("0", "1")
    assert data.split == f"rows train and {name}"
    assert labels(data.val) == [(number, number % 2) for number in range(4)]
    assert len(data.train) == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "does not name the columns path and label"),
        (["a.png,0"], "does not name the columns path and label"),
        (["path,label", "a.png,0", "b.png"], "line 3 lacks a value"),
        (["path,label", "a.png,"], "line 2 lacks a value"),
        (["path,label", "a,b.png,0"], "line 2 lacks a value, or has too many"),
        (["path,label", "a.png,0", "a.png,1"], "a.png occurs twice"),
        (["path,label,split", "a.png,0,dev"], "line 2 has the split dev, which is not train or val"),
        (["path,label,split", "a.png,0,"], "line 2 lacks a value"),
        (["path,label,split", "a.png,0,train", "b.png,1,train", "a.png,0,val"], "a.png occurs twice"),
        (["path,label,split", "a.png,0,val", "b.png,1,test"], "splits val, test; give train, and one for validation"),
        (["path,label,split", "a.png,0,val", "b.png,1,val"], "give train, and one for validation"),
        (["path,label", "a.png,0", "b.png,0"], "images of only one class"),
        (["path,label,split", "a.png,0,train", "b.png,1,train", "c.png,2,val"], "have different classes"),
        (["path,label", "a.png,0", "b.png,1"], "class 0 of .* has one image"),
        (["path,label", '"' + "x" * 200_000], "field larger than field limit"),
    ],
)
def test_csv_files_of_another_form_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ReproError, match=message) as error:
        open_dataset(write(tmp_path / "labels.csv", *lines))
    assert "\n" not in str(error.value)


def test_csv_files_that_are_missing_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match=r"labels\.csv is missing"):
        open_dataset(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(ReproError, match=r"labels\.csv"):
        open_dataset(tmp_path / "labels.csv")


def test_images_that_a_csv_lists_and_do_not_exist_are_named(images: Path) -> None:
    lines = ["path,label", *(f"images/{number}.png,{number % 2}" for number in range(12))]
    data = open_dataset(write(images / "labels.csv", *lines))
    with pytest.raises(ReproError, match=r"cannot read 2 of 12 images: .*10\.png \(no such file\), .*11\.png"):
        check_images(ImageCheck(data))


# ImageNet


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A folder like ImageNet's with three classes, of which class number n has red 100 n, and 2 images each in val."""
    for number, name in enumerate(("n02", "n10", "n07")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (4, 4), (100 * number, 0, 0)).save(tmp_path / "train" / name / f"{name}_{index}.JPEG")
    (tmp_path / "val").mkdir()
    for index in range(6):
        Image.new("RGB", (4, 4), (100 * (index % 3), 0, 0)).save(tmp_path / "val" / f"ILSVRC2012_val_{index:08d}.JPEG")
    return tmp_path


NAMES = ("n02", "n10", "n07")
ORDER = (0, 2, 1)  # numbers of these classes in the order of their names


@pytest.mark.parametrize("kind", ["names", "numbers", "kaggle"])
def test_the_validation_images_of_imagenet_are_in_one_folder(imagenet: Path, kind: str) -> None:
    files = [(f"ILSVRC2012_val_{index:08d}", index % 3) for index in (3, 0, 1, 5, 4, 2)]
    if kind == "kaggle":
        rows = [f"{name},{NAMES[label]} 85 1 499 272 {NAMES[label]} 1 2 3 4 " for name, label in files]
        write(imagenet / "LOC_val_solution.csv", "ImageId,PredictionString", *rows)
    else:
        texts = NAMES if kind == "names" else [str(number) for number in ORDER]
        write(imagenet / "val.txt", *(f"val/{name}.JPEG {texts[label]}" for name, label in files), "")
    data = open_dataset(imagenet)
    assert data.classes == ("n02", "n07", "n10")
    assert [(round(red / 100), label) for red, label in labels(data.val)] == [(n, ORDER[n]) for n in (0, 1, 2, 0, 1, 2)]
    assert data.split == "folder train, and val by its list"
    check = ImageCheck(data)
    assert check.images == 12
    check_images(check)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, r"val has images, but no class folders; give the list of their labels as .*val\.txt, with lines of"),
        ([], r"lacks the labels of 6 images, such as val/ILSVRC2012_val_00000000\.JPEG; add them"),
        (["ILSVRC2012_val_00000000.JPEG"], "line 1 is not an image and a label"),
        (["ILSVRC2012_val_00000000.JPEG 3"], "the label 3, which is not a class of train"),
        (["ILSVRC2012_val_00000000.JPEG n99"], "the label n99, which is not a class of train"),
        ([f"ILSVRC2012_val_{index:08d}.JPEG n02" for index in range(6)], "has no image of the class n07"),
        ([f"ILSVRC2012_val_{index:08d}.JPEG {index % 3}" for index in range(5)], "lacks the labels of 1 images"),
    ],
)
def test_lists_that_do_not_fit_are_refused(imagenet: Path, lines: list[str] | None, message: str) -> None:
    if lines is not None:
        write(imagenet / "val.txt", *lines)
    with pytest.raises(ReproError, match=message) as error:
        open_dataset(imagenet)
    assert "\n" not in str(error.value)
