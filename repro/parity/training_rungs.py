"""Rungs 3 to 7: loss, gradients, optimizers, trajectory and outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.data import Loader, Transform, open_dataset
from repro.interface.module_outputs import GRADIENT_PREFIX
from repro.parity.attempt import Computation, Workers
from repro.parity.comparison import Verdict
from repro.parity.forward_rungs import TRAIN_BATCH, TRAINING_FLOAT64_FACTOR, ordered_arrays, train_side
from repro.parity.judge import ATTEMPTS, judge
from repro.parity.modes import MODES
from repro.parity.record import Record
from repro.specs import Spec, find_spec
from repro.training.schedules import learning_rate
from repro.weights.init import initialise
from repro.workers.client import LARGE_MODEL_PARAMS, request_all

LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.01  # a weight decay whose effect shows within a few steps
# Standard deviations of logits. Far-apart logits have probabilities that are 0 in float32 while their logarithms
# are finite
LOGIT_SPREAD, FAR_LOGIT_SPREAD = 3.0, 100.0
UPDATE_STEPS = 3  # steps on rung 5, which compares the weights after the first and the last
UPDATE_NUMBERS = 4096  # made-up gradients of rung 5, repeated over every weight
TRAJECTORY_STEPS = 5  # steps on rung 6
RANKS_STEPS, RANKS_BATCH = 20, 16  # steps of several ranks, and images of all of them

# Rung 7: the learning rate of Adam, with which large networks learn digits within a fraction of an epoch, and the
# number of steps, out of 89 in an epoch, by the MACs of an image. In 30 steps, networks are in the middle of learning,
# and an accuracy varies from run to run by more than its standard error: ResNet-50 reaches anything from 40 to 60 %
OUTCOME_LEARNING_RATE = 0.002
OUTCOME_MACS = 5e7  # the most MACs of an image for all steps
OUTCOME_STEPS, OUTCOME_FEW_STEPS = 89, 5
OUTCOME_STANDARD_ERRORS = 4.0  # standard errors by which accuracies may differ

# Every optimizer of torch.optim and every schedule; the other settings of an update appear once.
# Name -> (schedule, warm-up epochs, settings)
UPDATES: dict[str, tuple[str, float, dict[str, Any]]] = {
    "sgd, constant": ("constant", 0, {"momentum": 0.9, "weight_decay": WEIGHT_DECAY}),
    "sgd with nesterov, step": (
        "step",
        0,
        {"momentum": 0.9, "nesterov": True, "weight_decay": WEIGHT_DECAY, "spare_bias_and_norm": True},
    ),
    "clipped sgd with ema, linear": ("linear", 0, {"momentum": 0.0, "clip_norm": 1.0, "ema_decay": 0.9}),
    "adam, cosine": ("cosine", 0, {"optimizer": "adam", "weight_decay": WEIGHT_DECAY}),
    "adamw, warm-up": ("cosine", 2, {"optimizer": "adamw", "weight_decay": WEIGHT_DECAY}),
    "rmsprop, constant": ("constant", 0, {"optimizer": "rmsprop", "momentum": 0.9, "weight_decay": WEIGHT_DECAY}),
}


def compare_losses(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 3: cross-entropy and its gradient with respect to the logits.

    Targets are labels, smoothed labels and soft targets. With labels, logits may also be so far apart that
    probabilities underflow.
    """

    def computation(name: str, *, soft: bool, smoothing: float, spread: float = LOGIT_SPREAD) -> Computation:
        def make_inputs(attempt: int) -> Arrays:
            rng = np.random.default_rng([seed, attempt])
            logits = rng.normal(0, spread, (4 * TRAIN_BATCH, spec.num_classes)).astype(np.float32)
            if soft:
                # their sums differ from 1, so that a backend that normalises them is noticed
                sums = rng.uniform(0.5, 1.5, (len(logits), 1))
                return {"logits": logits, "targets": sums * rng.dirichlet(np.ones(spec.num_classes), len(logits))}
            return {"logits": logits, "targets": rng.integers(0, spec.num_classes, len(logits))}

        def compute(workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
            settings = _settings(label_smoothing=smoothing)
            return ordered_arrays(request_all(workers, "loss", inputs, settings=settings, float64=float64))

        return Computation(name, make_inputs, "logits", compute, TRAINING_FLOAT64_FACTOR)

    computations = [
        computation("labels", soft=False, smoothing=0.0),
        computation("smoothed labels", soft=False, smoothing=0.1),
        computation("soft targets", soft=True, smoothing=0.0),
        computation("smoothed soft targets", soft=True, smoothing=0.1),
        computation("distant logits", soft=False, smoothing=0.0, spread=FAR_LOGIT_SPREAD),
    ]
    return judge(spec, 3, workers, computations, weights)


def compare_gradients(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 4: the gradient of every parameter, from the last to the first, as backpropagation computes them.

    The gradient is SGD's velocity after its first step, with a learning rate of 0.
    """

    def make_inputs(attempt: int) -> Arrays:
        rng = np.random.default_rng([seed, attempt])
        side = train_side(spec)
        images = rng.standard_normal((1, TRAIN_BATCH, spec.in_channels, side, side), np.float32)
        return {"images": images, "targets": rng.integers(0, spec.num_classes, (1, TRAIN_BATCH))}

    def compute(workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
        settings = _settings(momentum=0.9)
        results = ordered_arrays(request_all(workers, "train", inputs, settings=settings, rates=[0.0], float64=float64))
        return {
            backend: {
                f"{GRADIENT_PREFIX}{name}": arrays[velocity]
                for name in reversed(spec.weights)
                if (velocity := f"velocity/{name}") in arrays
            }
            for backend, arrays in results.items()
        }

    computation = Computation("", make_inputs, "images", compute, TRAINING_FLOAT64_FACTOR)
    return judge(spec, 4, workers, [computation], weights)


def compare_optimizers(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 5: every parameter and its EMA after 1 and 3 steps with the same gradients, for each of UPDATES."""

    def computation(name: str, schedule: str, warmup: float, settings: dict[str, Any]) -> Computation:
        def make_inputs(attempt: int) -> Arrays:
            rng = np.random.default_rng([seed, attempt])
            return {"gradients": rng.standard_normal((UPDATE_STEPS, UPDATE_NUMBERS), np.float32)}

        def compute(workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
            rates = [
                learning_rate(schedule, LEARNING_RATE, step, 1, UPDATE_STEPS, warmup) for step in range(UPDATE_STEPS)
            ]
            after = list(range(1, UPDATE_STEPS + 1)) if every_module else [1, UPDATE_STEPS]
            answers = request_all(
                workers, "update", inputs, settings=_settings(**settings), rates=rates, after=after, float64=float64
            )
            return ordered_arrays(answers)

        # elements do not influence each other, and there are enough of them for a single run to show the largest error
        return Computation(name, make_inputs, "gradients", compute, TRAINING_FLOAT64_FACTOR, perturbations=1)

    return judge(spec, 5, workers, [computation(name, *update) for name, update in UPDATES.items()], weights)


def compare_trajectories(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 6: losses and weights over a few steps on handwritten digits, and over more where several ranks train."""
    plain = {column: worker for column, worker in workers.items() if column not in MODES}
    records = list(judge(spec, 6, plain, [_trajectory(spec, seed, TRAJECTORY_STEPS, TRAIN_BATCH)], weights))
    for column in workers.keys() - plain.keys():
        reference = next(name for name in plain if records[0].reference.startswith(name))
        computation = _trajectory(spec, seed, RANKS_STEPS, RANKS_BATCH, MODES[column].reference)
        pair = {reference: workers[reference], column: workers[column]}
        records += [record for record in judge(spec, 6, pair, [computation], weights) if record.backend == column]
    return iter(records)


def _trajectory(
    spec: Spec, seed: int, steps: int, batch_size: int, changes: Mapping[str, Any] | None = None
) -> Computation:
    """A training on handwritten digits. changes: settings of the trainer."""
    loader = Loader(open_dataset("digits", split="every-fifth", seed=0), batch_size=batch_size, seed=seed)
    transform = Transform(image_size=train_side(spec))

    def make_inputs(attempt: int) -> Arrays:
        images, labels = zip(*islice(loader.train(attempt, transform), steps), strict=True)
        channels = np.resize(np.arange(3), spec.in_channels)
        return {"images": np.stack(images)[:, :, channels], "targets": np.stack(labels) % spec.num_classes}

    has_norms = any(weight.kind == "norm_scale" for weight in spec.weights.values())
    rate = LEARNING_RATE if has_norms else LEARNING_RATE / 10  # VGG-19 overflows within three larger steps

    def compute(workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
        settings = _settings(momentum=0.9, weight_decay=WEIGHT_DECAY, **(changes or {}))
        after = list(range(1, steps + 1)) if every_module else [steps]
        answers = request_all(
            workers, "train", inputs, settings=settings, rates=[rate] * steps, after=after, float64=float64
        )
        return {
            backend: {name: array for name, array in arrays.items() if name.startswith("step ")}
            for backend, arrays in ordered_arrays(answers).items()
        }

    return Computation("", make_inputs, "images", compute, TRAINING_FLOAT64_FACTOR)


def compare_outcomes(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 7: top-1 accuracy after at most an epoch of handwritten digits, from the paper's own initial weights.

    By then, frameworks that round differently have drifted apart, and accuracies differ by chance as those of any two
    runs do. A difference of more than OUTCOME_STANDARD_ERRORS standard errors is tried again in another order of the
    images.
    """
    remaining = dict(workers)
    records: dict[str, Record] = {}
    for attempt in range(ATTEMPTS):
        accuracies, steps, images = _train_and_validate(spec, remaining, seed + attempt)
        reference, expected = next(iter(accuracies.items()))
        tolerance = OUTCOME_STANDARD_ERRORS * float(np.sqrt(2 * expected * (1 - expected) / images))
        for backend, accuracy in accuracies.items():
            error = abs(accuracy - expected)
            verdict: Verdict = "equal" if not error else "diverges" if error > tolerance else "rounding"
            reason = (
                f"{accuracy:.2%} after {steps} steps, {expected:.2%} in {reference}; chance explains a difference of "
                f"{tolerance:.2%}"
            )
            if backend not in records or records[backend].diverges:
                records[backend] = Record(spec.name, 7, backend, reference, verdict, error, tolerance, "top-1", reason)
        remaining = {backend: worker for backend, worker in workers.items() if records[backend].diverges}
        if not remaining:
            break
        remaining = {reference: workers[reference]} | remaining
    yield from (records[backend] for backend in workers)


def _train_and_validate(spec: Spec, workers: Workers, seed: int) -> tuple[dict[str, float], int, int]:
    """Return the top-1 accuracy of each backend, the number of steps, and the number of validation images."""
    digits_spec = find_spec(spec.name, num_classes=10)
    loader = Loader(open_dataset("digits", split="every-fifth", seed=0), batch_size=4 * TRAIN_BATCH, seed=seed)
    transform = Transform(image_size=max(32, spec.min_size))
    macs = sum(operator.macs for operator in digits_spec.trace(transform.image_size).operators)
    takes_all_steps = macs <= OUTCOME_MACS
    steps = OUTCOME_STEPS if takes_all_steps else OUTCOME_FEW_STEPS
    images, targets = map(np.stack, zip(*islice(loader.train(0, transform), steps), strict=True))
    val_images, labels = map(np.concatenate, zip(*loader.val(transform), strict=True))
    request_all(
        workers,
        "create_model",
        initialise(digits_spec, seed),
        name=spec.name,
        options={"num_classes": 10},
        seed=seed,
        spec_changes={"norm_momentum": 0.1},  # a smaller one would leave running statistics of no images at all
    )
    inputs = {"images": images, "targets": targets, "val_images": val_images}
    rates = [learning_rate("cosine", OUTCOME_LEARNING_RATE, step, steps, 1) for step in range(steps)]
    # Adam takes MindSpore to 10 GB with the largest networks
    optimizer = "sgd" if digits_spec.params > LARGE_MODEL_PARAMS else "adam"
    compiled = None if takes_all_steps else False  # by default MindSpore compiles, which many steps repay
    settings = _settings(optimizer=optimizer, compiled=compiled)
    answers = request_all(workers, "train", inputs, settings=settings, rates=rates)
    accuracies = {
        backend: float((arrays["logits"].argmax(1) == labels).mean()) for backend, (_, arrays) in answers.items()
    }
    return accuracies, steps, len(labels)


def _settings(**changes: object) -> dict[str, Any]:
    """Settings of a trainer for a worker, with neither momentum nor weight decay unless they are given."""
    return {"momentum": 0.0, "weight_decay": 0.0, "compiled": False, **changes}
