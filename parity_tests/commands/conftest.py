"""Finished runs, for the tests of the commands that read run folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parity_tests.support.made_up import QUICK, Backend
from repro.errors import ReproError
from repro.interface import discovery
from repro.run import main as train

Main = Callable[[list[str]], int]
AssertRefused = Callable[[Main, list[str], str], None]


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


@pytest.fixture
def assert_refused() -> AssertRefused:
    """Asserts that a command raises a ReproError of one line that matches, and changes no file in this folder."""

    def check(main: Main, argv: list[str], message: str) -> None:
        before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        with pytest.raises(ReproError, match=message) as error:
            main(argv)
        assert "\n" not in str(error.value)
        assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before

    return check
