"""The rungs: what is asked of every backend, and what it is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from repro.errors import ReproError
from repro.parity.compare import Comparison, Verdict, compare, overall
from repro.parity.record import Record
from repro.parity.training import gradients, losses, training_mode, trajectory
from repro.specs import Spec, find_spec
from repro.weights.init import scramble
from repro.workers import Worker, ask

# Inputs of rung 1 (N, H, W): sides that halve evenly, and odd ones that are not square
INPUTS = ((2, 64, 64), (2, 65, 47))

# The float32 rounding that a stage has in the reference framework is measured against its own float64, as a root mean
# square; the largest of many elements, added up in another order, stays within this multiple of it
ROUNDING = 64.0
# Two frameworks in float64 must agree a thousand times better than float32 could: an error of method would not get
# smaller. Not closer, because Paddle's kernels keep their epsilons in float32
DOUBLE = 1e-3


def structure(spec: Spec, workers: dict[str, Worker], seed: int) -> Iterator[Record]:
    """Rung 0: names, shapes, kinds, parameters and MACs of what each framework built, against the spec."""
    shapes = {name: weight.shape for name, weight in spec.weights.items()}
    planned = {op.name: asdict(op) | {"output": list(op.output)} for op in spec.trace().operators}
    exports = ask(workers, "export")
    operators = ask(workers, "operators", size=spec.input_size)
    for backend in workers:
        exported = {name: array.shape for name, array in exports[backend][1].items()}
        built = {row["name"]: row for row in operators[backend][0]}
        difference = _first_difference(exported, shapes) or _first_difference(built, planned)
        where, reason = difference or ("", f"{spec.params:,} parameters and {spec.macs:,} MACs, as the spec says")
        verdict: Verdict = "diverges" if difference else "equal"
        yield Record(spec.name, 0, backend, "spec", verdict, None if difference else 0.0, 0.0, where, reason)


def evaluation(spec: Spec, workers: dict[str, Worker], seed: int) -> Iterator[Record]:
    """Rung 1: every stage and the logits in evaluation mode, in float32 and, where the framework can, float64."""
    results: dict[str, list[Comparison]] = {backend: [] for backend in workers}
    reference = ""
    for number, (batch, height, width) in enumerate(INPUTS):
        rng = np.random.default_rng([number, batch, height, width, seed])
        images = {"images": rng.standard_normal((batch, spec.in_channels, height, width), np.float32)}
        single = {backend: outputs for backend, (_, outputs) in ask(workers, "forward", images).items()}
        double = {backend: outputs for backend, (can, outputs) in ask(workers, "forward64", images).items() if can}
        if not double:
            raise ReproError(
                f"rung 1 needs a backend that computes in float64 (torch or paddle) beside {', '.join(workers)}"
            )
        reference, exact = next(iter(double.items()))
        for stage in [*spec.trace().stages, "logits"]:
            tolerance = rounding(single[reference][stage], exact[stage])
            where = f"{stage} ({height}x{width})"
            for backend in workers:
                if backend in double and backend != reference:
                    results[backend].append(
                        compare(
                            f"{where}, float64", double[backend][stage], exact[stage],
                            tolerance=DOUBLE * tolerance, dtype=np.float64,
                        )
                    )  # fmt: skip
                results[backend].append(compare(where, single[backend][stage], exact[stage], tolerance=tolerance))
    for backend, comparisons in results.items():
        worst = overall(comparisons)
        yield Record.of(spec.name, 1, backend, f"{reference} float64", worst)


Rung = Callable[[Spec, dict[str, Worker], int], Iterator[Record]]
RUNGS: dict[int, tuple[str, Rung]] = {
    0: ("structure", structure),
    1: ("eval", evaluation),
    2: ("train", training_mode),
    3: ("loss", losses),
    4: ("gradients", gradients),
    6: ("trajectory", trajectory),
}


def climb(model: str, rungs: list[int], workers: dict[str, Worker], seed: int = 0) -> Iterator[Record]:
    """The records of one variant, on scrambled weights that all workers share. seed: of weights and inputs."""
    spec = find_spec(model)
    arrays = scramble(spec, seed)
    undropped = None
    for rung in sorted(rungs):
        if undropped != (rung > 1):
            undropped = rung > 1
            ask(workers, "create", arrays, name=model, options={}, undropped=undropped)
        yield from RUNGS[rung][1](spec, workers, seed)


def rounding(single: np.ndarray, exact: np.ndarray) -> float:
    """The tolerance of one stage, from what float32 loses there in the reference framework."""
    if single.shape != exact.shape:
        return 0.0
    lost = float(np.sqrt(np.mean(np.square(single - exact))))
    floor = float(np.finfo(np.float32).eps * np.sqrt(np.mean(np.square(exact))))  # a stage may be exact by chance
    return ROUNDING * max(lost, floor) if np.isfinite(lost) else 0.0


def _first_difference(actual: dict[str, Any], expected: dict[str, Any]) -> tuple[str, str] | None:
    """The first name at which two descriptions part, and how."""
    for name, value in expected.items():
        if name not in actual:
            return name, f"{name} is missing"
        if actual[name] != value:
            return name, f"{name} is {actual[name]} instead of {value}"
    extra = [name for name in actual if name not in expected]
    return (extra[0], f"{extra[0]} is not in the spec") if extra else None
