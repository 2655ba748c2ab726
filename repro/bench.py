"""Benchmarks that print and judge nothing: `python -m repro.bench --model rdnet_large` times repro.port beside `cp`."""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from repro.cli import command_name, run_command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("bench"),
        description="Carry a model's weights from each format to each other one, by the command that users have; print "
        "time and memory beside those of cp. Memory is what the process allocates itself (anonymous pages, sampled): "
        "pages of a mapped file belong to the system's cache.",
    )
    parser.add_argument("--model", default="rdnet_large", metavar="NAME", help="default: rdnet_large")
    arguments = parser.parse_args(argv)

    from repro.interface.discovery import backend_names, native_weights
    from repro.specs import find_spec
    from repro.weights import safetensors_file
    from repro.weights.init import initialise

    spec = find_spec(arguments.model)
    suffixes = [".safetensors", *(native_weights(name).EXTENSIONS[0] for name in backend_names())]
    largest = max(weight.size for weight in spec.weights.values()) * 4 / 2**20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = folder / f"from{suffixes[0]}"
        safetensors_file.save(first, initialise(spec, 0), {"model": spec.name})
        size = first.stat().st_size / 2**20
        print(f"{spec.name}: {size:,.0f} MiB, the largest array {largest:,.1f} MiB")
        idle = _run([sys.executable, "-c", "import numpy, repro.weights.porting"])[1]
        print(f"Python with NumPy and the readers: {idle:,.0f} MiB\n")
        for suffix in suffixes[1:]:
            _run(_port(first, folder / f"from{suffix}", spec.name))
        print(f"{'from':14}{'to':14}{'seconds':>9}{'times cp':>10}{'MiB':>8}")
        for source, target in itertools.product(suffixes, suffixes):
            path, copy = folder / f"from{source}", folder / f"to{target}"
            plain, _ = _run(["cp", str(path), str(copy)])
            seconds, memory = _run(_port(path, copy, spec.name))
            print(f"{source:14}{target:14}{seconds:9.2f}{seconds / plain:10.1f}{memory:8,.0f}", flush=True)
    return 0


def _port(source: Path, target: Path, model: str) -> list[str]:
    return [sys.executable, "-m", "repro.port", str(source), str(target), "--model", model]


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds, the disk's included, and the most MiB that the process held at once."""
    start, most = time.perf_counter(), 0
    process = subprocess.Popen([*command], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:  # it has just ended
            break
        anonymous = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
        most = max([most, *map(int, anonymous)])
        time.sleep(0.005)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    subprocess.run(["sync"], check=True)
    return time.perf_counter() - start, most / 1024


if __name__ == "__main__":
    run_command(main)
