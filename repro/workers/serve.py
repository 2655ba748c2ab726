"""The worker's side: `python -m repro.workers.serve MODULE SOCKET FOLDER NICENESS` answers until nobody listens any
more."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Container
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import Backend, Trainer, TrainSettings
from repro.interface.contract import DropoutSource
from repro.interface.dropout_source import SeededDropout
from repro.specs import STATISTICS, find_spec
from repro.weights import safetensors_file
from repro.weights.truncate import corner, sample, truncated_spec
from repro.workers.client import LARGE
from repro.workers.user_models import maker, renamed

FEW = 1 << 12  # values of a truncated weight
AT_ONCE = 64  # images of which classes are predicted
THIN = {"loss", "update"}  # requests of which nothing large is left behind


class Session:
    """One method per request; each takes JSON details and arrays, and returns a JSON result and arrays.

    Those that compute take `double`, for double precision, and return the names of their arrays in the order of
    computing, or None where the framework cannot compute so.
    """

    def __init__(self, backend: Backend):
        self.backend = backend
        self.make: Callable[[], Any] = lambda: None  # the model anew
        self.models: dict[tuple[bool, bool], Any] = {}  # by whether in double precision, and thin
        self.doubled = True  # as far as is known
        self.arrays: Arrays = {}
        self.drops = SeededDropout(0)
        self.draw: DropoutSource = self.drops
        self.names: dict[str, str] = {}  # of an adopted model: its own -> what to call it
        self.events: set[str] = set()

    def create(
        self,
        arrays: Arrays,
        name: str,
        options: dict[str, Any],
        seed: int = 0,
        changes: dict[str, Any] | None = None,
    ) -> tuple[Any, Arrays]:
        """Makes the model and fills it with canonical weights, which are those that every later request starts from.
        seed: of what it leaves out at random, the same for every backend; changes: of the spec."""
        spec = replace(find_spec(name, **options), **(changes or {}))
        self.make = lambda: self.backend.create_model(spec)
        self.arrays, self.drops = arrays, SeededDropout(seed)
        self.draw, self.names = self.drops, {}
        self.backend.load_weights(self._begin(), arrays)
        return None, {}

    def _begin(self) -> Any:
        """Makes the model."""
        self.models, self.doubled = {}, True
        return self._made(False, False)

    def _made(self, double: bool, thin: bool) -> Any:
        """The model; None where the framework cannot have it so."""
        if double and not self.doubled:
            return None
        if (double, thin) not in self.models:
            if sum(array.size for array in self.arrays.values()) > LARGE:  # one at a time, but for thin ones
                self.models = {made: model for made, model in self.models.items() if made[1]}
                gc.collect()
            try:
                model = self.backend.to_float64(self.make) if double else self.make()
            except ReproError:
                if not double:
                    raise
                self.doubled = False
                return None
            if thin:
                self.backend.truncate(model, truncated_spec(model.spec, FEW))
            self.backend.set_dropout_source(model, self.draw)
            self.models[double, thin] = model
        return self.models[double, thin]

    def adopt(self, arrays: Arrays, source: str, folder: str) -> tuple[Any, Arrays]:
        """Makes a model that is not ours, by a function "MODULE:FUNCTION" in reach from the folder. Returns the
        momentum of its normalisations, and for each weight in the order of registration name, shape, kind, groups and
        path of the module it is of."""
        make = maker(source, folder)
        self.make = lambda: self.backend.wrap_user_model(make(), source)
        self.draw = lambda name, shape: self.drops("", shape)  # by order alone: names are theirs
        self.names = {}
        model = self._begin()
        spec = model.spec
        exported = self.backend.export_weights(model)
        self.arrays = {name: exported[name] for name in spec.weights}
        rows = [
            [name, weight.shape, weight.kind, weight.groups, spec.owners[name]] for name, weight in spec.weights.items()
        ]
        return {"weights": rows, "momentum": spec.norm_momentum}, {}

    def fill(self, arrays: Arrays, names: dict[str, str], events: list[str], seed: int) -> tuple[Any, Arrays]:
        """Fills an adopted model, which from now on speaks of its weights and modules under other names. names: these
        -> its own; arrays: weights under these; events: of what `forward` finds, what to tell."""
        self.arrays = {names[name]: np.array(array) for name, array in arrays.items()}
        self.names, self.events = {own: name for name, own in names.items()}, set(events)
        self.drops.seed = seed
        return None, {}

    def doubles(self, arrays: Arrays) -> tuple[Any, Arrays]:
        """Why an adopted model cannot compute in double precision, in which case it is not asked to again, or None."""
        try:
            return (None if self.forward(arrays, double=True)[0] else "the framework cannot"), {}
        except Exception as error:  # whatever its code does not expect
            self.doubled = False
            self.models.pop((True, False), None)
            return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", {}

    def export(self, arrays: Arrays) -> tuple[Any, Arrays]:
        return None, self.backend.export_weights(self._fresh(False))

    def operators(self, arrays: Arrays, size: int) -> tuple[Any, Arrays]:
        return self.backend.operators(self._made(False, False), size), {}

    def forward(
        self, arrays: Arrays, train: bool = False, double: bool = False, every_module: bool = False
    ) -> tuple[Any, Arrays]:
        """What Backend.forward finds, and the running statistics after it, which evaluation must leave alone."""
        model = self._fresh(double)
        if model is None:
            return None, {}
        outputs = self.backend.forward(model, _typed(arrays["images"], double), train, every_module)
        weights = self.backend.export_weights(model)
        outputs |= {name: weights[name] for name, weight in model.spec.weights.items() if weight.kind in STATISTICS}
        return self._told(outputs, self.events)

    def loss(self, arrays: Arrays, settings: dict[str, Any], double: bool = False) -> tuple[Any, Arrays]:
        """The loss of logits and targets, and its gradient, to which no weight matters."""
        model = self._made(double, thin=True)
        if model is None:
            return None, {}
        trainer = self.backend.create_trainer(model, TrainSettings(**settings))
        targets = arrays["targets"]
        loss, gradient = trainer.loss(
            _typed(arrays["logits"], double), _typed(targets, double) if targets.ndim == 2 else np.array(targets)
        )
        found = {"loss": _scalar(loss, double), "gradient": gradient}
        return list(found), found

    def train(
        self, arrays: Arrays, settings: dict[str, Any], rates: list[float], double: bool = False,
        after: list[int] | None = None,
    ) -> tuple[Any, Arrays]:  # fmt: skip
        """Steps from the first weights on images (steps, N, C, H, W) and targets (steps, N): "step 1: loss" and so on,
        and after the steps in `after` "step 1: NAME" of every weight, or if there are none, in the end "SLOT/NAME".
        Where there are val_images (V, C, H, W): their "logits" in evaluation mode in the end."""
        trainer = self._trainer(settings, double)
        if trainer is None:
            return None, {}
        found: Arrays = {}
        batches = zip(_typed(arrays["images"], double), np.array(arrays["targets"]), rates, strict=True)
        for step, (images, targets, rate) in enumerate(batches, 1):
            loss, _ = trainer.step(images, targets, rate)
            found[f"step {step}: loss"] = _scalar(loss, double)
            if after and step in after:
                found |= {f"step {step}: {name}": sample(array) for name, array in trainer.weights().items()}
        if not after:
            found |= {name: sample(array) for name, array in trainer.state().items()}
        if "val_images" in arrays:
            val_images = _typed(arrays["val_images"], double)
            pieces = np.split(val_images, range(AT_ONCE, len(val_images), AT_ONCE))
            found["logits"] = np.concatenate([trainer.predict(images) for images in pieces])
        return self._told(found)

    def update(
        self, arrays: Arrays, settings: dict[str, Any], rates: list[float], after: list[int], double: bool = False
    ) -> tuple[Any, Arrays]:
        """Updates from the first weights by made-up gradients, float32 (steps, K), K numbers that are repeated over
        every weight: "step 1: NAME" and, where there are averages, "step 1: average of NAME". Larger weights are cut to
        at most FEW numbers, because each is updated by itself."""
        trainer = self._trainer(settings, double, thin=True)
        if trainer is None:
            return None, {}
        found: Arrays = {}
        spec = self.models[double, True].spec
        trained = {name: weight.shape for name, weight in spec.weights.items() if weight.kind not in STATISTICS}
        for step, (numbers, rate) in enumerate(zip(arrays["gradients"], rates, strict=True), 1):
            trainer.update(
                {
                    name: np.resize(np.roll(numbers, place), shape)
                    for place, (name, shape) in enumerate(trained.items())
                },
                rate,
            )
            if step in after:
                kept = {name: array for name, array in trainer.weights().items() if name in trained}
                averages = {
                    f"average of {name}": array for name, array in trainer.ema_weights().items() if name in trained
                }
                found |= {f"step {step}: {name}": array for name, array in (kept | averages).items()}
        return list(found), found

    def _told(self, found: Arrays, wanted: Container[str] | None = None) -> tuple[Any, Arrays]:
        """Of a model of ours all, and of an adopted one what is wanted, under the names that `fill` gave."""
        if self.names:
            found = {new: array for name, array in found.items() if (new := renamed(name, self.names))}
            found = {name: array for name, array in found.items() if wanted is None or name in wanted}
        return list(found), found

    def _trainer(self, settings: dict[str, Any], double: bool, thin: bool = False) -> Trainer | None:
        model = self._fresh(double, thin)
        return None if model is None else self.backend.create_trainer(model, TrainSettings(**settings))

    def _fresh(self, double: bool, thin: bool = False) -> Any:
        """The model with its first weights and draws again; None where the framework cannot have it so."""
        model = self._made(double, thin)
        if model is not None:
            self.drops.begin_epoch(0)
            shapes = {name: weight.shape for name, weight in model.spec.weights.items()}
            self.backend.load_weights(model, {name: corner(self.arrays[name], shapes[name]) for name in shapes})
        return model


def _typed(array: np.ndarray, double: bool) -> np.ndarray:
    return array.astype(np.float64 if double else np.float32)  # a copy: what was read from a file is read-only


def _scalar(value: float, double: bool) -> np.ndarray:
    return np.array(value, np.float64 if double else np.float32)


def main() -> None:
    module, descriptor, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    connection = Connection(descriptor)
    os.nice(int(sys.argv[4]))

    def answer(result: Any, arrays: Arrays) -> None:
        if arrays:
            safetensors_file.save(folder / "answer.safetensors", arrays)
        connection.send_bytes(json.dumps({"result": result, "arrays": bool(arrays)}).encode())

    def refuse(error: Exception) -> None:
        expected = isinstance(error, ReproError)
        if not expected:
            traceback.print_exc()
        text = str(error) if expected else f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        connection.send_bytes(json.dumps({"error": text, "expected": expected}).encode())

    try:
        backend = cast(Backend, importlib.import_module(module))
        answer({"version": backend.version()}, {})
    except ImportError as error:
        return refuse(
            ReproError(f"cannot import its framework ({error}); install it there, or name another interpreter")
        )
    session = Session(backend)
    gc.freeze()  # the framework stays: what is collected after each request is not searched for among its objects
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            return None
        try:
            arrays = safetensors_file.load(message["arrays"])[0] if message["arrays"] else {}
            answer(*getattr(session, message["request"])(arrays, **message["details"]))
            if message["request"] not in THIN:
                gc.collect()  # models, hooks and optimizers hold each other, and large ones should not wait
        except Exception as error:  # whatever a framework raises becomes an answer
            refuse(error)


if __name__ == "__main__":
    main()
