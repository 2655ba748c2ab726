"""Programs of parity_tests/weights/test_weight_types.py."""

from __future__ import annotations

import importlib
import os


def load_and_export(backend: str, model: str, source: str, destination: str) -> None:
    """Load the canonical file `source` into the model, and write the weights that the model then has."""
    from repro.specs import find_spec
    from repro.weights import safetensors_file

    module = importlib.import_module(f"backends.{backend}")
    network = module.create_model(find_spec(model, num_classes=3))
    module.load_weights(network, safetensors_file.load(source)[0])
    safetensors_file.save(destination, module.export_weights(network))


def run_commands(backend: str, folder: str, name: str) -> None:
    """Train from NAME.safetensors of the folder, export it, and predict with it."""
    from repro.export import main as export
    from repro.predict import main as predict
    from repro.run import main as train

    os.chdir(folder)
    source, chosen = f"{name}.safetensors", ["--backend", backend]
    recipe = ["--model", "asymmnet_small_x0_35", "--data", "photos", "--image-size", "32", "--epochs", "1"]
    train([*chosen, *recipe, "--batch-size", "6", "--weights", source, "--out", name])
    export([*chosen, source, f"{name}.onnx"])
    predict([*chosen, source, "photos", "--csv", f"{name}.csv"])
