"""Shared by all tests: which backends can run here, what to do about those that cannot, and processes of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from parity_tests.support import made_up
from repro.interface import discovery
from repro.interface.discovery import SHIPPED
from repro.workers.client import Worker, interpreter

ROOT = Path(__file__).resolve().parent.parent

# A shell that starts pytest in the background has it ignore Ctrl-C, and so would every process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)


# Several tests at a time: a framework's threads would wait for each other in loops that keep the cores busy
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another kept, or what the user did."""
    monkeypatch.setattr("repro.parity.cache.cache_folder", lambda: tmp_path_factory.mktemp("kept"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """VGG first: it takes minutes, and memory that later the other processes would have a part of."""
    items.sort(key=lambda item: not (item.path.stem == "test_small_ladder" and "[vgg" in item.name))


@cache
def _missing(name: str) -> str:
    try:
        probe = subprocess.run([interpreter(name), "-c", f"import {name}"], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return probe.stderr.strip().splitlines()[-1] if probe.returncode else ""


def _absent(message: str) -> None:
    """The one way in which a test does not run: loudly on a user's machine, and not at all in CI, where it fails."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require_backend() -> Callable[[str], None]:
    """`require_backend(name)` fails in CI and skips elsewhere where the framework is missing."""

    def require(name: str) -> None:
        if reason := _missing(name):
            _absent(f"BACKEND {name.upper()} WAS NOT TESTED: {reason}")

    return require


@pytest.fixture
def require_keras() -> None:
    """The same for Keras, whose files are read without it."""
    if importlib.util.find_spec("keras") is None:
        _absent("KERAS WAS NOT TESTED: it is not installed")


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """The paths of a browser and of the program that steers it."""
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        _absent("THE PAGE WAS NOT TESTED: chromium or chromedriver is missing (Debian: chromium, chromium-driver)")
    return cast("tuple[str, str]", paths)


@pytest.fixture(scope="session")
def has_backend(require_backend: Callable[[str], None]) -> Callable[[str], bool]:
    """`has_backend(name)` says whether the framework is there; in CI it fails where it is not."""

    def has(name: str) -> bool:
        if os.environ.get("CI"):
            require_backend(name)
        return not _missing(name)

    return has


@pytest.fixture(params=list(SHIPPED), scope="session")
def backend(request: pytest.FixtureRequest, require_backend: Callable[[str], None]) -> str:
    """The name of each shipped backend in turn."""
    require_backend(request.param)
    return request.param


@pytest.fixture(scope="session")
def workers(has_backend: Callable[[str], bool]) -> Iterator[dict[str, Worker]]:
    """A worker for each backend that can run here, for the whole session."""
    started: dict[str, Worker] = {}
    try:
        for name in SHIPPED:
            if has_backend(name):
                started[name] = Worker(name)
        yield started
    finally:
        for worker in started.values():
            worker.close()


@pytest.fixture
def judged_workers(workers: dict[str, Worker]) -> dict[str, Worker]:
    """The workers, one of which at least computes the float64 that the others are held against."""
    if not {"torch", "paddle"} & set(workers):
        _absent("NOTHING WAS COMPARED: neither torch nor paddle, which compute float64, is installed")
    return workers


@pytest.fixture(scope="session")
def run_in() -> Callable[[str, str], str]:
    """`run_in(backend, code)` runs Python in a process of the backend's interpreter and returns what it prints."""

    def run(name: str, code: str) -> str:
        environment = os.environ | ({"GLOG_v": "3"} if name == "mindspore" else {})
        done = subprocess.run(
            [interpreter(name), "-c", code], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr[-10_000:]  # MindSpore, interrupted, says a lot after the error
        return done.stdout

    return run


class RunProgram(Protocol):
    def __call__(self, backend: str, program: str, *arguments: object) -> Any:
        """The result of a function "MODULE:FUNCTION" of parity_tests.programs, run by the backend's interpreter."""


@pytest.fixture(scope="session")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> RunProgram:
    """Runs a program of parity_tests.programs in a process of the backend's interpreter.

    Arguments and result are JSON; paths are passed as text. An error in the program fails the test with its traceback.
    """

    def run(backend: str, program: str, *arguments: object) -> Any:
        result = tmp_path_factory.mktemp("program") / "result.json"
        environment = os.environ | ({"GLOG_v": "3"} if backend == "mindspore" else {})
        command = [interpreter(backend), "-m", "parity_tests.programs", program, json.dumps(arguments), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-10_000:]  # MindSpore prints much after an error
        return json.loads(result.read_text())

    return run


@pytest.fixture
def made_up_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every backend is parity_tests.support.made_up's, in an empty folder."""
    monkeypatch.setattr(discovery, "load_backend", lambda name: made_up.Backend)
    monkeypatch.setattr(made_up.SoftmaxRegression, "steps_taken", 0)
    monkeypatch.chdir(tmp_path)
