"""The report on a run: metrics of every class, the confusion matrix and the worst mistakes on its validation images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repro.data import Dataset, Loader, Subset, open_dataset
from repro.errors import ReproError
from repro.evaluation.classifier import Classifier, read_classifier
from repro.evaluation.prediction import choose_backend, predict_batches
from repro.evaluation.prediction_files import write_csv
from repro.files import filling, write_text
from repro.plots.confusion_matrix import draw_confusion_matrix
from repro.plots.sheets import captioned, sheet
from repro.training import console
from repro.training.run_folder import FinishedRun, read_run

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_MISTAKES = 24  # on the sheet of mistakes
COLUMNS = 6
TILE_SIDE = 160  # pixels


@dataclass(frozen=True)
class RunReport:
    """The results that `repro.report` prints about a report that it has written."""

    folder: Path
    class_table: str  # precision, recall and F1 of every class
    summary: str  # one line with the accuracy


def write_report(path: Path, backend: str | None = None, data: str | None = None) -> RunReport:
    """Predict the validation images of a run folder with its best weights, and write or replace its report.

    backend: the one that computes, or None for that of the training or any installed one; data: the run's data set if
    it has been moved. The folder PATH/report is written completely or not at all.
    Raises ReproError if `path` is not a run folder, or the data are not those of the run.
    """
    run = read_run(path)
    recipe = run.recipe
    dataset = _open_data_of(run, data)
    classifier = read_classifier(run.best_weights)
    if len(classifier.classes) != len(dataset.classes):
        raise ReproError(
            f"{run.best_weights} distinguishes {len(classifier.classes)} classes, but {dataset.name} has "
            f"{len(dataset.classes)}"
        )
    backend = choose_backend(backend, recipe.backend)
    probabilities = _predict_validation_images(classifier, backend, run, dataset)

    labels = dataset.val.labels
    top1 = float((probabilities.argmax(axis=1) == labels).mean())
    title = f"{recipe.model} on {dataset.name}, {backend}: top-1 {top1:.2%}"
    with filling(path / "report", replace=True) as folder:
        table = _write_files(folder, dataset.val, classifier.classes, probabilities, title)
    best = run.progress.best
    summary = (
        f"top-1 {top1:.2%} of {len(labels)} images on {backend}; during training, on {recipe.backend}, it was "
        f"{best['val_top1']:.2%} in epoch {best['epoch']}; report written to {path / 'report'}"
    )
    return RunReport(path / "report", table, summary)


def _open_data_of(run: FinishedRun, data: str | None) -> Dataset:
    recipe = run.recipe
    source = data or recipe.data
    dataset = open_dataset(source, split=recipe.split, seed=recipe.seed)
    if dataset.digest != run.progress.digest:
        raise ReproError(
            f"{source} does not contain the images that {run.path} was trained on; give their folder as --data"
        )
    return dataset


def _predict_validation_images(classifier: Classifier, backend: str, run: FinishedRun, dataset: Dataset) -> np.ndarray:
    """Return probabilities float64 (N, classes) of the validation images, and show a progress bar."""
    recipe = run.recipe
    with Loader(dataset, batch_size=recipe.batch_size, seed=recipe.seed, workers=recipe.workers) as loader:
        steps = -(-len(dataset.val) // recipe.batch_size)
        batches = (images for images, _ in loader.val(classifier.transform))
        return predict_batches(classifier, backend, console.bar("predicting", steps, batches))


def _write_files(folder: Path, part: Subset, classes: Sequence[str], probabilities: np.ndarray, title: str) -> str:
    """Fill the report's folder, and return the table of metrics per class."""
    from sklearn.metrics import classification_report, confusion_matrix

    predicted = probabilities.argmax(axis=1)
    options = {"labels": range(len(classes)), "target_names": classes, "zero_division": 0}
    table = classification_report(part.labels, predicted, digits=4, **options)
    metrics = classification_report(part.labels, predicted, output_dict=True, **options)
    write_text(folder / "classes.txt", table)
    write_text(folder / "classes.json", json.dumps(metrics, indent=2) + "\n")
    matrix = confusion_matrix(part.labels, predicted, labels=range(len(classes)))
    draw_confusion_matrix(matrix, classes, title, folder / "confusion.png")
    if mistakes := mistake_sheet(part, probabilities, classes):
        mistakes.save(folder / "mistakes.png")
    true_classes = [classes[label] for label in part.labels.tolist()]
    write_csv(folder / "probabilities.csv", part.names, classes, probabilities, true_classes)
    return table


def mistake_sheet(part: Subset, probabilities: np.ndarray, classes: Sequence[str]) -> Image | None:
    """Return a sheet of the wrongly classified images with the highest probability, in falling order of it.

    Returns None if every image is classified correctly. probabilities: float64 (N, classes) of all images.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    by_confidence = (-confidence).argsort(kind="stable").tolist()
    mistakes = [index for index in by_confidence if predicted[index] != part.labels[index]]
    tiles = []
    for index in mistakes[:MOST_MISTAKES]:
        label = part.labels[index]
        lines = [  # the names come last, since long lines are cut
            f"predicted {confidence[index]:.1%} {classes[predicted[index]]}",
            f"true {probabilities[index, label]:.1%} {classes[label]}",
        ]
        tiles.append(captioned(part.image(index), lines, TILE_SIDE))
    return sheet(tiles, COLUMNS) if tiles else None
