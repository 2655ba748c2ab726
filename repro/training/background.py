"""Writing in the background: a thread that writes files while the training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


class BackgroundWriter:
    """One thread that writes one thing at a time, in the order in which things were given to it.

    An error of the thread is raised by the next `wait`, and what was given after it is not written.
    """

    def __init__(self) -> None:
        self._pending: Future[object] | None = None
        self._thread: ThreadPoolExecutor | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write in the thread until the block ends, however it ends, and then wait for what is being written.

        An error of the thread replaces the one that ended the block, which may name files that were not written.
        """
        with ThreadPoolExecutor(1, "writer") as thread:
            self._thread = thread
            try:
                yield
            finally:
                self._thread = None
                try:
                    self.wait()
                finally:
                    self.wait()  # Ctrl-C may have ended the first wait, but not the writing

    def submit(self, write: Callable[[], object]) -> None:
        """Call `write` in the thread after everything before it, or here and now if the thread does not run."""
        self.wait()
        if self._thread is None:
            write()
        else:
            self._pending = self._thread.submit(write)

    def wait(self) -> None:
        """Wait until everything is written. Raises the error of the thread, once."""
        if self._pending is None:
            return
        error = self._pending.exception()  # Ctrl-C leaves it pending
        self._pending = None
        if error is not None:
            raise error
