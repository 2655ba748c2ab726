"""The page of `repro.parity --html`: page.html with the data inserted, one file that needs nothing else."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from repro.parity.record import Record, worst_record

TEMPLATE = Path(__file__).with_name("page.html")


def render_page(
    records: Sequence[Record], rungs: Mapping[int, str], versions: Mapping[str, str], families: Mapping[str, str],
    summary: str, command: str,
) -> str:  # fmt: skip
    """Return the page as HTML. A cell shows the worst of several seeds.

    rungs: number -> name; versions: backend -> version of its framework; families: variant -> family; summary: the
    totals; command: the command that made the records.
    """
    records_of: dict[str, dict[tuple[int, str], list[Record]]] = {model: {} for model in families}
    for record in records:
        records_of[record.model].setdefault((record.rung, record.backend), []).append(record)
    variants = [
        {"name": model, "family": families[model]}
        | _variant_data({cell: worst_record(of_seeds) for cell, of_seeds in cells.items()})
        for model, cells in records_of.items()
    ]
    data = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "summary": summary,
        "command": command,
        "backends": list(versions.items()),
        "rungs": list(rungs.items()),
        "variants": variants,
    }
    # inside a script element, "<" could end it
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("PARITY_DATA", text)


def _variant_data(records: Mapping[tuple[int, str], Record]) -> dict[str, Any]:
    """The cells of a variant, by "RUNG/BACKEND", and its profiles, compressed.

    The profiles of the whole catalogue have millions of numbers. The name and the tolerance of a point are the same
    for most backends, so each such pair is stored once, and profiles refer to it by the distance from the pair before.
    """
    points: dict[tuple[str, float | None], int] = {}
    cells, profiles = {}, {}
    for (rung, backend), record in records.items():
        numbers = [_round(record.error_ratio, 4), _round(record.max_error), _round(record.tolerance)]
        cells[f"{rung}/{backend}"] = [record.verdict, *numbers, record.sentence]
        indices = [points.setdefault((where, _round(tolerance)), len(points)) for where, _, tolerance in record.profile]
        steps = [index - previous for previous, index in zip([0, *indices], indices, strict=False)]
        profiles[f"{rung}/{backend}"] = [steps, [_round(error) for _, error, _ in record.profile]]
    text = json.dumps({"points": list(points), "profiles": profiles}, separators=(",", ":"))
    return {"cells": cells, "packed": base64.b64encode(zlib.compress(text.encode(), 9)).decode()}


def _round(value: float | None, digits: int = 3) -> float | None:
    """The number with as many significant digits as the page shows; None where it is not finite."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None
