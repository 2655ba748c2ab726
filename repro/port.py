"""Carries weights from one framework's file to another's, by way of the canonical names. Needs no framework."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("port"),
        description="Carry weights between PyTorch (.pth, .pt), PaddlePaddle (.pdparams), MindSpore (.ckpt), Keras "
        "(.h5, .keras) and the canonical .safetensors, bit for bit. The extensions say which is which, and the names "
        "of the arrays whose layout it is; no framework is needed.",
    )
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("destination", type=Path, metavar="DST", nargs="?")
    add_source_flags(parser)
    parser.add_argument("--to", metavar="LAYOUT", help="whose names DST gets (default: those of our model there)")
    parser.add_argument(
        "--num-classes", type=int, metavar="N", help="where SRC has another number: a fresh classifier of N classes"
    )
    parser.add_argument("--partial", action="store_true", help="take what fits, and make the rest fresh")
    parser.add_argument(
        "--weights-only", action="store_true", help="leave out the moving averages and the optimizer of a checkpoint"
    )
    parser.add_argument("--inspect", action="store_true", help="print what SRC holds, and stop")
    arguments = parser.parse_args(argv)
    if (arguments.destination is None) != arguments.inspect:
        parser.error("give either DST or --inspect")
    if arguments.inspect:
        inspect(arguments.source)
    else:
        port(arguments)
    return 0


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """What tells how to read a weight file that does not say it itself."""
    parser.add_argument(
        "--model", metavar="NAME", help="a name of repro.models; may be left out where SRC says it or fits one alone"
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the model, such as width=0.5"
    )
    parser.add_argument(
        "--from", dest="layout", default="auto", metavar="LAYOUT",
        help="whose names SRC has: auto (the default), canonical, a backend's, or one of torchvision, timm, authors, "
        "paddle.vision, mindcv, keras",
    )  # fmt: skip


def options_of(arguments: argparse.Namespace) -> dict[str, object] | None:
    """The model's options among the flags, or None. Raises ReproError for one that is not KEY=VALUE."""
    from repro.training.recipe import convert

    return convert({"options": arguments.option}, "")["options"] or None


def port(arguments: argparse.Namespace) -> None:
    """Writes the weights of the source to the destination, or nothing at all where they do not fit the model."""
    from repro.weights.formats import extensions, file_format
    from repro.weights.layouts import layout_format
    from repro.weights.porting import destination_layout, read_checkpoint, write_checkpoint

    destination = arguments.destination
    if arguments.to is not None and not destination.suffix:
        destination = destination.with_suffix(extensions(layout_format(arguments.to))[0])
    file_format(destination)  # a wrong extension shows before a large file is read
    found = read_checkpoint(
        arguments.source,
        arguments.model,
        options_of(arguments),
        layout=arguments.layout,
        num_classes=arguments.num_classes,
        partial=arguments.partial,
        weights_only=arguments.weights_only,
    )
    destination_layout(destination, found.spec, arguments.to)
    print(f"read {len(found.weights)} arrays of {found.spec.name}, {found.spec.num_classes} classes, "
          f"from {arguments.source}")  # fmt: skip
    layout = write_checkpoint(destination, found, arguments.to)
    beside = [*(["ema"] if found.ema else []), *(f"optimizer/{slot}" for slot in found.slots)]
    beside += [] if found.steps is None else ["optimizer/steps"]
    print(
        f"wrote {destination} ({layout.publisher})" + (f", with {', '.join(beside)} beside weights" if beside else "")
    )


def inspect(source: Path) -> None:
    """Prints metadata and, of each array, name, shape, type and the start of its SHA-256."""
    import hashlib

    from repro.untrusted import printable
    from repro.weights.porting import read_file

    arrays, metadata = read_file(source)
    for key, text in sorted(metadata.items()):
        print(f"# {printable(key)}: {printable(text)}")
    for name, array in arrays.items():
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        print(f"{printable(name):56} {array.shape!s:20} {array.dtype!s:8} {digest[:12]}")
    print(f"{len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")


if __name__ == "__main__":
    run_command(main)
