"""Packages that publish layouts, each in a process of its own, which runs parity_tests/programs/packages.py."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from repro.specs import find_spec
from repro.weights.layouts import Layout
from repro.workers.client import interpreter

ROOT = Path(__file__).resolve().parent.parent.parent
FRAMEWORK = {
    "torchvision": "torch",
    "timm": "torch",
    "pytorchcv": "torch",
    "transformers": "torch",
    "paddle.vision": "paddle",
    "paddleclas": "paddle",
    "mindcv": "mindspore",
    "keras": "torch",
}
"""Packages that are compared, and the framework that runs them."""

FILES = {"torch": ".pth", "paddle": ".pdparams", "mindspore": ".ckpt", "keras": ".weights.h5"}
"""Formats of layouts, and the extension of the files that a package saves."""

CHANGES: dict[tuple[str, str], dict[str, float]] = {("timm", "rdnet"): {"head.norm.eps": 1e-5}}
"""Publisher and family -> attributes that make the package's network compute what the layout claims."""


class Package:
    """The process of one package."""

    def __init__(self, publisher: str) -> None:
        self.publisher = publisher
        # a file, because a pipe that nobody reads would block a package that prints much
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [interpreter(FRAMEWORK[publisher]), "-m", "parity_tests.programs.packages", publisher],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=os.environ | {"GLOG_v": "3" if publisher == "mindcv" else "0"}, cwd=ROOT,
        )  # fmt: skip

    def make(self, layout: Layout, model: str, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
        """Save a model with random weights, and return its file, and images and logits by "imagesSIZE", "logitsSIZE".

        Where the layout's note names a difference, the size is one for which it does not matter.
        """
        file = folder / f"package{FILES[layout.format]}"
        return file, self._run(layout, model, file, load=False)

    def load(self, layout: Layout, model: str, file: Path) -> dict[str, np.ndarray]:
        """Load a file into a new model with the package's own function, and return the same images and its logits."""
        return self._run(layout, model, file, load=True)

    def _run(self, layout: Layout, model: str, file: Path, *, load: bool) -> dict[str, np.ndarray]:
        """Let the process do a job of parity_tests/programs/packages.py, and return its answer."""
        path = file.parent / "answer.npz"
        job = {
            "expression": layout.models[model],
            "file": str(file),
            "load": load,
            "answer": str(path),
            "sizes": _sizes(layout),
            "changes": CHANGES.get((self.publisher, find_spec(model).family), {}),
        }
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("DONE"):
                with np.load(path) as answer:
                    return dict(answer)
        self.log.seek(0)
        raise AssertionError(f"{self.publisher} {layout.models[model]}: {self.log.read()[-3000:]}")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.log.close()


def _sizes(layout: Layout) -> list[int]:
    """Return the sides of the images.

    Keras's networks are built for one size; those of PaddleClas with a note differ for odd maps, and others for even
    ones.
    """
    if layout.format == "keras":
        return [224] if layout.flattened else [64]
    if layout.note:
        return [64] if layout.publisher == "paddleclas" else [65]
    return [64, 65]


@contextmanager
def packages() -> Iterator[Callable[[str], Package]]:
    """Yield a function publisher -> its process, of which only the last one keeps running: they need much memory."""
    running: dict[str, Package] = {}

    def package(publisher: str) -> Package:
        if publisher not in running:
            for other in list(running):
                running.pop(other).close()
            running[publisher] = Package(publisher)
        return running[publisher]

    try:
        yield package
    finally:
        for process in running.values():
            process.close()
