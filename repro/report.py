"""Looks closely at the best weights of a run: every class, every confusion, the worst mistakes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.cli import run_command
from repro.errors import ReproError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from repro.data import Part

MISTAKES = 24  # on the sheet, in rows of COLUMNS
COLUMNS = 6
SIDE = 160  # of an image there, in pixels


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="repro.report",
        description="Predict the validation images of a run with its best weights, and write to RUN/report: precision, "
        "recall and F1 of every class (classes.txt, classes.json), the confusion matrix (confusion.png), the most "
        "confident mistakes (mistakes.png) and all probabilities (probabilities.csv).",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder of repro.run")
    parser.add_argument("--backend", metavar="NAME", help="default: the one of the training, or another one installed")
    parser.add_argument("--data", metavar="DIR", help="where the run's images are now, if they have moved")
    arguments = parser.parse_args(argv)
    return report(arguments.run, arguments.backend, arguments.data)


def report(path: Path, backend: str | None = None, data: str | None = None) -> int:
    """Writes path/report, whole or not at all; an earlier one is replaced. Raises ReproError for a folder that is none
    of a run, and for data that are not those of the run."""
    from sklearn.metrics import classification_report, confusion_matrix

    from repro.data import Loader, open_dataset
    from repro.evaluation.classifier import choose_backend, probabilities, read_classifier, write_csv
    from repro.files import filling, write_text
    from repro.plots.pictures import confusion
    from repro.training import console
    from repro.training.run_folder import read_run

    run = read_run(path)
    recipe, best = run.recipe, run.progress.best
    dataset = open_dataset(data or recipe.data, split=recipe.split, seed=recipe.seed)
    if dataset.digest != run.progress.digest:
        raise ReproError(
            f"{data or recipe.data} does not hold the images that {path} was trained on; give these as --data"
        )
    classifier = read_classifier(run.best_weights)
    classes, val = classifier.classes, dataset.val
    if len(classes) != len(dataset.classes):
        raise ReproError(f"{run.best_weights} is of {len(classes)} classes, and {dataset.name} has other ones")
    backend = choose_backend(backend, recipe.backend)
    with Loader(dataset, batch_size=recipe.batch_size, seed=recipe.seed, workers=recipe.workers) as loader:
        steps = -(-len(val) // recipe.batch_size)
        batches = console.bar("predicting", steps, (images for images, _ in loader.val(classifier.transform)))
        found = probabilities(classifier, backend, batches)

    predicted = found.argmax(axis=1)
    counted = {"labels": range(len(classes)), "target_names": classes, "zero_division": 0}
    text = classification_report(val.labels, predicted, digits=4, **counted)
    numbers = classification_report(val.labels, predicted, output_dict=True, **counted)
    top1 = float((predicted == val.labels).mean())
    title = f"{recipe.model} on {dataset.name}, {backend}: top-1 {top1:.2%}"
    with filling(path / "report", replace=True) as folder:
        write_text(folder / "classes.txt", text)
        write_text(folder / "classes.json", json.dumps(numbers, indent=2) + "\n")
        confusion(
            confusion_matrix(val.labels, predicted, labels=range(len(classes))),
            classes,
            title,
            folder / "confusion.png",
        )
        if sheet := mistakes(val, found, classes):
            sheet.save(folder / "mistakes.png")
        write_csv(
            folder / "probabilities.csv", val.names, classes, found, [classes[label] for label in val.labels.tolist()]
        )
    print(text)
    print(
        f"top-1 {top1:.2%} of {len(val)} images on {backend}; the run itself, on {recipe.backend}, had "
        f"{best['val_top1']:.2%} in epoch {best['epoch']}; all in {path / 'report'}"
    )
    return 0


def mistakes(part: Part, found: np.ndarray, classes: Sequence[str]) -> Image | None:
    """The images that were taken for something else with the highest probability, the highest first; None: there are
    none. found: probabilities float64 (N, classes) of the part."""
    from repro.plots.pictures import captioned, sheet

    predicted, sure = found.argmax(axis=1), found.max(axis=1)
    worst = [index for index in (-sure).argsort(kind="stable").tolist() if predicted[index] != part.labels[index]]
    tiles = []
    for index in worst[:MISTAKES]:
        true = part.labels[index]
        lines = [
            f"predicted {sure[index]:.1%} {classes[predicted[index]]}",
            f"true {found[index, true]:.1%} {classes[true]}",
        ]  # the names last, which may be cut
        tiles.append(captioned(part.image(index), lines, SIDE))
    return sheet(tiles, COLUMNS) if tiles else None


if __name__ == "__main__":
    run_command(main)
