"""backends.torch with a fault: the text of a module that a worker imports, because tests import no framework.

Which fault is read from the file REPRO_FAULT whenever a model is made, so that one worker serves for all. Its code may
say `model`, `at` (the module, parameter or statistic where it sits), and what Plant has.
"""

FAULTY = '''
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from backends import torch as sound
from backends.torch import export_weights, forward, layers, operators, to_float64, truncate, version


class Plant:
    def __init__(self, model, name):
        self.model, self.name = model, name
        owner, _, self.leaf = name.rpartition(".")
        self.owner = model.get_submodule(owner) if owner else model
        self.at = getattr(self.owner, self.leaf) if name else model
        model.loaded, model.dropped, model.settings, model.trainers = [], [], [], []
        model.kept, model.filled = set(), False

    def output(self, change):
        """at: y -> change(y)"""
        self.at.register_forward_hook(lambda layer, inputs, y: change(y))

    def entering(self, change):
        """x -> change(x) before at"""
        self.at.register_forward_pre_hook(lambda layer, inputs: (change(inputs[0]), *inputs[1:]))

    def compute(self, function):
        """at: x -> function(x) in place of what it does"""
        self.at.forward = function

    def become(self, layer):
        """Another module in its place"""
        self.owner.register_module(self.leaf, layer)

    def loaded(self, change):
        """The array is change(array) whenever weights are loaded"""
        self.model.loaded.append((self.owner, self.leaf, change))

    def keep(self):
        """The parameter or statistic stays as it is when weights are loaded again"""
        self.model.kept.add(self.name)

    def gradient(self, change):
        """Of the parameter"""
        self.at.register_hook(change)

    def dropped(self, change):
        """at: x -> change(x, draw), draw(shape) yielding the numbers below whose rate is left out"""
        def arrange(draw):
            def drawn(shape):
                return torch.from_numpy(draw(self.name, tuple(shape)))
            self.at.register_forward_hook(
                lambda layer, inputs, y: change(inputs[0], drawn) if layer.training else y
            )
        self.model.dropped.append(arrange)

    def settings(self, **changes):
        """Of training: functions of those that were asked for"""
        self.model.settings.append(lambda s: replace(s, **{name: f(s) for name, f in changes.items()}))

    def trainer(self, change):
        """change(trainer) once it is made"""
        self.model.trainers.append(change)

    def loss(self, function):
        """function(logits, targets, settings) as the loss; targets is a tensor"""
        def change(trainer):
            def cross_entropy(logits, targets):
                return function(logits, torch.from_numpy(targets), trainer.settings)
            trainer._cross_entropy = cross_entropy
        self.trainer(change)

    def step(self, function):
        """function(step, images, targets, lr) as the step of training"""
        def change(trainer):
            trainer.step = partial(function, trainer.step)
        self.trainer(change)

    def update(self, kind, function):
        """function(w, g, state, lr, settings, t) as the update of `kind`, in place"""
        def change(trainer):
            def step():
                trainer.t = getattr(trainer, "t", 0) + 1
                for group in trainer.optimizer.param_groups:
                    for w in group["params"]:
                        function(w, w.grad, trainer.optimizer.state[w], group["lr"], trainer.settings, trainer.t)
            if trainer.settings.optimizer == kind:
                trainer.optimizer.step = torch.no_grad()(step)
        self.trainer(change)


def planted(model):
    fault = json.loads(Path(os.environ["REPRO_FAULT"]).read_text())
    plant = Plant(model, fault["at"])
    helpers = {name: getattr(plant, name) for name in vars(Plant) if not name.startswith("_")}
    exec(fault["code"], globals() | helpers | {"model": model, "at": plant.at, "owner": plant.owner})
    return model


def create_model(spec):
    return planted(sound.create_model(spec))


def load_weights(model, arrays):
    """All that fit, as a careless loader does, so that another structure does not fail before it is compared."""
    own = model.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            if name in own and own[name].shape == array.shape and not (model.filled and name in model.kept):
                own[name].copy_(torch.from_numpy(np.array(array)))
        model.filled = True
        for owner, leaf, change in model.loaded:
            value = getattr(owner, leaf)
            value.copy_(change(value.clone()))


def set_dropout_source(model, draw):
    sound.set_dropout_source(model, draw)
    for arrange in model.dropped:
        arrange(draw)


def create_trainer(model, settings):
    for change in model.settings:
        settings = change(settings)
    trainer = sound.create_trainer(model, settings)
    for change in model.trainers:
        change(trainer)
    return trainer
'''
