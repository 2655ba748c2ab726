"""The number of threads that a framework computes with, chosen before the framework is imported.

A framework starts a thread on every core. Its threads then wait for each other in busy loops after every operator, and
where another process holds one of the cores, a step can take a hundred times as long. So there is one thread for each
core that the process may use and that other processes leave idle, and the busy loops are short.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from repro.errors import counted

VARIABLE = "OMP_NUM_THREADS"
MOST_THREADS = 1024
# How long the threads of GNU's OpenMP, which PyTorch uses, wait in busy loops. By default, it is 15 ms, longer than a
# process that waits for the core is left waiting
SPIN_VARIABLE, SPINS = "GOMP_SPINCOUNT", "1000"
# Paddle's own choice: with Intel's OpenMP, two threads take as long as one, and 40 to 90 times as long next to others
MOST_OF_BACKEND = {"paddle": 1}
WAIT_POLICY = "OMP_WAIT_POLICY"
SAMPLE_SECONDS = 0.1
IGNORED_SHARE = 1 / 8
"""The share of all cores that other processes may keep busy without costing a thread: results depend on the number."""


@dataclass(frozen=True)
class Threads:
    """The number of threads, and the reason for it in a few words."""

    count: int
    reason: str

    def __str__(self) -> str:
        return f"computing with {counted(self.count, 'thread')}: {self.reason}"

    def apply(self) -> None:
        """Set the environment variables that frameworks read when they are imported.

        Variables of the user that decide how threads wait are kept.
        """
        os.environ[VARIABLE] = str(self.count)
        if WAIT_POLICY not in os.environ:
            os.environ.setdefault(SPIN_VARIABLE, SPINS)


@dataclass(frozen=True)
class Machine:
    """The processors that a machine gives this process.

    cores: the processors that it may use, as numbers of the system; physical: the number of cores behind them, of which
    two processors may share one; quota: the number of cores whose time the container's limit is worth, or None.
    """

    cores: frozenset[int]
    physical: int
    quota: float | None


def choose_threads(
    backend: str,
    stored: int | None = None,
    processes: int = 1,
    root: Path = Path("/"),
    *,
    is_deterministic: bool = False,
) -> Threads:
    """Return the number of threads to compute with.

    Args:
        backend: The backend that computes.
        stored: The number that the recipe gives, or the run that is resumed: other numbers would change rounding.
        processes: The number of processes that train together on this machine.
        root: The folder that holds proc/ and sys/.
        is_deterministic: Whether the number must not depend on the machine and its launcher.
    """
    if stored is not None:
        return Threads(stored, "set by the recipe")
    if is_deterministic:
        return Threads(1, "the same on every machine, for deterministic shards; --threads sets another number")
    if (variable := threads_in_environment()) is not None:
        return Threads(variable, f"set by {VARIABLE}")
    if backend in MOST_OF_BACKEND:
        return Threads(MOST_OF_BACKEND[backend], f"{backend} gains nothing from more")
    machine = read_machine(root)
    before = core_times(root)
    time.sleep(SAMPLE_SECONDS)
    return threads_for(machine, busy_cores(before, core_times(root), machine.cores), processes)


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Pin all threads of this process to these processors for the block, where the system allows it."""
    folder = Path("/proc/self/task")
    if not folder.is_dir():  # not Linux
        yield
        return
    previous = os.sched_getaffinity(0)

    def pin(to: Collection[int]) -> None:
        for thread in folder.iterdir():
            with suppress(ProcessLookupError):  # the thread has ended
                os.sched_setaffinity(int(thread.name), to)

    pin(cores)
    try:
        yield
    finally:
        pin(previous)


def some_cores(count: int) -> set[int]:
    """Return `count` of the processors that this process may use, or all; which ones depends on the process's id."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    first = os.getpid() % len(cores)
    return set((cores[first:] + cores[:first])[:count])


def threads_for(machine: Machine, busy: float, processes: int = 1) -> Threads:
    """Return the number of threads on a machine of which other processes keep `busy` processors busy."""
    total = len(machine.cores)
    reasons = [counted(total, "core")]
    count = float(machine.physical)
    if machine.physical < total:
        reasons.append(f"{machine.physical} of them physical")
    if busy > IGNORED_SHARE * total:
        reasons.append(f"of which other programs keep {busy:.1f} busy")
        count *= 1 - busy / total
    if machine.quota is not None and machine.quota < count:
        reasons.append(f"a limit of {machine.quota:g} of them")
        count = machine.quota
    if processes > 1:
        reasons.append(f"{processes} processes")
        count /= processes
    return Threads(max(1, int(count + 0.5)), ", ".join(reasons))


def threads_in_environment() -> int | None:
    """Return the number of threads that OMP_NUM_THREADS gives; None if it gives none that can be used."""
    text = os.environ.get(VARIABLE, "").partition(",")[0].strip()  # later numbers are for nested threads
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_THREADS:
        return int(text)
    return None


def read_machine(root: Path = Path("/")) -> Machine:
    """Return what the machine gives this process; what cannot be read does not limit it."""
    if hasattr(os, "sched_getaffinity"):
        cores = frozenset(os.sched_getaffinity(0))
    else:
        cores = frozenset(range(os.cpu_count() or 1))
    siblings = {
        _read(root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") or str(core) for core in cores
    }
    return Machine(cores, len(siblings), cpu_quota(root))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the smallest limit of processor time, in cores, of this process's control groups; None without a limit.

    The groups are those of proc/self/cgroup and all that contain them, of version 2 (cpu.max) and version 1. In a
    container, the path in that file may not exist, and the mounted folder itself is the group.
    """
    mount = root / "sys/fs/cgroup"
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        folders = [mount / controllers, mount / "cpu"] if controllers else [mount, mount / "unified"]
        group = Path(path.lstrip("/"))
        for folder in folders:
            for part in (group, *group.parents):
                quotas.append(_quota_of_group(folder / part))
    return min((quota for quota in quotas if quota), default=None)


def _quota_of_group(folder: Path) -> float | None:
    """Return the limit of one control group in cores."""
    values = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us"),
        _read(folder / "cpu.cfs_period_us"),
    ]
    with suppress(ValueError, ZeroDivisionError):  # "max", -1 and absent files mean no limit
        quota, period = (int(value) for value in values)
        return quota / period if quota > 0 else None
    return None


def core_times(root: Path = Path("/")) -> dict[int, tuple[int, int]]:
    """Return the idle time and the whole time of each processor in ticks since the start; {} where it is not known."""
    times = {}
    for line in _read(root / "proc/stat").splitlines():
        name, *values = line.split()
        with suppress(ValueError):
            if name.startswith("cpu") and name != "cpu" and len(values) >= 5:
                ticks = [int(value) for value in values[:8]]  # later ones are counted in the first two again
                times[int(name.removeprefix("cpu"))] = (ticks[3] + ticks[4], sum(ticks))
    return times


def busy_cores(
    before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]], cores: frozenset[int]
) -> float:
    """Return the number of these processors that were busy between two results of core_times."""
    busy = 0.0
    for core in cores & before.keys() & after.keys():
        idle, whole = (end - start for start, end in zip(before[core], after[core], strict=True))
        busy += 1 - min(idle / whole, 1.0) if whole > 0 else 0.0
    return busy


def _read(path: Path) -> str:
    """Return the text of a file of the system without the white space around it; "" where it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
