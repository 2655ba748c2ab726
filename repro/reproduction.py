"""Write REPRODUCTION.md, the results of the articles' recipes."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from repro.cli import command_name, run_command
from repro.errors import ReproError, unknown
from repro.evaluation.articles import read_articles


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    articles = read_articles()
    parser = argparse.ArgumentParser(
        prog=command_name("reproduction"),
        description="Store the results of runs of the articles' recipes, and write the page about all stored runs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="*", metavar="NAME=RUN",
        help=f"finished run folder to store, and the name of its recipe: {', '.join(articles)}",
    )  # fmt: skip
    parser.add_argument(
        "--kept", type=Path, metavar="DIR", default=Path("docs/runs"),
        help="folder of the stored runs (default: docs/runs)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE.md", default=Path("REPRODUCTION.md"),
        help="page to write (default: REPRODUCTION.md)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    runs = [_named_run(text, articles) for text in arguments.runs]

    from repro.evaluation.reproduction_page import store_run, write_page

    for name, path in runs:
        store_run(name, path, arguments.kept)
    if not arguments.kept.is_dir():
        raise ReproError(f"no such folder: {arguments.kept}; run this in the folder of repro, or give --kept")
    count = write_page(arguments.kept, arguments.out)
    print(f"{arguments.out}: {len(runs)} runs added, {count} runs in all")
    return 0


def _named_run(text: str, names: Collection[str]) -> tuple[str, Path]:
    """Return the name of the recipe and the run folder in NAME=RUN. Raises ReproError if there is no such run."""
    name, _, path = text.partition("=")
    if not path:
        raise ReproError(f"{text!r} is not NAME=RUN, such as shufflenet_flowers=runs/flowers")
    if name not in names:
        raise unknown("recipe", name, names)
    if not (Path(path) / "summary.json").is_file():
        raise ReproError(f"{path} has no summary.json; give the folder of a finished run")
    return name, Path(path)


if __name__ == "__main__":
    run_command(main)
