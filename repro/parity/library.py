"""The comparison of user models as a function, for programs and tests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED, backend_of

if TYPE_CHECKING:
    from repro.parity.causes.culprit import Culprit
    from repro.parity.comparison import Verdict
    from repro.parity.record import Record
    from repro.parity.user_models.inputs import Inputs
    from repro.workers.client import Worker

DEFAULT_INPUT = "2,3,64,64"
USER_RUNGS = {0: "mapping", 1: "eval", 2: "train", 4: "gradients"}
SOURCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # MODULE:FUNCTION
# From the best to the worst
VERDICTS: tuple[Verdict, ...] = ("equal", "rounding", "constant", "unanswerable", "diverges")


@dataclass(frozen=True)
class Comparison:
    """The outcome of comparing user models.

    sources: label of a model ("torch", or "torch#2" for a second one) -> its "MODULE:FUNCTION"; versions: label -> the
    framework's version; records: one of each model on each rung and seed; mapping: the table of paired weights;
    notes: further lines of the report; left_out: label -> why its model was not compared; seconds: how long it took.
    """

    sources: Mapping[str, str]
    versions: Mapping[str, str]
    records: Sequence[Record]
    mapping: Sequence[str]
    notes: Sequence[str]
    left_out: Mapping[str, str]
    seconds: float

    @property
    def agrees(self) -> bool:
        """Return whether all models were compared and shown to be equal, up to rounding."""
        return not self.left_out and all(record.agrees for record in self.records)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The worst verdict on each model, by label."""
        return {
            label: max((r.verdict for r in self.records if r.backend == label), key=VERDICTS.index)
            for label in dict.fromkeys(record.backend for record in self.records)
        }

    @property
    def causes(self) -> list[Culprit]:
        """The places at which models err by themselves, each once."""
        causes = {(c.backend, c.place): c for record in reversed(self.records) for c in record.causes}
        return list(reversed(causes.values()))

    def report(self, *, show_mapping: bool = False) -> str:
        """The text that the command prints. show_mapping: with all pairs of weights, not only the doubtful ones."""
        from repro.parity import summary
        from repro.parity.console import LEGEND, VerdictTable
        from repro.parity.user_models import report as user_report

        title = self.records[0].model
        rungs = {record.rung: USER_RUNGS[record.rung] for record in self.records}
        table = VerdictTable([title], rungs, list(self.verdicts))
        constant = "   ~ a constant of a framework" * any(r.verdict == "constant" for r in self.records)
        unexplained = summary.describe_divergences(user_report.unexplained(self.records))
        lines = [
            *user_report.describe_verdicts(self.records),
            unexplained,
            f"{table.heading}\n{table.line(title, self.records)}\n{LEGEND}{constant}   ?? cannot be answered",
            summary.summarise(self.records, self.seconds),
            "",
            *self.notes,
            *user_report.describe_mapping(self.mapping, show_all=show_mapping),
        ]
        return "\n".join(lines)


def check(
    *,
    torch: str | Sequence[str] | None = None,
    paddle: str | Sequence[str] | None = None,
    mindspore: str | Sequence[str] | None = None,
    inputs: str | Sequence[str | Sequence[int]] = DEFAULT_INPUT,
    mapping: str | Path | None = None,
    rungs: Iterable[int] = tuple(USER_RUNGS),
    seeds: int = 1,
    strict: bool = False,
    own_weights: bool = False,
    folder: str | Path | None = None,
    workers: dict[str, Worker] | None = None,
) -> Comparison:
    """Compare two or more user models, and find every place at which one of them errs by itself.

    torch, paddle, mindspore: "MODULE:FUNCTION" of a function that returns the model in that framework, or two of them.
    Each framework runs in a process of its own. inputs: the shape of the input, such as "2,3,64,64", or a list with one
    for each input, as text or numbers; "int64:2,16<1000" stands for integers below 1000. mapping: YAML file that pairs
    the weights, written if it does not exist. rungs: among 0, 1, 2 and 4. seeds: number of different weights and
    inputs. strict: let constants of a framework diverge. own_weights: let each model keep its own weights, and compare
    them on rung 0. folder: from which the modules are imported; None for the current one. workers: running workers by
    label, to which those that are started are added, and which stay running.

    Raises ReproError if fewer than two models can be compared.
    """
    from repro.parity.user_models.inputs import parse_inputs

    models = {"torch": torch, "paddle": paddle, "mindspore": mindspore}
    functions = {name: [value] if isinstance(value, str) else list(value or ()) for name, value in models.items()}
    shapes = [inputs] if isinstance(inputs, str) else inputs
    texts = [shape if isinstance(shape, str) else ",".join(map(str, shape)) for shape in shapes]
    return compare(
        name_sources(functions), parse_inputs(texts), Path(mapping) if mapping else None, check_rungs(rungs), seeds,
        strict=strict, own_weights=own_weights, folder=Path(folder) if folder else None, workers=workers,
    )  # fmt: skip


