"""The worker's side: `python -m repro.workers.serve MODULE SOCKET FOLDER` answers until nobody listens any more."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np

from repro.errors import ReproError
from repro.interface import Arrays, Backend, TrainSettings
from repro.specs import STATISTICS, find_spec
from repro.weights import store


class Session:
    """One method per request; each takes JSON details and arrays, and returns a JSON result and arrays."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.model: Any = None
        self.arrays: Arrays = {}

    def create(self, arrays: Arrays, name: str, options: dict[str, Any], undropped: bool = False) -> tuple[Any, Arrays]:
        """Makes the model, where wanted with nothing dropped at random, and fills it with canonical weights, which are
        those that later training starts from."""
        spec = find_spec(name, **options)
        self.model = self.backend.create_model(spec.undropped() if undropped else spec)
        self.backend.load_weights(self.model, arrays)
        self.arrays = arrays
        return None, {}

    def export(self, arrays: Arrays) -> tuple[Any, Arrays]:
        return None, self.backend.export_weights(self.model)

    def operators(self, arrays: Arrays, size: int) -> tuple[Any, Arrays]:
        return self.backend.operators(self.model, size), {}

    def forward(self, arrays: Arrays) -> tuple[Any, Arrays]:
        return None, self.backend.forward(self.model, arrays["images"])

    def forward64(self, arrays: Arrays) -> tuple[Any, Arrays]:
        """The same in double precision; the result says whether the framework can."""
        double = self._double()
        return (False, {}) if double is None else (True, self.backend.forward(double, _wide(arrays["images"])))

    def train_forward(self, arrays: Arrays, double: bool = False) -> tuple[Any, Arrays]:
        """Stages and logits in training mode, and "statistics/NAME" after it; the result says whether the framework
        can."""
        model = self._fresh(double)
        if model is None:
            return False, {}
        outputs = self.backend.forward(model, _wide(arrays["images"], double), train=True)
        weights = self.backend.export_weights(model)
        kept = {name for name, weight in model.spec.weights.items() if weight.kind in STATISTICS}
        return True, outputs | {f"statistics/{name}": weights[name] for name in kept}

    def train(
        self, arrays: Arrays, settings: dict[str, Any], rates: list[float], double: bool = False
    ) -> tuple[Any, Arrays]:
        """Steps from the first weights, with images (steps, N, C, H, W) and targets (steps, N) or (steps, N, classes).

        The result is the loss of each step, or None where the framework cannot; the arrays are "weights/NAME" and
        "state/KEY" after the last.
        """
        model = self._fresh(double)
        if model is None:
            return None, {}
        trainer = self.backend.create_trainer(model, TrainSettings(**settings))
        targets = arrays["targets"]
        if targets.ndim > 2:
            targets = _wide(targets, double)
        batches = zip(_wide(arrays["images"], double), targets, rates, strict=True)
        losses = [trainer.step(images, target, rate)[0] for images, target, rate in batches]
        after = {f"weights/{name}": array for name, array in trainer.weights().items()}
        return losses, after | {f"state/{key}": array for key, array in trainer.state().items()}

    def _double(self) -> Any:
        """The model in double precision, or None where the framework cannot."""
        try:
            return self.backend.to_float64(self.model)
        except ReproError:
            return None

    def _fresh(self, double: bool) -> Any:
        """The model with its first weights again."""
        self.backend.load_weights(self.model, self.arrays)
        return self._double() if double else self.model


def _wide(array: np.ndarray, double: bool = True) -> np.ndarray:
    return array.astype(np.float64 if double else array.dtype)  # a copy: what was read from a file is read-only


def main() -> None:
    module, descriptor, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    connection = Connection(descriptor)

    def answer(result: Any, arrays: Arrays) -> None:
        if arrays:
            store.save(folder / "answer.safetensors", arrays)
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
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            return None
        try:
            arrays = store.load(message["arrays"])[0] if message["arrays"] else {}
            answer(*getattr(session, message["request"])(arrays, **message["details"]))
        except Exception as error:  # whatever a framework raises becomes an answer
            refuse(error)


if __name__ == "__main__":
    main()
