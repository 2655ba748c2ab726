"""repro.workers.client: workers that are missing, die, hang or print a lot, with a backend that needs no framework."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from parity_tests.faults.garden import CachingWorker
from repro.interface import discovery
from repro.parity.ladder import run_rungs
from repro.specs import find_spec
from repro.weights.init import initialise
from repro.workers.client import Worker, WorkerError, interpreter, request_all

ROOT = Path(__file__).resolve().parents[2]
SPEC = find_spec("asymmnet_small", num_classes=2)
WEIGHTS = initialise(SPEC, 0)
SMALL_MODEL = "shufflenet_v1_g1_x0_25"
WRITE_THREADS = "open('threads', 'w').write(os.environ['OMP_NUM_THREADS'])"


class StartFake(Protocol):
    def __call__(
        self,
        on_import: str = "",
        on_version: str = "",
        on_create: str = "",
        *,
        timeout: float = 60.0,
        niceness: int = 0,
    ) -> Worker:
        """Start a worker of parity_tests.programs.fake_backend with these statements."""


@pytest.fixture
def start_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartFake]:
    """A function that starts workers of a fake backend, which end with the test."""
    workers: list[Worker] = []

    def start(
        on_import: str = "", on_version: str = "", on_create: str = "", *, timeout: float = 60.0, niceness: int = 0
    ) -> Worker:
        statements = {"on_import": on_import, "on_version": on_version, "on_create": on_create}
        monkeypatch.setenv("FAKE_BACKEND", json.dumps(statements))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setitem(discovery.SHIPPED, "fake", "parity_tests.programs.fake_backend")
        workers.append(Worker("fake", timeout=timeout, niceness=niceness))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def create_model(worker: Worker) -> None:
    worker.request("create_model", WEIGHTS, name="asymmnet_small", options={"num_classes": 2})


def test_arrays_return_bit_identical_in_spite_of_output(start_fake: StartFake) -> None:
    worker = start_fake(on_create="os.write(1, b'not json' * 10000)")
    assert worker.version == "1.2"
    create_model(worker)
    _, returned = worker.request("export_weights")
    assert set(returned) == set(WEIGHTS)
    assert all(np.array_equal(returned[name], WEIGHTS[name]) for name in returned)


def test_a_worker_with_remembered_answers_forgets_them_when_it_starts_again(start_fake: StartFake) -> None:
    start_fake()  # registers the backend
    with CachingWorker("fake") as worker:
        create_model(worker)
        worker.ensure_running(threads=2)
        assert worker.version == "1.2"
        create_model(worker)  # which the new process has not built yet
        assert set(worker.request("export_weights")[1]) == set(WEIGHTS)


def test_a_missing_framework(start_fake: StartFake) -> None:
    with pytest.raises(WorkerError, match=r"backend fake .*cannot import its framework.*nosuchframework"):
        start_fake(on_version="import nosuchframework")


def test_a_missing_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_TORCH_PYTHON", "/nowhere/python")
    assert interpreter("torch") == "/nowhere/python"
    with pytest.raises(WorkerError, match=r"cannot start /nowhere/python.*set REPRO_TORCH_PYTHON"):
        Worker("torch")


def test_another_interpreter_is_used(start_fake: StartFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho used >> "{tmp_path}/used"\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("REPRO_FAKE_PYTHON", str(wrapper))
    assert start_fake().version == "1.2"
    assert (tmp_path / "used").exists()


@pytest.mark.parametrize(
    ("statement", "end"),
    [("os.abort()", "signal 6"), ("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "signal 9")],
)
def test_a_death_is_reported_with_the_last_output(start_fake: StartFake, statement: str, end: str) -> None:
    worker = start_fake(on_create=f"print('the end is near', flush=True); {statement}")
    message = f"backend fake.*ended with {end} during 'create_model'; last output:.*the end is near"
    with pytest.raises(WorkerError, match=message):
        create_model(worker)
    with pytest.raises(WorkerError, match="backend fake"):  # a second request does not hang
        create_model(worker)


def test_a_death_at_import(start_fake: StartFake) -> None:
    with pytest.raises(WorkerError, match="ended with exit code 3 during 'start'"):
        start_fake(on_import="os._exit(3)")


@pytest.mark.slow
def test_a_worker_that_hangs_is_stopped(start_fake: StartFake) -> None:
    worker = start_fake(on_create="print('still here', flush=True); time.sleep(600)", timeout=15)
    message = r"no answer to 'create_model' within 15 s; the worker was stopped.*still here"
    with pytest.raises(WorkerError, match=message):
        create_model(worker)
    assert worker.process.poll() is not None


def test_a_worker_that_closes_its_connection_is_killed(start_fake: StartFake) -> None:
    worker = start_fake(on_create="os.closerange(3, 100); time.sleep(600)")
    with pytest.raises(WorkerError, match="ended with signal 9 during 'create_model'"):
        create_model(worker)


def test_an_exception_in_the_backend_does_not_end_the_worker(start_fake: StartFake) -> None:
    worker = start_fake(on_create="raise KeyError('lost')")
    with pytest.raises(WorkerError, match="KeyError: 'lost'"):
        create_model(worker)
    assert worker.process.poll() is None


def test_a_mistake_of_the_user_is_one_line_without_output(start_fake: StartFake) -> None:
    worker = start_fake()
    with pytest.raises(WorkerError) as error:
        worker.request("create_model", WEIGHTS, name="asymnet_small", options={})
    assert "did you mean asymmnet_small" in str(error.value)
    assert "\n" not in str(error.value)
    assert "last output" not in str(error.value)


def test_other_workers_stay_usable_when_one_dies(start_fake: StartFake) -> None:
    doomed, healthy = start_fake(on_create="os._exit(9)"), start_fake()
    workers, options = {"doomed": doomed, "healthy": healthy}, {"num_classes": 2}
    with pytest.raises(WorkerError, match="exit code 9"):
        request_all(workers, "create_model", WEIGHTS, name="asymmnet_small", options=options)
    _, returned = healthy.request("export_weights")
    assert set(returned) == set(WEIGHTS)


def test_a_worker_that_died_starts_again(start_fake: StartFake, tmp_path: Path) -> None:
    mark = str(tmp_path / "died")
    worker = start_fake(on_create=f"os.path.exists({mark!r}) or open({mark!r}, 'w').close() or os._exit(9)")
    worker.ensure_running()
    first_process = worker.process.pid
    with pytest.raises(WorkerError, match="exit code 9"):
        create_model(worker)
    worker.ensure_running()
    assert worker.process.pid != first_process
    create_model(worker)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "restarts"), [("efficientnet_v2_l", True), ("resnet101", False)])
def test_large_networks_start_in_new_processes(model: str, restarts: bool, start_fake: StartFake) -> None:
    """Three of them fit into memory, but not next to what MindSpore keeps of earlier networks."""
    workers = {"one": start_fake(), "other": start_fake()}
    before = {name: worker.process.pid for name, worker in workers.items()}
    assert list(run_rungs(model, [], workers)) == []
    assert all((worker.process.pid != before[name]) is restarts for name, worker in workers.items())


@pytest.mark.parametrize("niceness", [0, 3])
def test_niceness(niceness: int, start_fake: StartFake) -> None:
    worker = start_fake(niceness=niceness)
    assert os.getpriority(os.PRIO_PROCESS, worker.process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + niceness


def test_a_worker_uses_one_thread_unless_the_environment_sets_more(
    start_fake: StartFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (start_fake(on_version=WRITE_THREADS).folder / "threads").read_text() == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (start_fake(on_version=WRITE_THREADS).folder / "threads").read_text() == "3"


def test_the_largest_networks_are_computed_on_all_cores(start_fake: StartFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("repro.parity.ladder.LARGE_MODEL_PARAMS", 10_000)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    worker = start_fake(on_version=WRITE_THREADS)
    first_process = worker.process.pid
    assert list(run_rungs(SMALL_MODEL, [], {"one": worker})) == []
    assert (worker.folder / "threads").read_text() == "5"
    second_process = worker.process.pid
    list(run_rungs(SMALL_MODEL, [], {"one": worker}))
    assert first_process != second_process == worker.process.pid
    monkeypatch.setattr("repro.parity.ladder.LARGE_MODEL_PARAMS", 1_000_000)
    list(run_rungs(SMALL_MODEL, [], {"one": worker}))
    assert (worker.folder / "threads").read_text() == "1"


@pytest.mark.parametrize(
    ("large", "rungs", "restarts"),
    [(10_000, [5, 6], True), (10_000, [6, 7], True), (10_000, [4, 5], False), (10**6, [5, 6], False)],
)
def test_the_largest_networks_restart_before_rungs_6_and_7(
    large: int, rungs: list[int], restarts: bool, start_fake: StartFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These rungs fit into memory, but not next to what the earlier rungs leave behind."""
    monkeypatch.setattr("repro.parity.ladder.LARGE_MODEL_PARAMS", large)
    monkeypatch.setattr("repro.parity.ladder.RESTART_PARAMS", large)
    worker = start_fake()
    records = run_rungs(SMALL_MODEL, rungs, {worker.backend: worker})
    assert next(records).diverges  # the fake backend cannot train, which does not matter here
    before = worker.process.pid
    assert next(records).diverges
    assert (worker.process.pid != before) is restarts


def test_close_removes_process_and_folder(start_fake: StartFake) -> None:
    worker = start_fake()
    worker.close()
    assert worker.process.returncode is not None
    assert not worker.folder.exists()
    assert not Path(f"/proc/{worker.process.pid}").exists() or os.name != "posix"
