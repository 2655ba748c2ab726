"""Tests of repro.plots.confusion_matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.plots.confusion_matrix import draw_confusion_matrix


@pytest.mark.parametrize("count", [2, 10, 100, 150])
def test_matrices_of_any_size_are_drawn(count: int, tmp_path: Path) -> None:
    names = [f"a class with a $long$ name and number {index}" for index in range(count)]
    draw_confusion_matrix(np.eye(count, dtype=int) * 30, names, "title with $ and _", tmp_path / "c.png")
    pixels = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 300 and max(pixels.shape[:2]) < 3000
    blue = ((pixels[..., 2] - pixels[..., 0]) > 60) & (pixels[..., 0] < 30)  # the diagonal, and the top of the scale
    assert blue.sum() > pixels.shape[0] * pixels.shape[1] * 0.2 / count
