"""Compare the speed with peers: training steps, data, the training loop, the start, and conversions of weights."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from repro.choices import DECODINGS, DEVICES, PRECISIONS
from repro.cli import add_command, command_name, run_command
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.benchmarks.measurement import SpeedComparison


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("bench"),
        description="Measure this project (ours) and its peers in turn, and print for each the median, half the "
        "interquartile range, and how many times as fast ours is (the median over the rounds). Nothing else should "
        "compute meanwhile.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = add_command(
        commands, "step", "compare evaluation and training steps with those of the framework's own networks"
    )
    add_backend(command)
    command.add_argument(
        "--models", nargs="+", metavar="NAME", help="variants to measure (default: all that the framework has, too)"
    )
    add_sizes(command, batch_size=8)
    command.add_argument("--device", choices=DEVICES, default="cpu", help="device to compute on (default: cpu)")
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="number format of convolutions and matrix products (default: float32)",
    )
    add_outputs(command, rounds=10)
    command.set_defaults(measure=step)

    command = add_command(
        commands, "data", "compare the images per second of the data loader with torchvision's and with decoding only"
    )
    command.add_argument("--data", required=True, metavar="DATA", help="data set, as for repro.run")
    command.add_argument(
        "--workers",
        type=whole,
        default=0,
        metavar="N",
        help="processes that load images; 0 loads them in the main process (default: 0)",
    )
    command.add_argument(
        "--decode", choices=DECODINGS, default="exact", help="how our loader decodes, as for repro.run (default: exact)"
    )
    add_sizes(command, batch_size=64)
    add_outputs(command, rounds=5)
    command.set_defaults(measure=data, backend="torch")

    command = add_command(
        commands, "loop", "compare the steps of repro.run on made-up photographs with those of a bare training loop"
    )
    add_backend(command)
    command.add_argument("--model", required=True, metavar="NAME", help="variant that the framework has, too")
    command.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="processes that the framework's launcher starts for repro.run (default: 1)",
    )
    add_sizes(command, batch_size=8)
    add_outputs(command, rounds=3)
    command.set_defaults(measure=loop)

    command = add_command(
        commands, "start", "compare the time from the command to the end of the first step with the framework's import"
    )
    add_backend(command)
    command.add_argument("--model", required=True, metavar="NAME", help="variant to train")
    add_outputs(command, rounds=5)
    command.set_defaults(measure=start)

    command = commands.add_parser(
        "port",
        help="compare conversions of weights with cp",
        description="Convert the weights of a model from each file format to each other one with repro.port, and print "
        "the time, how many times as long as cp it takes, and the memory. Needs Linux.",
    )
    command.add_argument(
        "--model", default="rdnet_large", metavar="NAME", help="model variant, see repro.models (default: rdnet_large)"
    )
    command.set_defaults(measure=None)

    arguments = parser.parse_args(argv)
    if arguments.measure:
        report(arguments)
    else:
        port(arguments.model)
    return 0


def whole(text: str) -> int:
    """Return the whole number, at least 0, in a text. Raises ArgumentTypeError for any other text."""
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Return the whole number, at least 1, in a text. Raises ArgumentTypeError for any other text."""
    if not (value := whole(text)):
        raise argparse.ArgumentTypeError("must be at least 1, not 0")
    return value


def add_backend(command: argparse.ArgumentParser) -> None:
    """Add the flag that chooses a backend."""
    command.add_argument("--backend", required=True, metavar="NAME", help="framework: torch, paddle or mindspore")


def add_sizes(command: argparse.ArgumentParser, *, batch_size: int) -> None:
    """Add the flags for sizes of images and batches."""
    command.add_argument(
        "--image-size",
        type=positive,
        default=224,
        metavar="PIXELS",
        help="height and width of the images (default: 224)",
    )
    command.add_argument(
        "--batch-size", type=positive, default=batch_size, metavar="N", help=f"images per batch (default: {batch_size})"
    )


def add_outputs(command: argparse.ArgumentParser, *, rounds: int) -> None:
    """Add the flags for the number of rounds and for files."""
    command.add_argument(
        "--rounds", type=positive, default=rounds, metavar="N", help=f"number of measurements (default: {rounds})"
    )
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write every measurement, the versions and the machine to FILE"
    )
    command.add_argument("--figure", type=Path, metavar="FILE", help="draw the ratios as bars into FILE, a PNG")


def report(arguments: argparse.Namespace) -> None:
    """Print each comparison of a command as soon as it is measured, and write the files that were requested."""
    from repro.benchmarks.measurement import HEADING

    for path in filter(None, (arguments.json, arguments.figure)):
        if not path.parent.is_dir():  # checked before the measurements, which take long
            raise ReproError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    comparisons: list[SpeedComparison] = []
    for comparison in arguments.measure(arguments):
        if not comparisons:
            print(HEADING)
        print(*comparison.lines(), sep="\n", flush=True)
        comparisons.append(comparison)
    if arguments.json:
        from repro.benchmarks.process import in_process
        from repro.benchmarks.report import write_report

        names = {name: value for name, value in vars(arguments).items() if name not in ("measure", "json", "figure")}
        environment = in_process(arguments.backend, "repro.benchmarks.report:describe_environment", arguments.backend)
        write_report(arguments.json, names, comparisons, environment)
    if arguments.figure:
        from repro.benchmarks.report import draw_comparisons

        draw_comparisons(comparisons, arguments.figure)


def step(arguments: argparse.Namespace) -> Iterator[SpeedComparison]:
    """Measure evaluation and training steps."""
    from repro.benchmarks.step import measure_steps

    return measure_steps(
        arguments.backend, arguments.models, image_size=arguments.image_size, batch_size=arguments.batch_size,
        rounds=arguments.rounds, device=arguments.device, precision=arguments.precision,
    )  # fmt: skip


def data(arguments: argparse.Namespace) -> Iterator[SpeedComparison]:
    """Measure loaders."""
    from repro.benchmarks.data import measure_data

    return measure_data(
        arguments.data, print, workers=arguments.workers, decode=arguments.decode,
        image_size=arguments.image_size, batch_size=arguments.batch_size, rounds=arguments.rounds,
    )  # fmt: skip


def loop(arguments: argparse.Namespace) -> Iterator[SpeedComparison]:
    """Measure training loops."""
    from repro.benchmarks.loop import measure_loop

    return measure_loop(
        arguments.backend, arguments.model, processes=arguments.processes, image_size=arguments.image_size,
        batch_size=arguments.batch_size, rounds=arguments.rounds,
    )  # fmt: skip


def start(arguments: argparse.Namespace) -> Iterator[SpeedComparison]:
    """Measure starts."""
    from repro.benchmarks.start import measure_start

    return measure_start(arguments.backend, arguments.model, rounds=arguments.rounds)


def port(model: str) -> None:
    """Print the conversions of a model's weights."""
    from repro.benchmarks.port import HEADING, measure_conversions

    for number, measurement in enumerate(measure_conversions(model, print)):
        if number == 0:
            print(HEADING)
        print(measurement.line(), flush=True)


if __name__ == "__main__":
    run_command(main)
