"""One training run, from a recipe to a run folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.errors import ReproError, first_line
from repro.interface.processes import SINGLE_PROCESS, ProcessGroup, is_restarted, process_group
from repro.training.recipe_sources import build_recipe

if TYPE_CHECKING:
    from repro.data import Dataset
    from repro.interface import Backend, Trainer
    from repro.interface.dropout_source import SeededDropout
    from repro.specs import Spec
    from repro.training.loop import Run
    from repro.training.recipe import Recipe
    from repro.training.run_writer import RunFolder

CHANGEABLE_AT_RESUME = (
    "backend", "check", "checkpoint_minutes", "checkpoint_steps", "data", "device", "hang_seconds", "keep", "patience",
    "threads", "workers",
)  # fmt: skip
"""The keys that may change when a run is resumed: weights fit every backend, and a digest identifies the data set."""


def run_in_this_process(recipe: Recipe, out: str | None, *, resume: bool) -> None:
    """Train in this process and the others of its launcher, if any. Only the main process prints.

    Args:
        recipe: The recipe, complete or not.
        out: The run folder; None for a new folder in runs/, named after model, backend and time.
        resume: Whether to continue the run in `out`.

    Raises:
        ReproError: For every error that the user can correct; wherever possible, before the run folder is made.
    """
    processes = process_group(recipe.backend)
    if processes.is_main:
        train(recipe, Path(out or "") if resume else new_folder(out, recipe), resume=resume, processes=processes)
        return
    os.environ["TQDM_DISABLE"] = "1"
    with redirect_stdout(None):
        train(recipe, Path(out or ""), resume=resume, processes=processes)


def goes_on(out: str | None) -> bool:
    """Return whether a launcher has started this process again, and `out` has a checkpoint from which to go on."""
    from repro.training.run_folder import LAST

    return is_restarted() and out is not None and (Path(out) / LAST).is_file()


def new_folder(out: str | None, recipe: Recipe) -> Path:
    """Return the path of a new run folder, which is not created yet. Raises ReproError if it already exists.

    In a process that a launcher has started again, it may hold what was written before the first checkpoint.
    """
    path = Path(out or f"runs/{recipe.model}-{recipe.backend}-{datetime.now():%Y%m%d-%H%M%S-%f}")
    try:
        if out and is_restarted():
            from repro.training.run_writer import RunFolder

            RunFolder(path, {}).remove_beginning()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ReproError(f"{path} already exists; give another --out, or resume it with --resume")
    except OSError as error:
        raise ReproError(f"cannot read {path}: {error.strerror}; give another --out") from error
    return path


def resumed_recipe(path: Path, flags: dict[str, Any]) -> Recipe:
    """Return the recipe of a run folder, changed by flags. Only CHANGEABLE_AT_RESUME may change, and `epochs` may grow.

    With more epochs, the learning rate continues as the schedule of that many epochs has it, which is a jump for a
    schedule that decays over all epochs.
    Raises ReproError if the folder is not a run folder, or if a flag changes another value.
    """
    from repro.training.run_folder import read_recipe

    stored = read_recipe(path)
    recipe = build_recipe(vars(stored), flags)
    changeable = {*CHANGEABLE_AT_RESUME}
    if recipe.epochs > stored.epochs and recipe.stages == 1:  # more epochs would lead back to an earlier stage
        changeable.add("epochs")
    for name in flags:
        if name not in changeable and getattr(recipe, name) != getattr(stored, name):
            raise ReproError(
                f"{name} cannot change from {getattr(stored, name)} to {getattr(recipe, name)} at --resume; "
                f"to start a new run from the weights of this one: --weights {path}/best.safetensors"
            )
    return recipe


def train(recipe: Recipe, path: Path, *, resume: bool, processes: ProcessGroup = SINGLE_PROCESS) -> None:
    """Train from the initial weights or from the last checkpoint to the recipe's last epoch.

    All checks precede the creation of the run folder, and cheap checks precede expensive ones.

    Args:
        recipe: The recipe, complete or not.
        path: The run folder. Processes other than the main one use it only to resume.
        resume: Whether to continue from the checkpoint in `path`.
        processes: The processes that train together.
    """
    from repro.data import ImageCheck, Loader, check_images
    from repro.interface.threads import choose_threads
    from repro.training import console, loop, resolve
    from repro.training.initial_state import check_same_start, initial_state
    from repro.training.rank_watch import watching_ranks

    recipe, spec, dataset = resolve_recipe(recipe, processes)
    if dataset.ignored and processes.is_main:
        print(f"ignored in {recipe.data}: {'; '.join(dataset.ignored)}")
    progress, weights, state = initial_state(recipe, spec, dataset, path, resume=resume)
    is_deterministic = recipe.deterministic_shards is not None
    threads = choose_threads(recipe.backend, recipe.threads, processes.world_size, is_deterministic=is_deterministic)
    threads.apply()
    backend, device = start_backend(recipe)
    recipe = replace(recipe, threads=threads.count)
    if processes.is_main:  # after the errors of start_backend, which are one line
        print(threads, file=sys.stderr)
    if recipe.check == "start":
        images = ImageCheck(dataset, rank=processes.rank, world_size=processes.world_size)
        with console.bar("checking images", images.images) as bar:
            check_images(images, lambda done, total: bar.update())
        if images.failure and processes.is_main:
            print(f"the images will be checked again at the next start: cannot write {images.failure}")
    processes = processes.initialised(backend)
    check_same_start(processes, recipe, progress, weights, state)

    make_trainer, drops = trainer_factory(backend, recipe, spec, processes)
    trainer = make_trainer(resolve.recipe_at_epoch(recipe, progress.trainer_epoch))
    trainer.load_weights(weights)
    trainer.load_state(state)

    folder = make_run_folder(path, recipe, spec, dataset, backend, processes)
    with Loader(
        dataset,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        workers=recipe.workers,
        rank=processes.rank,
        world_size=processes.world_size,
        balance=recipe.balance,
        upload=backend.upload,
    ) as loader:
        if resume:
            folder.remove_partial_files()
        else:
            folder.create(recipe, progress, trainer)
        schedule = loop.CheckpointSchedule(recipe.checkpoint_steps, recipe.checkpoint_minutes)
        run = loop.Run(recipe, loader, trainer, make_trainer, drops, folder, progress, schedule, processes)
        print(_headline(run, spec, backend, device))
        try:
            with watching_ranks(processes, path, run.position, recipe.hang_seconds), folder.writing():
                loop.fit(run)
        except KeyboardInterrupt:
            saved = f"{progress.epoch} of {recipe.epochs} epochs{progress.steps_text} are saved"
            raise KeyboardInterrupt(f"{saved}; resume with: python -m repro.run --resume --out {path}") from None
    if processes.is_main:
        summary = folder.summarise(recipe, progress, dataset)
        print(
            f"best validation top-1 {summary['best_val_top1']:.2%} in epoch {progress.best['epoch']}, "
            f"{summary['images_per_second']:,.1f} images/s; all in {path}"
        )


def resolve_recipe(recipe: Recipe, processes: ProcessGroup) -> tuple[Recipe, Spec, Dataset]:
    """Return the complete recipe, the spec and the data set, without decoding images or importing a framework.

    Raises ReproError for invalid values, a missing framework or data set, or a batch size that the processes cannot
    share.
    """
    from repro.data import open_dataset
    from repro.interface.discovery import check_installed
    from repro.training import loggers, resolve

    check_installed(recipe.backend)
    if recipe.logs:
        loggers.log_writer_class(recipe.logs)
    resolve.build_spec(recipe, 1000)  # a misspelt model is reported before the data set is opened
    dataset = open_dataset(recipe.data, split=recipe.split, seed=recipe.seed)
    spec = resolve.build_spec(recipe, len(dataset.classes))
    recipe = resolve.complete_recipe(recipe, spec)
    parts = resolve.train_settings(recipe, processes.world_size).parts
    processes.local_slice(min(recipe.batch_size, len(dataset.train)), parts)  # raises if it cannot be split evenly
    return recipe, spec, dataset


def start_backend(recipe: Recipe) -> tuple[Backend, str]:
    """Return the backend, and the framework's name of the device that it computes on.

    Raises ReproError if the framework is not installed or does not find the device.
    """
    from repro.interface.discovery import load_backend

    # full float32 precision on a GPU; the variable is read when the GPU is initialised
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    backend = load_backend(recipe.backend)
    try:
        device = backend.use_device(recipe.device)
    except Exception as error:  # whatever a framework raises
        raise ReproError(
            f"--backend {recipe.backend} cannot compute on the {recipe.device} ({first_line(error)}); "
            "leave --device out, or choose another backend"
        ) from error
    return backend, device


def trainer_factory(
    backend: Backend, recipe: Recipe, spec: Spec, processes: ProcessGroup
) -> tuple[Callable[[Recipe], Trainer], SeededDropout]:
    """Return a function that creates a trainer for the recipe of an epoch, and the source of its dropout."""
    from repro.interface.dropout_source import SeededDropout
    from repro.training import resolve

    drops = SeededDropout(recipe.seed, processes, resolve.train_settings(recipe, processes.world_size).parts)

    def make_trainer(current: Recipe) -> Trainer:
        model = backend.create_model(resolve.build_spec(current, spec.num_classes))
        backend.set_dropout_source(model, drops)
        return backend.create_trainer(model, resolve.train_settings(current, processes.world_size))

    return make_trainer, drops


def make_run_folder(
    path: Path, recipe: Recipe, spec: Spec, dataset: Dataset, backend: Backend, processes: ProcessGroup
) -> RunFolder:
    """Return the run folder; in processes other than the main one, an object that writes nothing."""
    from repro.training import run_writer

    folder_type = run_writer.RunFolder if processes.is_main else run_writer.SilentRunFolder
    return folder_type(path, provenance(recipe, spec, dataset.classes, backend.version()))


def provenance(recipe: Recipe, spec: Spec, classes: Sequence[str], version: str) -> dict[str, str]:
    """Return the metadata of the run's weight files: enough to rebuild the network and to prepare images for it."""
    return {
        "model": recipe.model,
        "options": json.dumps(recipe.options),
        "num_classes": str(spec.num_classes),
        "in_channels": str(spec.in_channels),
        "classes": json.dumps(classes),
        "image_size": str(recipe.image_size),
        "resize": json.dumps(recipe.resize),
        "crop_fraction": str(recipe.crop_fraction),
        "interpolation": json.dumps(recipe.interpolation),
        "channels": str(recipe.channels),
        "mean": json.dumps(recipe.mean),
        "std": json.dumps(recipe.std),
        "backend": recipe.backend,
        "framework_version": version,
    }


def _headline(run: Run, spec: Spec, backend: Backend, device: str) -> str:
    """Return a line that describes the run: model, data set, backend, device and world size."""
    recipe, dataset = run.recipe, run.loader.dataset
    place = f" on {device}" if recipe.device != "cpu" else ""
    place += f" in {run.processes.world_size} processes" if run.processes.world_size > 1 else ""
    return (
        f"{spec.name} ({spec.params:,} parameters) on {dataset.name}: {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.classes)} classes; {recipe.backend} {backend.version()}{place}"
    )
