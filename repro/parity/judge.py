"""From arrays to verdicts: what is asked of every backend is asked again of the reference with other last bits and in
double precision, which tells rounding from an error; what diverges is looked at closely, which names the culprit.

A network with ReLUs is not smooth: a value within rounding of a kink falls to either side of it, and changes gradients
by far more than rounding. On other inputs it is another value, or none. So what diverges is tried again on others, and
only what diverges every time is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import BoundedSemaphore

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.parity.comparison import Comparison, compare, overall
from repro.parity.hints import hint
from repro.parity.record import Point, Record
from repro.parity.tolerance import perturbed, tolerances
from repro.specs import Spec
from repro.workers.client import LARGE, Worker

Workers = Mapping[str, Worker]

ATTEMPTS = 3
ENTERS, GRADIENT = "enters ", "gradient of "
STATISTICS = ("running_mean", "running_var")


# (workers, inputs, double, every_module) -> the arrays of each backend in the order of computation; {} for a backend
# that cannot compute in float64 (double)
Run = Callable[[Workers, Arrays, bool, bool], dict[str, Arrays]]


@dataclass(frozen=True)
class Question:
    """name: in the report, where a rung has several; inputs: of an attempt; nudge: the input that gets other last bits;
    double: how much closer frameworks in float64 must agree than in float32; nudges: how many runs with other last bits
    tell what rounding amounts to, beside the one with the bits as they are."""

    name: str
    inputs: Callable[[int], Arrays]
    nudge: str
    run: Run
    double: float
    nudges: int = 3


def judge(spec: Spec, rung: int, workers: Workers, questions: list[Question], weights: Arrays) -> Iterator[Record]:
    """A record for each backend, which speaks of the first question that it fails, or else of the one that it passes
    with the least to spare. weights: those before training.

    Raises ReproError where no backend computes in double precision.
    """
    found: dict[str, list[Comparison]] = {backend: [] for backend in workers}
    profiles: dict[str, list[Point]] = {backend: [] for backend in workers}
    reference = ""
    large = sum(array.size for array in weights.values()) > LARGE
    with _Queues(workers, 1 if large else len(workers)) as queues:
        for question, look in zip(questions, queues.ahead(questions), strict=True):
            reference, answers = _answers(question, workers, queues, look)
            for backend, comparisons in answers.items():
                speaker = overall(comparisons)
                if speaker.verdict == "diverges":
                    pair = {name: worker for name, worker in workers.items() if name in {reference, backend}}
                    close = _Look(question, pair, queues, ATTEMPTS - 1, True)
                    speaker = _culprit(close, backend, spec, weights) or speaker
                suffix = f" ({question.name})" if question.name else ""
                found[backend].append(replace(speaker, where=speaker.where + suffix))
                profiles[backend] += [
                    (c.where + suffix, c.max_error and float(f"{c.max_error:.3g}"), float(f"{c.tolerance:.3g}"))
                    for c in comparisons
                ]
    for backend, speakers in found.items():
        yield Record.of(spec.name, rung, backend, f"{reference} float64", overall(speakers), profiles[backend])


class _Queues:
    """What is asked of each backend, one after the other, so that none waits until the others have answered."""

    def __init__(self, workers: Workers, turns: int):
        """turns: so many backends may work at the same time."""
        self.workers = workers
        self.turns = BoundedSemaphore(turns)
        self.queues = {backend: ThreadPoolExecutor(1) for backend in workers}
        self.looks = ThreadPoolExecutor(2)

    def begin(
        self, question: Question, backend: str, inputs: Arrays, double: bool, every_module: bool
    ) -> Future[dict[str, Arrays]]:
        def run() -> dict[str, Arrays]:
            with self.turns:
                return question.run({backend: self.workers[backend]}, inputs, double, every_module)

        return self.queues[backend].submit(run)

    def ahead(self, questions: list[Question]) -> Iterator[_Look]:
        """First attempts at the questions. While one is compared, or waits for its last backend, the next is asked."""
        return self.looks.map(lambda question: _Look(question, self.workers, self, 0, False), questions)

    def __enter__(self) -> _Queues:
        return self

    def __exit__(self, *_: object) -> None:
        for queue in (self.looks, *self.queues.values()):
            queue.shutdown(cancel_futures=True)


class _Look:
    """One attempt at a question."""

    def __init__(self, question: Question, workers: Workers, queues: _Queues, attempt: int, every_module: bool):
        given = question.inputs(attempt)
        others = [given | {question.nudge: perturbed(given[question.nudge], seed)} for seed in range(question.nudges)]
        double = {backend: queues.begin(question, backend, given, True, every_module) for backend in workers}
        single = {backend: queues.begin(question, backend, given, False, every_module) for backend in workers}
        self.reference = next((backend for backend in workers if double[backend].result()), "")
        if not self.reference:
            raise ReproError(
                f"nothing to hold {', '.join(workers)} against: a backend that computes in float64 (torch or "
                "paddle) must take part"
            )
        nudges = [queues.begin(question, self.reference, other, False, every_module) for other in others]
        self.tighter = question.double
        self.double = _joined(double.values())
        self.single = _joined(single.values())
        self.exact = self.double[self.reference]
        runs = [self.single[self.reference], *(run.result()[self.reference] for run in nudges)]
        self.allowed = tolerances(runs, self.exact)

    def comparisons(self, backend: str) -> list[Comparison]:
        """In the order of computing."""
        found = []
        for name, exact in self.exact.items():
            allowed = self.allowed[name]
            checks = [_checked(name, self.single[backend], exact, allowed, np.float32)]
            if backend in self.double and backend != self.reference:
                checks.append(_checked(name, self.double[backend], exact, self.tighter * allowed, np.float64))
            found.append(overall(checks))
        return found


def _joined(futures: Iterable[Future[dict[str, Arrays]]]) -> dict[str, Arrays]:
    return {backend: arrays for future in futures for backend, arrays in future.result().items()}


def _checked(name: str, arrays: Arrays, exact: np.ndarray, tolerance: float, dtype: type) -> Comparison:
    where = name if dtype is np.float32 else f"{name}, float64"
    if name not in arrays:
        return Comparison("diverges", where, None, tolerance, "it is missing")
    return compare(where, arrays[name], exact, tolerance=tolerance, dtype=dtype)


def _answers(
    question: Question, workers: Workers, queues: _Queues, look: _Look
) -> tuple[str, dict[str, list[Comparison]]]:
    """The reference, and each backend's comparisons. What did not diverge on all of ATTEMPTS inputs, of which `look` is
    the first, speaks by one on which it did not."""
    history: dict[str, list[list[Comparison]]] = {backend: [] for backend in workers}
    suspects, reference = set(workers), ""
    for attempt in range(ATTEMPTS):
        if attempt:
            chosen = {name: worker for name, worker in workers.items() if name in suspects | {reference}}
            look = _Look(question, chosen, queues, attempt, False)
        reference = look.reference
        for backend in suspects:
            history[backend].append(look.comparisons(backend))
        suspects = {backend for backend in suspects if any(map(_diverges, zip(*history[backend], strict=True)))}
        if not suspects:
            break
    answers = {
        backend: [
            next((one for one in tried if one.verdict != "diverges"), tried[-1])
            for tried in zip(*attempts, strict=True)
        ]
        for backend, attempts in history.items()
    }
    return reference, answers


def _diverges(tried: tuple[Comparison, ...]) -> bool:
    return all(one.verdict == "diverges" for one in tried)


def _culprit(look: _Look, backend: str, spec: Spec, weights: Arrays) -> Comparison | None:
    """The first thing that diverges, with a place in words and what it looks like; None where a close look finds
    nothing."""
    names = list(look.exact)
    for index, found in enumerate(look.comparisons(backend)):
        if found.verdict == "diverges":
            name = names[index]
            weight = name.rpartition(": ")[2].removeprefix("average of ")
            statistic = next((kind for kind in STATISTICS if weight.endswith(kind)), "")
            arrays = (look.single if found.where == name else look.double)[backend]
            text = ""
            if name in arrays:
                text = hint(
                    arrays[name], look.exact[name], found.tolerance, weights.get(weight), spec.norm_momentum, statistic
                )
            where = place(names, index) + found.where.removeprefix(name)
            return replace(found, where=where, reason=found.reason + f" ({text})" * bool(text))
    return None


def place(names: list[str], index: int) -> str:
    """Where the array is, of those whose names Backend.forward gives in the order of computing: a module that has
    parts, all of which are right, errs in what it does with them. A gradient may err in what is between it and the one
    before, which is right."""
    name = names[index]
    if name.startswith(GRADIENT):
        return f"{name} (after that of {names[index - 1].removeprefix(GRADIENT)})" if index else name
    inner = name.removeprefix(ENTERS)
    if inner == name and not any(other.startswith(f"{name}.") for other in names[:index]):
        return name
    outputs = (other for other in names[:index] if not other.startswith(ENTERS) and not other.endswith(STATISTICS))
    before = next(reversed(list(outputs)), "")
    return f"{name} (after {before})" if before else name
