"""A short training run on each backend learns, writes its run folder, and its weights port to another framework."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from repro.specs import find_spec
from repro.training.run_folder import BEST, CLASSES, CONFIG, LAST, METRICS
from repro.weights.porting import read_weights
from repro.workers.client import interpreter

MODEL = "asymmnet_small_x0_5"


def run(backend: str, module: str, *arguments: str) -> None:
    """Run a command with the backend's interpreter."""
    command = [interpreter(backend), "-m", module, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-5000:]


@pytest.mark.slow
def test_a_run_learns_and_its_weights_can_be_ported(backend: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(backend, "repro.run", "--backend", backend, "--model", MODEL, "--epochs", "4", "--out", str(out))
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {CONFIG, CLASSES, LAST, BEST, "curves.png", "metrics.jsonl", "summary.json"}
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [set(row) for row in rows] == [set(METRICS)] * 4
    summary = json.loads((out / "summary.json").read_text())
    assert summary["best_val_top1"] == max(row["val_top1"] for row in rows)
    assert rows[-1]["train_top1"] > 0.8, rows  # above 0.9 was measured on all backends

    # the best weights are bit-identical in a file of another framework
    spec, arrays, _ = read_weights(out / BEST)
    assert spec == find_spec(MODEL, num_classes=10)
    path = tmp_path / {"torch": "best.pdparams", "paddle": "best.ckpt", "mindspore": "best.pth"}[backend]
    run(backend, "repro.port", str(out / BEST), str(path))
    _, ported, _ = read_weights(path, MODEL)
    assert all(np.array_equal(ported[name], array) for name, array in arrays.items())
