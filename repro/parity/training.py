"""Rungs 2, 3, 4 and 6: what happens in training. Nothing is dropped at random in any of them.

The gradient of a network with ReLUs is not continuous: a value within rounding of a kink falls to either side of it,
and changes gradients by far more than rounding. On other images it is another value, or none. So what diverges is tried
again on others, and only what diverges every time is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from repro.data import Loader, Transform, open_dataset
from repro.errors import ReproError
from repro.parity.compare import Comparison, compare, overall
from repro.parity.record import Record
from repro.parity.spread import NUDGES, nudged, tolerances
from repro.specs import STATISTICS, Spec
from repro.workers import Worker, ask

Arrays = dict[str, np.ndarray]
Run = Callable[[Mapping[str, Worker], Arrays, bool], dict[str, Arrays]]  # workers, inputs, double -> found, by backend

BATCH, SIDE = 4, 64  # images; small maps at the end of a network are what its batch normalisation finds hardest
ATTEMPTS = 3
# Frameworks in float64 must agree that much better than float32 does. Paddle's float64 keeps epsilons in float32
DOUBLE = 0.1
STEPS, RATE, DECAY = 5, 0.01, 0.01  # a decay that shows within a few steps


def training_mode(spec: Spec, workers: dict[str, Worker], seed: int) -> Iterator[Record]:
    """Rung 2: every stage and the logits in training mode, and every running statistic after it."""

    def run(chosen: Mapping[str, Worker], inputs: Arrays, double: bool) -> dict[str, Arrays]:
        answers = ask(chosen, "train_forward", {"images": inputs["images"][0]}, double=double)
        return {backend: arrays for backend, (can, arrays) in answers.items() if can}

    stages = spec.trace(_side(spec)).stages
    statistics = [name for name, weight in spec.weights.items() if weight.kind in STATISTICS]
    # a stage's statistics are taken in before it comes out
    order = [*(f"statistics/{name}" for name in statistics), *stages, "logits"]
    yield from _compared(spec, 2, workers, run, _noise(spec, seed), order)


def losses(spec: Spec, workers: dict[str, Worker], seed: int) -> Iterator[Record]:
    """Rung 3: the cross-entropy of labels, of smoothed labels and of soft targets."""

    def run(chosen: Mapping[str, Worker], inputs: Arrays, double: bool) -> dict[str, Arrays]:
        rng = np.random.default_rng(3)
        soft = rng.dirichlet(np.ones(spec.num_classes), inputs["targets"].shape).astype(np.float32)
        kinds = {"labels": ({}, 0.0), "smoothed labels": ({}, 0.1), "soft targets": ({"targets": soft}, 0.0)}
        found: dict[str, Arrays] = {}
        for kind, (targets, smoothing) in kinds.items():
            answers = _train(chosen, inputs | targets, _settings(label_smoothing=smoothing), [0.0], double)
            for backend, (values, _) in answers.items():
                found.setdefault(backend, {})[f"loss of {kind}"] = _values(values, double)
        return found

    yield from _compared(spec, 3, workers, run, _noise(spec, seed), [])


def gradients(spec: Spec, workers: dict[str, Worker], seed: int) -> Iterator[Record]:
    """Rung 4: the gradient of every parameter, which is SGD's velocity after its first step."""

    def run(chosen: Mapping[str, Worker], inputs: Arrays, double: bool) -> dict[str, Arrays]:
        answers = _train(chosen, inputs, _settings(momentum=0.9), [0.0], double)
        return {backend: _under("state/velocity/", arrays) for backend, (_, arrays) in answers.items()}

    order = list(reversed(spec.weights))  # as they are worked out
    yield from _compared(spec, 4, workers, run, _noise(spec, seed), order)


