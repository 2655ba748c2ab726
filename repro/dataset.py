"""Inspect a data set before training, and split one into training and validation images."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import add_command, command_name, run_command


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("dataset"),
        description="Inspect a data set, or split it into training and validation images.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = add_command(commands, "stats", "print mean and std of the training pixels, as lines for a recipe")
    add_data(command)
    command.add_argument(
        "--image-size", type=int, metavar="N", help="squash the images to N x N pixels first (default: no resizing)"
    )
    command.set_defaults(run=stats)

    command = add_command(commands, "split", "copy a folder of CLASS/IMAGE to OUT/train and OUT/val")
    command.add_argument("source", type=Path, metavar="SRC", help="folder of CLASS/IMAGE to copy")
    command.add_argument("out", type=Path, metavar="OUT", help="new or empty folder to copy to")
    command.add_argument(
        "--fraction", type=float, default=0.3, metavar="X", help="fraction of each class for validation (default: 0.3)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the selection (default: 0)")
    command.add_argument("--link", action="store_true", help="make symbolic links instead of copies")
    command.set_defaults(run=split)

    command = add_command(commands, "grid", "draw a sheet of images with their classes")
    add_data(command)
    command.add_argument("out", type=Path, metavar="OUT.png", help="picture to write")
    command.add_argument("--rows", type=int, default=4, metavar="N", help="rows of images (default: 4)")
    command.add_argument("--columns", type=int, default=8, metavar="N", help="columns of images (default: 8)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the selection (default: 0)")
    command.set_defaults(run=grid)

    command = add_command(commands, "check", "list every image that cannot be read; exit with 1 if there are any")
    add_data(command)
    command.set_defaults(run=check)

    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the data set that a command reads."""
    command.add_argument("data", metavar="DATA", help="data set, as --data of repro.run")


def stats(arguments: argparse.Namespace) -> int:
    """Print the mean and standard deviation of each channel over the training images."""
    from repro.data import open_dataset
    from repro.data.stats import statistics
    from repro.training import console

    dataset = open_dataset(arguments.data)
    with console.bar("counting pixels", len(dataset.train)) as bar:
        values = statistics(dataset.train, arguments.image_size, lambda done, total: bar.update())
    print(f"# {dataset.name}: {len(dataset.train):,} training images")
    for name, channels in zip(("mean", "std"), values, strict=True):
        print(f"{name}: [{', '.join(f'{value:.4f}' for value in channels)}]")
    return 0


def split(arguments: argparse.Namespace) -> int:
    """Write a copy of the data set, split into folders train and val."""
    from repro.data.split import write_split

    source, out = arguments.source, arguments.out
    dataset = write_split(source, out, arguments.fraction, arguments.seed, link=arguments.link)
    if dataset.ignored:
        print(f"not copied: {'; '.join(dataset.ignored)}")
    print(f"{out}: {len(dataset.train):,} images in train, {len(dataset.val):,} in val, {len(dataset.classes)} classes")
    return 0


def grid(arguments: argparse.Namespace) -> int:
    """Draw a sheet of images with their classes."""
    from repro.data import open_dataset
    from repro.data.sheet import draw_sheet

    draw_sheet(open_dataset(arguments.data), arguments.out, arguments.rows, arguments.columns, arguments.seed)
    print(arguments.out)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print the images that cannot be decoded; the exit code is 1 if there are any."""
    from repro.data import ImageCheck, open_dataset
    from repro.training import console

    dataset = open_dataset(arguments.data)
    total = len(dataset.train) + len(dataset.val)
    images = ImageCheck(dataset, fresh=True)
    with console.bar("checking images", images.images) as bar:
        broken = images.unreadable(lambda done, total: bar.update())
    for line in broken:
        print(line)
    if dataset.ignored:
        print(f"ignored: {'; '.join(dataset.ignored)}")
    print(f"{dataset.name}: {total:,} images in {len(dataset.classes)} classes, {len(broken):,} cannot be read")
    return 1 if broken else 0


if __name__ == "__main__":
    run_command(main)
