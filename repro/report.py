"""Evaluate the best weights of a run in detail."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("report"),
        description="Predict the validation images of a run with its best weights, and write to RUN/report: precision, "
        "recall and F1 of every class (classes.txt, classes.json), the confusion matrix (confusion.png), the most "
        "confident mistakes (mistakes.png) and all probabilities (probabilities.csv).",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that repro.run has written")
    parser.add_argument(
        "--backend", metavar="NAME",
        help="backend that computes (default: the one that the network was trained on, or else any installed one)",
    )  # fmt: skip
    parser.add_argument("--data", metavar="DATA", help="new location of the run's data set, if it has been moved")
    arguments = parser.parse_args(argv)

    from repro.evaluation.run_report import write_report

    report = write_report(arguments.run, arguments.backend, arguments.data)
    print(report.class_table)
    print(report.summary)
    return 0


if __name__ == "__main__":
    run_command(main)
