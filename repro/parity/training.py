"""Rungs 3 to 7: loss, gradients, optimizers, trajectory and outcome."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from repro.data import Loader, Transform, open_dataset
from repro.parity.comparison import Verdict
from repro.parity.forward import BATCH, TRAIN_DOUBLE, in_order, training_side
from repro.parity.judge import ATTEMPTS, Arrays, Question, Workers, judge
from repro.parity.record import Record
from repro.specs import Spec, find_spec
from repro.training.schedules import learning_rate
from repro.weights.init import initialise
from repro.workers.client import LARGE, ask

STEPS, RATE, DECAY = 5, 0.01, 0.01  # a decay that shows within a few steps
LIKELY = 4.0
FAR = 100.0  # the spread of logits whose smallest probabilities are 0 in float32, but not their logarithms
NUMBERS = 4096  # made-up gradients, repeated over every weight
UPDATED = 3  # steps of an optimizer, of which the weights after the first and the last are compared
# Rung 7: a rate of Adam, with which larger networks learn digits within a part of an epoch, and by the MACs of an
# image, at most, how many steps of the epoch's 89 they take. VGG-16 and ResNet-164 learn little in many more than 5
LEARNING = 0.002
COURSES = {5e6: 89, 2e8: 30, float("inf"): 5}

# Every optimizer of torch.optim, every schedule, and what else decides an update once
UPDATES: dict[str, tuple[str, float, dict[str, Any]]] = {
    "sgd, constant": ("constant", 0, {"momentum": 0.9, "weight_decay": DECAY}),
    "sgd with nesterov, step": (
        "step",
        0,
        {"momentum": 0.9, "nesterov": True, "weight_decay": DECAY, "spare_bias_and_norm": True},
    ),
    "clipped sgd with averages, linear": ("linear", 0, {"momentum": 0.0, "clip_norm": 1.0, "ema_decay": 0.9}),
    "adam, cosine": ("cosine", 0, {"optimizer": "adam", "weight_decay": DECAY}),
    "adamw, warm-up": ("cosine", 2, {"optimizer": "adamw", "weight_decay": DECAY}),
    "rmsprop, constant": ("constant", 0, {"optimizer": "rmsprop", "momentum": 0.9, "weight_decay": DECAY}),
}


def losses(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 3: the cross-entropy of labels, of smoothed labels and of soft targets, and its gradient by the logits. Of
    labels also where logits are so far apart that probabilities underflow."""

    def question(name: str, soft: bool, smoothing: float, spread: float = 3.0) -> Question:
        def inputs(attempt: int) -> Arrays:
            rng = np.random.default_rng([seed, attempt])
            logits = rng.normal(0, spread, (4 * BATCH, spec.num_classes)).astype(np.float32)
            if soft:
                # a sum of 1 would hide who normalises them
                sums = rng.uniform(0.5, 1.5, (len(logits), 1))
                return {"logits": logits, "targets": sums * rng.dirichlet(np.ones(spec.num_classes), len(logits))}
            return {"logits": logits, "targets": rng.integers(0, spec.num_classes, len(logits))}

        def run(chosen: Workers, given: Arrays, double: bool, every_module: bool) -> dict[str, Arrays]:
            return in_order(ask(chosen, "loss", given, settings=_settings(label_smoothing=smoothing), double=double))

        return Question(name, inputs, "logits", run, TRAIN_DOUBLE)

    questions = [
        question("labels", False, 0.0), question("smoothed labels", False, 0.1), question("soft targets", True, 0.0),
        question("smoothed soft targets", True, 0.1), question("distant logits", False, 0.0, FAR),
    ]  # fmt: skip
    return judge(spec, 3, workers, questions, weights)


