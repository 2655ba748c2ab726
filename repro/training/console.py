"""The output of a run: a progress bar of the steps on stderr, and one line per epoch on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(title: str, total: int, items: Iterable[Any] | None = None) -> tqdm:
    """Return a progress bar, which iterates over `items` if they are given, and is erased at the end.

    If stderr is not a terminal, the bar writes one line per minute, and nothing in the first minute.
    """
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 60.0  # seconds
    return tqdm(
        items, title, total, leave=False, delay=interval, mininterval=interval, maxinterval=interval, dynamic_ncols=True
    )


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """Return a row of metrics.jsonl as one line of text; `epochs` is the number of epochs of the run."""
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  train loss {row['train_loss']:.4f} top-1 {row['train_top1']:7.2%} top-5 {row['train_top5']:7.2%}"
        f"  val loss {row['val_loss']:.4f} top-1 {row['val_top1']:7.2%} top-5 {row['val_top5']:7.2%}"
        f"  lr {row['lr']:.4g}  {row['seconds']:.1f} s"
    )
