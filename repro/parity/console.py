"""What the command shows: a line for each variant with a mark for each backend, and beneath it how far it has come."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from tqdm import tqdm

from repro.parity.record import Record, worst
from repro.specs import find_spec

# About how long a rung takes beside others. A rung that is not here takes as long as the longest
EFFORT = {0: 1, 1: 2, 2: 1, 3: 3, 4: 4, 5: 4, 6: 11, 7: 25}
WIDE = 98  # columns of a terminal: what is wider has its titles cut
LEGEND = "= equal, 22 off by 22 % of the rounding that is allowed there, XX DIVERGES"


class Matrix:
    """rungs: number -> name. A cell has a mark of two characters for each backend."""

    def __init__(self, models: Sequence[str], rungs: Mapping[int, str], backends: Sequence[str]):
        self.rungs, self.backends = rungs, backends
        self.name_width = max(map(len, models))
        self.titles = [f"{number} {name}" for number, name in rungs.items()]
        self.width = max(3 * len(backends) - 1, *map(len, self.titles))
        if self.name_width + (self.width + 1) * len(rungs) > WIDE:
            self.width = max(3 * len(backends) - 1, 8)

    @property
    def heading(self) -> str:
        """The rungs, and under each the backends by their first two letters."""
        short = [title if len(title) <= self.width else f"{title[: self.width - 1]}." for title in self.titles]
        letters = " ".join(f"{name[:2]:2}" for name in self.backends)
        return f"{self._row('', short)}\n{self._row('', [letters] * len(short))}"

    def line(self, model: str, records: Iterable[Record]) -> str:
        """The records of a variant; of several seeds the worst."""
        found = list(records)
        cells = []
        for rung in self.rungs:
            own = [[r for r in found if (r.rung, r.backend) == (rung, backend)] for backend in self.backends]
            cells.append(" ".join(f"{mark(worst(of_one)) if of_one else '':>2}" for of_one in own))
        return self._row(model, cells)

    def _row(self, name: str, cells: Iterable[str]) -> str:
        return f"{name:{self.name_width}}  {'|'.join(f'{cell:{self.width}}' for cell in cells)}".rstrip()


def mark(record: Record) -> str:
    """A verdict in two characters; rounding is at most 99 % of what is allowed."""
    if record.verdict == "rounding" and record.share is not None:
        return str(min(int(100 * record.share + 0.5), 99))
    return "XX" if record.diverges else "="


class Progress(tqdm):
    """A line on stderr, where that is a terminal: how many variants are done, and about how long the rest takes.

    It counts in units of `cost`, over which tqdm's estimate is steadier than over comparisons.
    """

    def __init__(self, variants: int, total: float):
        layout = "{desc}: {percentage:3.0f} %, {elapsed} gone, about {remaining} left"
        super().__init__(
            total=total, bar_format=layout, smoothing=0, leave=False, disable=None, file=sys.stderr, dynamic_ncols=True
        )
        self.variants = variants

    def begin(self, number: int, model: str) -> None:
        """number: of variants that are done."""
        self.set_description_str(f"{number}/{self.variants} done, now {model}")


def cost(model: str, rung: int) -> float:
    """About how long a rung takes, in no unit."""
    return EFFORT.get(rung, max(EFFORT.values())) * _size(model)


@cache
def _size(model: str) -> float:
    """Every operator has a price to be called, and every weight one to be handed to the workers."""
    spec = find_spec(model)
    return len(spec.trace().operators) + spec.params / 40_000


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
