"""Trains a model on any backend and leaves a run folder."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.cli import run_command
from repro.errors import ReproError, first_line
from repro.processes import ALONE, Processes, find
from repro.training import recipe as recipes

if TYPE_CHECKING:
    from repro.interface import Arrays, Backend, Trainer
    from repro.specs import Spec
    from repro.training.recipe import Recipe

FREE_AT_RESUME = ("backend", "data", "device", "workers")  # weights pass to any; moved data shows in the digest


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m repro.run",
        description="Train a model. Without further flags than --backend and --model: on embedded handwritten digits.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="a YAML recipe, such as those in configs/; flags win over it")
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: runs/MODEL-BACKEND-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    recipes.add_flags(parser)
    flags = vars(parser.parse_args(argv))
    config, out, resume = (flags.pop(name) for name in ("config", "out", "resume"))
    flags = recipes.convert(flags, "")
    if not resume:
        recipe = recipes.make(recipes.read(config) if config else {}, flags)
    elif config or not out:
        raise ReproError("--resume goes on with the recipe in the run folder: give --out, and no --config")
    else:
        recipe = resumed(Path(out), flags)
    processes = find(recipe.backend)
    if processes.first:
        return train(recipe, Path(out or "") if resume else new_folder(out, recipe), resume=resume, processes=processes)
    os.environ["TQDM_DISABLE"] = "1"
    with redirect_stdout(None):
        return train(recipe, Path(out or ""), resume=resume, processes=processes)


def new_folder(out: str | None, recipe: Recipe) -> Path:
    """Where the run will be written; not made yet. Raises ReproError where something is there already."""
    path = Path(out or f"runs/{recipe.model}-{recipe.backend}-{datetime.now():%Y%m%d-%H%M%S-%f}")
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ReproError(f"{path} is there already; give another --out, or go on with it by --resume")
    except OSError as error:
        raise ReproError(f"cannot look into {path}: {error.strerror}; give another --out") from error
    return path


def resumed(path: Path, flags: dict[str, Any]) -> Recipe:
    """The recipe of a run folder, with the few flags that may change on the way."""
    from repro.training.finished import read_recipe

    stored = read_recipe(path)
    recipe = recipes.make(vars(stored), flags)
    for name in flags:
        if name not in FREE_AT_RESUME and getattr(recipe, name) != getattr(stored, name):
            raise ReproError(
                f"{name} cannot change from {getattr(stored, name)} to {getattr(recipe, name)} at --resume; "
                f"for a new run from these weights: --weights {path}/best.safetensors"
            )
    return recipe


def train(recipe: Recipe, path: Path, *, resume: bool, processes: Processes = ALONE) -> int:
    """Finds everything that can be wrong before the run folder is made, then trains. The path matters to the first
    process, and to all where they resume."""
    from repro.data import Loader, check_images, open_dataset
    from repro.discovery import module_name
    from repro.drops import Drops
    from repro.training import checkpoints, console, loop, parts, viewers

    module_name(recipe.backend)
    parts.spec_of(recipe, 1000)  # a misspelt name shows before the images are read
    dataset = open_dataset(recipe.data, split=recipe.split, seed=recipe.seed)
    spec = parts.spec_of(recipe, len(dataset.classes))
    recipe = parts.complete(recipe, spec)
    if resume:
        progress, weights, state = checkpoints.load(path / checkpoints.LAST, spec, dataset)
    else:
        progress, weights, state = checkpoints.Progress(dataset.digest), start_weights(recipe, spec), {}
    processes.share(min(recipe.batch_size, len(dataset.train)))  # tells now if there is no equal one for each
    with console.bar("checking images", len(dataset.train) + len(dataset.val)) as bar:
        check_images(dataset, lambda done, total: bar.update())

    backend, device = start(recipe)
    processes = processes.joined(backend)
    drops = Drops(recipe.seed, processes)

    def make(now: Recipe) -> Trainer:
        model = backend.create_model(parts.spec_of(now, spec.num_classes))
        backend.drop_by(model, drops)
        return backend.create_trainer(model, replace(parts.settings(now), processes=processes.count))

    trainer = make(parts.at_epoch(recipe, min(progress.epoch + 1, recipe.epochs)))
    trainer.load_weights(weights)
    trainer.load_state(state)

    kind = checkpoints.RunFolder if processes.first else checkpoints.NoFolder
    folder = kind(path, provenance(recipe, spec, dataset.classes, backend.version()))
    if recipe.logs:
        viewers.writer(recipe.logs)  # tells now if it is not installed
    with Loader(dataset, batch_size=recipe.batch_size, seed=recipe.seed, workers=recipe.workers) as loader:
        if resume:
            folder.tidy()
        else:
            folder.create(recipe, progress, trainer)
        where = f" on {device}" if recipe.device != "cpu" else ""
        where += f" in {processes.count} processes" if processes.count > 1 else ""
        print(
            f"{spec.name} ({spec.params:,} parameters) on {dataset.name}: {len(dataset.train)} images to train on, "
            f"{len(dataset.val)} to validate, {len(dataset.classes)} classes; {recipe.backend} {backend.version()}"
            f"{where}"
        )
        try:
            loop.fit(trainer, make, loader, drops, recipe, folder, progress, processes)
        except KeyboardInterrupt:
            kept = f"{progress.epoch} of {recipe.epochs} epochs are kept"
            raise KeyboardInterrupt(f"{kept}; go on with: python -m repro.run --resume --out {path}") from None
    if not processes.first:
        return 0
    summary = folder.summarise(recipe, progress, dataset)
    print(
        f"best validation top-1 {summary['best_val_top1']:.2%} in epoch {progress.best['epoch']}, "
        f"{summary['images_per_second']:,.1f} images/s; all in {path}"
    )
    return 0


def start(recipe: Recipe) -> tuple[Backend, str]:
    """The backend, and its name for the device that it is on. Raises ReproError where the framework finds none such."""
    from repro.discovery import load_backend

    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # on a GPU, too, float32 is no less; read as the GPU is found
    backend = load_backend(recipe.backend)
    try:
        device = backend.use(recipe.device)
    except Exception as error:  # whatever a framework raises
        raise ReproError(
            f"--backend {recipe.backend} cannot compute on the {recipe.device} ({first_line(error)}); "
            "leave --device out, or take another backend"
        ) from error
    return backend, device


def start_weights(recipe: Recipe, spec: Spec) -> Arrays:
    """The weights before the first step: those of a file, or fresh ones, the same in every backend."""
    from repro.weights.init import initialise
    from repro.weights.port import read_weights

    fresh = initialise(spec, recipe.seed)
    if recipe.weights is None:
        return fresh
    found, weights, _ = read_weights(recipe.weights, recipe.model, recipe.options)
    if found.num_classes != spec.num_classes and not recipe.fresh_head:
        raise ReproError(
            f"{recipe.weights} tells {found.num_classes} classes apart, and {recipe.data} has {spec.num_classes}; "
            "give weights and data that fit each other, or --fresh-head true for a fresh classifier"
        )
    if found.in_channels != spec.in_channels:
        raise ReproError(
            f"{recipe.weights} takes images of {found.in_channels} channels, not {spec.in_channels}; "
            f"give --channels {found.in_channels}"
        )
    if found.norm_eps != spec.norm_eps:
        raise ReproError(
            f"{recipe.weights} is of a network that normalises with an epsilon of {found.norm_eps:g}, not "
            f"{spec.norm_eps:g}; add --option norm_eps={found.norm_eps:g}"
        )
    head = spec.classifier.rpartition(".")[0] + "."
    return {
        name: fresh[name] if recipe.fresh_head and name.startswith(head) else array for name, array in weights.items()
    }


def provenance(recipe: Recipe, spec: Spec, classes: Sequence[str], version: str) -> dict[str, str]:
    """What a weight file says about itself; enough to rebuild the network and prepare images for it."""
    return {
        "model": recipe.model,
        "options": json.dumps(recipe.options),
        "num_classes": str(spec.num_classes),
        "in_channels": str(spec.in_channels),
        "classes": json.dumps(classes),
        "image_size": str(recipe.image_size),
        "resize": json.dumps(recipe.resize),
        "channels": str(recipe.channels),
        "mean": json.dumps(recipe.mean),
        "std": json.dumps(recipe.std),
        "backend": recipe.backend,
        "framework_version": version,
    }


if __name__ == "__main__":
    run_command(main)
