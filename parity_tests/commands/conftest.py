"""Finished runs, for the tests of the commands that read run folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from parity_tests.support.made_up import QUICK, Backend
from repro.interface import discovery
from repro.run import main as train


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of the made-up backend on digits.

    long: 3 epochs; short: 1 epoch of otherwise the same recipe; again: a repetition of short; other: with another seed.
    """
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(discovery, "load_backend", lambda name: Backend)
        flags = [*QUICK, "--schedule", "constant"]
        train([*flags, "--epochs", "3", "--out", "runs/long"])
        train([*flags, "--epochs", "1", "--out", "runs/short"])
        train([*flags, "--epochs", "1", "--out", "runs/again"])
        train([*flags, "--epochs", "1", "--seed", "1", "--out", "runs/other"])
    return folder


@pytest.fixture
def finished_runs(made_up_backend: None, trained_runs: Path) -> None:
    """Copies of the trained runs in the current folder, which is a temporary one."""
    shutil.copytree(trained_runs, ".", dirs_exist_ok=True)
