"""Make a data set of many small images, and measure how training starts on it, each time in a new process:

python -m parity_tests.many_images FOLDER --images 1300
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 1000
VAL_IMAGES = 50  # of each class, as in ImageNet
ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m parity_tests.many_images", description=(__doc__ or "").partition(",")[0] + "."
    )
    parser.add_argument("folder", type=Path, help="folder to make, or that this command has made")
    parser.add_argument("--images", type=int, default=1300, metavar="N", help="images of a class (default: 1300)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that load images (default: 0)")
    arguments = parser.parse_args(argv)
    if not arguments.folder.exists():
        write_images(arguments.folder, arguments.images)
    print("| start | seconds to the first batch | peak MB |\n|---|---|---|")
    for title, check in (("--check first-epoch", False), ("--check start", True), ("--check start, again", True)):
        call = f"start({str(arguments.folder)!r}, check={check}, workers={arguments.workers})"
        code = f"from parity_tests.many_images import start; {call}"
        # the record of checked images is in the cache
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(arguments.folder.resolve() / ".cache"),
        }
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        seconds, *megabytes = done.stdout.split()
        print(f"| {title} | {seconds} | {' + '.join(megabytes)} |", flush=True)
    return 0


def write_images(folder: Path, count: int) -> None:
    """Write train/ with `count` images of each class, and val/: hard links of JPEG images of 8 x 8 pixels."""
    (folder / ".sources").mkdir(parents=True)
    rng = np.random.default_rng(0)
    sources = [folder / ".sources" / f"{number}.jpg" for number in range(count)]
    for source in sources:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(source)
    for subset, number in (("train", count), ("val", VAL_IMAGES)):
        for label in range(CLASSES):
            of_class = folder / subset / f"n{label:08d}"
            of_class.mkdir(parents=True)
            for index in range(number):
                os.link(sources[index % count], of_class / f"{subset}_{label}_{index:08d}.JPEG")


def peak_megabytes(process: int) -> int:
    """Return the largest resident memory of a process so far, which Linux keeps in kB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def start(folder: str, *, check: bool, workers: int) -> None:
    """Do what precedes the first step of a run, and print the seconds and the peak of each process's memory in MB."""
    begin = time.perf_counter()
    from repro.data import ImageCheck, Loader, Transform, check_images, open_dataset

    dataset = open_dataset(folder)
    assert dataset.digest
    if check:
        check_images(ImageCheck(dataset))
    with Loader(dataset, batch_size=256, workers=workers) as loader:
        batches: Iterator[object] = loader.train(0, Transform(image_size=8))
        next(batches)
        seconds = time.perf_counter() - begin
        processes = [os.getpid(), *(process.pid for process in multiprocessing.active_children() if process.pid)]
        print(f"{seconds:.1f}", *map(peak_megabytes, processes))


if __name__ == "__main__":
    sys.exit(main())
