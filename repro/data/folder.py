"""Data sets in folders: CLASS/IMAGE, or train/CLASS/IMAGE and val/CLASS/IMAGE."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.decode import EXTENSIONS, decode
from repro.data.subset import ImageSource, Read, Subset
from repro.errors import ReproError

LAYOUT = "give a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE (or test), or a .tar of these"
VALIDATION_FOLDERS = ("val", "test")  # the first of these that exists is used
Lister = Callable[[str], tuple[list[str], list[str]]]
"""Path of a folder in the data set ("", "train/", "train/cat/") -> sorted names of its folders and of its images."""


@dataclass(frozen=True)
class _Images:
    """Reads the images of a folder by their paths in it."""

    root: Path

    def __call__(self, name: str) -> Image.Image:
        return decode(self.root / name)


def folder_source(root: Path) -> ImageSource:
    """Return the classes and images of a folder. Hidden entries and files without an image's extension are left out.

    Raises ReproError for a folder that is missing or has another layout than LAYOUT describes.
    """
    if not root.is_dir():
        raise ReproError(f"{root} is not a folder; {LAYOUT}" if root.exists() else f"no such folder: {root}; {LAYOUT}")
    return source_in_layout(root, partial(_list_folder, root), _Images(root))


def source_in_layout(root: Path, list_folder: Lister, read: Read) -> ImageSource:
    """Return the classes and images of a folder or an archive: one subset, or one for training and one for validation.

    root: named in messages. list_folder: lists a folder of the data set. read: reads an image by its path in it.
    Classes and images are sorted by name, so that labels and order are the same on every machine.
    Raises ReproError for another layout than LAYOUT describes.
    """
    folders, _ = list_folder("")
    validation = next((name for name in VALIDATION_FOLDERS if name in folders), None)
    if "train" not in folders or validation is None:
        classes, images = _subset(root, "", list_folder, read)
        return ImageSource(classes, (images,))
    (classes, train), (val_classes, val) = (
        _subset(root, f"{name}/", list_folder, read) for name in ("train", validation)
    )
    check_same_classes(root, {"train": classes, validation: val_classes})
    return ImageSource(classes, (train, val), f"folders train and {validation}")


def check_same_classes(root: Path, classes: dict[str, tuple[str, ...]]) -> None:
    """Check that both subsets of `root` have the same classes. Raises ReproError that lists the differences.

    classes: name of each of the two subsets -> its classes.
    """
    (train, train_classes), (val, val_classes) = classes.items()
    extra = {train: set(train_classes) - set(val_classes), val: set(val_classes) - set(train_classes)}
    differences = [f"only in {subset}: {', '.join(sorted(names))}" for subset, names in extra.items() if names]
    if differences:
        raise ReproError(
            f"{train} and {val} of {root} have different classes ({'; '.join(differences)}); both need the same"
        )


def _subset(root: Path, prefix: str, list_folder: Lister, read: Read) -> tuple[tuple[str, ...], Subset]:
    """Return the classes and the images in the class folders below `prefix`."""
    folder = root / prefix
    classes = tuple(list_folder(prefix)[0])
    if not classes:
        raise ReproError(f"{folder} has no class folders; {LAYOUT}")
    if len(classes) == 1:
        raise ReproError(f"{folder} has only one class folder, {classes[0]}; a classifier needs two; {LAYOUT}")
    names, labels = [], []
    for label, name in enumerate(classes):
        _, images = list_folder(f"{prefix}{name}/")
        if not images:
            raise ReproError(f"{folder / name} holds no images ({' '.join(EXTENSIONS)}); {LAYOUT}")
        names += [f"{prefix}{name}/{image}" for image in images]
        labels += [label] * len(images)
    return classes, Subset(tuple(names), np.array(labels, np.int64), read)


def _list_folder(root: Path, prefix: str) -> tuple[list[str], list[str]]:
    """Return the sorted names of the folders and of the images in a folder. Raises ReproError if it is unreadable."""
    path = root / prefix
    try:
        with os.scandir(path) as iterator:
            entries = sorted((entry.name, entry.is_dir()) for entry in iterator if not entry.name.startswith("."))
    except OSError as error:
        raise ReproError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    # A broken link counts: reading it is an error, instead of silently making the data set smaller
    images = [name for name, is_folder in entries if not is_folder and is_image(name)]
    return [name for name, is_folder in entries if is_folder], images


def is_image(name: str) -> bool:
    """Return whether a file's name has an image's extension."""
    return name.lower().endswith(EXTENSIONS)
