"""curves.png of a run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(history: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Loss and top-1 of training and validation, side by side, from the rows of metrics.jsonl."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Paddle makes loggers talk, and fonts are looked up once
    from matplotlib.figure import Figure  # without pyplot: no display is needed and no state is kept
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, key, name in zip(
        figure.subplots(1, 2), ("loss", "top1"), ("Cross-entropy", "Top-1 accuracy"), strict=True
    ):
        for part, label, color in (("train", "training", "#9db4c0"), ("val", "validation", "#d1495b")):
            axes.plot(epochs, [row[f"{part}_{key}"] for row in history], color=color, label=label, lw=2, marker=".")
        axes.set_title(name, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if key == "top1":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            best = max(history, key=lambda row: row["val_top1"])
            axes.axhline(best["val_top1"], color=color, lw=0.8, ls=":")
            axes.set_title(f"best {best['val_top1']:.2%}, epoch {best['epoch']}", loc="right", color=color, fontsize=10)
        else:
            logarithmic(axes)
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def logarithmic(axes: Axes) -> None:
    """For losses, of which the first epoch's may be a hundred times the last's."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
