"""The main job with the real frameworks, shortened: it learns, leaves its folder, goes on, and its weights travel."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from repro.specs import find_spec
from repro.training.run_folder import BEST, CLASSES, CONFIG, LAST, METRICS
from repro.weights.porting import read_weights
from repro.workers.client import interpreter

MODEL = "asymmnet_small_x0_5"


def run(backend: str, module: str, *arguments: str) -> None:
    done = subprocess.run(
        [interpreter(backend), "-m", module, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr[-5000:]


def test_main_job(backend: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(backend, "repro.run", "--backend", backend, "--model", MODEL, "--epochs", "4", "--out", str(out))
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {CONFIG, CLASSES, LAST, BEST, "curves.png", "metrics.jsonl", "summary.json"}
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [set(row) for row in rows] == [set(METRICS)] * 4
    summary = json.loads((out / "summary.json").read_text())
    assert summary["best_val_top1"] == max(row["val_top1"] for row in rows)
    assert rows[-1]["train_top1"] > 0.8, rows  # all three were seen above 0.9

    # what it learnt, in the file of another framework, is the same
    spec, arrays, _ = read_weights(out / BEST)
    assert spec == find_spec(MODEL, num_classes=10)
    path = tmp_path / {"torch": "best.pdparams", "paddle": "best.ckpt", "mindspore": "best.pth"}[backend]
    run(backend, "repro.port", str(out / BEST), str(path))
    _, ported, _ = read_weights(path, MODEL)
    assert all(np.array_equal(ported[name], array) for name, array in arrays.items())
