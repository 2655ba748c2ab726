"""The requests that a worker answers: it holds one model of its backend and computes with it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import Backend, Trainer, TrainSettings
from repro.interface.contract import DropoutSource
from repro.interface.dropout_source import SeededDropout
from repro.interface.loss_scale import LossScale
from repro.interface.onnx_graph import exported_logits
from repro.interface.processes import SINGLE_PROCESS, ProcessGroup
from repro.specs import STATISTICS, find_spec
from repro.weights.truncate import corner, sample, truncated_spec
from repro.weights.weight_pairs import Pair, convert
from repro.weights.whole_numbers import magnitudes, whole_weights
from repro.workers.client import LARGE_MODEL_PARAMS
from repro.workers.model_inputs import as_float, model_inputs
from repro.workers.ranks import train_by_ranks
from repro.workers.script import run_script
from repro.workers.user_code import rename_result
from repro.workers.whole_number_feed import WholeNumberFeed

UPDATED_ELEMENTS = 1 << 12  # `update` truncates every weight to at most this number of elements
PREDICT_BATCH = 64  # images per forward pass of the validation images

Answer = tuple[Any, Arrays]  # a JSON result, and arrays


class ModelSession:
    """A model of the backend. Each public method is a request of the protocol between client and worker.

    Every request takes arrays and JSON details, and returns a JSON result and arrays. Requests that compute take
    `float64`, for double precision; their result lists the names of their arrays in the order of computation, or is
    None where the framework cannot compute in float64.
    """

    def __init__(self, backend: Backend, processes: ProcessGroup = SINGLE_PROCESS):
        """processes: the ranks that train together, of which this process is one."""
        self.backend, self.processes = backend, processes
        self.build: Callable[[], Any] = lambda: None
        self.models: dict[tuple[bool, bool], Any] = {}  # (float64, truncated) -> model
        self.float64_works = True  # until it is seen to fail
        self.float64_error = ""
        self.initial_weights: Arrays = {}
        self.dropout = SeededDropout(0)
        self.dropout_source: DropoutSource = self.dropout
        self.pairs: list[Pair] = []  # shared names of weights with a user model's own
        self.shared_shapes: dict[str, tuple[int, ...]] = {}  # the shapes of weights by shared name
        self.shared_names: dict[str, str] = {}  # a user model's own name of a module -> the shared name
        self.mode: dict[str, Any] | None = None  # settings of every trainer, which then computes the forward pass too
        self.runtime = ""  # "onnxruntime" where that computes the forward pass
        self.launcher = ""  # the backend whose launcher starts the ranks of a mode with several
        self.creation: dict[str, Any] = {}  # the details of create_model
        self.shared_results: set[str] = set()  # the results of `forward` that all user models have

    def create_model(
        self,
        arrays: Arrays,
        name: str,
        options: dict[str, Any],
        seed: int = 0,
        spec_changes: dict[str, Any] | None = None,
    ) -> Answer:
        """Build a variant and load canonical weights, from which every later request starts.

        seed: that of dropout and drop path, which drop the same values in every backend; spec_changes: fields of the
        spec to replace.
        """
        self.creation = {"name": name, "options": options, "seed": seed, "spec_changes": spec_changes}
        spec = replace(find_spec(name, **options), **(spec_changes or {}))
        self.build = lambda: self.backend.create_model(spec)
        self.initial_weights, self.dropout = arrays, SeededDropout(seed, self.processes)
        self.dropout_source, self.pairs = self.dropout, []
        self.backend.load_weights(self._rebuild(), arrays)
        return None, {}

    def use_mode(self, arrays: Arrays, settings: dict[str, Any], runtime: str = "", launcher: str = "") -> Answer:
        """Compute by a trainer with these settings, or by a runtime, from now on, and nothing in float64.

        Several ranks train where `world_size` is among the settings; the backend `launcher` starts them.
        """
        self.mode, self.runtime, self.launcher = settings, runtime, launcher
        return None, {}

    def run_script(self, arrays: Arrays, script: str) -> Answer:
        """Run a script of a single operator; see repro.workers.script."""
        return run_script(arrays, script)

    def _own_weights(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Weights of the user model under its own names, from arrays under shared names."""
        shapes = {name: array.shape for name, array in self.initial_weights.items()}
        return {name: np.array(array) for name, array in convert(arrays, self.pairs, shapes).items()}

    def _shared_weights(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Weights under shared names, from arrays of the user model under its own names."""
        return convert(arrays, [pair.reverse for pair in self.pairs], self.shared_shapes)

    def export_weights(self, arrays: Arrays) -> Answer:
        """Return the canonical weights as the model exports them after loading."""
        return None, self.backend.export_weights(self._initial_model(float64=False))

    def operators(self, arrays: Arrays, size: int) -> Answer:
        """Return what Backend.operators counts for images of `size` x `size` pixels."""
        return self.backend.operators(self._model(float64=False), size), {}

    def forward(
        self, arrays: Arrays, *, train: bool = False, float64: bool = False, every_module: bool = False
    ) -> Answer:
        """Return the results of Backend.forward for "images" (N, C, H, W), and then the running statistics.

        A user model may have further inputs, "input 2" and so on. Evaluation mode must leave the running statistics as
        they are; the comparison checks it. A "weights/NAME" takes the place of an initial weight of a user model.
        """
        model = self._model(float64=float64)
        if model is None:
            return None, {}
        self._initialise(model, self._changes(arrays))
        images = model_inputs(arrays, float64=float64)
        if self.runtime and len(set(arrays["images"].shape[2:])) > 1:
            return None, {}  # exporters write networks for square images
        if self.mode is None:
            results = self.backend.forward(model, images, train=train, every_module=every_module)
        else:
            results = self._forward_by_trainer(model, images, train=train, every_module=every_module)
        weights = self.backend.export_weights(model)
        statistics = {name: weights[name] for name, weight in model.spec.weights.items() if weight.kind in STATISTICS}
        if not self.pairs:
            results |= statistics
            return list(results), results
        renamed = {rename_result(name, self.shared_names): array for name, array in results.items()}
        shared = {name: array for name, array in renamed.items() if name} | self._shared_weights(statistics)
        results = {
            name: array if array.dtype.kind == "f" else as_float(array, float64=float64)
            for name, array in shared.items()
            if name in self.shared_results
        }
        return list(results), results

    def _forward_by_trainer(self, model: Any, images: Any, *, train: bool, every_module: bool) -> Arrays:
        """The logits in the mode, and for a prediction the results of modules as far as they can be seen there."""
        if self.runtime:
            return {"logits": exported_logits(self.backend, model, images)}
        trainer = self.backend.create_trainer(model, self._settings({"momentum": 0.0, "compiled": False}))
        if train:
            return {"logits": trainer.step(images, np.zeros(len(images), np.int64), 0.0)[1]}
        results = trainer.predict_modules(images) if every_module else {}
        results |= {"logits": trainer.predict(images)}
        return {name: as_float(array, float64=False) for name, array in results.items()}

    def _settings(self, settings: dict[str, Any]) -> TrainSettings:
        """The settings of a trainer, in the mode."""
        return TrainSettings(**settings | (self.mode or {}))

    def _changes(self, arrays: Arrays) -> Arrays:
        """The weights among the arrays of a request, under the model's own names."""
        prefix = "weights/"
        changes = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        return self._own_weights(changes) if self.pairs else changes

    def feed_modules(
        self, arrays: Arrays, *, seed: int, float64: bool = False, sums: bool = False, selected: Collection[str] = ()
    ) -> Answer:
        """Compute every module on whole numbers, with weights of whole numbers.

        "images" give the shape of the input; sums: add up absolute values instead; selected: names of results to
        return as arrays. Returns the fields of a ModuleResult for each result, and the type of each module.
        """
        model = self._model(float64=float64)
        if model is None:
            return None, {}
        weights = whole_weights(model.spec, seed)
        self.backend.load_weights(model, magnitudes(weights, model.spec) if sums else weights)
        feed = WholeNumberFeed(seed, sums=sums, selected=selected)
        self.backend.feed_modules(model, as_float(arrays["images"], float64=float64), feed)
        types = {name: module.type for name, module in self.backend.describe_modules(model).items()} if float64 else {}
        return {"results": [asdict(result) for result in feed.results], "types": types}, feed.arrays

    def loss(self, arrays: Arrays, settings: dict[str, Any], *, float64: bool = False) -> Answer:
        """Return the "loss" of "logits" and "targets", and its "gradient" with respect to the logits."""
        model = self._model(float64=float64, truncate=True)  # the loss does not depend on weights
        if model is None:
            return None, {}
        trainer = self.backend.create_trainer(model, TrainSettings(**settings))
        targets = arrays["targets"]
        loss, gradient = trainer.loss(
            as_float(arrays["logits"], float64=float64),
            as_float(targets, float64=float64) if targets.ndim == 2 else np.array(targets),
        )
        results = {"loss": as_float(np.array(loss), float64=float64), "gradient": gradient}
        return list(results), results

    def train(
        self, arrays: Arrays, settings: dict[str, Any], rates: list[float], *, float64: bool = False,
        after: list[int] | None = None,
    ) -> Answer:  # fmt: skip
        """Train from the initial weights on "images" (steps, N, C, H, W) and "targets" (steps, N).

        Returns "step 1: loss" and so on; "step 1: NAME" of every weight for each step in `after`, or else "SLOT/NAME"
        of the optimizer's state after the last step; and where there are "val_images" (V, C, H, W), their "logits" in
        evaluation mode after the last step. Weights and states of more than SAMPLE_SIZE elements are sampled.
        """
        if self.launcher and self.processes.world_size == 1:
            return self._train_by_ranks(arrays, float64=float64, settings=settings, rates=rates, after=after)
        trainer = self._trainer(settings, float64=float64, changes=self._changes(arrays))
        if trainer is None:
            return None, {}
        results: Arrays = {}
        images_of_steps = as_float(arrays["images"], float64=float64)
        batches = zip(images_of_steps, np.array(arrays["targets"]), rates, strict=True)
        for step, (images, targets, rate) in enumerate(batches, 1):
            loss, _ = trainer.step(images, targets, rate)
            results[f"step {step}: loss"] = as_float(np.array(loss), float64=float64)
            if after and step in after:
                results |= {f"step {step}: {name}": sample(array) for name, array in trainer.weights().items()}
        if not after:
            results |= {name: sample(array) for name, array in trainer.state().items() if "/" in name}
        if "val_images" in arrays:
            val_images = as_float(arrays["val_images"], float64=float64)
            batches_of_images = np.split(val_images, range(PREDICT_BATCH, len(val_images), PREDICT_BATCH))
            results["logits"] = np.concatenate([trainer.predict(images) for images in batches_of_images])
        return list(results), results

    def _train_by_ranks(self, arrays: Arrays, *, float64: bool, **details: Any) -> Answer:
        """The answer of `train`, by the ranks of the mode."""
        if float64:
            return None, {}
        module = getattr(self.backend, "__name__", "")
        call = {"module": module, "mode": self.mode, "model": self.creation, "train": details}
        results = train_by_ranks(self.launcher, call, self.initial_weights, arrays)
        return list(results), results

    def update(
        self, arrays: Arrays, settings: dict[str, Any], rates: list[float], after: list[int], *, float64: bool = False
    ) -> Answer:
        """Update the initial weights with made-up "gradients", float32 (steps, K), repeated to the size of each weight.

        Returns "step 1: NAME" of every trained weight for each step in `after`, and "step 1: EMA of NAME" where
        there is an EMA. Weights are truncated to UPDATED_ELEMENTS elements: an optimizer treats every element alike.
        """
        trainer = self._trainer(settings, float64=float64, truncate=True)
        if trainer is None:
            return None, {}
        results: Arrays = {}
        spec = self.models[float64, True].spec
        shapes = {name: weight.shape for name, weight in spec.weights.items() if weight.kind not in STATISTICS}
        for step, (numbers, rate) in enumerate(zip(arrays["gradients"], rates, strict=True), 1):
            gradients = {
                name: np.resize(np.roll(numbers, index), shape) for index, (name, shape) in enumerate(shapes.items())
            }
            trainer.update(gradients, rate)
            if step in after:
                weights, averages = trainer.weights(), trainer.ema_weights()
                results |= {f"step {step}: {name}": weights[name] for name in weights if name in shapes}
                results |= {f"step {step}: EMA of {name}": averages[name] for name in averages if name in shapes}
        return list(results), results

    def _rebuild(self) -> Any:
        """Forget all models, and build the float32 one."""
        self.models, self.float64_works = {}, True
        return self._model(float64=False)

    def _model(self, *, float64: bool, truncate: bool = False) -> Any:
        """The model, built when it is first needed; None where the framework cannot compute it in float64."""
        if float64 and (self.mode is not None or not self.float64_works):
            return None
        if (float64, truncate) not in self.models:
            if sum(array.size for array in self.initial_weights.values()) > LARGE_MODEL_PARAMS:
                # memory holds one such model; truncated ones are small
                self.models = {key: model for key, model in self.models.items() if key[1]}
                gc.collect()
            try:
                model = self.backend.to_float64(self.build) if float64 else self.build()
            except ReproError as error:
                if not float64:
                    raise
                self.float64_works, self.float64_error = False, str(error)
                return None
            if truncate:
                self.backend.truncate(model, truncated_spec(model.spec, UPDATED_ELEMENTS))
            self.backend.set_dropout_source(model, self.dropout_source)
            self.models[float64, truncate] = model
        return self.models[float64, truncate]

    def _initial_model(
        self, *, float64: bool, truncate: bool = False, changes: Mapping[str, np.ndarray] | None = None
    ) -> Any:
        """The model with its initial weights, or changes of some, and the first draws of dropout; None as in _model."""
        model = self._model(float64=float64, truncate=truncate)
        if model is not None:
            self._initialise(model, changes)
        return model

    def _initialise(self, model: Any, changes: Mapping[str, np.ndarray] | None = None) -> None:
        """Load the initial weights, with changes of some, into a model, and start the draws of dropout again."""
        self.dropout.parts = 1
        self.dropout.begin_epoch(0)
        initial = self.initial_weights | dict(changes or {})
        shapes = {name: weight.shape for name, weight in model.spec.weights.items()}
        self.backend.load_weights(model, {name: corner(initial[name], shape) for name, shape in shapes.items()})

    def _trainer(
        self, settings: dict[str, Any], *, float64: bool, truncate: bool = False,
        changes: Mapping[str, np.ndarray] | None = None,
    ) -> Trainer | None:  # fmt: skip
        """A trainer of the model with its initial weights, some of them changed; None as in _model."""
        model = self._initial_model(float64=float64, truncate=truncate, changes=changes)
        if model is None:
            return None
        in_mode = self._settings(settings)
        self.dropout.parts = in_mode.parts
        trainer = self.backend.create_trainer(model, in_mode)
        if in_mode.scales_loss:  # with a small scale, since a step that overflows has no gradients to compare
            trainer.load_state(trainer.state() | LossScale(1024.0).state())
        return trainer
