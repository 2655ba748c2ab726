"""List the available models, the layers of one, or published weights."""

from __future__ import annotations

import argparse
import json

from repro.cli import command_name, run_command
from repro.training.recipe_sources import parse_values

DEFAULT_CLASSES = 1000


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("models"),
        description="List all variants with their parameters, MACs, input size and source; or the layers of the "
        "variant NAME with their output shapes, parameters and MACs; or published weights. No framework is needed.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="variant whose layers are listed")
    parser.add_argument(
        "--pretrained", action="store_true",
        help="list published weights, of all variants or of NAME: their references, which --weights and other commands "
        "take, size, top-1 accuracy on ImageNet and input size as published, and whether they are downloaded",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", metavar="N", help="height and width of the input in pixels (default: the published size)"
    )
    parser.add_argument(
        "--num-classes", type=int, default=DEFAULT_CLASSES, metavar="N",
        help=f"number of classes of the network (default: {DEFAULT_CLASSES})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    arguments = parser.parse_args(argv)
    without_layers = arguments.name is None or arguments.pretrained
    if without_layers and (arguments.image_size or arguments.num_classes != DEFAULT_CLASSES):
        parser.error("--image-size and --num-classes need NAME, whose layers they change")

    from repro.published import listing
    from repro.specs import find_spec, summary

    if arguments.pretrained:
        rows, lines = listing.published_rows(arguments.name), listing.published_lines
    elif arguments.name is None:
        rows, lines = summary.variant_rows(), summary.variant_lines
    else:
        size = parse_values({"image_size": arguments.image_size})["image_size"]
        spec = find_spec(arguments.name, num_classes=arguments.num_classes)
        rows, lines = summary.layer_rows(spec, size), summary.layer_lines
    print(json.dumps(rows, indent=1) if arguments.json else "\n".join(lines(rows)))
    return 0


if __name__ == "__main__":
    run_command(main)
