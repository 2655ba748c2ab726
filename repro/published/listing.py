"""A table of published weights: what repro.models --pretrained prints."""

from __future__ import annotations

from typing import Any

from repro.errors import unknown
from repro.published.lookup import table
from repro.specs import CATALOGUE

Row = dict[str, Any]


def published_rows(variant: str | None = None) -> list[Row]:
    """Return one row per published weight file of a variant or, by default, of all variants.

    Values that the publisher does not give are None: size (bytes), top1 (on ImageNet-1k, in [0, 1]), image_size,
    crop_fraction, interpolation, license. cached: the path of the downloaded file.
    Raises ReproError for an unknown variant.
    """
    if variant is not None and variant not in CATALOGUE:
        raise unknown("model", variant, CATALOGUE)
    rows = []
    for entry in table():
        if variant in (None, entry.variant):
            path = entry.cached
            rows.append({
                "variant": entry.variant, "reference": entry.reference,
                "size": path.stat().st_size if path else entry.size, "top1": entry.top1,
                **{name: entry.preprocessing.get(name) for name in ("image_size", "crop_fraction", "interpolation")},
                "license": entry.license or None, "cached": str(path) if path else None,
            })  # fmt: skip
    return rows


def published_lines(rows: list[Row]) -> list[str]:
    """Return the lines of a table of published weights, with "-" for unknown values. The last line counts them."""
    variant_width, reference_width = (
        max([len(name), *(len(row[name]) for row in rows)]) for name in ("variant", "reference")
    )
    header = f"{'variant':{variant_width}}  {'reference':{reference_width}}"
    lines = [f"{header}  {'MB':>6}  {'top-1':>6}  {'input':>5}  cached  license"]
    for row in rows:
        size = "-" if row["size"] is None else f"{row['size'] / 1e6:.1f}"
        top1 = "-" if row["top1"] is None else f"{row['top1']:.1%}"
        lines.append(
            f"{row['variant']:{variant_width}}  {row['reference']:{reference_width}}  {size:>6}  {top1:>6}  "
            f"{row['image_size'] or '-':>5}  {'yes' if row['cached'] else 'no':6}  {row['license'] or '-'}"
        )
    cached = sum(row["cached"] is not None for row in rows)
    return [*lines, f"{len(rows)} weight files, {cached} cached"]
