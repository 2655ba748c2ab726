"""The client's side of workers: each backend runs in a process of its own, because the frameworks cannot share one.

A worker may use another interpreter, named by REPRO_<BACKEND>_PYTHON, so that every framework can have an environment
of its own. Messages are JSON over a socket; arrays go through safetensors files in the worker's folder; whatever the
framework prints goes to a log in that folder, whose last lines are quoted when something fails.
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
from typing import Any, NoReturn

import numpy as np

import repro
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import module_name
from repro.weights import safetensors_file

# A network with more parameters is computed by one framework at a time, and each framework keeps one model of it:
# three training steps at a time, with models in both precisions, would take more than half of 24 GiB
LARGE_MODEL_PARAMS = 100_000_000
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # large arrays are ready in half the time


def interpreter(backend: str) -> str:
    """The Python interpreter that runs a backend: REPRO_<BACKEND>_PYTHON, or the one that runs this process."""
    return os.environ.get(f"REPRO_{backend.upper()}_PYTHON") or sys.executable


def own_code(folder: Path) -> str:
    """Return a PYTHONPATH by which another interpreter sees our code, and nothing else of this environment.

    folder: where the links to our packages are put. The package `backends` is the one next to `repro`, and none of the
    same name that comes first on Python's path.
    """
    code = folder / "code"
    code.mkdir(exist_ok=True)
    package = Path(repro.__file__).resolve().parent
    for target in (package, package.with_name("backends")):
        link = code / target.name
        if not link.is_symlink():
            link.symlink_to(target)
    return os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])


class WorkerError(ReproError):
    """The error of a worker that could not start, died, hung or failed. It names the backend and quotes its log."""

    def __init__(self, backend: str, text: str):
        super().__init__(text)
        self.backend = backend


class Worker:
    """A worker process, as a context manager. Every method raises WorkerError where the process does not answer."""

    answers_everything = True  # any request, with any arrays

    def __init__(
        self,
        backend: str,
        *,
        label: str = "",
        timeout: float = 300.0,
        niceness: int = 0,
        mode: Mapping[str, Any] | None = None,
    ):
        """Start the process.

        label: what messages call the worker, where there are several of a backend; timeout: seconds that one request,
        or the start, may take; niceness: increment from 0 to 19 by which other processes go first; mode: the details
        of ModelSession.use_mode, for a worker that computes in a mode.
        """
        self.backend, self.timeout, self.niceness, self.mode = backend, timeout, niceness, mode
        self.label = label or backend
        self.threads = 1  # several workers compute at once, and threads of frameworks wait for each other in busy loops
        self._start()

    def _start(self) -> None:
        backend = self.backend
        self.python = interpreter(backend)
        module = module_name(backend)
        self._temporary_folder = tempfile.TemporaryDirectory(prefix=f"repro-{backend}-")
        self.folder = Path(self._temporary_folder.name)
        self.connection, worker_connection = Pipe()
        descriptor = worker_connection.fileno()
        with (self.folder / "log").open("wb") as log:
            try:
                self.process = subprocess.Popen(
                    [self.python, "-m", "repro.workers.serve", module, str(descriptor), str(self.folder),
                     str(self.niceness)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, pass_fds=[descriptor],
                    env=HUGE_PAGES | {"OMP_NUM_THREADS": str(self.threads)} | os.environ
                    | {"PYTHONPATH": own_code(self.folder)},
                )  # fmt: skip
            except OSError as error:
                self._temporary_folder.cleanup()
                raise WorkerError(
                    backend,
                    f"backend {backend}: cannot start {self.python} ({error.strerror}); set "
                    f"REPRO_{backend.upper()}_PYTHON to an interpreter that has its framework",
                ) from error
        worker_connection.close()
        try:
            self.version: str = self._receive("start")[0]["version"]
            if self.mode is not None:
                self.request("use_mode", **self.mode)
        except BaseException:
            self.close()
            raise

    def request(
        self, request: str, arrays: Mapping[str, np.ndarray] | None = None, **details: Any
    ) -> tuple[Any, Arrays]:
        """Send a request, a method of repro.workers.user_session.UserModelSession with its arrays and JSON details.

        Returns its JSON result and arrays.
        """
        return request_all({self.backend: self}, request, arrays, **details)[self.backend]

    def ensure_running(self, threads: int = 1) -> None:
        """Start the process again if it has died, or if it computes with another number of threads."""
        if self.process.poll() is not None or threads != self.threads:
            self.close()
            self.threads = threads
            self._start()

    def close(self) -> None:
        """End the process and remove its folder."""
        self.connection.close()  # a worker ends when its connection is closed
        self._wait_or_kill()
        self._temporary_folder.cleanup()

    def _wait_or_kill(self) -> int:
        """The exit code of the process, which is killed unless it ends within five seconds."""
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, request: str, details: dict[str, Any], arrays_path: str | None) -> None:
        message = {"request": request, "details": details, "arrays": arrays_path}
        try:
            self.connection.send_bytes(json.dumps(message).encode())
        except OSError:
            self._raise_ended(request)

    def _receive(self, request: str) -> tuple[Any, Arrays]:
        try:
            if not self.connection.poll(self.timeout):
                self.process.kill()
                self.process.wait()
                raise WorkerError(
                    self.label,
                    f"{self._title}: no answer to {request!r} within {self.timeout:g} s; the worker was stopped"
                    f"{self._last_output()}",
                )
            answer = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self._raise_ended(request)
        if "error" in answer:
            output = "" if answer["expected"] else self._last_output()
            raise WorkerError(self.label, f"{self._title}: {answer['error']}{output}")
        arrays = safetensors_file.load(self.folder / "answer.safetensors")[0] if answer["arrays"] else {}
        return answer["result"], arrays

    def _raise_ended(self, request: str) -> NoReturn:
        code = self._wait_or_kill()
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise WorkerError(
            self.label, f"{self._title}: the worker ended with {end} during {request!r}{self._last_output()}"
        )

    @property
    def _title(self) -> str:
        return f"backend {self.label} ({self.python})"

    def _last_output(self) -> str:
        """The last lines of the log, for the end of an error message."""
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()[-3:]
        return f"; last output: {' | '.join(line.strip() for line in lines)}" if lines else ""


def request_all(
    workers: Mapping[str, Worker], request: str, arrays: Mapping[str, np.ndarray] | None = None, **details: Any
) -> dict[str, tuple[Any, Arrays]]:
    """Send the same request to several workers, which compute at the same time, and return the answer of each.

    Raises the first WorkerError once all workers have answered, so that the sound ones are ready for other requests.
    """
    path = None
    if arrays is not None:
        path = str(next(iter(workers.values())).folder / "request.safetensors")
        safetensors_file.save(path, arrays)
    answers: dict[str, tuple[Any, Arrays]] = {}
    errors: list[WorkerError] = []
    reached: list[str] = []
    for name, worker in workers.items():
        try:
            worker._send(request, details, path)
            reached.append(name)
        except WorkerError as error:
            errors.append(error)
    for name in reached:
        try:
            answers[name] = workers[name]._receive(request)
        except WorkerError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return answers
