"""Data sets that an untrusted .csv lists: a path and a label in each line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from repro.data.folder import VALIDATION_FOLDERS, FolderImages, check_same_classes
from repro.data.subset import ImageSource, labelled
from repro.errors import ReproError
from repro.untrusted import printable, reading

LARGEST = 2**30  # bytes
WHAT = "a .csv with the columns path and label, and perhaps split (train or val)"


def csv_source(path: Path) -> ImageSource:
    """Return the images that a .csv lists in the columns `path` (or `file_name`), relative to its folder, and `label`.

    A column `split` with the values train and val (or valid, validation or test) gives two subsets. Images are sorted
    by path and classes by name. Raises ReproError for other columns, empty or repeated values, and a single class.
    """
    subsets: dict[str, dict[str, str]] = {}
    with reading(path, WHAT):
        for number, (name, label, split) in _rows(path):
            if split not in ("train", *VALIDATION_FOLDERS):
                raise ValueError(f"line {number} has the split {printable(split)}, which is not train or val")
            if any(name in labels for labels in subsets.values()):
                raise ValueError(f"{printable(name)} occurs twice")
            subsets.setdefault(split, {})[name] = label
    train = subsets.pop("train", {})
    if not train or len(subsets) > 1:
        raise ReproError(f"{path} has images of the splits {', '.join(subsets)}; give train, and one for validation")
    classes = tuple(sorted(set(train.values())))
    if len(classes) < 2:
        raise ReproError(f"{path} has images of only one class to train on; a classifier needs two")
    root = path.parent
    if not subsets:
        return ImageSource(classes, (labelled(train, classes, FolderImages(root), root),))
    ((split, val),) = subsets.items()
    check_same_classes(path, {"train": classes, split: tuple(sorted(set(val.values())))})
    parts = [labelled(labels, classes, FolderImages(root), root) for labels in (train, val)]
    return ImageSource(classes, tuple(parts), f"rows train and {split}")


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the number of each line, and its path, label and split. Raises ValueError for other lines."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        try:
            header = [name.strip().lower() for name in next(lines, [])]
            if "path" not in header:  # metadata.csv of Hugging Face's imagefolder
                header = ["path" if name == "file_name" else name for name in header]
            if not {"path", "label"} <= set(header):
                raise ValueError("its first line does not name the columns path and label")
            for values in filter(None, lines):
                row = {"split": "train", **dict(zip(header, map(str.strip, values), strict=False))}
                if len(values) != len(header) or not (row["path"] and row["label"] and row["split"]):
                    raise ValueError(f"line {lines.line_num} lacks a value, or has too many")
                yield lines.line_num, (row["path"], row["label"], row["split"])
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from error
