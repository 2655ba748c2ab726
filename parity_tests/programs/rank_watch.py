"""C++'s end of a process, as an engine calls it when nobody catches its exception: `rank_watch PID` watches PID."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np

from repro.interface.processes import ProcessGroup
from repro.training import rank_watch
from repro.training.heartbeats import Position


class TwoRanks(ProcessGroup):
    """Two processes that need not exchange anything."""

    def all_reduce_sum(self, numbers: np.ndarray) -> np.ndarray:
        """Return what this process has."""
        return numbers


def terminate(process: int) -> None:
    """Call C++'s terminate while this process is watched as rank 1."""
    other = rank_watch.OtherRank(1, process, rank_watch.process_state(process)[1])
    rank_watch.find_other_ranks = lambda processes: [other]
    rank_watch.join_heartbeats = lambda *arguments: None
    rank_watch.INTERVAL = 60  # the thread looks too late
    with rank_watch.watching_ranks(TwoRanks(0, 2), Path("run"), Position(), 20):
        ctypes.CDLL("libstdc++.so.6")._ZSt9terminatev()


if __name__ == "__main__":
    terminate(int(sys.argv[1]))
