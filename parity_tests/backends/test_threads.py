"""repro.interface.threads: the number of threads by what a machine gives, and how it reaches each framework."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.interface import threads
from repro.interface.threads import Machine, Threads, busy_cores, choose_threads, core_times, cpu_quota, threads_for
from repro.memory import keep_freed_memory

FOUR = Machine(frozenset(range(4)), 4, None)
TWO = Machine(frozenset(range(2)), 2, None)

QUOTAS = {
    "no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "half a core": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
    "a group": ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
    "the smallest of nested groups": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
        },
        2.0,
    ),
    "a path of the host": ({"proc/self/cgroup": "0::/docker/1f\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),
    "version 1": (
        {
            "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/docker/1f\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "version 1, mounted as cpu": (
        {
            "proc/self/cgroup": "1:cpu:/x\n0::/\n",
            "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "10000\n",
            "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
        },
        0.1,
    ),
    "version 1 without a limit": (
        {
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "another controller": (
        {
            "proc/self/cgroup": "1:cpuset:/\n",
            "sys/fs/cgroup/cpuset/cpu.cfs_quota_us": "1\n",
            "sys/fs/cgroup/cpuset/cpu.cfs_period_us": "1\n",
        },
        None,
    ),
    "nonsense": ({"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/cpu.max": "many 0\n"}, None),
    "a period of zero": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "5 0\n"}, None),
    "no files": ({}, None),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_the_limit_of_control_groups(tmp_path, case) -> None:
    files, expected = QUOTAS[case]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path) == expected


@pytest.mark.parametrize(
    ("machine", "busy", "processes", "count", "words"),
    [
        (TWO, 0.0, 1, 2, "2 cores"),
        (TWO, 0.2, 1, 2, "2 cores"),  # a little work of others does not change results
        (TWO, 1.0, 1, 1, "keep 1.0 busy"),
        (TWO, 2.0, 1, 1, "keep 2.0 busy"),
        (FOUR, 1.1, 1, 3, "keep 1.1 busy"),
        (FOUR, 0.0, 2, 2, "2 processes"),
        (FOUR, 0.0, 8, 1, "8 processes"),
        (Machine(frozenset(range(8)), 4, None), 0.0, 1, 4, "4 of them physical"),
        (Machine(frozenset(range(8)), 4, None), 4.0, 1, 2, "keep 4.0 busy"),
        (Machine(frozenset(range(4)), 4, 0.5), 0.0, 1, 1, "a limit of 0.5"),
        (Machine(frozenset(range(4)), 4, 2.0), 0.0, 1, 2, "a limit of 2 "),
        (Machine(frozenset(range(4)), 4, 8.0), 0.0, 1, 4, "4 cores"),
        (Machine(frozenset({3}), 1, None), 0.0, 1, 1, "1 core"),
    ],
)
def test_the_number_of_threads(machine, busy, processes, count, words) -> None:
    threads = threads_for(machine, busy, processes)
    assert threads.count == count and words in threads.reason


def test_busy_cores_are_counted_among_those_of_the_process() -> None:
    before = {0: (100, 200), 1: (100, 200), 2: (100, 200), 3: (100, 200)}
    after = {0: (100, 210), 1: (105, 210), 2: (110, 210), 3: (100, 200)}  # busy, half busy, idle, not measured
    assert busy_cores(before, after, frozenset(range(4))) == 1.5
    assert busy_cores(before, after, frozenset({1, 2, 9})) == 0.5
    assert busy_cores({}, after, frozenset({0})) == 0


def test_times_of_the_cores(tmp_path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 5 6 7 8 100 100\ncpu11 0 0 0 9 1 0 0 0\ncpu2 x\nintr 5\n"
    )
    assert core_times(tmp_path) == {0: (45, 72), 11: (10, 10)}
    assert core_times(tmp_path / "absent") == {}


@pytest.fixture
def busy_core(require_machine) -> Iterator[int]:
    """A core that another process keeps busy."""
    require_machine(Path("/proc/stat").is_file(), "the load is read on Linux only")
    core = max(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "parity_tests.programs.busy_core", str(core)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield core
        process.kill()


def test_a_busy_process_costs_a_thread(busy_core, monkeypatch) -> None:
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(threads, "SAMPLE_SECONDS", 0.3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {busy_core})
    chosen = choose_threads("torch")
    assert chosen.count == 1 and "of which other programs keep 1.0 busy" in chosen.reason


def test_recipe_and_environment_win(monkeypatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "3,1")
    assert choose_threads("torch") == Threads(3, "set by OMP_NUM_THREADS")
    assert choose_threads("paddle", 5) == Threads(5, "set by the recipe")


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "99999999999999999999", "²"])
def test_a_useless_variable_is_ignored(monkeypatch, tmp_path, text) -> None:
    monkeypatch.setenv(threads.VARIABLE, text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    assert choose_threads("torch", root=tmp_path) == Threads(3, "3 cores")
    assert choose_threads("paddle", root=tmp_path) == Threads(1, "paddle gains nothing from more")


def test_the_users_way_of_waiting_is_kept(monkeypatch) -> None:
    for name in (threads.VARIABLE, threads.WAIT_POLICY, threads.SPIN_VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv(threads.WAIT_POLICY, "active")
    Threads(2, "").apply()
    assert os.environ[threads.VARIABLE] == "2" and threads.SPIN_VARIABLE not in os.environ
    monkeypatch.delenv(threads.WAIT_POLICY)
    Threads(1, "").apply()
    assert os.environ[threads.SPIN_VARIABLE] == threads.SPINS
    monkeypatch.setenv(threads.SPIN_VARIABLE, "7")
    Threads(1, "").apply()
    assert os.environ[threads.SPIN_VARIABLE] == "7"


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_the_users_settings_of_memory_are_kept(monkeypatch, name) -> None:
    monkeypatch.setenv(name, "1000000")
    assert not keep_freed_memory()


def output_of(program: str, *arguments: str, **environment: str) -> str:
    """Return what a program of parity_tests.programs prints."""
    command = [sys.executable, "-m", f"parity_tests.programs.{program}", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_torch_computes_with_the_number(require_backend) -> None:
    require_backend("torch")
    assert [output_of("threads", "torch", OMP_NUM_THREADS=number) for number in ("1", "2")] == ["1\n", "2\n"]


@pytest.mark.slow
@pytest.mark.parametrize("number", ["1", "2"])
def test_a_step_of_mindspore_does_not_depend_on_what_was_computed_before(
    require_backend, require_machine, number
) -> None:
    """Its bits tell for how many cores its convolutions were planned."""
    require_backend("mindspore")
    require_machine((os.cpu_count() or 1) > 1, "two threads need two cores")
    first, later = (output_of("threads", "mindspore", *words, OMP_NUM_THREADS=number) for words in ((), ("evaluate",)))
    assert first == later


def test_freed_memory_is_kept(require_machine) -> None:
    require_machine(sys.platform.startswith("linux"), "freed memory is kept by glibc only")
    returned, kept = map(int, output_of("page_faults", GLIBC_TUNABLES="").split())
    assert returned > 1000 and kept < returned / 100