def trajectory(spec: Spec, workers: dict[str, Worker], seed: int) -> Iterator[Record]:
    """Rung 6: losses and weights over a few steps on handwritten digits."""
    loader = Loader(open_dataset("digits", split="every-fifth", seed=0), batch_size=BATCH, seed=seed)
    batches = loader.train(0, Transform(image_size=_side(spec)))

    def digits(_attempt: int) -> Arrays:
        images, labels = zip(*islice(batches, STEPS), strict=True)
        channels = np.resize(np.arange(3), spec.in_channels)
        return {"images": np.stack(images)[:, :, channels], "targets": np.stack(labels) % spec.num_classes}

    def run(chosen: Mapping[str, Worker], inputs: Arrays, double: bool) -> dict[str, Arrays]:
        settings = _settings(momentum=0.9, weight_decay=DECAY)
        found = {}
        for backend, (values, arrays) in _train(chosen, inputs, settings, [RATE] * STEPS, double).items():
            steps = {f"loss of step {step}": _values([value], double) for step, value in enumerate(values, 1)}
            found[backend] = steps | _under("weights/", arrays)
        return found

    order = sorted(spec.weights, key=lambda name: spec.weights[name].kind in STATISTICS)
    yield from _compared(spec, 6, workers, run, digits, [*(f"loss of step {i}" for i in range(1, STEPS + 1)), *order])


def _compared(
    spec: Spec, rung: int, workers: dict[str, Worker], run: Run, inputs: Callable[[int], Arrays],
    order: list[str],
) -> Iterator[Record]:  # fmt: skip
    """A record for each backend: the first in `order` of what diverges on all of ATTEMPTS inputs, or the worst of what
    does not."""
    left = list(workers)
    history: dict[str, list[dict[str, Comparison]]] = {backend: [] for backend in workers}
    reference = ""
    for attempt in range(ATTEMPTS):
        given = inputs(attempt)
        double = run(workers, given, True)
        if not double:
            raise ReproError(
                f"rung {rung} needs a backend that computes in float64 (torch or paddle) beside {', '.join(workers)}"
            )
        reference, exact = next(iter(double.items()))
        known = [name for name in order if name in exact]
        known += [name for name in exact if name not in order]
        single = run(
            {backend: worker for backend, worker in workers.items() if backend in {*left, reference}}, given, False
        )
        judge = {reference: workers[reference]}
        runs = [single[reference]]
        for seed in range(NUDGES):
            runs += run(judge, given | {"images": nudged(given["images"], seed)}, False).values()
        allowed = tolerances(runs, exact)
        for backend in left:
            found = {}
            for name in known:
                checks = [_checked(name, single[backend], exact, allowed[name], np.float32)]
                if backend in double and backend != reference:
                    checks.append(_checked(name, double[backend], exact, DOUBLE * allowed[name], np.float64))
                found[name] = overall(checks)
            history[backend].append(found)
        left = [backend for backend in left if _always_diverging(history[backend])]
        if not left:
            break
    for backend, attempts in history.items():
        culprits = _always_diverging(attempts)
        final = attempts[-1]
        worst = final[culprits[0]] if culprits else overall(c for c in final.values() if c.verdict != "diverges")
        yield Record.of(spec.name, rung, backend, f"{reference} float64", worst)


def _checked(name: str, arrays: Arrays, exact: Arrays, tolerance: float, dtype: type) -> Comparison:
    where = name if dtype is np.float32 else f"{name}, float64"
    if name not in arrays:
        return Comparison("diverges", where, None, tolerance, "it is missing")
    return compare(where, arrays[name], exact[name], tolerance=tolerance, dtype=dtype)


def _always_diverging(attempts: list[dict[str, Comparison]]) -> list[str]:
    """The names that diverged in every attempt, in their order."""
    return [name for name in attempts[0] if all(found[name].verdict == "diverges" for found in attempts)]


def _train(
    chosen: Mapping[str, Worker], inputs: Arrays, settings: dict[str, Any], rates: list[float], double: bool
) -> dict[str, tuple[list[float], Arrays]]:
    answers = ask(chosen, "train", inputs, settings=settings, rates=rates, double=double)
    return {backend: (values, found) for backend, (values, found) in answers.items() if values is not None}


def _settings(**changes: object) -> dict[str, Any]:
    return {"momentum": 0.0, "weight_decay": 0.0, "compiled": False, **changes}


def _values(losses: list[float], double: bool) -> np.ndarray:
    return np.array(losses, np.float64 if double else np.float32)


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _side(spec: Spec) -> int:
    return min(SIDE, spec.input_size)


def _noise(spec: Spec, seed: int) -> Callable[[int], Arrays]:
    """One step's images and labels, others for each attempt."""

    def draw(attempt: int) -> Arrays:
        rng = np.random.default_rng([seed, attempt])
        images = rng.standard_normal((1, BATCH, spec.in_channels, _side(spec), _side(spec)), np.float32)
        return {"images": images, "targets": rng.integers(0, spec.num_classes, (1, BATCH))}

    return draw
