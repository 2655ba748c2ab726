"""The records as a page of one file that needs nothing else: page.html with the data put into it."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from repro.parity.record import Record, worst

TEMPLATE = Path(__file__).with_name("page.html")


def page(
    records: Sequence[Record], rungs: Mapping[int, str], versions: Mapping[str, str], families: Mapping[str, str],
    summary: str, command: str,
) -> str:  # fmt: skip
    """rungs: number -> name; versions: of each backend's framework; families: of each variant; summary: totals and
    time. Of several seeds, a cell shows the worst."""
    cells: dict[str, dict[tuple[int, str], list[Record]]] = {model: {} for model in families}
    for record in records:
        cells[record.model].setdefault((record.rung, record.backend), []).append(record)
    variants = [
        {"name": model, "family": families[model]} | _variant({place: worst(found) for place, found in own.items()})
        for model, own in cells.items()
    ]
    data = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "summary": summary,
        "command": command,
        "backends": list(versions.items()),
        "rungs": list(rungs.items()),
        "variants": variants,
    }
    # in a script element, "<" alone could end it
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("PARITY_DATA", text)


def _variant(found: Mapping[tuple[int, str], Record]) -> dict[str, Any]:
    """What the table shows, and the profiles, compressed: those of the whole zoo have millions of numbers. What was
    compared, and what is allowed there, is the same for most backends: it is given once, and then by how far on it is
    in that list."""
    points: dict[tuple[str, float | None], int] = {}
    shown, profiles = {}, {}
    for (rung, backend), record in found.items():
        numbers = [_number(record.share, 4), _number(record.max_error), _number(record.tolerance)]
        shown[f"{rung}/{backend}"] = [record.verdict, *numbers, record.sentence]
        places = [points.setdefault((where, _number(allowed)), len(points)) for where, _, allowed in record.profile]
        steps = [place - before for before, place in zip([0, *places], places, strict=False)]
        profiles[f"{rung}/{backend}"] = [steps, [_number(error) for _, error, _ in record.profile]]
    text = json.dumps({"points": list(points), "profiles": profiles}, separators=(",", ":"))
    return {"cells": shown, "packed": base64.b64encode(zlib.compress(text.encode(), 9)).decode()}


def _number(value: Any, digits: int = 3) -> float | None:
    """As many digits as a picture shows; None where there is no number."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None
