"""Lists the variants, or the layers of one. Imports no framework: everything is worked out from the specs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from repro.cli import command_name, run_command
from repro.training import recipe as recipes

if TYPE_CHECKING:
    from repro.specs import Spec


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("models"),
        description="List every variant with its parameters, MACs, input size and source; or every layer of NAME with "
        "its output, parameters and MACs.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a variant")
    parser.add_argument("--image-size", metavar="N", help="side in pixels (default: what NAME was published at)")
    parser.add_argument("--num-classes", type=int, default=1000, metavar="N", help="of NAME (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    arguments = parser.parse_args(argv)

    if arguments.name is None and (arguments.image_size or arguments.num_classes != 1000):
        parser.error("--image-size and --num-classes are for the layers of NAME")

    from repro.specs import find_spec

    if arguments.name is None:
        rows, show = variants(), show_variants
    else:
        size = recipes.convert({"image_size": arguments.image_size}, "")["image_size"]
        rows, show = layers(find_spec(arguments.name, num_classes=arguments.num_classes), size), show_layers
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)
    return 0


def variants() -> list[dict[str, Any]]:
    from repro.specs import CATALOGUE, find_spec

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


def show_variants(rows: list[dict[str, Any]]) -> None:
    print(f"{'name':32} {'family':14} {'params':>11} {'MACs':>9} {'input':>5}  source")
    for row in rows:
        print(
            f"{row['name']:32} {row['family']:14} {row['params']:11,} {row['macs'] / 1e6:8,.1f}M {row['input_size']:5}"
            f"  {row['source']}"
        )


def layers(spec: Spec, size: int | None = None) -> list[dict[str, Any]]:
    """Everything that has trained parameters, in the order of running, for one square image of `size` pixels.

    Raises ReproError for a size that the network cannot take.
    """
    trace = spec.trace(size)
    operators = {f"{operator.name}.weight": operator for operator in trace.operators}
    rows = []
    for name, weight in trace.weights.items():
        if name in operators:
            each = operators[name]
            rows.append(
                {"name": each.name, "kind": each.kind, "output": each.output, "params": each.params, "macs": each.macs}
            )
        elif weight.kind == "layer_scale":
            rows.append({"name": name, "kind": "scale", "output": weight.shape, "params": weight.size, "macs": 0})
    return rows


def show_layers(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["name"]) for row in rows)
    print(f"{'layer':{width}}  {'kind':6}  {'output':>14}  {'params':>11}  {'MACs':>14}")
    for row in rows:
        output = "x".join(map(str, row["output"]))
        print(f"{row['name']:{width}}  {row['kind']:6}  {output:>14}  {row['params']:11,}  {row['macs']:14,}")
    params, macs = (sum(row[key] for row in rows) for key in ("params", "macs"))
    print(f"{f'{len(rows)} layers':{width}}  {'':6}  {'':14}  {params:11,}  {macs:14,}")


if __name__ == "__main__":
    run_command(main)