def compare(
    sources: Mapping[str, str], inputs: Inputs, mapping: Path | None, rungs: Sequence[int], seeds: int, *,
    strict: bool = False, own_weights: bool = False, folder: Path | None = None,
    workers: dict[str, Worker] | None = None,
) -> Comparison:  # fmt: skip
    """Compare the models of functions by label. The other arguments are those of `check`."""
    from repro.parity.causes.culprits import explain_divergences
    from repro.parity.user_models.constants import describe_constants
    from repro.parity.user_models.models import (
        compare_own_weights,
        keep_own_weights,
        load_random_weights,
        load_user_models,
    )
    from repro.parity.user_models.rungs import run_user_rungs
    from repro.workers.client import Worker

    if seeds < 1:
        raise ReproError(f"the number of seeds is {seeds}; give a number above 0")
    start = time.monotonic()
    records: list[Record] = []
    random = "all models got the same random weights in place of their own"
    notes = ["each model kept its own weights" if own_weights else random]
    rows: list[str] = []
    with ExitStack() as stack:
        running: dict[str, Worker] = {} if workers is None else workers
        for label in sources:
            if label not in running:
                running[label] = Worker(backend_of(label), label=label)
                if workers is None:
                    stack.callback(running[label].close)
            running[label].ensure_running()
        chosen = {label: running[label] for label in sources}
        models = load_user_models(
            chosen, sources, inputs, mapping, notes.append, folder=folder, print_mapping=rows.append
        )
        if own_weights:
            models = compare_own_weights(models)
        for seed in range(seeds):
            weights = (keep_own_weights if own_weights else load_random_weights)(models, seed)
            of_seed = list(run_user_rungs(models, rungs, weights, seed, strict=strict))
            if all(worker.answers_everything for worker in chosen.values()):
                of_seed = explain_divergences(models, of_seed, weights, seed, strict=strict)
            records += of_seed
    if not strict:
        notes += describe_constants(models, records)
    versions = {label: worker.version for label, worker in chosen.items()}
    return Comparison(sources, versions, records, rows, notes, models.left_out, time.monotonic() - start)


def name_sources(functions: Mapping[str, Sequence[str]], least: int = 2) -> dict[str, str]:
    """Label -> "MODULE:FUNCTION", from those of each backend. Raises ReproError for fewer than `count`."""
    sources = {}
    for backend, of_backend in functions.items():
        for number, source in enumerate(of_backend, 1):
            if not SOURCE.fullmatch(source):
                raise ReproError(f"--{backend} is {source!r}; give MODULE:FUNCTION, such as mymodel:build")
            sources[backend if number == 1 else f"{backend}#{number}"] = source
    if len(sources) < least:
        flags = ", ".join(f"--{backend}" for backend in SHIPPED)
        count = "one user model" if sources else "no user model"
        raise ReproError(f"{count} to compare; give at least two of {flags}, or one of them twice")
    return sources


def check_rungs(rungs: Iterable[object]) -> list[int]:
    """The numbers of rungs in ascending order. Raises ReproError for one that user models do not have."""
    known = list(map(str, USER_RUNGS))
    names = [str(rung) for rung in rungs]
    for name in names:
        if name not in known:
            raise ReproError(f"rung {name!r} does not exist for user models; choose among {', '.join(known)}")
    return sorted(set(map(int, names)))
