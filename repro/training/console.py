"""The output of a run: a bar for the steps on stderr, a line for each epoch on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(title: str, total: int, items: Iterable[Any] | None = None) -> tqdm:
    """tqdm's bar, which leaves nothing behind. In a log it is a line a minute, and none for what is done sooner."""
    from tqdm import tqdm

    pause = 0.1 if sys.stderr.isatty() else 60.0
    return tqdm(items, title, total, leave=False, delay=pause, mininterval=pause, maxinterval=pause, dynamic_ncols=True)


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """A row of metrics.jsonl for people."""
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  train loss {row['train_loss']:.4f} top-1 {row['train_top1']:7.2%} top-5 {row['train_top5']:7.2%}"
        f"  val loss {row['val_loss']:.4f} top-1 {row['val_top1']:7.2%} top-5 {row['val_top5']:7.2%}"
        f"  lr {row['lr']:.4g}  {row['seconds']:.1f} s"
    )
