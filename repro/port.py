"""Convert a weight file between frameworks, by way of the canonical weights. Needs no framework."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command
from repro.errors import ReproError


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    command = command_name("port")
    parser = argparse.ArgumentParser(
        prog=command,
        usage=f"{command} SRC DST [options]\n       {command} SRC --inspect",
        description="Convert the weight file SRC to the file DST, bit for bit. SRC is recognised by its content, DST "
        "by its extension: .pth or .pt (PyTorch), .pdparams (PaddlePaddle), .ckpt (MindSpore), .h5 (Keras) or "
        ".safetensors (canonical).",
        epilog=f"example: {command} mobilenet_v2-b0353104.pth mobilenet_v2.ckpt",
    )
    parser.add_argument(
        "source", metavar="SRC", help="weight file to read, or published weights such as torchvision:mobilenet_v2"
    )
    parser.add_argument("destination", type=Path, metavar="DST", nargs="?", help="weight file to write")
    source_flags = parser.add_argument_group("reading SRC")
    add_source_flags(source_flags)
    source_flags.add_argument(
        "--mapping", type=Path, metavar="FILE",
        help="names and kinds of the weights of a network of your own, as repro.parity --mapping writes them",
    )  # fmt: skip
    output = parser.add_argument_group("writing DST")
    output.add_argument("--to", metavar="LAYOUT", help="layout of the arrays in DST (default: this project's)")
    output.add_argument(
        "--num-classes",
        type=int,
        metavar="N",
        help="initialise a classifier of N classes if SRC has another number of classes",
    )
    output.add_argument(
        "--in-channels",
        type=int,
        metavar="N",
        help="adapt the first convolution to images of N channels: summed for 1, repeated and scaled for others",
    )
    output.add_argument("--partial", action="store_true", help="copy only arrays that fit, and initialise the others")
    output.add_argument("--weights-only", action="store_true", help="copy neither the EMA nor the optimizer's state")
    parser.add_argument("--inspect", action="store_true", help="print the contents of SRC, and exit")
    arguments = parser.parse_args(argv)
    if (arguments.destination is None) != arguments.inspect:
        parser.error("give either DST or --inspect")
    if arguments.inspect:
        from repro.published.source import locate_weights
        from repro.weights.inspection import describe_file

        for line in describe_file(locate_weights(arguments.source).path):
            print(line)
    elif arguments.mapping:
        convert_own_network(arguments)
    else:
        convert_file(arguments)
    return 0


def add_source_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flags for what a weight file may not record itself."""
    parser.add_argument("--model", metavar="NAME", help="model variant, see repro.models (default: recognised)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE",
        help="option of the model, such as width=0.5; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="layout", default="auto", metavar="LAYOUT",
        help="layout of the arrays in SRC: canonical, torch, paddle, mindspore, torchvision, timm, pytorchcv, "
        "transformers, authors, paddle.vision, paddleclas, mindcv or keras (default: recognised)",
    )  # fmt: skip
    parser.add_argument(
        "--prefix", metavar="TEXT", help='text before every name, such as "model." (default: recognised)'
    )


def options_of(arguments: argparse.Namespace) -> dict[str, object] | None:
    """Return the model's options among the flags, or None. Raises ReproError for one that is not KEY=VALUE."""
    from repro.training.recipe_sources import parse_values

    return parse_values({"options": arguments.option})["options"] or None


def convert_own_network(arguments: argparse.Namespace) -> None:
    """Convert by the mapping file. Raises ReproError for flags that are about the variants of this repository."""
    from repro.weights.mapped_porting import port_by_mapping
    from repro.weights.porting import destination_path

    for flag in ("model", "option", "num_classes", "in_channels"):
        if getattr(arguments, flag):
            name = flag.replace("_", "-")
            raise ReproError(f"--{name} is about the networks of this repository; leave it out, or leave --mapping out")
    port_by_mapping(
        Path(arguments.source),
        destination_path(arguments.destination, arguments.to),
        arguments.mapping,
        framework=arguments.layout,
        to=arguments.to,
        prefix=arguments.prefix,
        partial=arguments.partial,
    )


def convert_file(arguments: argparse.Namespace) -> None:
    """Read the source, write the destination, and print a line about each."""
    from repro.published.source import locate_weights
    from repro.weights.porting import (
        destination_layout,
        destination_path,
        difference_line,
        read_checkpoint,
        write_checkpoint,
    )

    destination = destination_path(arguments.destination, arguments.to)  # its errors come before a large file is read
    source = locate_weights(arguments.source, arguments.model, arguments.layout)
    checkpoint = read_checkpoint(
        source.path,
        source.model,
        options_of(arguments),
        layout=source.layout,
        prefix=arguments.prefix,
        metadata=source.metadata,
        num_classes=arguments.num_classes,
        in_channels=arguments.in_channels,
        partial=arguments.partial,
        weights_only=arguments.weights_only,
    )
    spec = checkpoint.spec
    if line := difference_line(destination_layout(destination, spec, arguments.to), spec):
        print(line)
    print(f"read {arguments.source}: {spec.name}, {spec.num_classes} classes, {len(checkpoint.weights)} arrays")
    layout = write_checkpoint(destination, checkpoint, arguments.to)
    print(f"wrote {destination} in the layout of {layout.publisher}: {', '.join(checkpoint.contents)}")


if __name__ == "__main__":
    run_command(main)
