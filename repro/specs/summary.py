"""Tables of variants and of layers, with parameters and MACs, all worked out from the specs."""

from __future__ import annotations

from typing import Any

from repro.specs import CATALOGUE, Spec, find_spec

Row = dict[str, Any]


def variant_rows() -> list[Row]:
    """Return one row per variant of the catalogue: name, family, params, macs, input_size (pixels) and source."""
    return [
        {
            "name": spec.name,
            "family": spec.family,
            "params": spec.params,
            "macs": spec.macs,
            "input_size": spec.input_size,
            "source": spec.source,
        }
        for spec in map(find_spec, CATALOGUE)
    ]


def variant_lines(rows: list[Row]) -> list[str]:
    """Return the lines of a table of variants."""
    return [
        f"{'name':32} {'family':14} {'params':>11} {'MACs':>9} {'input':>5}  source",
        *(
            f"{row['name']:32} {row['family']:14} {row['params']:11,} {row['macs'] / 1e6:8,.1f}M {row['input_size']:5}"
            f"  {row['source']}"
            for row in rows
        ),
    ]


def layer_rows(spec: Spec, size: int | None = None) -> list[Row]:
    """Return one row per layer with trained parameters, in the order of execution: name, kind, output, params, macs.

    Shapes and MACs are those for one square image of `size` pixels (None: the input size of the spec).
    Raises ReproError for a size that the network cannot take.
    """
    trace = spec.trace(size)
    operators = {f"{operator.name}.weight": operator for operator in trace.operators}
    rows = []
    for name, weight in trace.weights.items():
        if operator := operators.get(name):
            rows.append({
                "name": operator.name, "kind": operator.kind, "output": operator.output, "params": operator.params,
                "macs": operator.macs,
            })  # fmt: skip
        elif weight.kind == "layer_scale":
            rows.append({"name": name, "kind": "scale", "output": weight.shape, "params": weight.size, "macs": 0})
    return rows


def layer_lines(rows: list[Row]) -> list[str]:
    """Return the lines of a table of layers; the last line is the total."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'layer':{width}}  {'kind':6}  {'output':>14}  {'params':>11}  {'MACs':>14}"]
    for row in rows:
        output = "x".join(map(str, row["output"]))
        lines.append(f"{row['name']:{width}}  {row['kind']:6}  {output:>14}  {row['params']:11,}  {row['macs']:14,}")
    params, macs = (sum(row[key] for row in rows) for key in ("params", "macs"))
    lines.append(f"{f'{len(rows)} layers':{width}}  {'':6}  {'':14}  {params:11,}  {macs:14,}")
    return lines
