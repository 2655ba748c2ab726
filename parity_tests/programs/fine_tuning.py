"""Programs of parity_tests/backends/test_fine_tuning.py."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import Trainer, TrainSettings
from repro.interface.discovery import load_backend
from repro.run import main
from repro.specs.resnet_cifar import resnet_cifar
from repro.training import loop, resolve
from repro.training.recipe import Recipe


def _append_input(inputs: list[Any], _: Any, arguments: tuple[Any, ...]) -> None:
    inputs.append(arguments[0])


def features_with_gradients(name: str, graphs: str) -> dict[str, bool]:
    """Return by `train_only` whether a training step computes gradients with respect to the classifier's input.

    Torch and Paddle: whether they recorded how the input was computed. MindSpore: whether the compiled step has the
    backward operators of convolution, normalisation and ReLU, which it writes into the folder `graphs`.
    """
    os.environ |= {"MS_DEV_SAVE_GRAPHS": "1", "MS_DEV_SAVE_GRAPHS_PATH": graphs}
    backend = load_backend(name)
    spec = resnet_cifar(depth=110, num_classes=5, block="basic")
    spec = replace(spec, stages=(spec.stages[0][:1],))
    images = random_images((4, 3, 12, 12), 0).astype(np.float32)
    results: dict[str, bool] = {}
    for train_only in ("classifier", ""):
        model = backend.create_model(spec)
        trainer = backend.create_trainer(model, TrainSettings(train_only=train_only))
        inputs: list[Any] = []
        if name != "mindspore":
            model.classifier.register_forward_pre_hook(partial(_append_input, inputs))
        trainer.step(images, np.arange(4), 0.1)
        if name == "torch":
            results[train_only] = inputs[0].requires_grad
        elif name == "paddle":
            results[train_only] = not inputs[0].stop_gradient
        else:
            (*_, graph) = sorted(Path(graphs).rglob("*_validate_*.ir"), key=lambda path: path.stat().st_mtime_ns)
            operators = set(re.findall(r"(?:PrimFunc_)?([A-Z]\w*(?:Grad|Backprop)\w*)\(", graph.read_text()))
            assert "BiasAddGrad" in operators, operators  # of the classifier
            results[train_only] = bool(operators & {"ReluGrad", "BatchNormGrad", "Conv2DBackpropFilter"})
    return results


def train_eagerly(argv: list[str], epochs: int | None) -> None:
    """Run the command repro.run without compiling steps; stop it after some epochs, as Ctrl-C does, unless None."""
    train_settings, run_epoch = resolve.train_settings, loop.run_epoch

    def eager_settings(recipe: Recipe, world_size: int = 1) -> TrainSettings:
        return replace(train_settings(recipe, world_size), compiled=False)

    def run_epoch_until_stopped(
        run: loop.Run, trainer: Trainer, ema_trainer: Trainer | None, current: Recipe, epoch: int
    ) -> dict[str, float]:
        if run.progress.epoch == epochs:
            raise KeyboardInterrupt
        return run_epoch(run, trainer, ema_trainer, current, epoch)

    resolve.train_settings, loop.run_epoch = eager_settings, run_epoch_until_stopped
    try:
        main(argv)
    except KeyboardInterrupt:
        assert epochs is not None
    finally:
        resolve.train_settings, loop.run_epoch = train_settings, run_epoch


def two_phases(name: str, data: str, folder: str) -> None:
    """Train in two phases without a break, and again with a break between the phases; keep the state at the break.

    The run folders are FOLDER/whole, FOLDER/resumed and FOLDER/frozen, which is the one that was broken off.
    """
    argv = ["--backend", name, "--model", "resnet110_cifar", "--option", "depth=8", "--data", data]
    argv += ["--image-size", "16", "--batch-size", "8", "--epochs", "3", "--optimizer", "adam", "--lr", "0.01"]
    argv += ["--ema-decay", "0.9", "--ema-warmup", "true", "--weight-decay", "0.1"]
    argv += ["--train-only", "classifier", "--train-only-epochs", "2"]
    train_eagerly([*argv, "--out", f"{folder}/whole"], None)
    train_eagerly([*argv, "--out", f"{folder}/resumed"], 2)
    frozen = Path(folder, "frozen/last/checkpoint.safetensors")
    frozen.parent.mkdir(parents=True)
    frozen.write_bytes(Path(folder, "resumed/last/checkpoint.safetensors").read_bytes())
    train_eagerly(["--resume", "--out", f"{folder}/resumed"], None)
