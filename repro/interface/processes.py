"""Data-parallel training in several processes, started by the framework's own launcher."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repro.errors import ReproError, first_line

if TYPE_CHECKING:
    import numpy as np

    from repro.interface.contract import Backend


@dataclass(frozen=True)
class Launcher:
    """A framework's launcher, and the environment variables in which it gives world size, rank and rank 0's address."""

    name: str
    world_size_variable: str
    rank_variable: str
    address_variable: str  # in rank 0


LAUNCHERS = {
    "torch": Launcher("torchrun", "WORLD_SIZE", "RANK", "MASTER_ADDR"),
    "paddle": Launcher(
        "paddle.distributed.launch", "PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID", "PADDLE_CURRENT_ENDPOINT"
    ),
    "mindspore": Launcher("msrun", "MS_WORKER_NUM", "RANK_ID", "MS_SCHED_HOST"),
}


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together. Only rank 0, the main process, writes files and prints.

    backend: the backend whose collectives join the processes; None until they are initialised, and for one process.
    """

    rank: int = 0
    world_size: int = 1
    backend: Backend | None = None

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that writes files and prints."""
        return self.rank == 0

    def local_slice(self, batch_size: int, parts: int = 1) -> slice:
        """The slice of the global batch that this rank computes, in one or several parts.

        Raises ReproError where the batch cannot be split evenly, or leaves fewer than two images for a part.
        """
        size, remainder = divmod(batch_size, self.world_size * parts)
        if remainder or (size < 2 and self.world_size * parts > 1):
            in_parts = f" in {parts} parts" if parts > 1 else ""
            raise ReproError(
                f"batch size {batch_size} cannot be split evenly over {self.world_size} "
                f"process{'es' * (self.world_size > 1)}{in_parts} (at least 2 images each); change --batch-size or the "
                f"number of {'parts' if parts > 1 else 'processes'}"
            )
        return slice(self.rank * size * parts, (self.rank + 1) * size * parts)

    def initialised(self, backend: Backend) -> ProcessGroup:
        """Return the same group, able to communicate. Raises ReproError where the other ranks cannot be reached."""
        try:
            if self.world_size > 1:
                backend.init_distributed()
        except Exception as error:  # whatever a framework raises
            raise ReproError(
                f"rank {self.rank} of {self.world_size} cannot reach the other processes ({first_line(error)}); start "
                "all of them with the framework's launcher, or unset its environment variables to train in one process"
            ) from error
        return replace(self, backend=backend)

    def all_reduce_sum(self, numbers: np.ndarray) -> np.ndarray:
        """Return the sum of every rank's float64 vector (K,). Collective: every rank must call it."""
        if self.world_size == 1:
            return numbers
        assert self.backend, "initialised() comes first"
        return self.backend.all_reduce_sum(numbers)


SINGLE_PROCESS = ProcessGroup()


def is_restarted() -> bool:
    """Return whether torchrun has started this process in place of one that has ended, as --max-restarts lets it do."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def main_address() -> str:
    """Return the name or the address of this machine for the others, in the main process."""
    for launcher in LAUNCHERS.values():
        if os.environ.get(launcher.world_size_variable, "1") != "1":
            address = os.environ.get(launcher.address_variable, "")
            return address.rpartition(":")[0] if address.count(":") == 1 else address
    return ""


def process_group(backend: str) -> ProcessGroup:
    """The group that a launcher has put this process into, read from the environment.

    Raises ReproError for the launcher of another framework, and for a rank outside of the world size.
    """
    for name, launcher in LAUNCHERS.items():
        world_size = os.environ.get(launcher.world_size_variable, "1")
        rank = os.environ.get(launcher.rank_variable, "0")
        if world_size == "1":
            continue
        variables = f"{launcher.world_size_variable}={world_size} {launcher.rank_variable}={rank}"
        if not (world_size.isdecimal() and rank.isdecimal() and int(rank) < int(world_size)):
            raise ReproError(f"{variables} is not a valid rank and world size; unset them, or use {launcher.name}")
        if name != backend:
            alternative = f"{LAUNCHERS[backend].name}, or " if backend in LAUNCHERS else ""
            raise ReproError(
                f"{launcher.name} started {world_size} processes ({variables}), but --backend is {backend}; "
                f"start it with {alternative}as a single process"
            )
        return ProcessGroup(int(rank), int(world_size))
    return SINGLE_PROCESS
