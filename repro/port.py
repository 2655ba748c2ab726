"""Carries weights from one framework's file to another's, by way of the canonical names. Needs no framework."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import run_command
from repro.errors import ReproError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="repro.port",
        description="Carry weights between PyTorch (.pth, .pt), PaddlePaddle (.pdparams), MindSpore (.ckpt) and the "
        "canonical .safetensors, bit for bit. The extensions say which is which; no framework is needed.",
    )
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("destination", type=Path, metavar="DST", nargs="?")
    parser.add_argument("--model", metavar="NAME", help="a name of repro.models; may be left out where SRC says it")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the model, such as width=0.5"
    )
    parser.add_argument("--to", metavar="BACKEND", help="whose file DST is, where it has no extension")
    parser.add_argument("--inspect", action="store_true", help="print what SRC holds, and stop")
    arguments = parser.parse_args(argv)
    if (arguments.destination is None) != arguments.inspect:
        parser.error("give either DST or --inspect")
    if arguments.inspect:
        inspect(arguments.source)
    else:
        port(arguments.source, arguments.destination, arguments.model, arguments.option, arguments.to)
    return 0


def port(source: Path, destination: Path, model: str | None, options: list[str], to: str | None) -> None:
    """Writes the weights of `source` to `destination`, or nothing at all where they do not fit the model."""
    from repro.discovery import native_weights
    from repro.weights.port import file_format, read_weights, write_weights

    if to is not None and not destination.suffix:
        destination = destination.with_suffix(native_weights(to).EXTENSIONS[0])
    form = file_format(destination, to)
    given = dict(map(_option, options)) or None
    spec, arrays, metadata = read_weights(source, model, given)
    print(f"read {len(arrays)} arrays of {spec.name}, {spec.num_classes} classes, from {source}")
    write_weights(destination, spec, arrays, metadata)
    print(f"wrote {destination} ({'canonical' if form == 'safetensors' else form})")


def inspect(source: Path) -> None:
    """Prints metadata and, of each array, name, shape, type and the start of its SHA-256."""
    import hashlib

    from repro.weights.port import read_file
    from repro.weights.untrusted import printable

    arrays, metadata = read_file(source)
    for key, text in metadata.items():
        print(f"# {printable(key)}: {printable(text)}")
    for name, array in arrays.items():
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        print(f"{printable(name):56} {array.shape!s:20} {array.dtype!s:8} {digest[:12]}")
    print(f"{len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")


def _option(text: str) -> tuple[str, object]:
    import yaml

    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ReproError(f"--option {text}: write KEY=VALUE, such as width=0.5")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ReproError(f"--option {text}: the value is not YAML") from error


if __name__ == "__main__":
    run_command(main)
