"""Runs that are killed at random moments end like one that never stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from parity_tests.kills import kill_and_compare, train
from parity_tests.support.image_folders import write_photos
from parity_tests.support.runs import assert_equal_runs
from repro.training.run_folder import LAST


@pytest.mark.slow
def test_three_kills(backend: str, tmp_path: Path) -> None:
    assert kill_and_compare(backend, 3, 0, tmp_path).endswith("which all ended bit-identical")


@pytest.mark.slow
def test_a_run_is_resumed_between_training_and_validation(backend: str, tmp_path: Path) -> None:
    """The resumed process evaluates before it trains, which made MindSpore plan its convolutions in another way."""
    write_photos(tmp_path / "photos", classes="abcd", count=8)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert train(backend, tmp_path, "whole", keep=20)[0] == 0, (tmp_path / "log").read_text()[-3000:]
    shutil.copytree(whole, resumed)
    shutil.copy(whole / LAST.replace("checkpoint", "epoch-0000-step-000004"), resumed / LAST)
    assert train(backend, tmp_path, "resumed")[0] == 0, (tmp_path / "log").read_text()[-3000:]
    assert_equal_runs(str(whole), str(resumed))
