"""Measure tables of docs/performance.md. Nothing else should compute on the machine meanwhile; see repro.bench, too:

python -m parity_tests.speed frozen --backend torch   # steps of the classifier, beside a forward pass
python -m parity_tests.speed shards --backend torch   # steps with deterministic shards (docs/scale.md)
python -m parity_tests.speed sync --backend torch     # steps of two processes with --sync-norm (docs/scale.md)
python -m parity_tests.speed load --backend torch     # numbers of threads, beside busy programs
python -m parity_tests.speed memory --backend torch   # with and without freed memory that is kept
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from parity_tests.support.launching import launch_environment
from repro.interface.discovery import SHIPPED
from repro.interface.launch import launch_command
from repro.workers.client import interpreter

LOADED = ("asymmnet_small_x0_35_r0", 32, 64)  # model, image size, batch
WAITING = {
    "torch": ("2 GOMP_SPINCOUNT=300000", "2 GOMP_SPINCOUNT=0", "2 GOMP_SPINCOUNT=1000", "1"),
    "paddle": ("2 KMP_BLOCKTIME=200", "2 KMP_BLOCKTIME=0", "1"),
    "mindspore": ("2", "1"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--backend", choices=SHIPPED, default="torch", help="default: torch")
    parser.add_argument("--image-size", type=int, default=224, metavar="PIXELS", help="frozen (default: 224)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="frozen (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 4], metavar="N", help="load (default: 0 1 4)")
    arguments = parser.parse_args(argv)
    TABLES[arguments.table](arguments)
    return 0


def print_frozen(arguments: argparse.Namespace) -> None:
    """Print the medians in milliseconds, and in brackets how many times as long as the forward pass."""
    sizes = (arguments.image_size, arguments.batch_size, arguments.rounds)
    times = measure(arguments.backend, "compare_frozen", arguments.backend, "mobilenet_v2", *sizes)
    forward = median(times["forward pass"])
    cells = [f"{median(values):.0f} ({median(values) / forward:.2f})" for values in times.values()]
    print(f"| backend | {' | '.join(times)} |\n|---|---|---|---|\n| {arguments.backend} | {' | '.join(cells)} |")


def print_shards(arguments: argparse.Namespace) -> None:
    """Print the medians of a training step in milliseconds, in one thread, by the number of shards."""
    request = (arguments.backend, "asymmnet_large", 32, 64, arguments.rounds)
    times = measure(arguments.backend, "compare_shards", *request, environment={"OMP_NUM_THREADS": "1"})
    cells = [f"{median(values):.0f}" for values in times.values()]
    print(f"| | {' | '.join(times)} |\n|{'---|' * (len(times) + 1)}\n| {arguments.backend} | {' | '.join(cells)} |")


def print_sync(arguments: argparse.Namespace) -> None:
    """Print the median of a step of two processes in milliseconds, in one thread each, with and without sync_norm."""
    print("| | without | with | layers |\n|---|---|---|---|")
    for model in ("asymmnet_large", "resnet50"):
        request = (arguments.backend, model, 64, 16, arguments.rounds)
        threads = {"OMP_NUM_THREADS": "1"}
        layers, times = measure(arguments.backend, "compare_sync", *request, environment=threads, processes=2)
        cells = " | ".join(f"{median(values):.0f}" for values in times.values())
        print(f"| {arguments.backend}, {model} | {cells} | {layers} |", flush=True)


def print_load(arguments: argparse.Namespace) -> None:
    """Print the medians of a training step in milliseconds for each number of threads and way of waiting."""
    model, size, batch = LOADED
    print(f"| threads | {' | '.join(f'beside {count}' for count in arguments.busy)} |")
    print("|---|" + "---|" * len(arguments.busy))
    for setting in WAITING[arguments.backend]:
        threads, *variables = setting.split()
        environment = {"OMP_NUM_THREADS": threads} | dict(variable.split("=") for variable in variables)
        cells = []
        for count in arguments.busy:
            with busy_programs(count):
                request = (arguments.backend, model, size, batch, 5 * arguments.rounds)
                cells.append(f"{measure(arguments.backend, 'step_time', *request, environment=environment):.0f}")
        print(f"| {setting} | {' | '.join(cells)} |", flush=True)


def print_memory(arguments: argparse.Namespace) -> None:
    """Print time, page faults and peak memory of an evaluation without and with freed memory that is kept."""
    print("| freed memory | ms | page faults | peak MiB |\n|---|---|---|---|")
    # settings of the user's own leave glibc's behaviour alone: this one is its default
    for title, environment in (("returned", {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}), ("kept", {})):
        request = (arguments.backend, "mobilenet_v2", 160, 16, 5 * arguments.rounds)
        row = measure(arguments.backend, "evaluation_memory", *request, environment=environment)
        print(f"| {title} | {row['ms']:.0f} | {row['faults']:,.0f} | {row['MiB']:,.0f} |", flush=True)


def measure(
    backend: str, function: str, *arguments: object, environment: Mapping[str, str] | None = None, processes: int = 1
) -> Any:
    """Return the result of a function of parity_tests.programs.speed in its own process, or in rank 0 of several."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "main.py")
        script.write_text(
            f"import json; from parity_tests.programs import speed\n"
            f"from repro.interface.processes import process_group\n"
            f"result = speed.{function}(*{arguments!r})\n"
            f"if process_group({backend!r}).is_main: json.dump(result, open('{folder}/result.json', 'w'))"
        )
        launcher = launch_command(backend, processes, Path(folder, "logs")) if processes > 1 else []
        python = interpreter(backend)
        variables = launch_environment(python, **(environment or {}))
        command = [python, *launcher, str(script)]
        done = subprocess.run(command, env=variables, check=False, capture_output=True)
        if done.returncode:
            sys.exit(f"{backend} failed: {done.stderr.decode(errors='replace')[-2000:]}")
        return json.loads(Path(folder, "result.json").read_text())


TABLES = {
    "frozen": print_frozen,
    "shards": print_shards,
    "sync": print_sync,
    "load": print_load,
    "memory": print_memory,
}


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Let this many programs loop for the block."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


if __name__ == "__main__":
    sys.exit(main())
