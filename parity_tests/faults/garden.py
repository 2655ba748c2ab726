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

from parity_tests.faults.backend import FAULTY
from parity_tests.faults.fault import Fault
from repro.interface import discovery
from repro.parity.ladder import run_rungs
from repro.parity.record import Record
from repro.workers.client import Worker


class Remembering(Worker):
    """A worker that is asked the same again and again, for every fault, and answers from memory."""

    def __init__(self, backend: str):
        self.answers: dict[str, Any] = {}
        self.asked = ""
        super().__init__(backend)

    def _send(self, what: str, details: dict[str, Any], arrays: str | None) -> None:
        self.asked = hashlib.sha256(
            json.dumps([what, details]).encode() + (Path(arrays).read_bytes() if arrays else b"")
        ).hexdigest()
        if self.asked not in self.answers:
            if what == "create_model":  # another model: all that is remembered is of the last one
                self.answers.clear()
            super()._send(what, details, arrays)

    def _receive(self, what: str) -> Any:
        if self.asked not in self.answers:
            self.answers[self.asked] = super()._receive(what)
        return self.answers[self.asked]


def plant(fault: Fault, file: Path) -> None:
    file.write_text(json.dumps({"at": fault.at, "code": fault.code}))


class Garden:
    """A sound worker and a faulty one, where faults are planted."""

    def __init__(self, sound: Worker, faulty: Worker, file: Path):
        self.workers = {sound.backend: sound, faulty.backend: faulty}
        self.file = file

    def records(self, fault: Fault, rungs: list[int]) -> dict[str, Record]:
        """By backend, on the first of the rungs on which one diverges, or else on the last."""
        plant(fault, self.file)
        found: dict[str, Record] = {}
        for record in run_rungs(fault.model, rungs, self.workers):
            found[record.backend] = record
            whole = {other.rung for other in found.values()} == {record.rung} and len(found) == len(self.workers)
            if whole and any(other.verdict == "diverges" for other in found.values()):
                break
        return found


@contextmanager
def registered(backend: str = "torch", text: str = FAULTY) -> Iterator[tuple[str, Path]]:
    """The name of a backend which is the module of this text, and the file that tells it its fault."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "faulty.py").write_text(text)
        file = folder / "fault.json"
        plant(Fault("none", "", "", 0, ""), file)
        before = {name: os.environ.get(name) for name in ("PYTHONPATH", "REPRO_FAULT")}
        stack.callback(_restore, before)
        os.environ |= {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), before["PYTHONPATH"]])),
            "REPRO_FAULT": str(file),
        }
        name = f"faulty_{backend}"
        discovery.SHIPPED[name] = "faulty"
        stack.callback(discovery.SHIPPED.pop, name)
        yield name, file


@contextmanager
def garden(backend: str = "torch", text: str = FAULTY) -> Iterator[Garden]:
    """The faulty backend beside torch."""
    with registered(backend, text) as (name, file), Remembering("torch") as sound, Worker(name) as faulty:
        yield Garden(sound, faulty, file)


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
