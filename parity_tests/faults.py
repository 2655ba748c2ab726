"""Single mistakes, planted one at a time into a backend: `python -m parity_tests.faults`.

Each must be caught, and the report must name the operator at which it sits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from parity_tests.faults_backend import FAULTY
from repro.interface import discovery
from repro.parity.ladder import RUNGS, climb
from repro.parity.record import Record
from repro.workers.client import Worker

LADDER = [0, 1, 2, 3, 4, 5, 6]  # beyond is what sound backends differ in, too


@dataclass(frozen=True)
class Fault:
    """at: the module, parameter or statistic where it sits, "" for none; rung: where it must be caught; code: see
    parity_tests.faults_backend; said: the record's `where`, if that is not `at`, with * for anything, and | between
    those of which one will do."""

    name: str
    model: str
    at: str
    rung: int
    code: str
    said: str = ""

    def is_named_by(self, record: Record) -> bool:
        """Whether the record says where the fault is. Behind that may stand what runs before it, or the question."""
        where = record.where.replace(", float64", "")
        return any(
            fnmatchcase(where, end) for said in (self.said or self.at).split(" | ") for end in (said, f"{said} (*")
        )


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
            if what == "create":  # another model: all that is remembered is of the last one
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
        for record in climb(fault.model, rungs, self.workers):
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


def all_faults() -> tuple[Fault, ...]:
    from parity_tests.faults_forward import FORWARD
    from parity_tests.faults_operators import OPERATORS
    from parity_tests.faults_optimizers import OPTIMIZERS
    from parity_tests.faults_training import TRAINING

    return (*OPERATORS, *FORWARD, *TRAINING, *OPTIMIZERS)


def _shortly(record: Record) -> str:
    """Where and why, without the numbers that the verdict rests on."""
    reason = re.sub(r", off by .* are off", "", record.reason)
    return f"{record.where}: {reason if len(reason) < 200 else reason[:200] + '...'}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="parity_tests.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="faults with this in their name or model")
    only = parser.parse_args(argv).only
    faults = [fault for fault in all_faults() if only in f"{fault.name} {fault.model}"]
    caught = named = 0
    start = time.monotonic()
    with garden() as planted:
        sound, faulty = planted.workers
        print(f"{sound} {planted.workers[sound].version}\n")
        print("| fault | caught at rung | what was said | |\n|---|---|---|---|")
        for fault in faults:
            records = planted.records(fault, LADDER)
            found = records[faulty]
            seen = found.verdict == "diverges" and records[sound].verdict != "diverges" and found.rung == fault.rung
            right = seen and fault.is_named_by(found)
            caught, named = caught + seen, named + right
            rung = f"{found.rung} {RUNGS[found.rung][0]}" if found.verdict == "diverges" else "not caught"
            if records[sound].verdict == "diverges":
                rung = f"{sound} was accused"
            verdict = "named" if right else f"NOT NAMED: it is at {fault.said or fault.at}, rung {fault.rung}"
            print(f"| {fault.name} ({fault.model}) | {rung} | {_shortly(found)} | {verdict} |", flush=True)
    share = 100 * named / len(faults) if faults else 0.0
    print(
        f"\n{len(faults)} planted, {caught} caught, {named} named to the operator ({share:.1f} %), "
        f"{time.monotonic() - start:.0f} s"
    )
    return 0 if faults and caught == len(faults) and share >= 95 else 1


if __name__ == "__main__":
    sys.exit(main())
