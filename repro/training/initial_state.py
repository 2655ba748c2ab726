"""The state with which a run starts or resumes: its progress, its weights and the state of its optimizer."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.data import Dataset
from repro.errors import ReproError
from repro.interface.processes import ProcessGroup
from repro.published.source import locate_weights
from repro.specs import Spec
from repro.training.recipe import Recipe
from repro.training.resolve import build_transform
from repro.training.run_folder import LAST, TrainingProgress, load
from repro.untrusted import raw_bytes
from repro.weights.init import initialise
from repro.weights.porting import read_weights

OWN_KEYS = ("check", "data", "threads", "weights", "workers")  # may differ from machine to machine


def initial_state(
    recipe: Recipe, spec: Spec, dataset: Dataset, path: Path, *, resume: bool
) -> tuple[TrainingProgress, Arrays, Arrays]:
    """Return the progress, the canonical weights and the optimizer state with which training starts or resumes.

    Raises ReproError for a checkpoint that does not fit, or whose images were resized by another package than now.
    """
    resizer = build_transform(recipe).resizer
    if not resume:
        return TrainingProgress(dataset.digest, resizer=resizer), initial_weights(recipe, spec), {}
    progress, weights, state = load(path / LAST, spec, dataset)
    if progress.resizer != resizer:
        remedy = f"install {progress.resizer}" if progress.resizer else "start a new run"
        raise ReproError(
            f"the images of {path} were resized with {progress.resizer or 'Pillow'}, and would now be with "
            f"{resizer or 'Pillow'}, which changes them slightly; {remedy}"
        )
    return progress, weights, state


def initial_weights(recipe: Recipe, spec: Spec) -> Arrays:
    """Return the canonical weights before the first step: those of `recipe.weights`, or freshly initialised weights.

    Fresh weights are the same in every backend. Raises ReproError if the weights cannot be downloaded or read, or
    belong to another network.
    """
    fresh = initialise(spec, recipe.seed)
    if recipe.weights is None:
        return fresh
    try:
        source = locate_weights(recipe.weights, recipe.model)
    except ReproError as error:
        raise ReproError(f"{error}; --weights none starts from fresh weights") from error
    stored, weights, _ = read_weights(source.path, source.model, recipe.options, layout=source.layout)
    if stored.num_classes != spec.num_classes and not recipe.fresh_head:
        raise ReproError(
            f"{recipe.weights} distinguishes {stored.num_classes} classes, but {recipe.data} has {spec.num_classes}; "
            "choose other weights or data, or initialise the classifier freshly with --fresh-head true"
        )
    if stored.in_channels != spec.in_channels:
        raise ReproError(
            f"{recipe.weights} takes images of {stored.in_channels} channels, not {spec.in_channels}; give --channels "
            f"{stored.in_channels}, or adapt the weights with repro.port --in-channels {spec.in_channels}"
        )
    differences = [f"{name}={value}" for name, value in stored.numerics.items() if value != spec.numerics[name]]
    if differences:
        raise ReproError(
            f"{recipe.weights} belongs to a network with {' and '.join(differences)}; add "
            f"{' '.join(f'--option {option}' for option in differences)}"
        )
    head_prefix = spec.classifier.rpartition(".")[0] + "."
    return {
        name: fresh[name] if recipe.fresh_head and name.startswith(head_prefix) else array
        for name, array in weights.items()
    }


def check_same_start(
    processes: ProcessGroup, recipe: Recipe, progress: TrainingProgress, weights: Arrays, state: Arrays
) -> None:
    """Check that all ranks start in the same way. Collective: every rank must call it.

    Raises ReproError where commands, data sets, checkpoints or weights differ, as they may on several machines.
    """
    if processes.world_size == 1:
        return
    arrays = weights | {f"optimizer/{name}": array for name, array in state.items()}
    own = {name: value for name, value in vars(recipe).items() if name not in OWN_KEYS} | {
        "data set": progress.digest,
        "checkpoint": (progress.epoch, progress.partial.step),
        "weights": {name: zlib.crc32(raw_bytes(array)) for name, array in arrays.items()},
    }
    numbers = np.array(
        [float(zlib.crc32(json.dumps(value, default=str, sort_keys=True).encode())) for value in own.values()]
    )
    sums = processes.all_reduce_sum(numbers)
    for name, number, total in zip(own, numbers, sums, strict=True):
        if total != number * processes.world_size:
            raise ReproError(
                f"rank {processes.rank} has another {name} than other ranks; start all of them with the same command, "
                "and copies of the same files"
            )
