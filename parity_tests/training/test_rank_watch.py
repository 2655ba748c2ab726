"""The watch over the other ranks: what counts as lost, and how it ends a run under each framework's launcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.launching import QUICK_NETWORK, ROOT, launch_environment, launcher
from repro.errors import ReproError
from repro.interface.processes import LAUNCHERS, SINGLE_PROCESS, ProcessGroup
from repro.training import rank_watch
from repro.training.heartbeats import Position
from repro.training.rank_watch import LOOKS, OtherRank, Watch, find_other_ranks, process_state, watching_ranks
from repro.workers.client import interpreter


@pytest.fixture(autouse=True)
def _require_proc(require_machine: Callable[[bool, str], None]) -> None:
    require_machine(Path("/proc/self/stat").exists(), "processes are looked up in /proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def rank_of(process: subprocess.Popen[bytes]) -> OtherRank:
    return OtherRank(1, process.pid, process_state(process.pid)[1])


def wait_for(state: str, process: int) -> None:
    wait_until(lambda: process_state(process)[0] == state, 10)


def looks_until_lost(watch: Watch) -> tuple[int, str]:
    for look in range(1, 100):
        if lost := watch.look():
            return look, watch.sentence(*lost)
    return 0, ""


def test_a_zombie_and_a_process_that_is_gone_have_died(child: subprocess.Popen[bytes]) -> None:
    other = rank_of(child)
    watch = Watch([other], "go on")
    assert looks_until_lost(watch) == (0, "")
    child.kill()
    wait_for("Z", child.pid)
    assert looks_until_lost(watch) == (1, f"rank 1 (process {child.pid}) has died; go on")
    child.wait()
    assert process_state(child.pid) == ("", 0)
    assert other.trouble == "has died"


def test_another_process_of_the_same_id_is_no_rank(child: subprocess.Popen[bytes]) -> None:
    assert OtherRank(1, child.pid, process_state(child.pid)[1] - 1).trouble == "has died"


def test_a_process_that_is_stopped_may_go_on_in_time(child: subprocess.Popen[bytes]) -> None:
    watch = Watch([rank_of(child)], "go on")
    for _ in range(2):
        os.kill(child.pid, signal.SIGSTOP)
        wait_for("T", child.pid)
        assert [watch.look() for _ in range(LOOKS["is stopped"] - 1)] == [None] * (LOOKS["is stopped"] - 1)
        os.kill(child.pid, signal.SIGCONT)
        wait_for("S", child.pid)
        assert watch.look() is None
    os.kill(child.pid, signal.SIGSTOP)
    wait_for("T", child.pid)
    assert looks_until_lost(watch) == (LOOKS["is stopped"], f"rank 1 (process {child.pid}) is stopped; go on")


def test_the_others_are_the_other_ranks_of_this_machine(child: subprocess.Popen[bytes]) -> None:
    """Rank 0 is elsewhere, rank 1 is the child, rank 2 has no /proc, and rank 3 is this process."""

    class Group(ProcessGroup):
        def all_reduce_sum(self, numbers: np.ndarray) -> np.ndarray:
            own = numbers.reshape(4, 3)[3]
            assert own[1:].tolist() == [os.getpid(), process_state(os.getpid())[1]]
            other = [[own[0] + 1, 7, 7], [own[0], child.pid, process_state(child.pid)[1]], [0, 0, 0], [0, 0, 0]]
            return numbers + np.ravel(other)

    assert find_other_ranks(Group(3, 4)) == [rank_of(child)]


def test_leaving_the_watch(child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rank waits for the others before and after it stops watching; errors of a framework name a dead rank."""
    collectives: list[bool] = []
    watches: list[Watch] = []

    class Group(ProcessGroup):
        def all_reduce_sum(self, numbers: np.ndarray) -> np.ndarray:
            collectives.append(watches[-1].is_over.is_set())
            return numbers

    def start(watch: Watch) -> None:
        watches.append(watch)

    monkeypatch.setattr(Watch, "start", start)
    monkeypatch.setattr(rank_watch, "find_other_ranks", lambda processes: [rank_of(child)])
    monkeypatch.setattr(rank_watch, "join_heartbeats", lambda *arguments: None)
    group = Group(0, 2)

    def watching(group: ProcessGroup, path: Path = Path("run")) -> AbstractContextManager[None]:
        return watching_ranks(group, path, Position(), 20)

    with watching(group):
        pass
    assert collectives == [False, True]
    with pytest.raises(ReproError, match="mine"), watching(group):
        raise ReproError("mine")
    with pytest.raises(RuntimeError, match="mine"), watching(group):
        raise RuntimeError("mine")
    for path, name in ((Path("a/run"), "a/run"), (Path(), "RUN")):
        message = rf"^rank 1 \(process {child.pid}\) has died; the run ends; go on with --resume --out {name}$"
        with pytest.raises(ReproError, match=message), watching(group, path):
            child.kill()
            raise RuntimeError("connection closed by peer")
    assert len(collectives) == 2
    assert all(watch.is_over.is_set() for watch in watches)
    with watching(SINGLE_PROCESS):
        assert len(watches) == 5


