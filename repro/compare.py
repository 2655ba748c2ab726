"""Lays runs side by side: their curves, what differs in their recipes, and where their losses part."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.cli import run_command
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.training.run_folder import FinishedRun

ROUNDING = 1e-4  # of a loss: what differs by less may be the order of additions


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="repro.compare",
        description="Compare runs: what came out, which values of their recipes differ, and the first epoch in which "
        "the training loss of each differs from that of the first.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders of repro.run, two or more")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="draw the curves of loss and accuracy")
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        parser.error("give two runs or more")

    from repro.training.run_folder import read_run

    if arguments.out and arguments.out.suffix != ".png":
        raise ReproError(f"--out {arguments.out}: the picture is a .png")
    runs = [read_run(path) for path in arguments.runs]
    names = short_names(arguments.runs)
    if arguments.out:
        draw(runs, names, arguments.out)
    print("\n".join([*results(runs, names), "", *differences(runs, names), "", *partings(runs, names)]))
    return 0


def short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders that all of them are in."""
    absolute = [path.resolve().as_posix() for path in paths]
    shared = os.path.commonpath([Path(path).parent.as_posix() for path in absolute])
    return [Path(path).relative_to(shared).as_posix() for path in absolute]


def results(runs: Sequence[FinishedRun], names: Sequence[str]) -> list[str]:
    """A line for each run: what it was and what came of it."""
    rows = [["", "model", "backend", "epochs", "best top-1", "images/s", "seconds"]]
    for run, name in zip(runs, names, strict=True):
        progress = run.progress
        rate = progress.images / progress.seconds if progress.seconds else 0.0
        seconds = sum(row["seconds"] for row in progress.history)
        rows.append([
            name, run.recipe.model, run.recipe.backend, f"{progress.epoch}/{run.recipe.epochs}",
            f"{progress.best['val_top1']:.2%}", f"{rate:,.1f}", f"{seconds:,.0f}",
        ])  # fmt: skip
    return _table(rows)


def differences(runs: Sequence[FinishedRun], names: Sequence[str]) -> list[str]:
    """The values of the recipes that are not the same in all runs."""
    recipes = [vars(run.recipe) for run in runs]
    differing = [key for key in recipes[0] if any(recipe[key] != recipes[0][key] for recipe in recipes)]
    if not differing:
        return ["the recipes are equal"]
    return _table([["recipe", *names], *([key, *(str(recipe[key]) for recipe in recipes)] for key in differing)])


def partings(runs: Sequence[FinishedRun], names: Sequence[str]) -> list[str]:
    """For each run but the first, where its curves leave those of the first."""
    return [f"{name} and {names[0]}: {parting(runs[0], run)}" for run, name in zip(runs[1:], names[1:], strict=True)]


def parting(a: FinishedRun, b: FinishedRun) -> str:
    """The first epoch in which the training losses differ by more than ROUNDING of the larger, in words."""
    other = "; their data differ" if a.progress.digest != b.progress.digest else ""
    epochs = min(a.progress.epoch, b.progress.epoch)
    largest = 0.0
    for row, theirs in zip(a.progress.history, b.progress.history, strict=False):
        loss, loss_b = row["train_loss"], theirs["train_loss"]
        share = abs(loss - loss_b) / max(abs(loss), abs(loss_b), 1e-300)
        if share > ROUNDING:
            return f"they part in epoch {row['epoch']}: training loss {loss_b:.6g} and {loss:.6g}, {share:.2%}{other}"
        largest = max(largest, share)
    if largest:
        return f"up to epoch {epochs}, training losses differ by rounding, at most {largest:.1e} of them{other}"
    measured = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in run.progress.history[:epochs]]
        for run in (a, b)
    ]
    what = "all numbers are" if measured[0] == measured[1] else "training losses are"
    return f"up to epoch {epochs}, {what} equal to the bit{other}"


def draw(runs: Sequence[FinishedRun], names: Sequence[str], path: Path) -> None:
    """Loss and top-1 side by side; a colour for each run, training dashed and validation solid."""
    import logging

    from repro.files import replacing
    from repro.plots.curves import logarithmic

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fonts are looked up once
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    colors = colormaps["tab10" if len(runs) <= 10 else "turbo"].resampled(max(len(runs), 10))(range(len(runs)))
    loss, top1 = figure.subplots(1, 2)
    for axes, key, title in ((loss, "loss", "Cross-entropy"), (top1, "top1", "Top-1 accuracy")):
        for run, name, color in zip(runs, names, colors, strict=True):
            epochs = [row["epoch"] for row in run.progress.history]
            for part, style, label in (("train", "--", None), ("val", "-", name)):
                values = [row[f"{part}_{key}"] for row in run.progress.history]
                axes.plot(epochs, values, style, color=color, label=label, lw=1.6, marker=".", markersize=4)
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    logarithmic(loss)
    top1.yaxis.set_major_formatter(PercentFormatter(1))
    handles, labels = loss.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(runs), 4), frameon=False)
    figure.suptitle("training dashed, validation solid", fontsize=9, x=0.99, ha="right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    run_command(main)
