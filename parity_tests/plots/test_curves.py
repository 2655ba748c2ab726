"""Tests of repro.plots.curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from repro.plots.curves import Curve, draw_panels, draw_run, draw_runs

HISTORY = [
    {"epoch": 1, "train_loss": 2.0, "val_loss": 1.5, "train_top1": 0.3, "val_top1": 0.4},
    {"epoch": 2, "train_loss": 1.0, "val_loss": 1.2, "train_top1": 0.6, "val_top1": 0.5},
]


def test_panels_show_loss_and_top1() -> None:
    _, (loss, top1) = draw_panels([Curve(HISTORY, "train", "red"), Curve(HISTORY, "val", "blue")], height=4)
    assert [np.asarray(line.get_ydata()).tolist() for line in loss.get_lines()] == [[2.0, 1.0], [1.5, 1.2]]
    assert [np.asarray(line.get_ydata()).tolist() for line in top1.get_lines()] == [[0.3, 0.6], [0.4, 0.5]]
    assert (loss.get_yscale(), top1.get_yscale()) == ("log", "linear")


def test_pictures_have_their_sizes(tmp_path: Path) -> None:
    draw_run(HISTORY, "a run", tmp_path / "run.png")
    draw_runs([("a", HISTORY), ("a", HISTORY)], tmp_path / "runs.png")
    assert Image.open(tmp_path / "run.png").size == (1200, 480)
    assert Image.open(tmp_path / "runs.png").size == (1000, 440)