def test_an_exception_that_nobody_catches_in_an_engine(child: subprocess.Popen[bytes]) -> None:
    """C++ ends the process, whose last words name a dead rank if there is one."""

    def terminate() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "parity_tests.programs.rank_watch", str(child.pid)]
        return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)

    ended = terminate()
    assert (ended.returncode, ended.stderr) == (-signal.SIGABRT, "")
    child.kill()
    wait_for("Z", child.pid)
    ended = terminate()
    line = f"error: rank 1 (process {child.pid}) has died; the run ends; go on with --resume --out run\n"
    assert (ended.returncode, ended.stderr) == (1, line)


def process_of(rank: int, backend: str, out: Path) -> int:
    """The process id of a rank of the run in this folder."""
    variable = f"{LAUNCHERS[backend].rank_variable}={rank}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or belongs to somebody else
            continue
        is_helper = command[1:2] == [b"-m"] or b"MS_ROLE=MS_SCHED" in environment  # a launcher, or msrun's scheduler
        if variable in environment and bytes(out) in command and not is_helper:
            return int(folder.name)
    raise AssertionError(f"rank {rank} was not found")


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


PROGRAM = """
import os, signal
from repro.cli import main
from repro.data import loader
from repro.training import rank_watch

load, hangs = loader.load, []
signal.signal(signal.SIGUSR1, lambda number, frame: hangs.append(number))

def load_or_hang(dataset, request):
    while hangs:
        pass
    return load(dataset, request)

loader.load = load_or_hang
if "ELSEWHERE" in os.environ:  # no rank sees the process of another
    rank_watch._machine = os.getpid
main()
"""


def lose_rank(backend: str, event: str, folder: Path, *flags: str, **environment: str) -> tuple[int, str]:
    """Train in two processes, send a signal to rank 1, and return its process id and the output of both ranks.

    The test fails unless both end soon.
    """
    out, logs, output = folder / "run", folder / "logs", folder / "output"
    (folder / "main.py").write_text(PROGRAM)
    environment = launch_environment(interpreter(backend), **environment)
    model = ["--backend", backend, *QUICK_NETWORK, "--epochs", "500"]
    command = [*launcher(backend, logs), str(folder / "main.py"), "run", *model, *flags, "--out", str(out)]
    with output.open("wb") as file:
        launched = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        wait_until((out / "metrics.jsonl").exists, 200)
        ranks = {rank: process_of(rank, backend, out) for rank in (0, 1)}
        os.kill(ranks[1], getattr(signal, event))
        ending = [ranks[0]] if environment.get("ELSEWHERE") else [*ranks.values()]
        wait_until(lambda: all(process_state(process)[0] in ("", "Z") for process in ending), 90 if flags else 30)
        os.kill(ranks[1], signal.SIGKILL) if environment.get("ELSEWHERE") else None
        assert launched.wait(60) != 0  # msrun waits for half a minute more
    finally:
        if launched.poll() is None:
            os.killpg(launched.pid, signal.SIGKILL)
    return ranks[1], output.read_text(errors="replace")


@pytest.mark.slow
@pytest.mark.parametrize("event", ["SIGKILL", "SIGSTOP"])
def test_a_lost_rank_ends_the_run(backend: str, event: str, tmp_path: Path) -> None:
    process, text = lose_rank(backend, event, tmp_path)
    trouble = {"SIGKILL": "has died", "SIGSTOP": "is stopped"}[event]
    line = f"rank 1 (process {process}) {trouble}; the run ends; go on with --resume --out {tmp_path / 'run'}\n"
    # the launcher may end rank 0 within a tenth of a second, and then names the dead one itself
    named = {"torch": f"exitcode  : -9 (pid: {process})", "paddle": "Container rank 1 status failed"}
    assert line in text or (event == "SIGKILL" and named.get(backend, line) in text)
    assert "\nTraceback" not in text or backend != "paddle"  # torchrun and msrun end with one of their own


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_run(backend: str, tmp_path: Path) -> None:
    """Its threads go on, as in an endless loop, and rank 0 waits for it in a step."""
    process, text = lose_rank(backend, "SIGUSR1", tmp_path, "--hang-seconds", "10")
    place = r"loading the images of (step|validation batch) \d+ of epoch \d+, at \S+/main\.py:\d+"
    advice = f"the run ends; go on with --resume --out {tmp_path / 'run'}"
    assert re.search(rf"error: rank 1 \(process {process} on \S+\) hangs {place}; {advice}\n", text)


@pytest.mark.slow
def test_a_rank_on_another_machine_that_is_stopped_ends_the_run(
    tmp_path: Path, require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    process, text = lose_rank("torch", "SIGSTOP", tmp_path, "--hang-seconds", "10", ELSEWHERE="1")
    trouble = r"gives no sign of life since it was (in|loading the images of) (step|validation batch) \d+ of epoch"
    assert re.search(rf"error: rank 1 \(process {process} on \S+\) {trouble}", text)
