"""Every recipe of configs/ for a few steps on every backend, and a run that was killed and went on."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.weights import safetensors_file
from repro.workers.client import interpreter

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["--model", "asymmnet_small_x0_35", "--image-size", "40", "--batch-size", "6", "--epochs", "3"]
# instead of a recipe's own network, where there is a smaller one of the same structure
SMALLER = {
    "efficientnet_v2_s": "efficientnet_v2_b0",
    "shufflenet_v2_x1_0": "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0_torchvision": "shufflenet_v2_x0_5_torchvision",
    "asymmnet_large": "asymmnet_small_x0_35",
}

# in one process, because loading the framework takes longer than the steps; and eager, because compiling does, too
STEPS = """
from dataclasses import replace
from pathlib import Path
from repro.run import main
from repro.training import recipe
from repro.training import resolve
settings = resolve.train_settings
resolve.train_settings = lambda recipe: replace(settings(recipe), compiled=False)
for path in sorted(Path({configs!r}).glob("*.yaml")):
    values = recipe.read_recipe_file(path)
    model = values["model"]
    flags = ["--model", {smaller!r}.get(model, model), "--image-size", "40", "--batch-size", "6"]
    flags += ["--option", "depth=8"] if "cifar" in path.stem else []
    grows = ["--epochs", "3", "--stages", "3", "--first-stage", "image_size=32"]
    flags += grows if "first_stage" in values else ["--epochs", "1"]
    main(["--backend", {backend!r}, "--config", str(path), "--data", "photos", "--split", "0.2", *flags,
          "--lr", "1e-4", "--out", f"{backend}/{{path.stem}}"])
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that are told apart by colour."""
    folder = tmp_path_factory.mktemp("recipes")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("blue", "red")):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 160, (48, 56, 3), dtype=np.uint8)
            pixels[..., 2 * (1 - label)] += 90
            Image.fromarray(pixels).save(folder / "photos" / name / f"{index}.png")
    return folder


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_recipe_runs_alike(
    run_in: Callable[[str, str], str], require_backend: Callable[[str], None], photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same images, mixed and augmented alike, give the same losses, until rounding has grown."""
    monkeypatch.chdir(photos)
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    for backend in ("torch", "paddle", "mindspore"):
        require_backend(backend)
        run_in(backend, STEPS.format(configs=str(CONFIGS), backend=backend, smaller=SMALLER))
        for name in names:
            rows, reference = metrics(photos / backend / name), metrics(photos / "torch" / name)
            assert len(rows) == (3 if name.startswith("efficientnetv2") else 1)
            assert all(np.isfinite(row["val_loss"]) for row in rows)
            assert rows[0]["train_loss"] == pytest.approx(reference[0]["train_loss"], rel=0.01), (backend, name)
        assert (photos / backend / "shufflenet_flowers" / "logs").is_dir()


EVERYTHING = [
    *SMALL, "--data", "photos", "--optimizer", "adamw", "--lr", "1e-3", "--ema-decay", "0.9", "--ema-warmup", "true",
    "--mixup", "0.4", "--cutmix", "1", "--cutout", "0.5", "--flip", "0.5", "--clip-norm", "1", "--warmup", "1",
    "--label-smoothing", "0.1", "--option", "dropout=0.5",
]  # fmt: skip
DIES = """
import os
from repro.run import main
from repro.training import loop
epoch = loop.train_epoch
def dying(trainer, batches, rates, number, processes):
    def until():
        for step, batch in enumerate(batches):
            if (number, step) == (3, 1):
                os.kill(os.getpid(), 9)
            yield batch
    return epoch(trainer, until(), rates, number, processes)
loop.train_epoch = dying
main({argv!r})
"""


def test_a_run_that_was_killed_ends_like_one_that_never_was(
    backend: str, run_in: Callable[[str, str], str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch; with averages, an optimizer that counts, mixing, and dropout."""
    monkeypatch.chdir(photos)
    whole, killed = (f"{backend}-{name}" for name in ("whole", "killed"))
    argv = ["--backend", backend, *EVERYTHING]
    run_in(backend, f"from repro.run import main; main({[*argv, '--out', whole]!r})")
    code = DIES.format(argv=[*argv, "--out", killed])
    done = subprocess.run([interpreter(backend), "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(metrics(photos / killed)) == 2
    run_in(backend, f"from repro.run import main; main(['--resume', '--out', {killed!r}])")
    for name in ("best.safetensors", "last/checkpoint.safetensors"):
        one, other = (safetensors_file.load(photos / run / name)[0] for run in (whole, killed))
        assert one.keys() == other.keys()
        for key in one:
            assert np.array_equal(one[key], other[key]), (name, key)
    assert any(key.startswith("optimizer/ema/") for key in one) and one["optimizer/steps"] == 6
    for row, theirs in zip(metrics(photos / whole), metrics(photos / killed), strict=True):
        row["seconds"] = theirs["seconds"]
        assert theirs == row
