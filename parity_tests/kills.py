"""Kill training runs at random moments and resume them, until each ends, and compare it with one that never stopped:

python -m parity_tests.kills --backends torch,paddle,mindspore --kills 50
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from parity_tests.support.image_folders import write_photos
from parity_tests.support.runs import assert_equal_runs
from repro.interface.discovery import SHIPPED
from repro.training.run_folder import LAST
from repro.workers.client import interpreter

ROOT = Path(__file__).resolve().parent.parent
# 3 epochs of 4 steps, with an EMA, an optimizer that counts its steps, mixing, augmentation, dropout and a process that
# loads images
FLAGS = [
    "--model", "asymmnet_small_x0_35", "--image-size", "16", "--batch-size", "6", "--epochs", "3",
    "--optimizer", "adamw", "--lr", "1e-3", "--ema-decay", "0.9", "--ema-warmup", "true", "--mixup", "0.4",
    "--cutmix", "1", "--flip", "0.5", "--clip-norm", "1", "--option", "dropout=0.5", "--workers", "1",
    "--checkpoint-steps", "1",
]  # fmt: skip


def train(backend: str, folder: Path, out: str, *, seconds: float | None = None, keep: int = 2) -> tuple[int, float]:
    """Start or resume the run FOLDER/OUT, and kill it after this number of seconds.

    A run that starts keeps this number of checkpoints. Returns the exit code, -9 if it was killed, and the seconds that
    it took. The output is added to FOLDER/log.
    """
    command = [interpreter(backend), "-m", "repro.run", "--out", out]
    if (folder / out / LAST).exists():
        command += ["--resume"]
    else:
        shutil.rmtree(folder / out, ignore_errors=True)  # it was killed before there was anything to resume
        command += ["--backend", backend, "--data", "photos", "--keep", str(keep), *FLAGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)}
    start = time.monotonic()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and the process that loads images
        return process.wait(), time.monotonic() - start


def kill_and_compare(backend: str, kills: int, seed: int, folder: Path) -> str:
    """Kill runs so often, resume each until it ends, and return a line about it. Raises AssertionError for another end.

    A moment is drawn uniformly from the time that a whole run takes, so that a run is also killed while it starts.
    """
    write_photos(folder / "photos", classes="abcd", count=8)
    code, duration = train(backend, folder, "whole")
    assert code == 0, (folder / "log").read_text()[-3000:]
    moments, counts, runs = random.Random(seed), Counter[str](), 0
    while kills:
        out = f"run{runs}"
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            seconds = moments.uniform(0, duration) if kills else None
            code, _ = train(backend, folder, out, seconds=seconds)
            if code == -signal.SIGKILL:
                kills -= 1
                counts["before the first checkpoint" if not (folder / out / LAST).exists() else "later"] += 1
        assert code == 0, (folder / "log").read_text()[-3000:]
        assert_equal_runs(str(folder / "whole"), str(folder / out))
        shutil.rmtree(folder / out)
        runs += 1
    places = ", ".join(f"{count} {place}" for place, count in sorted(counts.items()))
    return f"{backend}: {counts.total()} kills ({places}) in {runs} runs, which all ended bit-identical"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 if every run ended like one that never stopped."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default=",".join(SHIPPED), metavar="NAMES", help="separated by commas")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="kills for each backend (default: 50)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments (default: 0)")
    arguments = parser.parse_args(argv)
    for backend in arguments.backends.split(","):
        with tempfile.TemporaryDirectory() as folder:
            print(kill_and_compare(backend, arguments.kills, arguments.seed, Path(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
