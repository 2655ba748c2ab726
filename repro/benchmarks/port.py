"""Time and memory of converting a model's weights from every format to every other one, compared with copying."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repro.errors import ReproError
from repro.interface.discovery import backend_names, native_weights
from repro.specs import find_spec
from repro.weights import Log, safetensors_file
from repro.weights.init import initialise

MIB = 2**20
HEADING = f"{'from':14}{'to':14}{'seconds':>9}{'times cp':>10}{'MiB':>8}"
SAMPLING_INTERVAL = 0.005  # seconds between two readings of the memory


@dataclass(frozen=True)
class Measurement:
    """One conversion. source, destination: extensions. seconds, copy_seconds: wall-clock times of the conversion and of
    cp, both with the time to write to disk. memory: the maximum that the process allocated, in MiB."""

    source: str
    destination: str
    seconds: float
    copy_seconds: float
    memory: float

    def line(self) -> str:
        """Return the line under HEADING."""
        ratio = self.seconds / self.copy_seconds
        return f"{self.source:14}{self.destination:14}{self.seconds:9.2f}{ratio:10.1f}{self.memory:8,.0f}"


def measure_conversions(model: str, log: Log) -> Iterator[Measurement]:
    """Yield a measurement per pair of formats. `log` first receives the sizes of the file and of the idle process."""
    spec = find_spec(model)
    extensions = [".safetensors", *(native_weights(name).EXTENSIONS[0] for name in backend_names())]
    largest = max(weight.size for weight in spec.weights.values()) * 4 / MIB
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        canonical = folder / f"source{extensions[0]}"
        safetensors_file.save(canonical, initialise(spec, 0), {"model": model})
        log(f"{model}: {canonical.stat().st_size / MIB:,.0f} MiB, the largest array {largest:,.1f} MiB")
        _, idle_memory = _run([sys.executable, "-c", "import numpy, repro.weights.porting"])
        log(f"Python with NumPy and the readers: {idle_memory:,.0f} MiB\n")
        for extension in extensions[1:]:
            _run(_port_command(canonical, folder / f"source{extension}", model))
        for source, destination in itertools.product(extensions, extensions):
            source_path, destination_path = folder / f"source{source}", folder / f"destination{destination}"
            copy_seconds, _ = _run(["cp", str(source_path), str(destination_path)])
            seconds, memory = _run(_port_command(source_path, destination_path, model))
            yield Measurement(source, destination, seconds, copy_seconds, memory)


def _port_command(source: Path, destination: Path, model: str) -> list[str]:
    return [sys.executable, "-m", "repro.port", str(source), str(destination), "--model", model]


def _run(command: list[str]) -> tuple[float, float]:
    """Run a command, and return its seconds, with those to write to disk, and the maximum of its memory in MiB.

    The memory is that of anonymous pages: pages of a mapped file belong to the cache of the operating system.
    """
    start, most = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:  # the process has just ended
            break
        kilobytes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")]
        most = max([most, *kilobytes])
        time.sleep(SAMPLING_INTERVAL)
    if process.wait():
        raise ReproError(f"{' '.join(command)} failed with exit code {process.returncode}")
    subprocess.run(["sync"], check=True)
    return time.perf_counter() - start, most / 1024
