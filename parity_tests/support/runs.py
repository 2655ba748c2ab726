"""Checks of commands and of the runs that they make with the trainer of parity_tests.support.made_up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.made_up import SoftmaxRegression, metrics
from repro.errors import ReproError
from repro.weights import safetensors_file


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[SoftmaxRegression], object]) -> None:
    """Make the next trainer call `action` at this training step, counted from 1."""
    monkeypatch.setattr(SoftmaxRegression, "stop", (step, action))
    monkeypatch.setattr(SoftmaxRegression, "steps_taken", 0)


def assert_equal_runs(left: str, right: str) -> None:
    """Check that two run folders have the same metrics and bit-identical weights and optimizer states."""
    for name in ("best.safetensors", "last/checkpoint.safetensors"):
        arrays, metadata = safetensors_file.load(Path(left, name))
        expected, expected_metadata = safetensors_file.load(Path(right, name))
        assert arrays.keys() == expected.keys()
        different = {
            key: float(np.abs(np.subtract(array, expected[key], dtype=np.float64)).max())
            for key, array in arrays.items()
            if not np.array_equal(array, expected[key])
        }
        assert not different, f"{name}: {len(different)} of {len(arrays)} arrays differ, {list(different.items())[:5]}"
        assert {**metadata, "progress": 0} == {**expected_metadata, "progress": 0}
    assert metrics(left) == metrics(right)


def assert_refused(main: Callable[[list[str]], int], argv: list[str], message: str) -> None:
    """Check that a command ends with an error of one line that matches, and changes nothing in the current folder."""
    before = {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}
    with pytest.raises(ReproError, match=message) as error:
        main(argv)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")} == before
