"""Measure time and memory of repro.port for one model, in every pair of formats."""

from __future__ import annotations

import argparse

from repro.cli import command_name, run_command


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("bench"),
        description="Convert the weights of a model from each file format to each other one with repro.port, and print "
        "time and memory next to the time of cp. Needs Linux.",
    )
    parser.add_argument(
        "--model", default="rdnet_large", metavar="NAME", help="model variant, see repro.models (default: rdnet_large)"
    )
    arguments = parser.parse_args(argv)

    from repro.weights.benchmark import measure_conversions

    for number, result in enumerate(measure_conversions(arguments.model, print)):
        if number == 0:
            print(f"{'from':14}{'to':14}{'seconds':>9}{'times cp':>10}{'MiB':>8}")
        ratio = result.seconds / result.copy_seconds
        print(
            f"{result.source:14}{result.destination:14}{result.seconds:9.2f}{ratio:10.1f}{result.memory:8,.0f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    run_command(main)
