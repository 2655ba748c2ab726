"""A sound worker and a faulty one, into which faults are planted one at a time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from parity_tests.faults.fault import Fault
from repro.interface import discovery
from repro.parity.ladder import run_rungs
from repro.parity.record import Record
from repro.workers.client import Worker

ROOT = Path(__file__).resolve().parents[2]
NO_FAULT = Fault("none", "", "", 0, "")


class CachingWorker(Worker):
    """A worker that remembers its answers, because every fault repeats the requests of the sound model."""

    def __init__(self, backend: str):
        self.answers: dict[str, Any] = {}
        self.request_digest = ""
        super().__init__(backend)

    def _send(self, request: str, details: dict[str, Any], arrays_path: str | None) -> None:
        arrays = Path(arrays_path).read_bytes() if arrays_path else b""
        self.request_digest = hashlib.sha256(json.dumps([request, details]).encode() + arrays).hexdigest()
        if self.request_digest not in self.answers:
            if request == "create_model":  # the answers belong to the previous model
                self.answers.clear()
            super()._send(request, details, arrays_path)

    def _receive(self, request: str) -> Any:
        if request == "start":  # a process that has started again holds no model
            self.answers.clear()
            return super()._receive(request)
        if self.request_digest not in self.answers:
            self.answers[self.request_digest] = super()._receive(request)
        return self.answers[self.request_digest]


def plant(fault: Fault, file: Path) -> None:
    """Write the fault to the file from which the faulty backend reads it."""
    file.write_text(json.dumps({"target": fault.target, "code": fault.code}))


class Garden:
    """A sound worker and a faulty one, where faults are planted."""

    def __init__(self, sound: Worker, faulty: Worker, file: Path):
        """file: the file from which the faulty backend reads its fault."""
        self.workers = {sound.backend: sound, faulty.backend: faulty}
        self.file = file

    def records(self, fault: Fault, rungs: list[int]) -> dict[str, Record]:
        """The record of each backend on the first rung on which one of them diverges, or else on the last rung."""
        plant(fault, self.file)
        records: dict[str, Record] = {}
        for record in run_rungs(fault.model, rungs, self.workers):
            records[record.backend] = record
            is_complete = len(records) == len(self.workers) and {r.rung for r in records.values()} == {record.rung}
            if is_complete and any(r.diverges for r in records.values()):
                break
        return records


@contextmanager
def registered(backend: str = "torch") -> Iterator[tuple[str, Path]]:
    """Register a faulty version of a backend; yield its name, and the file from which it reads its fault."""
    module = "faulty_backend" if backend == "torch" else "faulty_neighbour"
    name = f"faulty_{backend}"
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "fault.json"
        plant(NO_FAULT, file)
        before = {
            variable: os.environ.get(variable) for variable in ("PYTHONPATH", "REPRO_FAULT", "REPRO_FAULT_BACKEND")
        }
        stack.callback(_restore, before)
        os.environ |= {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), before["PYTHONPATH"]])),
            "REPRO_FAULT": str(file),
            "REPRO_FAULT_BACKEND": backend,
        }
        discovery.SHIPPED[name] = f"parity_tests.faults.{module}"
        stack.callback(discovery.SHIPPED.pop, name)
        yield name, file


@contextmanager
def garden(backend: str = "torch") -> Iterator[Garden]:
    """Start a faulty version of a backend and the sound PyTorch backend."""
    with registered(backend) as (name, file), CachingWorker("torch") as sound, Worker(name) as faulty:
        yield Garden(sound, faulty, file)


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
