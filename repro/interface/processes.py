"""A run in several processes, which the framework's own launcher has started: each computes a part of every batch."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

from repro.errors import ReproError, first_line

if TYPE_CHECKING:
    from repro.interface import Backend
    from repro.training.meters import Meter


@dataclass(frozen=True)
class Launcher:
    """Its name, and the environment variables in which it tells how many processes there are, and which one this is."""

    name: str
    count: str
    rank: str


LAUNCHERS = {
    "torch": Launcher("torchrun", "WORLD_SIZE", "RANK"),
    "paddle": Launcher("paddle.distributed.launch", "PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID"),
    "mindspore": Launcher("msrun", "MS_WORKER_NUM", "RANK_ID"),
}


@dataclass(frozen=True)
class Processes:
    """count: of all; rank: of this one, counted from 0. The first alone writes and prints. backend: by which they have
    joined."""

    rank: int = 0
    count: int = 1
    backend: Backend | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, images: int) -> slice:
        """This one's of a batch. Raises ReproError where it is not the same for all, or holds less than two."""
        size, rest = divmod(images, self.count)
        if rest or (size < 2 and self.count > 1):
            raise ReproError(
                f"a batch of {images} images does not part into {self.count} equal shares of two or more, one for each "
                "process; give another --batch-size, or another number of processes"
            )
        return slice(self.rank * size, (self.rank + 1) * size)

    def joined(self, backend: Backend) -> Processes:
        """Raises ReproError where the others are not there."""
        try:
            if self.count > 1:
                backend.join()
        except Exception as error:  # whatever a framework raises
            raise ReproError(
                f"this is process {self.rank} of {self.count}, and cannot join the others ({first_line(error)}); start "
                "all by the framework's launcher, or unset its environment variables for one process alone"
            ) from error
        return replace(self, backend=backend)

    def total(self, meter: Meter) -> Meter:
        """What all have counted; all must ask."""
        if self.count == 1:
            return meter
        import numpy as np  # not before --help

        assert self.backend, "they have not joined"
        images, loss, first, among_five = self.backend.totals(np.array(astuple(meter), np.float64)).tolist()
        return replace(meter, images=int(images), total_loss=loss, first=int(first), among_five=int(among_five))


ALONE = Processes()


def find(backend: str) -> Processes:
    """Those that this one is of. Raises ReproError for a launcher of another framework."""
    for name, launcher in LAUNCHERS.items():
        count, rank = os.environ.get(launcher.count, "1"), os.environ.get(launcher.rank, "0")
        if count == "1":
            continue
        told = f"{launcher.count}={count} {launcher.rank}={rank}"
        if not (count.isdecimal() and rank.isdecimal() and int(rank) < int(count)):
            raise ReproError(f"{told} is no process of several; unset them, or start with {launcher.name}")
        if name != backend:
            own = f"{LAUNCHERS[backend].name}, or " if backend in LAUNCHERS else ""
            raise ReproError(
                f"{launcher.name} has started {count} processes ({told}), which --backend {backend} cannot join; "
                f"start it with {own}as one process"
            )
        return Processes(int(rank), int(count))
    return ALONE
