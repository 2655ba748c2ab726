"""Comparisons of training runs: their results, how their recipes differ, and where their losses diverge."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from repro.training.run_folder import FinishedRun, read_run

NamedRun = tuple[str, FinishedRun]

ROUNDING = 1e-4  # relative; a smaller difference between losses may come from the order of additions


def read_runs(paths: Sequence[Path]) -> list[NamedRun]:
    """Return the runs in these run folders, each named by its path without the parent folders that all runs share.

    Raises ReproError for a path that is not the folder of a run with at least one finished epoch.
    """
    runs = [read_run(path) for path in paths]
    absolute = [path.resolve() for path in paths]
    shared = os.path.commonpath([path.parent for path in absolute])
    return [(path.relative_to(shared).as_posix(), run) for path, run in zip(absolute, runs, strict=True)]


def result_table(runs: Sequence[NamedRun]) -> list[str]:
    """Return a table with one line per run: its model and backend, its best top-1, and its speed."""
    rows = [["", "model", "backend", "epochs", "best top-1", "images/s", "seconds"]]
    for name, run in runs:
        progress = run.progress
        rate = progress.images / progress.seconds if progress.seconds else 0.0
        seconds = sum(row["seconds"] for row in progress.history)
        rows.append([
            name, run.recipe.model, run.recipe.backend, f"{progress.epoch}/{run.recipe.epochs}",
            f"{progress.best['val_top1']:.2%}", f"{rate:,.1f}", f"{seconds:,.0f}",
        ])  # fmt: skip
    return _table(rows)


def recipe_table(runs: Sequence[NamedRun]) -> list[str]:
    """Return a table of the recipe values that differ between the runs."""
    recipes = [vars(run.recipe) for _, run in runs]
    differing = [key for key in recipes[0] if any(recipe[key] != recipes[0][key] for recipe in recipes)]
    if not differing:
        return ["the recipes are identical"]
    names = [name for name, _ in runs]
    return _table([["recipe", *names], *([key, *(str(recipe[key]) for recipe in recipes)] for key in differing)])


def divergence_lines(runs: Sequence[NamedRun]) -> list[str]:
    """Return one line for each run after the first: where its training loss diverges from that of the first."""
    reference_name, reference = runs[0]
    return [f"{name} and {reference_name}: {divergence(reference, run)}" for name, run in runs[1:]]


def divergence(reference: FinishedRun, run: FinishedRun) -> str:
    """Return a phrase that names the first epoch in which the training losses differ by more than ROUNDING."""
    data = "; the runs were trained on different data" if reference.progress.digest != run.progress.digest else ""
    epochs = min(reference.progress.epoch, run.progress.epoch)
    largest = 0.0
    for reference_row, row in zip(reference.progress.history, run.progress.history, strict=False):
        expected, loss = reference_row["train_loss"], row["train_loss"]
        difference = abs(loss - expected) / max(abs(loss), abs(expected), 1e-300)
        if difference > ROUNDING:
            losses = f"training losses {loss:.6g} and {expected:.6g} differ by {difference:.2%}"
            return f"they diverge in epoch {row['epoch']}: {losses}{data}"
        largest = max(largest, difference)
    if largest:
        return f"up to epoch {epochs}, training losses differ by rounding, at most {largest:.1e} (relative){data}"
    metrics = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in finished.progress.history[:epochs]]
        for finished in (reference, run)
    ]
    subject = "all metrics are" if metrics[0] == metrics[1] else "training losses are"
    return f"up to epoch {epochs}, {subject} bit-identical{data}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
