"""Logs of losses and accuracies for TensorBoard and VisualDL, written by the libraries of these viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

from repro.errors import ReproError

WRITERS = {"tensorboard": ("tensorboardX", "SummaryWriter"), "visualdl": ("visualdl", "LogWriter")}
"""Viewer -> the module and the class that write its logs."""


class LogWriter(Protocol):
    """The methods that tensorboardX's SummaryWriter and VisualDL's LogWriter have in common."""

    def add_scalar(self, tag: str, value: float, step: int) -> object:
        """Add a value to the curve `tag`."""

    def flush(self) -> object:
        """Write everything added so far to disk."""


def log_writer_class(viewer: str) -> Callable[..., LogWriter]:
    """Return the class that writes logs for a viewer, with the keyword argument `logdir`.

    Raises ReproError if its library is not installed.
    """
    module, name = WRITERS[viewer]
    try:
        return cast("Callable[..., LogWriter]", getattr(import_module(module), name))
    except ImportError as error:
        raise ReproError(
            f"--logs {viewer} needs {module} ({error}); install it with: "
            f"pip install -e '.[{viewer}]' in repro's folder, or leave --logs out"
        ) from error


def log_metrics(writer: LogWriter, row: Mapping[str, float]) -> None:
    """Log one row of metrics.jsonl: train_loss becomes the curve loss/train."""
    for name, value in row.items():
        if name != "epoch":
            subset, _, metric = name.rpartition("_")
            writer.add_scalar(f"{metric}/{subset}" if subset else metric, value, int(row["epoch"]))
    writer.flush()
