"""A run of the command repro.run whose first steps are timed."""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repro.data import Batch, Dataset, loader
from repro.data.batch import Request
from repro.interface import Trainer
from repro.interface.contract import StepResult
from repro.interface.processes import ProcessGroup
from repro.training import loop
from repro.training.meters import Meter


class Observer:
    """A clock for the training loop that ends the run after a number of steps.

    It replaces two functions that the command calls: the training epoch, to time its batches and steps, and the loading
    of images in this process, to count them.
    """

    def __init__(self, out: Path, steps: int):
        self.out, self.steps = out, steps
        self.data: list[float] = []
        self.step: list[float] = []
        self.decoded = 0
        self.train_epoch, self.load = loop.train_epoch, loader.load
        loop.train_epoch = self.observed_epoch
        loader.load = self.counted_load

    def counted_load(self, dataset: Dataset, request: Request, images: np.ndarray | None = None) -> Batch:
        """Load a batch, and count its images."""
        self.decoded += len(request.indices)
        return self.load(dataset, request, images)

    def observed_epoch(
        self, trainer: Trainer, batches: Iterable[Batch], rates: Sequence[float], epoch: int, processes: ProcessGroup,
        **named: Any,
    ) -> Meter:  # fmt: skip
        """Train an epoch whose batches and steps are timed."""
        start_step = trainer.start_step

        def timed_step(images: np.ndarray, targets: np.ndarray, lr: float) -> StepResult:
            start = time.perf_counter()
            result = start_step(images, targets, lr)()
            self.step.append(time.perf_counter() - start)
            if len(self.step) == self.steps:
                self.finish(processes)
            return lambda: result

        trainer.start_step = timed_step  # type: ignore[method-assign]
        return self.train_epoch(trainer, self.timed(batches), rates, epoch, processes, **named)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and note how long the loop waited for each."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            if batch is None:
                return
            self.data.append(time.perf_counter() - start)
            yield batch

    def finish(self, processes: ProcessGroup) -> None:
        """Write what this rank observed as "data", "step", "decoded" and "end"; exit once all ranks have written."""
        results = {"data": self.data, "step": self.step, "decoded": self.decoded, "end": time.time()}
        self.out.with_name(f"{self.out.name}-{processes.rank}.json").write_text(json.dumps(results))
        processes.all_reduce_sum(np.zeros(1))  # waits for all ranks: the launcher ends the others once one has exited
        sys.exit(0)


def main() -> None:
    """Run the command with the flags that follow OUT and STEPS; each rank writes OUT-RANK.json."""
    out, steps, *flags = sys.argv[1:]
    observer = Observer(Path(out), int(steps))
    sys.argv[1:] = flags
    runpy.run_module("repro.run", run_name="__main__")
    sys.exit(f"error: the run ended after {len(observer.step)} of {steps} steps")


if __name__ == "__main__":
    main()
