"""Seconds from the command to the end of the first training step, compared with only importing the framework."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from repro.benchmarks.loop import observe
from repro.benchmarks.measurement import OURS, SpeedComparison, in_turn, timed
from repro.interface.discovery import module_name
from repro.specs import find_spec
from repro.workers.client import interpreter
from repro.workers.command import run


def measure_start(backend: str, model: str, *, rounds: int) -> Iterator[SpeedComparison]:
    """Yield the seconds until the first step on the embedded digits has ended, and those until Python has imported it.

    Raises ReproError for an unknown model or backend, and where the command fails.
    """
    find_spec(model)
    module_name(backend)
    flags = ["--backend", backend, "--model", model, "--epochs", "1"]
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
        numbers = iter(range(rounds + 1))

        def until_first_step() -> float:
            start = time.time()
            (observed,) = observe(backend, flags, 1, 1, Path(name, f"{next(numbers)}"))
            return observed["end"] - start

        def bare_import() -> None:
            run([interpreter(backend), "-c", f"import {backend}"], backend, Path(name))

        seconds = in_turn({OURS: until_first_step, f"import {backend}": timed(bare_import)}, rounds)
    yield SpeedComparison(f"{model}, until the first step", "s", seconds)
