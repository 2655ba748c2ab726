"""Predict the classes of images with any checkpoint, on any backend."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from repro.cli import command_name, run_command
from repro.training.recipe import FIELDS, flag_of
from repro.training.recipe_sources import parse_values

SETTINGS = {
    "model": "variant of the network, if the checkpoint does not record it and fits several variants",
    "options": "option of the model's family, such as width=0.5; may be repeated",
    "image_size": "height and width in pixels to which images are resized",
    "resize": "resizing of images: squash to a square (default), or crop the centre",
    "crop_fraction": "fraction of the shorter side that the centre crop keeps (default: 0.875)",
    "interpolation": "method of resizing: bilinear (default) or bicubic",
    "mean": "mean of each channel, subtracted from pixels scaled to 0..1",
    "std": "standard deviation of each channel, by which pixels are then divided",
}
"""Recipe values that can be given as flags, with their help."""


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("predict"),
        description="Predict the classes of images. Checkpoints of repro.run record how images are prepared and the "
        "names of the classes; for other weight files, give these by --run or by the other flags.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="weight file or published weights, as for repro.port")
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE|FOLDER",
        help="image file, or folder of images or of subfolders of images; accuracy is printed if the subfolders have "
        "the names of classes",
    )  # fmt: skip
    parser.add_argument(
        "--backend", metavar="NAME",
        help="backend that computes (default: the one that the network was trained on, or else any installed one)",
    )  # fmt: skip
    output = parser.add_argument_group("output files")
    output.add_argument(
        "--csv", type=Path, metavar="FILE", help="write file name, predicted class and all probabilities as CSV"
    )
    output.add_argument("--out", type=Path, metavar="DIR", help="write copies of the images, captioned by prediction")
    network = parser.add_argument_group("network and image preparation (default: as recorded in CHECKPOINT)")
    network.add_argument("--run", type=Path, metavar="DIR", help="run folder that records these values")
    network.add_argument(
        "--classes", type=Path, metavar="FILE", help="class names: class_indices.json, or a text file of one per line"
    )
    for name, help in SETTINGS.items():
        value_type = FIELDS[name].metadata["type"]
        network.add_argument(flag_of(name), dest=name, default=argparse.SUPPRESS, help=help, **value_type.argument)
    arguments = parser.parse_args(argv)
    settings = parse_values({name: value for name, value in vars(arguments).items() if name in SETTINGS})

    from repro.evaluation.class_names import read_class_names
    from repro.evaluation.classifier import read_classifier
    from repro.evaluation.prediction import choose_backend
    from repro.evaluation.prediction_files import check_destinations, find_images, predict_files
    from repro.interface.discovery import check_installed
    from repro.untrusted import printable

    files = find_images(arguments.images)
    check_destinations(arguments.csv, arguments.out)
    if arguments.backend:
        check_installed(arguments.backend)
    if arguments.classes:
        settings["classes"] = read_class_names(arguments.classes)
    classifier = read_classifier(arguments.checkpoint, arguments.run, settings)
    backend = choose_backend(arguments.backend, classifier.metadata.get("backend"))
    lines, errors = predict_files(classifier, backend, files, arguments.csv, arguments.out)
    for line in lines:
        print(line)
    sys.stdout.flush()
    for error in errors:
        print(printable(error), file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    run_command(main)
