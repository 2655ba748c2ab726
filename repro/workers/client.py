"""A backend in a process of its own: the frameworks cannot share one (their symbols clash).

A worker may be another interpreter, named by REPRO_<BACKEND>_PYTHON, so that every framework can have an environment
of its own. Messages are JSON over a socket; arrays go through safetensors files in the worker's folder; what the
framework prints goes to a log there and is quoted when something fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

import backends
import repro
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import module_name
from repro.weights import safetensors_file

# Weights with which three training steps at a time, and models in both precisions, take more than half of 24 GiB:
# frameworks train so large a network one after the other, and each keeps one model of it
LARGE = 100_000_000
TUNED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # large arrays in huge pages, which are ready in half the time


def interpreter(backend: str) -> str:
    """The Python that runs a backend: REPRO_<BACKEND>_PYTHON, or this one."""
    return os.environ.get(f"REPRO_{backend.upper()}_PYTHON") or sys.executable


class WorkerError(ReproError):
    """The worker could not start, died, hung or failed; the text names the backend and quotes its last words."""

    def __init__(self, backend: str, text: str):
        super().__init__(text)
        self.backend = backend


class Worker:
    """A context manager around one worker process. Raises WorkerError wherever it does not answer as it should."""

    def __init__(self, backend: str, *, timeout: float = 300.0, niceness: int = 0):
        """timeout: seconds that one request may take, starting included; niceness: how far, of 19, it lets other
        processes go first."""
        self.backend, self.timeout, self.niceness = backend, timeout, niceness
        self.threads = 1  # several workers compute at once: more threads would wait for each other in loops
        self._start()

    def _start(self) -> None:
        backend = self.backend
        self.python = interpreter(backend)
        module = module_name(backend)
        self._folder = tempfile.TemporaryDirectory(prefix=f"repro-{backend}-")
        self.folder = Path(self._folder.name)
        # another interpreter sees our code and nothing else of this environment
        code = self.folder / "code"
        code.mkdir()
        for package in (repro, backends):
            (code / package.__name__).symlink_to(Path(package.__path__[0]).resolve())
        paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.connection, theirs = Pipe()
        with (self.folder / "log").open("wb") as log:
            try:
                self.process = subprocess.Popen(
                    [self.python, "-m", "repro.workers.serve", module, str(theirs.fileno()), str(self.folder),
                     str(self.niceness)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, pass_fds=[theirs.fileno()],
                    env=TUNED | {"OMP_NUM_THREADS": str(self.threads)} | os.environ
                    | {"PYTHONPATH": os.pathsep.join(paths)},
                )  # fmt: skip
            except OSError as error:
                self._folder.cleanup()
                raise WorkerError(
                    backend,
                    f"backend {backend}: cannot start {self.python} ({error.strerror}); set "
                    f"REPRO_{backend.upper()}_PYTHON to an interpreter that has its framework",
                ) from error
        theirs.close()
        try:
            self.version: str = self._receive("start")[0]["version"]
        except BaseException:
            self.close()
            raise

    def request(self, what: str, arrays: Mapping[str, np.ndarray] | None = None, **details: Any) -> tuple[Any, Arrays]:
        """Sends a request of repro.workers.serve.Session with JSON details and arrays; returns its result, likewise."""
        return ask({self.backend: self}, what, arrays, **details)[self.backend]

    def revive(self, threads: int = 1) -> None:
        """Starts the process again if it has died, or computes in another number of threads."""
        if self.process.poll() is not None or threads != self.threads:
            self.close()
            self.threads = threads
            self._start()

    def close(self) -> None:
        """Ends the process and removes its folder."""
        self.connection.close()  # a worker ends when nobody listens any more
        self._ended()
        self._folder.cleanup()

    def _ended(self) -> int:
        """The exit code of a process that ends by itself, or else is killed."""
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, what: str, details: dict[str, Any], arrays: str | None) -> None:
        message = {"request": what, "details": details, "arrays": arrays}
        try:
            self.connection.send_bytes(json.dumps(message).encode())
        except OSError:
            self._fail(what)

    def _receive(self, what: str) -> tuple[Any, Arrays]:
        try:
            if not self.connection.poll(self.timeout):
                self.process.kill()
                self.process.wait()
                raise WorkerError(
                    self.backend,
                    f"{self._name}: no answer to {what!r} within {self.timeout:g} s; it was stopped"
                    f"{self._last_words()}",
                )
            answer = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self._fail(what)
        if "error" in answer:
            raise WorkerError(
                self.backend, f"{self._name}: {answer['error']}{'' if answer['expected'] else self._last_words()}"
            )
        return answer["result"], safetensors_file.load(self.folder / "answer.safetensors")[0] if answer[
            "arrays"
        ] else {}

    def _fail(self, what: str) -> Any:
        code = self._ended()
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise WorkerError(
            self.backend, f"{self._name}: the worker ended with {end} during {what!r}{self._last_words()}"
        )

    @property
    def _name(self) -> str:
        return f"backend {self.backend} ({self.python})"

    def _last_words(self) -> str:
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()[-3:]
        return f"; its last words: {' | '.join(line.strip() for line in lines)}" if lines else ""


def ask(
    workers: Mapping[str, Worker], what: str, arrays: Mapping[str, np.ndarray] | None = None, **details: Any
) -> dict[str, tuple[Any, Arrays]]:
    """The answers of several workers to the same request, on which they work at the same time.

    Raises the first WorkerError once all have answered, so that those that did can be asked again.
    """
    path = None
    if arrays is not None:
        path = str(next(iter(workers.values())).folder / "request.safetensors")
        safetensors_file.save(path, arrays)
    answers, errors = {}, []
    asked = []
    for name, worker in workers.items():
        try:
            worker._send(what, details, path)
            asked.append((name, worker))
        except WorkerError as error:
            errors.append(error)
    for name, worker in asked:
        try:
            answers[name] = worker._receive(what)
        except WorkerError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return answers
