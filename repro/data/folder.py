"""Data sets in folders: CLASS/IMAGE, or train/CLASS/IMAGE and val/CLASS/IMAGE."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from repro.data.decode import EXTENSIONS, decode
from repro.data.subset import ImageSource, Read, Subset
from repro.data.val_list import listed_subset
from repro.errors import ReproError

LAYOUT = (
    "give a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE (or valid, validation or test), or a "
    ".tar of these"
)
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")  # the first of these that exists is used
NO_IMAGES = "files without an image's extension"


class Listing(NamedTuple):
    """The sorted names of what a folder holds, without hidden entries."""

    folders: list[str]
    images: list[str]
    others: list[str]


Lister = Callable[[str], Listing]  # path of a folder in the data set ("", "train/", "train/cat/") -> its listing


@dataclass(frozen=True)
class FolderImages:
    """Reads the images of a folder by their paths in it."""

    root: Path

    def __call__(self, name: str) -> Image.Image:
        return decode(self.root / name)


def folder_source(root: Path) -> ImageSource:
    """Return the classes and images of a folder. Hidden entries are left out.

    Raises ReproError for a folder that is missing or has another layout than LAYOUT describes.
    """
    if not root.is_dir():
        raise ReproError(f"{root} is not a folder; {LAYOUT}" if root.exists() else f"no such folder: {root}; {LAYOUT}")
    return source_in_layout(root, partial(_list_folder, root), FolderImages(root))


def source_in_layout(root: Path, list_folder: Lister, read: Read) -> ImageSource:
    """Return the classes and images of a folder or an archive: one subset, or one for training and one for validation.

    root: named in messages. list_folder: lists a folder of the data set. read: reads an image by its path in it.
    Classes and images are sorted by name, so that labels and order are the same on every machine. Files without an
    image's extension, images outside class folders and folders inside them are ignored, and listed as such.
    Raises ReproError for another layout than LAYOUT describes.
    """
    list_folder = cache(list_folder)
    folders = list_folder("").folders
    validation = next((name for name in VALIDATION_FOLDERS if name in folders), None)
    if "train" not in folders or validation is None:
        classes, images = _subset(root, "", list_folder, read)
        return ImageSource(classes, (images,), ignored=_ignored([""], classes, list_folder))
    classes, train = _subset(root, "train/", list_folder, read)
    listing = list_folder(f"{validation}/")
    if listing.images and not listing.folders and root.is_dir():
        val = listed_subset(root, validation, listing.images, classes, read)
        ignored = tuple(f"folder {name}" for name in folders if name not in ("train", validation))
        ignored += _ignored(["train/"], classes, list_folder)
        return ImageSource(classes, (train, val), f"folder train, and {validation} by its list", ignored)
    val_classes, val = _subset(root, f"{validation}/", list_folder, read)
    check_same_classes(root, {"train": classes, validation: val_classes})
    ignored = tuple(f"folder {name}" for name in folders if name not in ("train", validation))
    ignored += _ignored(["train/", f"{validation}/"], classes, list_folder)
    return ImageSource(classes, (train, val), f"folders train and {validation}", ignored)


def _ignored(prefixes: list[str], classes: tuple[str, ...], list_folder: Lister) -> tuple[str, ...]:
    """Return in words what the folders of the subsets hold besides the images in class folders."""
    class_folders = [f"{prefix}{name}/" for prefix in prefixes for name in classes]
    outside = [prefix + image for prefix in {"", *prefixes} for image in list_folder(prefix).images]
    nested = [folder + name for folder in class_folders for name in list_folder(folder).folders]
    others = [folder + name for folder in class_folders for name in list_folder(folder).others]
    return (
        *in_words("images outside class folders", outside),
        *in_words("folders inside class folders", nested),
        *in_words(NO_IMAGES, others),
    )


def in_words(kind: str, names: list[str]) -> tuple[str, ...]:
    """Return the number of ignored entries of a kind and the first of them, or nothing where there are none."""
    return (f"{kind} ({len(names):,}, such as {min(names)})",) if names else ()


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
    classes = tuple(list_folder(prefix).folders)
    if not classes:
        raise ReproError(f"{folder} has no class folders; {LAYOUT}")
    if len(classes) == 1:
        raise ReproError(f"{folder} has only one class folder, {classes[0]}; a classifier needs two; {LAYOUT}")
    names, labels = [], []
    for label, name in enumerate(classes):
        images = list_folder(f"{prefix}{name}/").images
        if not images:
            raise ReproError(f"{folder / name} holds no images ({' '.join(EXTENSIONS)}); {LAYOUT}")
        names += [f"{prefix}{name}/{image}" for image in images]
        labels += [label] * len(images)
    return classes, Subset(tuple(names), np.array(labels, np.int64), read, root)


def _list_folder(root: Path, prefix: str) -> Listing:
    """Return what a folder holds. Raises ReproError if it is unreadable."""
    path = root / prefix
    try:
        with os.scandir(path) as iterator:
            entries = sorted((entry.name, entry.is_dir()) for entry in iterator if not entry.name.startswith("."))
    except OSError as error:
        raise ReproError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    # A broken link is an image or a file: reading it is an error, instead of silently making the data set smaller
    files = [name for name, is_folder in entries if not is_folder]
    return Listing(
        [name for name, is_folder in entries if is_folder],
        [name for name in files if is_image(name)],
        [name for name in files if not is_image(name)],
    )


def is_image(name: str) -> bool:
    """Return whether a file's name has an image's extension."""
    return name.lower().endswith(EXTENSIONS)
