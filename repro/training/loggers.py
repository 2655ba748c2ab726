"""A run's losses and accuracies as logs for TensorBoard or VisualDL, which their own libraries write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from repro.errors import ReproError

WRITERS = {"tensorboard": ("tensorboardX", "SummaryWriter"), "visualdl": ("visualdl", "LogWriter")}


def writer(viewer: str) -> Callable[..., Any]:
    """What makes a log, with add_scalar(tag, value, step), of logdir=FOLDER. Raises ReproError where its library is not
    installed."""
    module, name = WRITERS[viewer]
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ReproError(
            f"--logs {viewer} needs {module} ({error}); install it with: "
            f"pip install -e '.[{viewer}]' in repro's folder, or leave it out"
        ) from error


def add(log: Any, row: Mapping[str, float]) -> None:
    """A row of metrics.jsonl."""
    for name, value in row.items():
        if name != "epoch":
            part, _, metric = name.rpartition("_")
            log.add_scalar(f"{metric}/{part}" if part else metric, value, int(row["epoch"]))
    log.flush()
