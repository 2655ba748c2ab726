"""A file as it was published goes through every command that takes weights, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import metrics
from repro import port
from repro.interface.discovery import SHIPPED, native_weights
from repro.weights.porting import read_checkpoint


@pytest.mark.slow
def test_every_command_takes_the_published_file(
    mobilenet_file: Path, require_backend: Callable[[str], None], run_program: Callable[..., Any], tmp_path: Path
) -> None:
    """Port, fine-tune, report, predict and export."""
    write_photos(tmp_path / "photos")
    rows = {}
    for backend in SHIPPED:
        require_backend(backend)
        native = tmp_path / f"native{native_weights(backend).EXTENSIONS[0]}"
        assert port.main([str(mobilenet_file), str(native)]) == 0
        weights = read_checkpoint(native, "mobilenet_v2", log=str).weights
        expected = read_checkpoint(mobilenet_file, "mobilenet_v2", log=str).weights
        assert all(np.array_equal(array, expected[name]) for name, array in weights.items())
        printed = run_program(
            backend, "published:every_command", backend, str(mobilenet_file), str(tmp_path / "photos"),
            str(tmp_path / backend),
        )  # fmt: skip
        assert printed["exit codes"] == {"run": 0, "report": 0, "predict": 0}
        assert printed["export"].startswith("wrote "), printed["export"]
        assert (tmp_path / backend / "run" / "report").is_dir()
        (rows[backend],) = metrics(tmp_path / backend / "run")
    for backend, row in rows.items():
        assert row["train_loss"] == pytest.approx(rows["torch"]["train_loss"], rel=1e-4), backend
        assert row["val_loss"] == pytest.approx(rows["torch"]["val_loss"], rel=1e-3), backend
