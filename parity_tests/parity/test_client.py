"""Workers that are missing, die, hang or chatter, with backends that need no framework."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from repro.interface import discovery
from repro.parity.ladder import run_rungs
from repro.specs import find_spec
from repro.weights.init import initialise
from repro.workers.client import Worker, WorkerError, interpreter, request_all

FAKE = """
import os, sys, time
print("hello on stdout"); print("hello on stderr", file=sys.stderr)
{top}
def version():
    {version}
    return "1.2"
class Model(dict):
    pass
def create_model(spec):
    {create}
    model = Model()
    model.spec = spec
    return model
def load_weights(model, arrays): model.update(arrays)
def export_weights(model): return model
def set_dropout_source(model, draw): pass
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`fake(version=..., create=...)` starts a worker of a backend with such code in its functions."""
    opened: list[Worker] = []

    def start(
        top: str = "pass", version: str = "pass", create: str = "pass", timeout: float = 60.0, niceness: int = 0
    ) -> Worker:
        (tmp_path / "fake.py").write_text(FAKE.format(top=top, version=version, create=create))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setitem(discovery.SHIPPED, "fake", "fake")
        opened.append(Worker("fake", timeout=timeout, niceness=niceness))
        return opened[-1]

    yield start
    for worker in opened:
        worker.close()


SPEC = find_spec("asymmnet_small", num_classes=2)
WEIGHTS = initialise(SPEC, 0)


def create(worker: Worker) -> None:
    worker.request("create_model", WEIGHTS, name="asymmnet_small", options={"num_classes": 2})


def test_arrays_come_back_bit_equal_past_a_chatty_framework(fake) -> None:
    worker = fake(create="os.write(1, b'not json' * 10000)")
    assert worker.version == "1.2"
    create(worker)
    _, back = worker.request("export_weights")
    assert set(back) == set(WEIGHTS)
    assert all(np.array_equal(back[name], WEIGHTS[name]) for name in back)


def test_missing_framework(fake) -> None:
    with pytest.raises(WorkerError, match=r"backend fake .*cannot import its framework.*nosuchframework"):
        fake(version="import nosuchframework")


def test_missing_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_TORCH_PYTHON", "/nowhere/python")
    assert interpreter("torch") == "/nowhere/python"
    with pytest.raises(WorkerError, match=r"cannot start /nowhere/python.*set REPRO_TORCH_PYTHON"):
        Worker("torch")


def test_another_interpreter_is_used(fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho used >> "{tmp_path}/used"\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("REPRO_FAKE_PYTHON", str(wrapper))
    assert fake().version == "1.2"
    assert (tmp_path / "used").exists()


@pytest.mark.parametrize(
    ("death", "words"),
    [("os.abort()", "signal 6"), ("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "signal 9")],
)
def test_death_is_reported_with_its_last_words(fake, death: str, words: str) -> None:
    worker = fake(create=f"print('the end is near', flush=True); {death}")
    with pytest.raises(WorkerError, match=f"backend fake.*ended with {words} during 'create_model'.*the end is near"):
        create(worker)
    with pytest.raises(WorkerError, match="backend fake"):  # and again, not a hang
        create(worker)


def test_death_at_import(fake) -> None:
    with pytest.raises(WorkerError, match="ended with exit code 3 during 'start'"):
        fake(top="os._exit(3)")


def test_hang_is_ended(fake) -> None:
    worker = fake(create="print('still here', flush=True); time.sleep(600)", timeout=15)
    with pytest.raises(
        WorkerError, match=r"no answer to 'create_model' within 15 s; the worker was stopped.*still here"
    ):
        create(worker)
    assert worker.process.poll() is not None


def test_one_that_hangs_up_and_stays_is_ended(fake) -> None:
    worker = fake(create="os.closerange(3, 100); time.sleep(600)")
    with pytest.raises(WorkerError, match="ended with signal 9 during 'create_model'"):
        create(worker)


def test_exception_in_the_backend(fake) -> None:
    worker = fake(create="raise KeyError('lost')")
    with pytest.raises(WorkerError, match="KeyError: 'lost'"):
        create(worker)
    assert worker.process.poll() is None  # one failed request does not end it


def test_mistake_is_told_in_one_line(fake) -> None:
    worker = fake()
    with pytest.raises(WorkerError) as caught:
        worker.request("create_model", WEIGHTS, name="asymnet_small", options={})
    assert "did you mean asymmnet_small" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "last output" not in str(caught.value)


def test_one_that_dies_leaves_the_others_in_step(fake) -> None:
    doomed = fake(create="os._exit(9)")
    healthy = fake()
    with pytest.raises(WorkerError, match="exit code 9"):
        request_all(
            {"doomed": doomed, "healthy": healthy},
            "create_model",
            WEIGHTS,
            name="asymmnet_small",
            options={"num_classes": 2},
        )
    _, back = healthy.request("export_weights")
    assert set(back) == set(WEIGHTS)


def test_one_that_died_starts_again(fake, tmp_path: Path) -> None:
    mark = str(tmp_path / "died")
    worker = fake(create=f"os.path.exists({mark!r}) or open({mark!r}, 'w').close() or os._exit(9)")
    worker.ensure_running()
    first = worker.process.pid
    with pytest.raises(WorkerError, match="exit code 9"):
        create(worker)
    worker.ensure_running()
    assert worker.process.pid != first
    create(worker)


@pytest.mark.parametrize(("model", "anew"), [("efficientnet_v2_l", True), ("resnet101", False)])
def test_large_networks_begin_in_new_processes(model: str, anew: bool, fake) -> None:
    """Three of them fit into memory, but not with what MindSpore keeps of earlier ones."""
    workers = {"one": fake(), "other": fake()}
    before = {name: worker.process.pid for name, worker in workers.items()}
    assert list(run_rungs(model, [], workers)) == []
    assert all((worker.process.pid != before[name]) is anew for name, worker in workers.items())


@pytest.mark.parametrize("niceness", [0, 3])
def test_a_worker_lets_others_go_first(niceness: int, fake) -> None:
    worker = fake(niceness=niceness)
    assert os.getpriority(os.PRIO_PROCESS, worker.process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + niceness


def test_a_worker_computes_in_one_thread_unless_it_is_told(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "open('threads', 'w').write(os.environ['OMP_NUM_THREADS'])"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (fake(version=told).folder / "threads").read_text() == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (fake(version=told).folder / "threads").read_text() == "3"


def test_of_the_largest_networks_one_is_computed_at_a_time_on_all_cores(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("repro.parity.ladder.LARGE_MODEL_PARAMS", 10_000)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    worker = fake(version="open('threads', 'w').write(os.environ['OMP_NUM_THREADS'])")
    first = worker.process.pid
    assert list(run_rungs("shufflenet_v1_g1_x0_25", [], {"one": worker})) == []
    assert (worker.folder / "threads").read_text() == "5"
    second = worker.process.pid
    list(run_rungs("shufflenet_v1_g1_x0_25", [], {"one": worker}))
    assert first != second == worker.process.pid
    monkeypatch.setattr("repro.parity.ladder.LARGE_MODEL_PARAMS", 1_000_000)
    list(run_rungs("shufflenet_v1_g1_x0_25", [], {"one": worker}))
    assert (worker.folder / "threads").read_text() == "1"


@pytest.mark.parametrize(
    ("large", "rungs", "anew"),
    [(10_000, [5, 6], True), (10_000, [6, 7], True), (10_000, [4, 5], False), (10**6, [5, 6], False)],
)
def test_the_largest_networks_begin_once_more(
    large: int, rungs: list[int], anew: bool, fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On rungs 6 and 7 they fit into memory, but not with what the rungs before leave behind."""
    monkeypatch.setattr("repro.parity.ladder.LARGE_MODEL_PARAMS", large)
    monkeypatch.setattr("repro.parity.ladder.RESTART_PARAMS", large)
    worker = fake()
    records = run_rungs("shufflenet_v1_g1_x0_25", rungs, {worker.backend: worker})
    assert next(records).diverges  # it cannot train, which does not matter here
    before = worker.process.pid
    assert next(records).diverges  # it cannot train, which does not matter here
    assert (worker.process.pid != before) is anew


def test_close_leaves_nothing(fake) -> None:
    worker = fake()
    worker.close()
    assert worker.process.returncode is not None
    assert not worker.folder.exists()
    assert not Path(f"/proc/{worker.process.pid}").exists() or os.name != "posix"
