"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repro.plots.fonts import font_families

MOST_NAMES = 100  # above this number of classes, names would be too small to read
MOST_COUNTS = 40  # the same for the counts in the cells
LONGEST_NAME = 24  # characters
POINTS_PER_INCH = 72


def draw_confusion_matrix(matrix: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Write a PNG of a confusion matrix int (classes, classes), true class by predicted class.

    Cells are shaded by their fraction of the true class. Counts are written into the cells of up to 40 classes, and
    class names are shown for up to 100.
    """
    families = font_families()
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(max(0.45 * count, 2.5), 14)  # side of the matrix in inches
    font_size = min(max(side / count * POINTS_PER_INCH * 0.55, 4.5), 10)  # size in points; rows must not touch
    names = [_cut(name) for name in classes] if count <= MOST_NAMES else []
    margin = max(map(len, names), default=0) * font_size * 0.6 / POINTS_PER_INCH + 0.6
    figure = Figure(figsize=(side + margin + 1.2, side + margin + 0.5), layout="constrained")
    axes = figure.subplots()
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.6, label="fraction of the true class")
    for set_ticks, rotation in ((axes.set_xticks, 90), (axes.set_yticks, 0)):
        set_ticks(range(len(names)), names, rotation=rotation, fontsize=font_size, family=families, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    if count <= MOST_COUNTS:
        for true, predicted in np.argwhere(matrix):
            color = "white" if fractions[true, predicted] > 0.5 else "black"
            text = str(matrix[true, predicted])
            axes.text(predicted, true, text, color=color, ha="center", va="center", fontsize=font_size * 0.8)
    figure.savefig(path, format="png", dpi=100 if count <= MOST_COUNTS else 150, bbox_inches="tight")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
