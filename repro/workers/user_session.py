"""The requests of a worker that compares a user model, in addition to those of repro.workers.model_session."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.specs import STATISTICS
from repro.weights.truncate import sample
from repro.weights.weight_pairs import Pair, neutral_value, unpaired
from repro.workers.client import LARGE_MODEL_PARAMS
from repro.workers.model_inputs import as_float, model_inputs
from repro.workers.model_session import Answer, ModelSession
from repro.workers.repetition import first_difference
from repro.workers.user_code import load_factory, rename_result


class UserModelSession(ModelSession):
    """A model of the backend, which may be a user model. Each public method is a request, as those of ModelSession."""

    def create_user_model(self, arrays: Arrays, source: str, folder: str) -> Answer:
        """Build a user model with its function "MODULE:FUNCTION", which is importable from `folder`.

        Returns "momentum" of its normalisations, as "weights" a row (name, shape, kind, groups, path of the owning
        module, whether it is trained, its further names) for each weight in the order of registration, and as
        "modules" the ModuleDescription of each path. All of that is as the function returns it.
        """
        build = load_factory(source, folder)
        self.build = lambda: self.backend.wrap_user_model(build(), source)
        self.dropout_source = lambda name, shape: self.dropout("", shape)  # names differ between models
        self.pairs = []
        model = self._rebuild()
        spec = model.spec
        exported = self.backend.export_weights(model)
        self.initial_weights = {name: exported[name] for name in spec.weights}
        rows = [
            [name, weight.shape, weight.kind, weight.groups, spec.owners[name], name not in spec.frozen,
             spec.aliases.get(name, ())]
            for name, weight in spec.weights.items()
        ]  # fmt: skip
        modules = self.backend.describe_modules(model)
        return {"weights": rows, "momentum": spec.norm_momentum, "modules": modules}, {}

    def find_randomness(self, arrays: Arrays, *, train: bool) -> Answer:
        """Return what is random in the user model for "images", as [module or result, clause about it] pairs.

        Modules are watched for the numbers that they draw, and two forward passes of the model, and one of another
        model that the user's function builds, must have the same results.
        """
        images = model_inputs(arrays, float64=False)

        def run(model: Any) -> Arrays:
            self._initialise(model)
            return self.backend.forward(model, images, train=train, every_module=True)

        model = self._model(float64=False)
        self._initialise(model)
        if drawing := self.backend.random_modules(model, images, train=train):
            return [[name, "draws random numbers"] for name in drawing], {}
        results = run(model)
        if name := first_difference(results, run(model)):
            return [[name, "differs from one run to the next"]], {}
        if sum(array.size for array in self.initial_weights.values()) <= LARGE_MODEL_PARAMS:
            rebuilt = self.build()
            self.backend.set_dropout_source(rebuilt, self.dropout_source)
            if name := first_difference(results, run(rebuilt)):
                return [[name, "differs between two models that the function builds"]], {}
        return [], {}

    def without_influence(self, arrays: Arrays, names: list[str], outputs: list[str], seed: int) -> Answer:
        """Return those of some weights of the user model that do not influence its outputs for "images".

        names, outputs: the model's own names of weights, and of the outputs that matter; seed: that of the numbers that
        are added to these weights.
        """
        images = model_inputs(arrays, float64=False)
        model = self._model(float64=False)
        rng = np.random.default_rng(seed)
        changed = {
            name: self.initial_weights[name] + rng.uniform(0.1, 1, self.initial_weights[name].shape) for name in names
        }

        def run(changes: Arrays, *, train: bool) -> Arrays:
            self._initialise(model, changes)
            results = self.backend.forward(model, images, train=train)
            return {name: array for name, array in results.items() if name in outputs}

        original = {train: run({}, train=train) for train in (False, True)}

        def influences(names: Iterable[str]) -> bool:
            changes = {name: changed[name] for name in names}
            return any(first_difference(results, run(changes, train=train)) for train, results in original.items())

        if not influences(names):
            return names, {}
        layers: dict[str, list[str]] = {}
        for name in names:
            layers.setdefault(model.spec.owners[name], []).append(name)
        return [name for of_layer in layers.values() if not influences(of_layer) for name in of_layer], {}

    def share_names(
        self,
        arrays: Arrays,
        pairs: list[list[list[str]]],
        shapes: dict[str, list[int]],
        names: dict[str, str],
        results: list[str],
    ) -> Answer:
        """Use shared names of the user model's weights and modules in all later answers.

        pairs: shared names of weights with the model's own; shapes: shared name of a weight -> its shape; names: the
        model's own name of a module -> the shared one; results: the shared names of the results of `forward`.

        Returns the model's own weights by shared name, and as "only/NAME" those that have none.
        """
        self.pairs = [Pair(tuple(left), tuple(right)) for left, right in pairs]
        self.shared_shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.shared_names, self.shared_results = names, set(results)
        only = {f"only/{name}": self.initial_weights[name] for name in unpaired(self.pairs)[1]}
        return None, self._shared_weights(self.initial_weights) | only

    def load_user_weights(self, arrays: Arrays, seed: int) -> Answer:
        """Load weights under their shared names into the user model, after share_names.

        seed: that of dropout. A weight that only this model has gets the value with which it changes nothing, if there
        is one. Without arrays the model keeps its own weights.
        """
        self.dropout.seed = seed
        if arrays:
            weights = self._model(float64=False).spec.weights
            for name in unpaired(self.pairs)[1]:
                if (value := neutral_value(name, weights[name])) is not None:
                    self.initial_weights[name] = np.full_like(self.initial_weights[name], value)
            self.initial_weights |= self._own_weights(arrays)
        return None, {}

    def check_float64(self, arrays: Arrays) -> Answer:
        """Return why the user model cannot compute in float64, or None. If it cannot, float64 is not tried again."""
        try:
            order, _ = self.forward(arrays, float64=True)
            return (None if order else self.float64_error), {}
        except Exception as error:  # the user's code may raise anything
            self.float64_works = False
            self.models.pop((True, False), None)
            return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", {}

    def gradients(self, arrays: Arrays, *, float64: bool = False) -> Answer:
        """Return the gradient of every weight of a user model for "images", under shared names, in training mode.

        The loss is the sum of the compared outputs, each multiplied by random numbers that depend on its name.
        Gradients of more than SAMPLE_SIZE elements are sampled.
        """
        model = self._model(float64=float64)
        if model is None:
            return None, {}
        self._initialise(model, self._changes(arrays))

        def projection(name: str, shape: tuple[int, ...]) -> np.ndarray | None:
            shared = rename_result(name, self.shared_names)
            if shared not in self.shared_results:
                return None
            rng = np.random.default_rng([self.dropout.seed, zlib.crc32(shared.encode())])
            return rng.standard_normal(shape, np.float32)

        gradients = self.backend.gradients(model, model_inputs(arrays, float64=float64), projection)
        results = {name: sample(array) for name, array in self._shared_weights(gradients).items()}
        return list(results), results

    def forward_with_values(
        self, arrays: Arrays, names: list[str], *, train: bool = False, float64: bool = False
    ) -> Answer:
        """Run the user model with "images" and the values "value/NAME" of modules in place of those that it computes.

        arrays: also "seed/NAME", the gradients with respect to computed values, and "weights/NAME" in place of initial
        weights. Names of values are the model's own, and those of weights are shared. The result has, as "order", the
        names of the arrays, and as "places" where each module is called; running statistics are among the arrays.
        """
        model = self._model(float64=float64)
        if model is None:
            return None, {}
        values, seeds = (
            {
                name.removeprefix(prefix): as_float(array, float64=float64)
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            for prefix in ("value/", "seed/")
        )
        self._initialise(model, self._changes(arrays))
        images = model_inputs(arrays, float64=float64)
        results, places = self.backend.forward_with_values(model, images, names, values, seeds, train=train)
        weights = self.backend.export_weights(model)
        own_weights = model.spec.weights
        gradients = {
            name: results.pop(f"gradient of {name}") for name in own_weights if f"gradient of {name}" in results
        }
        results |= {f"gradient of {name}": array for name, array in self._shared_weights(gradients).items()}
        statistics = {name: weights[name] for name, weight in own_weights.items() if weight.kind in STATISTICS}
        results |= self._shared_weights(statistics)
        return {"order": list(results), "places": places}, results
