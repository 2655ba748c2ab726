"""Curves of loss and top-1 accuracy over the epochs, of one run or of several."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]
"""The rows of metrics.jsonl, one per epoch."""

TRAINING_COLOR, VALIDATION_COLOR = "#9db4c0", "#d1495b"


@dataclass(frozen=True)
class Curve:
    """The loss and top-1 of one run on its training or its validation images, and how the lines are drawn."""

    history: History
    prefix: str  # prefix of the keys in the rows: "train" or "val"
    color: Any
    style: str = "-"
    label: str | None = None


def draw_run(history: History, title: str, path: Path) -> None:
    """Write a PNG of 1200 x 480 pixels with the curves of one run; the best epoch is marked.

    Raises ReproError if the file cannot be written.
    """
    curves = [
        Curve(history, "train", TRAINING_COLOR, label="training"),
        Curve(history, "val", VALIDATION_COLOR, label="validation"),
    ]
    figure, panels = draw_panels(curves, height=4)
    for axes in panels:
        axes.legend(frameon=False)
    best = max(history, key=lambda row: row["val_top1"])
    accuracy, epoch = best["val_top1"], best["epoch"]
    panels[1].axhline(accuracy, color=VALIDATION_COLOR, lw=0.8, ls=":")
    panels[1].set_title(f"best {accuracy:.2%}, epoch {epoch}", loc="right", color=VALIDATION_COLOR, fontsize=10)
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_runs(runs: Sequence[tuple[str, History]], path: Path) -> None:
    """Write a PNG of 1000 x 440 pixels with the curves of several runs (name, history), each in a color of its own.

    Raises ReproError if the file cannot be written.
    """
    from matplotlib import colormaps

    count = len(runs)
    colors = colormaps["tab10" if count <= 10 else "turbo"].resampled(max(count, 10))(range(count))
    curves = []
    for (name, history), color in zip(runs, colors, strict=True):
        curves += [Curve(history, "train", color, "--"), Curve(history, "val", color, "-", name)]
    figure, panels = draw_panels(curves, height=4.4)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(count, 4), frameon=False)
    figure.suptitle("training dashed, validation solid", fontsize=9, x=0.99, ha="right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def draw_panels(curves: Sequence[Curve], *, height: float) -> tuple[Figure, tuple[Axes, Axes]]:
    """Return a figure 10 inches wide, and its two panels: loss on a logarithmic axis, and top-1."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Paddle enables every logger, and fonts log at length
    from matplotlib.figure import Figure  # without pyplot, which needs a display and keeps state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, height), layout="constrained")
    loss, top1 = figure.subplots(1, 2)
    for axes, key, title in ((loss, "loss", "Cross-entropy"), (top1, "top1", "Top-1 accuracy")):
        for curve in curves:
            epochs = [row["epoch"] for row in curve.history]
            values = [row[f"{curve.prefix}_{key}"] for row in curve.history]
            axes.plot(
                epochs, values, curve.style, color=curve.color, label=curve.label, lw=1.6, marker=".", markersize=4
            )
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _set_logarithmic(loss)
    top1.yaxis.set_major_formatter(PercentFormatter(1))
    return figure, (loss, top1)


def _set_logarithmic(axes: Axes) -> None:
    """Make the y axis logarithmic: the loss of the first epoch may be a hundred times that of the last."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
