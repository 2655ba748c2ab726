"""The PyTorch backend with a planted fault, as a module that a worker imports.

The fault is read from the file REPRO_FAULT whenever a model is created, so one worker serves for many faults. Its code
can use `model`, `target` (the module, parameter or statistic that gets the fault), `owner` (the module that holds
`target`), the methods of Planter, and what this module imports.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: F401 - used by the code of faults

from backends import torch as sound_backend
from backends.torch import export_weights, feed_modules, forward, layers, operators, to_float64, truncate, version
from parity_tests.programs import fast_paths
from repro.interface import Trainer, TrainSettings
from repro.interface.contract import DropoutSource
from repro.specs import Spec

__all__ = [
    "create_model", "create_trainer", "export_weights", "fast_paths", "feed_modules", "forward", "layers",
    "load_weights", "operators", "set_dropout_source", "to_float64", "truncate", "version",
]  # fmt: skip

Change = Callable[[Any], Any]


class Planter:
    """The vocabulary of faults. `target` is the module, parameter or running statistic of that name."""

    def __init__(self, model: Any, name: str):
        self.model, self.name = model, name
        owner, _, self.leaf = name.rpartition(".")
        self.owner = model.get_submodule(owner) if owner else model
        self.target = getattr(self.owner, self.leaf) if name else model
        model.load_changes, model.dropout_changes = [], []
        model.settings_changes, model.trainer_changes = [], []
        model.unloaded_names, model.was_loaded = set(), False

    def change_output(self, change: Change) -> None:
        """Let the module return change(y) instead of y."""
        self.target.register_forward_hook(lambda layer, inputs, y: change(y))

    def change_input(self, change: Change) -> None:
        """Let the module get change(x) instead of x."""
        self.target.register_forward_pre_hook(lambda layer, inputs: (change(inputs[0]), *inputs[1:]))

    def replace_forward(self, function: Callable[..., Any]) -> None:
        """Let the module compute function(x)."""
        self.target.forward = function

    def replace_module(self, layer: Any) -> None:
        """Put another module in the place of the target."""
        self.owner.register_module(self.leaf, layer)

    def change_loaded(self, change: Change) -> None:
        """Load change(w) instead of w into the weight."""
        self.model.load_changes.append((self.owner, self.leaf, change))

    def keep_value(self) -> None:
        """Load the weight or statistic only once, so that it keeps its value when weights are loaded again."""
        self.model.unloaded_names.add(self.name)

    def change_gradient(self, change: Change) -> None:
        """Give the parameter the gradient change(g) instead of g."""
        self.target.register_hook(change)

    def replace_dropout(self, function: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
        """Let the dropout layer compute function(x, draw) in training; draw(shape) returns numbers in [0, 1)."""

        def install(source: DropoutSource) -> None:
            def draw(shape: Any) -> Any:
                return torch.from_numpy(source(self.name, tuple(shape)))

            self.target.register_forward_hook(
                lambda layer, inputs, y: function(inputs[0], draw) if layer.training else y
            )

        self.model.dropout_changes.append(install)

    def change_settings(self, **changes: Callable[[TrainSettings], Any]) -> None:
        """Train with other settings, which are functions of the right ones."""
        self.model.settings_changes.append(
            lambda settings: replace(settings, **{name: change(settings) for name, change in changes.items()})
        )

    def change_trainer(self, change: Callable[[Any], Any]) -> None:
        """Call change(trainer) for every new trainer."""
        self.model.trainer_changes.append(change)

    def replace_loss(self, function: Callable[[Any, Any, TrainSettings], Any]) -> None:
        """Use function(logits, targets, settings) as the loss; targets is a tensor."""

        def change(trainer: Any) -> None:
            def cross_entropy(logits: Any, targets: np.ndarray) -> Any:
                return function(logits, torch.from_numpy(targets), trainer.settings)

            trainer._cross_entropy = cross_entropy

        self.change_trainer(change)

    def replace_step(self, function: Callable[..., Any]) -> None:
        """Use function(step, images, targets, lr) as the training step, where `step` is the right one."""

        def change(trainer: Any) -> None:
            trainer.step = partial(function, trainer.step)

        self.change_trainer(change)

    def replace_update(self, kind: str, function: Callable[..., Any]) -> None:
        """Use function(w, g, state, lr, settings, t) as the update of the optimizer `kind`; it changes w in place."""

        def change(trainer: Any) -> None:
            def step() -> None:
                trainer.t = getattr(trainer, "t", 0) + 1
                for group in trainer.optimizer.param_groups:
                    for w in group["params"]:
                        function(w, w.grad, trainer.optimizer.state[w], group["lr"], trainer.settings, trainer.t)

            if trainer.settings.optimizer == kind:
                trainer.optimizer.step = torch.no_grad()(step)

        self.change_trainer(change)


def create_model(spec: Spec) -> nn.Module:
    """A model with the fault of the file REPRO_FAULT."""
    model = sound_backend.create_model(spec)
    fault = json.loads(Path(os.environ["REPRO_FAULT"]).read_text())
    planter = Planter(model, fault["target"])
    vocabulary = {name: getattr(planter, name) for name in vars(Planter) if not name.startswith("_")}
    names = {"model": model, "target": planter.target, "owner": planter.owner}
    exec(fault["code"], globals() | vocabulary | names)
    return model


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Load the weights that fit and ignore the others, so that another structure can be compared."""
    parameters = model.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            fits = name in parameters and parameters[name].shape == array.shape
            if fits and not (model.was_loaded and name in model.unloaded_names):
                parameters[name].copy_(torch.from_numpy(np.array(array)))
        model.was_loaded = True
        for owner, leaf, change in model.load_changes:
            value = getattr(owner, leaf)
            value.copy_(change(value.clone()))


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Set the source of dropout, and install the faults of dropout, which use it, too."""
    sound_backend.set_dropout_source(model, source)
    for install in model.dropout_changes:
        install(source)


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    """A trainer with the faults of settings and training."""
    for change in model.settings_changes:
        settings = change(settings)
    trainer = sound_backend.create_trainer(model, settings)
    for change in model.trainer_changes:
        change(trainer)
    return trainer
