"""The images that are to be classified, and the files and lines that show the predictions."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL.Image import Image

from repro.data.decode import EXTENSIONS, decode
from repro.errors import ReproError
from repro.evaluation.classifier import Classifier
from repro.evaluation.prediction import predict_images
from repro.files import filling, replacing
from repro.plots.sheets import captioned
from repro.training import console
from repro.untrusted import printable

SHOWN_CLASSES = 10  # the most that are printed for an image


class ImageFile(NamedTuple):
    """An image file, and the name of the class folder that contains it, if any."""

    path: Path
    label: str | None


def find_images(paths: Iterable[Path]) -> list[ImageFile]:
    """Return the image files among `paths`, and the images in folders and their subfolders, sorted by name.

    Hidden files and folders are ignored. Raises ReproError for a path that does not exist, and for a folder without
    images.
    """
    images = []
    for path in paths:
        if path.is_dir():
            images += _images_in(path)
        elif path.exists():
            images.append(ImageFile(path, None))
        else:
            raise ReproError(f"no such image or folder: {path}")
    return images


def _images_in(folder: Path) -> list[ImageFile]:
    images = []
    for path in sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern)):
        names = path.relative_to(folder).parts
        hidden = any(name.startswith(".") for name in names)
        if path.suffix.lower() in EXTENSIONS and not hidden and not path.is_dir():
            images.append(ImageFile(path, printable(names[0]) if len(names) == 2 else None))
    if not images:
        raise ReproError(f"{folder} and its subfolders contain no images ({' '.join(EXTENSIONS)})")
    return images


def check_destinations(csv_path: Path | None, copies_folder: Path | None) -> None:
    """Raise ReproError for a CSV file or a folder of copies that could not be written after the prediction."""
    if csv_path and (csv_path.is_dir() or not csv_path.parent.is_dir()):
        raise ReproError(f"--csv {csv_path}: give the name of a file in a folder that exists")
    if copies_folder is None:
        return
    occupied = copies_folder.exists() and (not copies_folder.is_dir() or any(copies_folder.iterdir()))
    if occupied or not copies_folder.parent.is_dir():
        raise ReproError(f"--out {copies_folder}: give the name of a new or empty folder, in a folder that exists")


def predict_files(
    classifier: Classifier, backend: str, files: Sequence[ImageFile], csv_path: Path | None, copies_folder: Path | None
) -> tuple[list[str], list[str]]:
    """Classify image files, write the CSV file and the captioned copies that are asked for, and return lines to print.

    Returns the lines about images, and an error message for each file that cannot be decoded. Where no file can be
    decoded, nothing is written. Raises ReproError if the network computes NaN or infinity.
    """
    readable: list[ImageFile] = []
    errors: list[str] = []
    classes = classifier.classes
    probabilities = predict_images(classifier, backend, decode_images(files, readable, errors))
    if readable and csv_path:
        with replacing(csv_path) as temporary:
            write_csv(temporary, [str(file.path) for file in readable], classes, probabilities)
    if readable and copies_folder:
        with filling(copies_folder) as folder:
            write_annotated_copies(folder, readable, classes, probabilities)
    if len(files) > 1:
        return image_lines(readable, classes, probabilities), errors
    return class_lines(classes, probabilities[0]) if readable else [], errors


def decode_images(files: Sequence[ImageFile], readable: list[ImageFile], errors: list[str]) -> Iterator[Image]:
    """Yield the images that can be decoded, and show a progress bar.

    Files that can be decoded are appended to `readable`; for the others, a message is appended to `errors`.
    """
    for file in console.bar("predicting", len(files), files):
        try:
            image = decode(file.path)
        except ReproError as error:
            errors.append(str(error))
            continue
        readable.append(file)
        yield image


def class_lines(classes: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Return a line with the probability of each of the SHOWN_CLASSES most probable classes, the most probable first.

    probabilities: float64 (classes,).
    """
    labels = (-probabilities).argsort(kind="stable")[:SHOWN_CLASSES]
    return [f"{probabilities[label]:7.2%}  {classes[label]}" for label in labels]


def image_lines(files: Sequence[ImageFile], classes: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """Return one line per image with its most probable class; probabilities: float64 (N, classes).

    If every image lies in a folder with the name of a class, the last line is the top-1 accuracy.
    """
    paths = [printable(str(file.path)) for file in files]
    names = [classes[label] for label in probabilities.argmax(axis=1)]
    path_width, name_width = (max(map(len, column), default=0) for column in (paths, names))
    lines = [
        f"{path:{path_width}}  {name:{name_width}}  {row.max():7.2%}"
        for path, name, row in zip(paths, names, probabilities, strict=True)
    ]
    if files and all(file.label in classes for file in files):
        correct = sum(name == file.label for name, file in zip(names, files, strict=True))
        lines.append(f"top-1 {correct / len(files):.2%}: {correct} of {len(files)} images")
    return lines


def write_csv(
    path: Path,
    files: Sequence[str],
    classes: Sequence[str],
    probabilities: np.ndarray,
    true_classes: Sequence[str] | None = None,
) -> None:
    """Write one line per file: its name, its true class if known, its most probable class, and all probabilities.

    probabilities: float64 (N, classes), written with all digits.
    """
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", *([] if true_classes is None else ["true"]), "class", "probability", *classes])
        for index, (name, row) in enumerate(zip(files, probabilities.tolist(), strict=True)):
            best = int(np.argmax(row))
            truth = [] if true_classes is None else [true_classes[index]]
            writer.writerow([name, *truth, classes[best], row[best], *row])


def write_annotated_copies(
    folder: Path, files: Sequence[ImageFile], classes: Sequence[str], probabilities: np.ndarray
) -> None:
    """Write a copy of each image, NUMBER_NAME.png, with its most probable class and the probability below.

    The copies are 256 to 1024 pixels wide. probabilities: float64 (N, classes).
    """
    digits = len(str(len(files)))
    for number, (file, row) in enumerate(zip(files, probabilities, strict=True), 1):
        image = decode(file.path)
        side = min(max(256, *image.size), 1024)
        copy = captioned(image, [f"{classes[row.argmax()]} {row.max():.2%}"], side)
        copy.save(folder / f"{number:0{digits}}_{file.path.stem[:50]}.png")
