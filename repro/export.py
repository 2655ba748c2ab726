"""Write a checkpoint as ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command
from repro.port import add_source_flags, options_of


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("export"),
        description="Write a weight file as an ONNX network in evaluation mode, with an input `images`, float32 "
        "(N, C, H, W) with any batch size N, and an output `logits`. The file is written only if onnxruntime computes "
        "the same logits as the backend, within rounding.",
    )
    parser.add_argument("source", metavar="SRC", help="weight file or published weights, as for repro.port")
    parser.add_argument("destination", type=Path, metavar="OUT.onnx", help="new file")
    add_source_flags(parser)
    parser.add_argument(
        "--backend", default="torch", metavar="NAME",
        help="backend whose exporter is used (default: torch); all of them write the same network",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", type=int, metavar="N",
        help="height and width of the images in pixels (default: the training size that SRC records, or else the "
        "published size)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)

    from repro.evaluation.onnx_check import choose_image_size, export_checked, new_onnx_file
    from repro.interface.discovery import check_installed
    from repro.published.source import locate_weights
    from repro.weights.porting import read_checkpoint

    check_installed(arguments.backend)
    with new_onnx_file(arguments.destination) as temporary:
        source = locate_weights(arguments.source, arguments.model, arguments.layout)
        checkpoint = read_checkpoint(
            source.path,
            source.model,
            options_of(arguments),
            layout=source.layout,
            prefix=arguments.prefix,
            weights_only=True,
            metadata=source.metadata,
        )
        size = choose_image_size(arguments.image_size, checkpoint)
        comparison = export_checked(temporary, checkpoint, arguments.backend, size)
    spec = checkpoint.spec
    print(
        f"wrote {arguments.destination}: {spec.name} for images (N, {spec.in_channels}, {size}, {size}); largest "
        f"difference between onnxruntime and {arguments.backend} {comparison.max_error:.2g} (tolerance "
        f"{comparison.tolerance:.2g})"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
