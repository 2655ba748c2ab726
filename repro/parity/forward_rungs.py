"""Rungs 0, 1 and 2: the structure that each framework built, and its forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.parity.attempt import Computation, Workers
from repro.parity.comparison import Verdict
from repro.parity.judge import describe_place, judge
from repro.parity.record import Record
from repro.specs import Spec
from repro.workers.client import WorkerError, request_all

# Images of rung 1 (N, H, W): sides that halve evenly, and odd ones that are not square
EVALUATION_INPUTS = ((2, 64, 64), (2, 65, 47))
# Images of training. Batch normalisation is most sensitive to the small maps at the end of a network
TRAIN_BATCH, MAX_TRAIN_SIDE = 4, 64
# The tolerance between two frameworks in float64, relative to that of float32: an error of method would not become
# smaller in float64. It cannot be tighter, because Paddle's kernels keep their epsilons in float32; in training it is
# looser, because batch normalisation divides by variances that are nearly 0
EVALUATION_FLOAT64_FACTOR, TRAINING_FLOAT64_FACTOR = 1e-3, 0.1


def compare_structure(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 0: names, shapes and kinds, parameters and MACs of what each framework built, compared with the spec."""
    expected_shapes = {name: weight.shape for name, weight in spec.weights.items()}
    expected_operators = {op.name: asdict(op) | {"output": list(op.output)} for op in spec.trace().operators}
    exports = request_all(workers, "export_weights")
    operators = request_all(workers, "operators", size=spec.input_size)
    differences = {}
    for backend in workers:
        shapes = {name: array.shape for name, array in exports[backend][1].items()}
        built = {row["name"]: row for row in operators[backend][0]}
        differences[backend] = _first_difference(shapes, expected_shapes) or _first_difference(
            built, expected_operators
        )
    sound = next((backend for backend, difference in differences.items() if not difference), "")
    for backend in workers:
        difference = differences[backend]
        if difference and sound and difference[0] in expected_operators:
            # the cause of an operator's wrong size may run before it and not be an operator itself, such as a pool
            difference = _first_wrong_shape(spec, workers, backend, sound, seed) or difference
        where, reason = difference or ("", f"{spec.params:,} parameters and {spec.macs:,} MACs, as in the spec")
        verdict: Verdict = "diverges" if difference else "equal"
        yield Record(spec.name, 0, backend, "spec", verdict, None if difference else 0.0, 0.0, where, reason)


def _first_wrong_shape(spec: Spec, workers: Workers, backend: str, sound: str, seed: int) -> tuple[str, str] | None:
    """The first array of the forward pass whose shape differs from the sound backend's, and how it differs."""
    pair = {name: workers[name] for name in (backend, sound)}
    try:
        images = _random_images(spec, EVALUATION_INPUTS[0], seed, 0)
        results = ordered_arrays(request_all(pair, "forward", images, every_module=True))
    except WorkerError:  # the network does not run on images of this size
        return None
    shapes = {name: array.shape for name, array in results[backend].items()}
    names = list(results[sound])
    for index, (name, array) in enumerate(results[sound].items()):
        if name in shapes and shapes[name] != array.shape:
            return describe_place(names, index), f"shape {shapes[name]} instead of {array.shape}"
    return None


def compare_evaluation(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 1: every stage and the logits in evaluation mode, which must not change the running statistics."""
    computations = [
        Computation(
            f"{height}x{width}",
            partial(_random_images, spec, (batch, height, width), seed),
            "images",
            run_evaluation,
            EVALUATION_FLOAT64_FACTOR,
        )
        for batch, height, width in EVALUATION_INPUTS
    ]
    return judge(spec, 1, workers, computations, weights)


def compare_training_mode(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 2: every stage and the logits in training mode, and every running statistic after it."""
    side = train_side(spec)
    make_inputs = partial(_random_images, spec, (TRAIN_BATCH, side, side), seed)
    computation = Computation("", make_inputs, "images", run_training_mode, TRAINING_FLOAT64_FACTOR)
    return judge(spec, 2, workers, [computation], weights)


def train_side(spec: Spec) -> int:
    """The side in pixels of the images that a variant is trained on."""
    return min(MAX_TRAIN_SIDE, spec.input_size)


def _random_images(spec: Spec, size: tuple[int, int, int], seed: int, attempt: int) -> Arrays:
    batch, height, width = size
    rng = np.random.default_rng([*size, seed, attempt])
    return {"images": rng.standard_normal((batch, spec.in_channels, height, width), np.float32)}


def run_evaluation(workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
    """The forward pass in evaluation mode."""
    results = ordered_arrays(request_all(workers, "forward", inputs, float64=float64, every_module=every_module))
    return {backend: _place_statistics(arrays) for backend, arrays in results.items()}


def run_training_mode(workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
    """The forward pass in training mode."""
    results = ordered_arrays(
        request_all(workers, "forward", inputs, train=True, float64=float64, every_module=every_module)
    )
    return {backend: _place_statistics(arrays) for backend, arrays in results.items()}


def ordered_arrays(answers: dict[str, tuple[Any, Arrays]]) -> dict[str, Arrays]:
    """The arrays of workers' answers in the order of computation, without workers that could not compute them."""
    return {
        backend: {name: arrays[name] for name in order}
        for backend, (order, arrays) in answers.items()
        if order is not None
    }


def _place_statistics(arrays: Arrays) -> Arrays:
    """The arrays with running statistics moved after the output of their normalisation, where that is included."""
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
    """The first name whose shape or operator differs from the expected one, and how it differs."""
    for name, value in expected.items():
        if name not in actual:
            return name, f"{name} is missing"
        if actual[name] != value:
            return name, f"{name} has {_describe_difference(actual[name], value)}"
    extra = [name for name in actual if name not in expected]
    return (extra[0], f"{extra[0]} is not in the spec") if extra else None


def _describe_difference(actual: Any, expected: Any) -> str:
    """How two shapes, or two operators given by their fields, differ."""
    if not isinstance(actual, dict):
        return f"shape {actual} instead of {expected}"
    return ", ".join(
        f"{field} {actual[field]} instead of {value}" for field, value in expected.items() if actual[field] != value
    )
