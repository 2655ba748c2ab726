"""Rungs 0, 1 and 2: what each framework built, and what it computes on the way forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from repro.parity.comparison import Verdict
from repro.parity.judge import Arrays, Question, Workers, judge, place
from repro.parity.record import Record
from repro.specs import Spec
from repro.workers.client import WorkerError, ask

# Inputs of rung 1 (N, H, W): sides that halve evenly, and odd ones that are not square
INPUTS = ((2, 64, 64), (2, 65, 47))
BATCH, SIDE = 4, 64  # of training; small maps at the end of a network are what its batch normalisation finds hardest
# Two frameworks in float64 must agree a thousand times better than float32 could: an error of method would not get
# smaller. Not closer, because Paddle's kernels keep their epsilons in float32; and less close in training, where batch
# normalisation divides by variances that are next to nothing
DOUBLE, TRAIN_DOUBLE = 1e-3, 0.1


def structure(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 0: names, shapes, kinds, parameters and MACs of what each framework built, against the spec."""
    shapes = {name: weight.shape for name, weight in spec.weights.items()}
    planned = {op.name: asdict(op) | {"output": list(op.output)} for op in spec.trace().operators}
    exports = ask(workers, "export")
    operators = ask(workers, "operators", size=spec.input_size)
    differences = {}
    for backend in workers:
        exported = {name: array.shape for name, array in exports[backend][1].items()}
        built = {row["name"]: row for row in operators[backend][0]}
        differences[backend] = _first_difference(exported, shapes) or _first_difference(built, planned)
    peer = next((name for name, difference in differences.items() if not difference), "")
    for backend, first in differences.items():
        # what runs before an operator may be to blame for its size: a pool, say
        sized = first and first[0] in planned and peer
        difference = (_misshapen(spec, workers, backend, peer, seed) if sized else None) or first
        where, reason = difference or ("", f"{spec.params:,} parameters and {spec.macs:,} MACs, as the spec says")
        verdict: Verdict = "diverges" if difference else "equal"
        yield Record(spec.name, 0, backend, "spec", verdict, None if difference else 0.0, 0.0, where, reason)


def _misshapen(spec: Spec, workers: Workers, backend: str, peer: str, seed: int) -> tuple[str, str] | None:
    """The first thing of another size than a sound backend's, and how."""
    pair = {name: workers[name] for name in (backend, peer)}
    try:
        found = in_order(ask(pair, "forward", _noise(spec, INPUTS[0], seed, 0), every_module=True))
    except WorkerError:  # it does not run on other sizes
        return None
    shapes = {name: array.shape for name, array in found[backend].items()}
    names = list(found[peer])
    for index, (name, array) in enumerate(found[peer].items()):
        if name in shapes and shapes[name] != array.shape:
            return place(names, index), f"shape {shapes[name]} instead of {array.shape}"
    return None


def evaluation(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 1: every stage and the logits in evaluation mode, which leaves the running statistics alone."""
    questions = [
        Question(f"{height}x{width}", partial(_noise, spec, (batch, height, width), seed), "images", evaluated, DOUBLE)
        for batch, height, width in INPUTS
    ]
    return judge(spec, 1, workers, questions, weights)


def training_mode(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 2: every stage and the logits in training mode, and every running statistic after it."""
    side = training_side(spec)
    noise = partial(_noise, spec, (BATCH, side, side), seed)
    return judge(spec, 2, workers, [Question("", noise, "images", trained, TRAIN_DOUBLE)], weights)


def training_side(spec: Spec) -> int:
    """The side in pixels of the images that are trained on."""
    return min(SIDE, spec.input_size)


def _noise(spec: Spec, size: tuple[int, int, int], seed: int, attempt: int) -> Arrays:
    batch, height, width = size
    rng = np.random.default_rng([*size, seed, attempt])
    return {"images": rng.standard_normal((batch, spec.in_channels, height, width), np.float32)}


def evaluated(workers: Workers, inputs: Arrays, double: bool, every_module: bool) -> dict[str, Arrays]:
    found = in_order(ask(workers, "forward", inputs, double=double, every_module=every_module))
    return {backend: _with_statistics_in_place(arrays) for backend, arrays in found.items()}


def trained(workers: Workers, inputs: Arrays, double: bool, every_module: bool) -> dict[str, Arrays]:
    found = in_order(ask(workers, "forward", inputs, train=True, double=double, every_module=every_module))
    return {backend: _with_statistics_in_place(arrays) for backend, arrays in found.items()}


def in_order(answers: dict[str, tuple[Any, Arrays]]) -> dict[str, Arrays]:
    """The arrays of the workers that could compute them, in the order of computing."""
    return {
        backend: {name: arrays[name] for name in order}
        for backend, (order, arrays) in answers.items()
        if order is not None
    }


def _with_statistics_in_place(arrays: Arrays) -> Arrays:
    """Running statistics behind what their normalisation puts out, where that is there."""
    placed: Arrays = {}
    for name, array in arrays.items():
        if name in placed:
            continue
        placed[name] = array
        for statistic in (f"{name}.running_mean", f"{name}.running_var"):
            if statistic in arrays:
                placed[statistic] = arrays[statistic]
    return placed


def _first_difference(actual: dict[str, Any], expected: dict[str, Any]) -> tuple[str, str] | None:
    """The first name at which two descriptions part, and how."""
    for name, value in expected.items():
        if name not in actual:
            return name, f"{name} is missing"
        if actual[name] != value:
            return name, f"{name} has {_parted(actual[name], value)}"
    extra = [name for name in actual if name not in expected]
    return (extra[0], f"{extra[0]} is not in the spec") if extra else None


def _parted(actual: Any, expected: Any) -> str:
    """In what two descriptions differ: shapes, or the fields of operators."""
    if not isinstance(actual, dict):
        return f"shape {actual} instead of {expected}"
    return ", ".join(f"{what} {actual[what]} instead of {expected[what]}" for what in expected
                     if actual[what] != expected[what])  # fmt: skip
