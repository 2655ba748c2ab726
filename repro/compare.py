"""Compare training runs with each other."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command
from repro.errors import ReproError


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("compare"),
        description="Compare two or more training runs: print their results, the recipe values in which they differ, "
        "and the first epoch in which the training loss of each run diverges from that of the first run.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders that repro.run has written")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="also draw the curves of loss and accuracy of all runs"
    )
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        parser.error("give at least two run folders")
    if arguments.out and arguments.out.suffix != ".png":
        raise ReproError(f"--out {arguments.out}: the curves are written as PNG; give a file name that ends in .png")

    from repro.evaluation import run_comparison
    from repro.plots.curves import draw_runs

    runs = run_comparison.read_runs(arguments.runs)
    if arguments.out:
        draw_runs([(name, run.progress.history) for name, run in runs], arguments.out)
    sections = run_comparison.result_table(runs), run_comparison.recipe_table(runs)
    for section in sections:
        print("\n".join(section), end="\n\n")
    print("\n".join(run_comparison.divergence_lines(runs)))
    return 0


if __name__ == "__main__":
    run_command(main)