def gradients(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 4: the gradient of every parameter, which is SGD's velocity after its first step, from the last to the
    first, as they are worked out."""

    def inputs(attempt: int) -> Arrays:
        rng = np.random.default_rng([seed, attempt])
        side = training_side(spec)
        images = rng.standard_normal((1, BATCH, spec.in_channels, side, side), np.float32)
        return {"images": images, "targets": rng.integers(0, spec.num_classes, (1, BATCH))}

    def run(chosen: Workers, given: Arrays, double: bool, every_module: bool) -> dict[str, Arrays]:
        found = in_order(ask(chosen, "train", given, settings=_settings(momentum=0.9), rates=[0.0], double=double))
        order = [(f"velocity/{name}", f"gradient of {name}") for name in reversed(spec.weights)]
        return {
            backend: {shown: arrays[name] for name, shown in order if name in arrays}
            for backend, arrays in found.items()
        }

    return judge(spec, 4, workers, [Question("", inputs, "images", run, TRAIN_DOUBLE)], weights)


def optimizers(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 5: every parameter, and its average, after 1 and 3 steps with the same gradients: for each optimizer, each
    schedule, clipping and averaging."""

    def question(name: str, schedule: str, warmup: float, settings: dict[str, Any]) -> Question:
        def inputs(attempt: int) -> Arrays:
            return {"gradients": np.random.default_rng([seed, attempt]).standard_normal((UPDATED, NUMBERS), np.float32)}

        def run(chosen: Workers, given: Arrays, double: bool, every_module: bool) -> dict[str, Arrays]:
            rates = [learning_rate(schedule, RATE, step, 1, UPDATED, warmup) for step in range(UPDATED)]
            after = list(range(1, UPDATED + 1)) if every_module else [1, UPDATED]
            return in_order(
                ask(chosen, "update", given, settings=_settings(**settings), rates=rates, after=after, double=double)
            )

        # every element by itself: of so many numbers, one run has the largest error there is
        return Question(name, inputs, "gradients", run, TRAIN_DOUBLE, nudges=1)

    return judge(spec, 5, workers, [question(name, *case) for name, case in UPDATES.items()], weights)


def trajectory(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 6: losses and weights over a few steps on handwritten digits."""
    loader = Loader(open_dataset("digits", split="every-fifth", seed=0), batch_size=BATCH, seed=seed)
    transform = Transform(image_size=training_side(spec))

    def inputs(attempt: int) -> Arrays:
        images, labels = zip(*islice(loader.train(attempt, transform), STEPS), strict=True)
        channels = np.resize(np.arange(3), spec.in_channels)
        return {"images": np.stack(images)[:, :, channels], "targets": np.stack(labels) % spec.num_classes}

    normalised = any(weight.kind == "norm_scale" for weight in spec.weights.values())
    rate = RATE if normalised else RATE / 10  # VGG-19 overflows within three larger steps

    def run(chosen: Workers, given: Arrays, double: bool, every_module: bool) -> dict[str, Arrays]:
        settings = _settings(momentum=0.9, weight_decay=DECAY)
        after = list(range(1, STEPS + 1)) if every_module else [STEPS]
        answers = ask(chosen, "train", given, settings=settings, rates=[rate] * STEPS, after=after, double=double)
        return {
            backend: {name: array for name, array in arrays.items() if name.startswith("step ")}
            for backend, arrays in in_order(answers).items()
        }

    return judge(spec, 6, workers, [Question("", inputs, "images", run, TRAIN_DOUBLE)], weights)


def outcome(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 7: top-1 after an epoch of handwritten digits, or a part of one, from the paper's own initial weights.
    Frameworks that round differently have parted by then, so accuracies differ as those of any two runs do, by chance:
    up to LIKELY standard errors of the difference, and what differs more by others in another order."""
    left = dict(workers)
    records: dict[str, Record] = {}
    for attempt in range(ATTEMPTS):
        top1, steps, count = _accuracies(spec, left, seed + attempt)
        reference, wanted = next(iter(top1.items()))
        allowed = LIKELY * float(np.sqrt(2 * wanted * (1 - wanted) / count))
        for backend, found in top1.items():
            error = abs(found - wanted)
            verdict: Verdict = "equal" if not error else "diverges" if error > allowed else "rounding"
            reason = f"{found:.2%} after {steps} steps, {wanted:.2%} in {reference}; chance allows {allowed:.2%}"
            if backend not in records or records[backend].diverges:
                records[backend] = Record(spec.name, 7, backend, reference, verdict, error, allowed, "top-1", reason)
        left = {backend: worker for backend, worker in workers.items() if records[backend].diverges}
        if not left:
            break
        left = {reference: workers[reference]} | left
    yield from (records[backend] for backend in workers)


def _accuracies(spec: Spec, workers: Workers, seed: int) -> tuple[dict[str, float], int, int]:
    """Top-1 of each backend after its course, how many steps that was, and of how many images."""
    small = find_spec(spec.name, num_classes=10)
    loader = Loader(open_dataset("digits", split="every-fifth", seed=0), batch_size=4 * BATCH, seed=seed)
    transform = Transform(image_size=max(32, spec.min_size))
    macs = sum(operator.macs for operator in small.trace(transform.image_size).operators)
    steps = next(steps for most, steps in COURSES.items() if macs <= most)
    images, targets = map(np.stack, zip(*islice(loader.train(0, transform), steps), strict=True))
    val_images, labels = map(np.concatenate, zip(*loader.val(transform), strict=True))
    # the running statistics of so short a run would be those of no images
    ask(workers, "create", initialise(small, seed), name=spec.name, options={"num_classes": 10}, seed=seed,
        changes={"norm_momentum": 0.1})  # fmt: skip
    given = {"images": images, "targets": targets, "val_images": val_images}
    rates = [learning_rate("cosine", LEARNING, step, steps, 1) for step in range(steps)]
    settings = _settings(optimizer="sgd" if small.params > LARGE else "adam")  # which takes MindSpore to 10 GB
    answers = ask(workers, "train", given, settings=settings, rates=rates)
    top1 = {backend: float((a["logits"].argmax(1) == labels).mean()) for backend, (_, a) in answers.items()}
    return top1, steps, len(labels)


def _settings(**changes: object) -> dict[str, Any]:
    return {"momentum": 0.0, "weight_decay": 0.0, "compiled": False, **changes}
