"""Predicts the classes of images with any checkpoint, on any backend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from repro.cli import run_command
from repro.errors import ReproError
from repro.training import recipe as recipes

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

FLAGS = {
    "model": "the variant, where CHECKPOINT does not say it and fits several",
    "options": "an option of the model's family, such as width=0.5; may be repeated",
    "image_size": "side in pixels that the network sees",
    "resize": "how images come to that: squash (the default) or crop",
    "mean": "subtracted from pixels, which are from 0 to 1",
    "std": "what pixels are then divided by",
}  # of the recipe; what is left out is what CHECKPOINT says


class Sample(NamedTuple):
    path: Path
    label: str | None  # the folder of a class that it is in


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="repro.predict",
        description="Predict the classes of images. CHECKPOINT is a file that repro.port reads; those of repro.run say "
        "how images are prepared and what the classes are called. For others say it by --run, or by the flags.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE|FOLDER",
        help="a folder holds images, or folders of them; where these are called like the classes, accuracy is printed",
    )  # fmt: skip
    parser.add_argument("--backend", metavar="NAME", help="default: the one of the training, or another one installed")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write file, class, and all probabilities")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write copies of the images with what was predicted")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the run folder that the checkpoint comes from")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="class_indices.json, or a name on each line")
    for name, help in FLAGS.items():
        flag = "--option" if name == "options" else f"--{name.replace('_', '-')}"
        kind = recipes.FIELDS[name].metadata["kind"]
        parser.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=help, **kind.argument)
    arguments = parser.parse_args(argv)
    given = recipes.convert({name: value for name, value in vars(arguments).items() if name in FLAGS}, "")

    from repro.evaluation.classifier import choose_backend, predict, read_classes, read_classifier, write_csv
    from repro.files import filling, replacing
    from repro.untrusted import printable

    samples = find_images(arguments.images)
    _check_destinations(arguments.csv, arguments.out)
    if arguments.classes:
        given["classes"] = read_classes(arguments.classes)
    classifier = read_classifier(arguments.checkpoint, arguments.run, given)
    backend = choose_backend(arguments.backend, classifier.metadata.get("backend"))

    readable: list[Sample] = []
    complaints: list[str] = []
    found = predict(classifier, backend, _images(samples, readable, complaints))
    if readable and arguments.csv:
        with replacing(arguments.csv) as temporary:
            write_csv(temporary, [str(sample.path) for sample in readable], classifier.classes, found)
    if readable and arguments.out:
        with filling(arguments.out) as folder:
            _annotate(readable, classifier.classes, found, folder)
    if len(samples) > 1:
        _print_each(readable, classifier.classes, found)
    elif readable:
        for label in (-found[0]).argsort(kind="stable"):
            print(f"{found[0, label]:7.2%}  {classifier.classes[label]}")
    sys.stdout.flush()
    for complaint in complaints:
        print(printable(complaint), file=sys.stderr)
    return 1 if complaints else 0


def find_images(paths: Iterable[Path]) -> list[Sample]:
    """The images that are named, and those in the folders and in the folders of these, in the order of their names.

    Raises ReproError for a path where nothing is, and for a folder without images.
    """
    from repro.data.decode import EXTENSIONS
    from repro.untrusted import printable

    samples = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise ReproError(f"no such image or folder: {path}")
            samples.append(Sample(path, None))
            continue
        inside = sorted(each for pattern in ("*", "*/*") for each in path.glob(pattern))
        parts = {each: each.relative_to(path).parts for each in inside if each.suffix.lower() in EXTENSIONS}
        images = [
            Sample(each, printable(names[0]) if len(names) == 2 else None)
            for each, names in parts.items()
            if not each.is_dir() and not any(name.startswith(".") for name in names)
        ]
        if not images:
            raise ReproError(f"{path} holds no images ({' '.join(EXTENSIONS)}), nor do the folders in it")
        samples += images
    return samples


def _check_destinations(csv: Path | None, out: Path | None) -> None:
    """Raises ReproError for what could not be written in the end."""
    if csv and (csv.is_dir() or not csv.parent.is_dir()):
        raise ReproError(f"--csv {csv}: give the name of a file in a folder that exists")
    if out and (not out.parent.is_dir() or (out.exists() and (not out.is_dir() or any(out.iterdir())))):
        raise ReproError(f"--out {out}: give the name of a new or empty folder, in one that exists")


def _images(samples: Sequence[Sample], readable: list[Sample], complaints: list[str]) -> Iterator[Image]:
    """The images that can be read, which are added to `readable`; of the others, `complaints` has the reasons."""
    from repro.data.decode import decode
    from repro.training import console

    for sample in console.bar("predicting", len(samples), samples):
        try:
            image = decode(sample.path)
        except ReproError as error:
            complaints.append(str(error))
            continue
        readable.append(sample)
        yield image


def _print_each(samples: Sequence[Sample], classes: Sequence[str], found: np.ndarray) -> None:
    """A line for each image, and the accuracy where every one lies in the folder of a class."""
    from repro.untrusted import printable

    files = [printable(str(sample.path)) for sample in samples]
    names = [classes[label] for label in found.argmax(axis=1)]
    width, longest = (max(map(len, texts), default=0) for texts in (files, names))
    for file, name, row in zip(files, names, found, strict=True):
        print(f"{file:{width}}  {name:{longest}}  {row.max():7.2%}")
    if samples and all(sample.label in classes for sample in samples):
        right = sum(name == sample.label for name, sample in zip(names, samples, strict=True))
        print(f"top-1 {right / len(samples):.2%}: {right} of {len(samples)} images")


def _annotate(samples: Sequence[Sample], classes: Sequence[str], found: np.ndarray, folder: Path) -> None:
    """Copies NUMBER_NAME.png, from 256 to 1024 pixels wide, with the class and its probability below the image."""
    from repro.data.decode import decode
    from repro.plots.pictures import captioned

    for number, (sample, row) in enumerate(zip(samples, found, strict=True), 1):
        image = decode(sample.path)
        side = min(max(256, *image.size), 1024)
        copy = captioned(image, [f"{classes[row.argmax()]} {row.max():.2%}"], side)
        copy.save(folder / f"{number:0{len(str(len(samples)))}}_{sample.path.stem[:50]}.png")


if __name__ == "__main__":
    run_command(main)
