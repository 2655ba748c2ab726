"""Weights of every floating-point type in every backend and command, bfloat16 among them, which NumPy lacks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ml_dtypes import bfloat16
from PIL import Image

from parity_tests.conftest import RunProgram
from repro.errors import ReproError
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights
from repro.weights.porting import read_weights

MODEL = "asymmnet_small_x0_35"
SPEC = find_spec(MODEL, num_classes=3)
METADATA = {
    "model": MODEL, "classes": json.dumps(["red", "green", "blue"]), "image_size": "32", "mean": "[0.5, 0.5, 0.5]",
    "std": "[0.5, 0.5, 0.5]",
}  # fmt: skip


def test_a_model_takes_weights_of_every_floating_point_type(
    backend: str, run_program: RunProgram, tmp_path: Path
) -> None:
    types = [np.float32, bfloat16, np.float16, np.float64]
    arrays = {
        name: array.astype(types[index % len(types)])
        for index, (name, array) in enumerate(random_weights(SPEC, 5).items())
    }
    source, destination = tmp_path / "mixed.safetensors", tmp_path / "loaded.safetensors"
    safetensors_file.save(source, arrays)
    run_program(backend, "weight_types:load_and_export", backend, MODEL, str(source), str(destination))
    loaded, _ = safetensors_file.load(destination)
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].tobytes() == array.astype(np.float32).tobytes(), name


@pytest.mark.slow
def test_every_command_takes_bfloat16(backend: str, run_program: RunProgram, tmp_path: Path) -> None:
    rounded = {name: array.astype(bfloat16) for name, array in random_weights(SPEC, 5).items()}
    widened = {name: array.astype(np.float32) for name, array in rounded.items()}
    safetensors_file.save(tmp_path / "float32.safetensors", widened, METADATA)
    some = {SPEC.classifier: rounded[SPEC.classifier], "stem.conv.weight": rounded["stem.conv.weight"]}
    safetensors_file.save(tmp_path / "bfloat16.safetensors", widened | some, METADATA)
    for number, color in enumerate(("red", "green", "blue")):
        folder = tmp_path / "photos" / color
        folder.mkdir(parents=True)
        for index in range(5):
            values = [40 * index, 40 * index, 40 * index]
            values[number] = 250
            Image.new("RGB", (32, 32), tuple(values)).save(folder / f"{index}.png")  # type: ignore[arg-type]

    images = np.random.default_rng(1).standard_normal((2, 3, 32, 32), np.float32)
    results: dict[str, list[bytes]] = {}
    for name in ("float32", "bfloat16"):
        run_program(backend, "weight_types:run_commands", backend, str(tmp_path), name)
        rows = list(csv.reader((tmp_path / f"{name}.csv").read_text().splitlines()))
        assert len(rows) == 16
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])
        logits = session.run(["logits"], {"images": images})[0]
        _, trained, _ = read_weights(tmp_path / name / "best.safetensors")
        results[name] = [str(rows).encode(), logits.tobytes(), *(array.tobytes() for array in trained.values())]
    assert results["bfloat16"] == results["float32"]


def test_whole_numbers_are_not_weights(tmp_path: Path) -> None:
    arrays = random_weights(SPEC, 5)
    arrays["stem.conv.weight"] = np.ones(arrays["stem.conv.weight"].shape, np.int64)
    safetensors_file.save(tmp_path / "a.safetensors", arrays, METADATA)
    with pytest.raises(ReproError, match=r"stem\.conv\.weight holds int64 instead of floating-point numbers"):
        read_weights(tmp_path / "a.safetensors")
