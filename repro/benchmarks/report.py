"""The JSON file of all measurements, with the versions and the machine that they were made on, and their figure."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from repro import __version__
from repro.benchmarks.measurement import SpeedComparison, spread
from repro.files import write_text
from repro.interface.peers import load_peers
from repro.interface.threads import read_machine, threads_in_environment
from repro.plots.ratios import Bar, draw_ratios


def write_report(
    path: Path, settings: Mapping[str, Any], comparisons: Sequence[SpeedComparison], environment: Mapping[str, Any]
) -> None:
    """Write the settings, versions, machine and every measurement as JSON. Raises ReproError where it cannot."""
    report = {"settings": settings, **environment, "comparisons": [item.as_json() for item in comparisons]}
    write_text(path, json.dumps(report, indent=1) + "\n")


def draw_comparisons(comparisons: Sequence[SpeedComparison], path: Path) -> None:
    """Draw the median ratio of each peer in each task, with half the interquartile range to either side."""
    bars = [
        Bar(f"{comparison.task}: {name}", median(ratios), spread(ratios))
        for comparison in comparisons
        for name, ratios in comparison.ratios().items()
    ]
    draw_ratios(bars, "how many times as fast ours is", path)


def describe_environment(backend: str) -> dict[str, Any]:
    """Return the versions and the machine of this process, which should run a backend's interpreter.

    A package that is not installed has the version None. load: the mean number of busy programs in the last minute.
    """
    machine = read_machine()
    versions: dict[str, str | None] = {"python": platform.python_version(), "repro": __version__}
    for package in ("numpy", "pillow", *load_peers(backend).PACKAGES):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "machine": {
            "system": platform.platform(), "processor": processor(), "cores": len(machine.cores),
            "physical": machine.physical, "quota": machine.quota, "threads": threads_in_environment(),
            "load": os.getloadavg()[0],
        },
    }  # fmt: skip


def processor(path: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the processor, or the little that Python's platform module knows about it."""
    if path.is_file():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()
