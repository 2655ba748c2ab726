"""Compare the corpus, and print its table: `python -m parity_tests.corpus pairs` or `mistakes`."""

from __future__ import annotations

import argparse
import importlib
import sys

PARTS = ("pairs", "mistakes")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 if every row came out as expected."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.corpus", description=__doc__)
    parser.add_argument("part", choices=PARTS, help="models of packages, or planted mistakes")
    parser.add_argument("--core", action="store_true", help="only the few rows that run in the tests")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with TEXT in their name")
    arguments = parser.parse_args(argv)
    part = importlib.import_module(f"parity_tests.corpus.{arguments.part}")
    return int(part.run(core=arguments.core, text=arguments.only))


if __name__ == "__main__":
    sys.exit(main())
