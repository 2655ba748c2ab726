"""A watch over the other ranks: one that dies, is stopped or hangs would let the rest wait forever."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from repro.errors import ReproError
from repro.interface.processes import ProcessGroup
from repro.training.heartbeats import Heartbeats, Position, join_heartbeats

INTERVAL = 0.2  # seconds between two looks; launchers end the other ranks within a second or two of a death
# Consecutive looks after which a rank counts as lost; not seconds, since this process may have been stopped, too
LOOKS = {"has died": 1, "is stopped": 50}


@dataclass(frozen=True)
class OtherRank:
    """Another rank on this machine: its process, and when that started, as an id is given to a new process again."""

    rank: int
    process: int
    start: int  # in clock ticks since the machine started

    @property
    def trouble(self) -> str:
        """ "has died", "is stopped" or "", as it is now. A process that a debugger has stopped is not."""
        state, start = process_state(self.process)
        if start != self.start or state in ("", "Z", "X"):
            return "has died"
        return "is stopped" if state == "T" else ""

    def kill(self) -> None:
        """End the process. The launcher would wait for it."""
        with suppress(OSError):
            os.kill(self.process, signal.SIGKILL)


def process_state(process: int) -> tuple[str, int]:
    """Return the letter of a process's state and the clock tick of its start, or ("", 0) where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[0], int(fields[19])


def find_other_ranks(processes: ProcessGroup) -> list[OtherRank]:
    """Return the other ranks whose processes can be seen from here. Collective: every rank must call it."""
    table = np.zeros((processes.world_size, 3))
    if Path("/proc/self/stat").exists():
        table[processes.rank] = _machine(), os.getpid(), process_state(os.getpid())[1]
    table = processes.all_reduce_sum(table.ravel()).reshape(table.shape)  # float64 holds whole numbers up to 2**53
    own_machine = table[processes.rank, 0]
    return [
        OtherRank(rank, int(process), int(start))
        for rank, (machine, process, start) in enumerate(table)
        if machine == own_machine != 0 and rank != processes.rank
    ]


def _machine() -> int:
    """Return a number of 52 bits for this machine, since it started, and the namespace of its process ids."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    name = f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    return int(hashlib.sha256(name.encode()).hexdigest()[:13], 16)


class Watch(threading.Thread):
    """A thread that looks at other ranks until `is_over` is set, and ends this process when one of them is lost."""

    def __init__(self, others: Sequence[OtherRank], advice: str, heartbeats: Heartbeats | None = None):
        super().__init__(daemon=True)
        self.others, self.advice, self.heartbeats = others, advice, heartbeats
        self.looks = dict.fromkeys(others, 0)  # consecutive looks at which the rank was in trouble
        self.is_over = threading.Event()

    def run(self) -> None:
        """Look at the other ranks at every interval."""
        while not self.is_over.wait(INTERVAL):
            if self.heartbeats and (hanging := self.heartbeats.look()):
                for other in self.others:
                    if other.rank in hanging.ranks:
                        other.kill()
                self.end_process(f"{hanging.sentence}; {self.advice}")
            if lost := self.look():
                other, trouble = lost
                if trouble == "is stopped":
                    other.kill()
                self.end_process(self.sentence(other, trouble))  # the main thread may wait in a collective

    def look(self) -> tuple[OtherRank, str] | None:
        """Look at every other rank once, and return one that is lost and its trouble."""
        for other in self.others:
            trouble = other.trouble
            self.looks[other] = self.looks[other] + 1 if trouble else 0
            if trouble and self.looks[other] >= LOOKS[trouble]:
                return other, trouble
        return None

    def end_process(self, sentence: str) -> NoReturn:
        """End this process at once with an error."""
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        os._exit(1)

    def find_dead(self) -> str:
        """Return the sentence about a rank that has died, if one has or does so in a moment; otherwise "".

        Its connections break before it is gone. On another machine, it is one whose messages no longer come.
        """
        start = time.monotonic()
        while (seconds := time.monotonic() - start) < (5 if self.heartbeats and self.heartbeats.has_far_ranks else 1):
            for other in self.others:
                if other.trouble == "has died":
                    return self.sentence(other, "has died")
            if seconds > 1 and self.heartbeats and (silent := self.heartbeats.silent()):
                return f"{silent.sentence}; {self.advice}"
            time.sleep(0.01)
        return ""

    def sentence(self, other: OtherRank, trouble: str) -> str:
        """Return a sentence on what has happened to another rank, and what to do."""
        return f"rank {other.rank} (process {other.process}) {trouble}; {self.advice}"


@contextmanager
def watching_ranks(processes: ProcessGroup, path: Path, position: Position, hang_seconds: float) -> Iterator[None]:
    """Watch the other ranks until the work in the context is done, on every rank.

    Raises ReproError in place of a framework's error if a rank has died, which breaks its connections. Collective:
    every rank must enter the context.

    Args:
        processes: The processes that train together.
        path: The run folder.
        position: The place of this rank in the run, which the work moves on.
        hang_seconds: The time after which a rank that does not move on is lost.
    """
    if processes.world_size == 1:
        yield
        return
    run = path if path.parts else "RUN"  # a new folder whose name only the main process knows
    heartbeats = join_heartbeats(processes, position, round(hang_seconds / INTERVAL))
    watch = Watch(find_other_ranks(processes), f"the run ends; go on with --resume --out {run}", heartbeats)
    watch.start()
    try:
        with _naming_at_terminate(watch):
            yield
        processes.all_reduce_sum(np.zeros(1))  # no rank goes on before all have finished their work
    except Exception as error:
        if not isinstance(error, ReproError) and (sentence := watch.find_dead()):
            raise ReproError(sentence) from error
        raise
    finally:
        watch.is_over.set()
    processes.all_reduce_sum(np.zeros(1))  # nor ends before the others have stopped watching it


@contextmanager
def _naming_at_terminate(watch: Watch) -> Iterator[None]:
    """Name a dead rank where C++ would abort, as Paddle's engine does if a connection breaks in its backward pass."""

    @ctypes.CFUNCTYPE(None)
    def on_terminate() -> None:
        if sentence := watch.find_dead():
            watch.end_process(sentence)
        os.abort()

    try:
        set_terminate = ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE
    except OSError:  # the frameworks were built with another library
        yield
        return
    set_terminate.restype, set_terminate.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = set_terminate(on_terminate)
    try:
        yield
    finally:
        set_terminate(before)
