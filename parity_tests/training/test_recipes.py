"""The recipes of configs/ train alike on every backend, and a killed run ends like an uninterrupted one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.launching import QUICK_NETWORK
from repro.weights import safetensors_file

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
# a small run with an EMA, an optimizer that counts its steps, mixing, augmentation and dropout
FLAGS = [
    *QUICK_NETWORK, "--image-size", "40", "--batch-size", "6", "--epochs", "3",
    "--optimizer", "adamw", "--lr", "1e-3", "--ema-decay", "0.9", "--ema-warmup", "true", "--mixup", "0.4",
    "--cutmix", "1", "--cutout", "0.5", "--flip", "0.5", "--clip-norm", "1", "--warmup", "1",
    "--label-smoothing", "0.1", "--checkpoint-steps", "1", "--workers", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of two classes, which differ in colour."""
    folder = tmp_path_factory.mktemp("recipes") / "photos"
    rng = np.random.default_rng(0)
    for label, name in enumerate(("blue", "red")):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 160, (48, 56, 3), dtype=np.uint8)
            pixels[..., 2 * (1 - label)] += 90
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_recipe_trains_alike_on_every_backend(
    run_program: Callable[..., Any], require_backend: Callable[[str], None], photos: Path, tmp_path: Path
) -> None:
    """The same images, augmented and mixed alike, give the same losses, up to rounding, which grows with the steps."""
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    for backend in ("torch", "paddle", "mindspore"):
        require_backend(backend)
        run_program(backend, "recipes:train_all_recipes", backend, str(CONFIGS), str(photos), str(tmp_path / backend))
        for name in names:
            rows, reference = metrics(tmp_path / backend / name), metrics(tmp_path / "torch" / name)
            assert len(rows) == (3 if name.startswith("efficientnetv2") else 2 if name == "mobilenet_v2_flowers" else 1)
            assert all(np.isfinite(row["val_loss"]) for row in rows)
            assert rows[0]["train_loss"] == pytest.approx(reference[0]["train_loss"], rel=0.01), (backend, name)
        assert (tmp_path / backend / "shufflenet_flowers" / "logs").is_dir()
        for weights in (tmp_path / backend).rglob("*.safetensors"):  # more than a gigabyte
            weights.unlink()


@pytest.mark.slow
def test_a_killed_run_ends_like_an_uninterrupted_one(
    backend: str, run_program: Callable[..., Any], photos: Path, tmp_path: Path
) -> None:
    """The run is killed in the middle of epoch 3, and resumed there."""
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    argv = ["--backend", backend, "--data", str(photos), *FLAGS]
    run_program(backend, "recipes:train", *argv, "--out", str(uninterrupted))
    run_program(backend, "recipes:train_until_killed", *argv, "--out", str(killed), exit_code=-signal.SIGKILL)
    assert len(metrics(killed)) == 2
    run_program(backend, "recipes:train", "--resume", "--out", str(killed))
    for file in ("best.safetensors", "last/checkpoint.safetensors"):
        arrays, resumed_arrays = (safetensors_file.load(run / file)[0] for run in (uninterrupted, killed))
        assert arrays.keys() == resumed_arrays.keys()
        for name, array in arrays.items():
            assert np.array_equal(array, resumed_arrays[name]), (file, name)
    assert any(name.startswith("optimizer/ema/") for name in arrays) and arrays["optimizer/steps"] == 6
    for row, resumed_row in zip(metrics(uninterrupted), metrics(killed), strict=True):
        assert resumed_row == {**row, "seconds": resumed_row["seconds"]}
