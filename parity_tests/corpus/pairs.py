"""Models of packages that claim to be the same network, and where those that are not are known to differ."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from parity_tests.corpus.table import PAIRS, Pair
from repro.errors import ReproError
from repro.parity.record import Record
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker

RUNGS = (0, 1, 2, 4)


@dataclass
class Outcome:
    """The comparison of a pair: its records, or the error that ended it."""

    pair: Pair
    weights: int = 0
    doubts: int = 0
    records: list[Record] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    @property
    def first(self) -> dict[str, Record]:
        """Backend -> the first record that does not agree."""
        first: dict[str, Record] = {}
        for record in self.records:
            if not record.agrees:
                first.setdefault(record.backend, record)
        return first

    @property
    def problem(self) -> str:
        """A false alarm or false pass, or ""."""
        if self.error:
            return "" if self.pair.error and self.pair.error in self.error else self.error
        if self.pair.error:
            return f"FALSE PASS: it should end with {self.pair.error}"
        for backend in self.pair.functions:
            record, expected = self.first.get(backend), self.pair.differs.get(backend)
            if record and not expected:
                return f"FALSE ALARM: {record.sentence}"
            if expected:
                rung, place = expected
                if not record:
                    return f"FALSE PASS: {backend} should differ at {place}, rung {rung}"
                if not (record.diverges and record.rung == rung and place in record.where):
                    return f"OTHER PLACE than {place}, rung {rung}: {record.sentence}"
        return ""


def compare(workers: Mapping[str, Worker], pair: Pair) -> Outcome:
    """Compare the models of a pair on every rung."""
    outcome, start = Outcome(pair), time.monotonic()
    chosen = {backend: workers[backend] for backend in pair.functions}
    for worker in chosen.values():
        worker.ensure_running()
    try:
        inputs = parse_inputs([f"2,3,{pair.side},{pair.side}"])
        models = load_user_models(chosen, pair.sources, inputs, None, lambda line: None)
        weights = load_random_weights(models, 0)
        outcome.weights = len(weights)
        outcome.doubts = sum(bool(weight_pair.doubt) for pairs in models.pairs.values() for weight_pair in pairs)
        outcome.records = list(run_user_rungs(models, RUNGS, weights, 0))
        outcome.error = "; ".join(models.left_out.values())
    except ReproError as error:
        outcome.error = str(error)
    outcome.seconds = time.monotonic() - start
    return outcome


def row(outcome: Outcome) -> str:
    """The row of the table for an outcome."""
    pair = outcome.pair
    verdicts = [
        f"{record.backend} differs on rung {record.rung} at `{record.where}`"
        if record.diverges
        else f"{record.backend} is unanswerable on rung {record.rung}"
        for record in outcome.first.values()
    ]
    rungs = dict.fromkeys(str(record.rung) for record in outcome.records if record.verdict == "constant")
    agreement = f"agrees; a constant on rung {', '.join(rungs)}" if rungs else "agrees"
    verdict = outcome.error or "; ".join(verdicts) or agreement
    doubts = f"{outcome.weights}, {outcome.doubts} ?"
    return f"| {pair.name} | {doubts} | {verdict} | {pair.cause or 'agrees'} | {outcome.seconds:.0f} |"


def run(*, core: bool, text: str) -> int:
    """Print the table, and return 0 if every pair came out as expected."""
    pairs = [pair for pair in PAIRS if text in pair.name and (pair.core or not core)]
    problems = []
    print("| pair | weights | verdict | expected | s |\n|---|---|---|---|---|")
    with ExitStack() as stack:
        backends = {backend for pair in pairs for backend in pair.functions}
        workers = {backend: stack.enter_context(Worker(backend)) for backend in sorted(backends)}
        for outcome in (compare(workers, pair) for pair in pairs):
            print(row(outcome), flush=True)
            if outcome.problem:
                problems.append(f"{outcome.pair.name}: {outcome.problem}")
                print(problems[-1], file=sys.stderr, flush=True)
    print(f"\n{len(pairs)} pairs, {len(problems)} not as expected")
    return int(bool(problems))
