"""The output of `repro.parity`: a table of verdicts, one line per variant, with a progress bar below it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from tqdm import tqdm

from repro.parity.modes import MODES
from repro.parity.record import Record, worst_record
from repro.specs import find_spec

# Relative duration of a rung. A rung that is missing here counts as the longest
RUNG_COSTS = {0: 1, 1: 2, 2: 1, 3: 3, 4: 4, 5: 4, 6: 11, 7: 25, 8: 3}
MAX_TABLE_WIDTH = 98  # characters; a wider table abbreviates the titles of its rungs
LEGEND = "= bit-identical   22 error is 22 % of the tolerance   XX diverges"


class VerdictTable:
    """A table with a row per variant and a column per rung; each cell has a mark for every backend."""

    def __init__(self, models: Sequence[str], rungs: Mapping[int, str], backends: Sequence[str]):
        """rungs: number -> name."""
        self.rungs, self.backends = rungs, backends
        modes = [name for name in backends if name in MODES]
        self.marks = {name: f"m{modes.index(name) + 1}" if name in modes else _abbreviation(name) for name in backends}
        self.name_width = max(map(len, models))
        self.titles = [f"{number} {name}" for number, name in rungs.items()]
        marks_width = 3 * len(backends) - 1
        self.cell_width = max(marks_width, *map(len, self.titles))
        if self.name_width + (self.cell_width + 1) * len(rungs) > MAX_TABLE_WIDTH:
            self.cell_width = max(marks_width, 8)

    @property
    def heading(self) -> str:
        """Two lines: the rungs, and under each of them the first two letters of every backend, or a mode's number."""
        width = self.cell_width
        titles = [title if len(title) <= width else f"{title[: width - 1]}." for title in self.titles]
        letters = " ".join(f"{mark:2}" for mark in self.marks.values())
        return f"{self._row('', titles)}\n{self._row('', [letters] * len(titles))}"

    def line(self, model: str, records: Iterable[Record]) -> str:
        """The row of a variant. A cell shows the worst of several seeds, and is empty without a record."""
        records_of_cells: dict[tuple[int, str], list[Record]] = {}
        for record in records:
            records_of_cells.setdefault((record.rung, record.backend), []).append(record)
        cells = []
        for rung in self.rungs:
            of_backends = [records_of_cells.get((rung, backend)) for backend in self.backends]
            cells.append(" ".join(f"{verdict_mark(worst_record(r)) if r else '':>2}" for r in of_backends))
        return self._row(model, cells)

    def _row(self, name: str, cells: Iterable[str]) -> str:
        return f"{name:{self.name_width}}  {'|'.join(f'{cell:{self.cell_width}}' for cell in cells)}".rstrip()


def _abbreviation(backend: str) -> str:
    """Two letters that stand for a backend, or a letter and a number for torch#2."""
    name, _, number = backend.partition("#")
    return f"{name[0]}{number}" if number else name[:2]


def verdict_mark(record: Record) -> str:
    """A verdict in at most two characters, as LEGEND explains; rounding is shown as 99 % at most."""
    if record.verdict == "rounding" and record.error_ratio is not None:
        return str(min(int(100 * record.error_ratio + 0.5), 99))
    return {"diverges": "XX", "equal": "=", "rounding": "=", "constant": "~", "unanswerable": "??"}[record.verdict]


class ProgressBar(tqdm):
    """A line on stderr, if that is a terminal: the variants that are done, and an estimate of the time left.

    It counts in units of estimate_cost, which gives a steadier estimate than counting comparisons.
    """

    def __init__(self, variants: int, total_cost: float):
        layout = "{desc}: {percentage:3.0f} %, {elapsed} elapsed, about {remaining} left"
        super().__init__(
            total=total_cost, bar_format=layout, smoothing=0, leave=False, disable=None, file=sys.stderr,
            dynamic_ncols=True,
        )  # fmt: skip
        self.variants = variants

    def begin_variant(self, done: int, model: str) -> None:
        """Show that a variant is being compared after `done` others."""
        self.set_description_str(f"{done}/{self.variants} done, comparing {model}")


def estimate_cost(model: str, rung: int) -> float:
    """An estimate of the duration of a rung, relative to other variants and rungs."""
    return RUNG_COSTS.get(rung, max(RUNG_COSTS.values())) * _model_cost(model)


@cache
def _model_cost(model: str) -> float:
    """Calling an operator takes a fixed time, and so does sending a weight to the workers."""
    spec = find_spec(model)
    return len(spec.trace().operators) + spec.params / 40_000


def format_duration(seconds: float) -> str:
    """Seconds as "3 min 5 s"."""
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes} min {remainder} s" if minutes else f"{remainder} s"
