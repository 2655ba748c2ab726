"""The untrusted list of the labels of a validation folder without class folders, as in ImageNet's archive."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from repro.data.subset import Read, Subset, labelled
from repro.errors import ReproError
from repro.untrusted import printable, reading

LARGEST = 2**30  # bytes
KAGGLE_LIST = "LOC_val_solution.csv"


def listed_subset(root: Path, folder: str, images: Sequence[str], classes: Sequence[str], read: Read) -> Subset:
    """Return the images of ROOT/FOLDER, whose labels a list in `root` names.

    The list is FOLDER.txt, with a line "IMAGE LABEL" for each image, or Kaggle's LOC_val_solution.csv. A label is the
    name of a class, or its number in the order of the names, from 0.
    Raises ReproError where there is no list, or where it does not fit the images and the classes.
    """
    text, kaggle = root / f"{folder}.txt", root / KAGGLE_LIST
    path = text if text.is_file() else kaggle
    if not path.is_file():
        raise ReproError(
            f"{root / folder} has images, but no class folders; give the list of their labels as {text}, with lines of "
            f"IMAGE LABEL, or as {kaggle}"
        )
    known = dict.fromkeys(classes)
    with reading(path, "a list of images and labels"):
        listed = {name.rpartition("/")[2]: _class_name(label, known, classes) for name, label in _lines(path)}
    labels = {f"{folder}/{image}": listed.get(image, listed.get(image.rpartition(".")[0], "")) for image in images}
    if missing := [name for name, label in labels.items() if not label]:
        raise ReproError(f"{path} lacks the labels of {len(missing):,} images, such as {missing[0]}; add them")
    if unused := set(classes) - set(labels.values()):
        raise ReproError(f"{path} has no image of the class {min(unused)}; train and {folder} need the same classes")
    return labelled(labels, classes, read, root)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the image and the label of each line. Raises ValueError for another line."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if path.name == KAGGLE_LIST:  # IMAGE,LABEL and four numbers of a box, perhaps several times
            name, _, boxes = line.partition(",")
            fields = [name, *boxes.split()[:1]]
        else:
            fields = line.rsplit(maxsplit=1)
        if not fields or fields[0] == "ImageId":
            continue
        if len(fields) != 2:
            raise ValueError(f"line {number} is not an image and a label")
        yield fields[0], fields[1]


def _class_name(label: str, known: Container[str], classes: Sequence[str]) -> str:
    """Return the name of a class from its name or its number. Raises ValueError for another label."""
    if label in known:
        return label
    if label.isdecimal() and len(label) < 10 and int(label) < len(classes):
        return classes[int(label)]
    raise ValueError(f"it has the label {printable(label)}, which is not a class of train")
