"""Finished runs, for the tests of the commands that read run folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

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


@pytest.fixture(scope="session")
def trained_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `a` of the classes red, green and blue, and its images in `photos`."""
    folder = tmp_path_factory.mktemp("trained")
    for number, name in enumerate(("red", "green", "blue")):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(5):
            color = [10 * index, 10 * index, 10 * index]
            color[number] = 250
            Image.new("RGB", (10, 12), tuple(color)).save(folder / "photos" / name / f"{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(discovery, "load_backend", lambda name: Backend)
        train([*QUICK, "--data", "photos", "--epochs", "4", "--out", "a"])
    return folder


@pytest.fixture
def photo_run(made_up_backend: None, trained_photos: Path) -> None:
    """Copies of the run and its images in the current folder, which is a temporary one."""
    shutil.copytree(trained_photos, ".", dirs_exist_ok=True)
