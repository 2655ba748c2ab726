"""Write table.json anew from the installed packages: `python -m repro.published.make_table`."""

from __future__ import annotations

import argparse
import json
import subprocess

from repro.cli import run_command
from repro.errors import ReproError
from repro.files import write_text
from repro.published.entry import PUBLISHERS
from repro.published.lookup import TABLE, ask_package, models_of
from repro.workers.client import interpreter

CLASSES = "import json, torchvision; print(json.dumps(torchvision.models.ResNet50_Weights.DEFAULT.meta['categories']))"


def main(argv: list[str] | None = None) -> int:
    """Ask every publisher's package, write the table, and return the exit code."""
    argparse.ArgumentParser(
        prog="python -m repro.published.make_table",
        description="Write the table of published weights anew, by what the installed packages of all publishers list.",
    ).parse_args(argv)
    rows = []
    for publisher in PUBLISHERS:
        entries = ask_package(publisher, models_of(publisher).items())
        if entries is None:
            raise ReproError(f"the package of {publisher} is missing or failed; install it, then try again")
        print(f"{publisher}: {len(entries)} weight files")
        rows += [entry.to_json() for entry in entries]
    done = subprocess.run([interpreter("torch"), "-c", CLASSES], capture_output=True, text=True, check=True)
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    write_text(TABLE, f'{{"weights": [\n{lines}\n],\n"imagenet_classes": {done.stdout.strip()}}}\n')
    return 0


if __name__ == "__main__":
    run_command(main)
