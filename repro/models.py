"""Lists the variants. Imports no framework: everything is worked out from the specs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from repro.cli import run_command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="repro.models", description="List every variant with its parameters, MACs, input size and source."
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    arguments = parser.parse_args(argv)

    from repro.specs import CATALOGUE, find_spec

    rows: list[dict[str, Any]] = [
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
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'name':32} {'family':14} {'params':>11} {'MACs':>9} {'input':>5}  source")
    for row in rows:
        print(
            f"{row['name']:32} {row['family']:14} {row['params']:11,} {row['macs'] / 1e6:8,.1f}M {row['input_size']:5}"
            f"  {row['source']}"
        )
    return 0


if __name__ == "__main__":
    run_command(main)
