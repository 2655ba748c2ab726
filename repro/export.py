"""Writes a checkpoint as ONNX by the exporter of a backend's framework, if onnxruntime computes the same with it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from repro.cli import command_name, run_command
from repro.errors import ReproError, first_line
from repro.port import add_source_flags, options_of

if TYPE_CHECKING:
    from repro.parity.comparison import ArrayComparison
    from repro.weights.porting import Checkpoint

LARGEST_SIZE = 4096  # pixels; as for training


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("export"),
        description="Write the weights of any file that repro.port reads as an ONNX network in evaluation mode, for "
        "images float32 (N, C, H, W) with any N. It is written only if onnxruntime computes the backend's logits.",
    )
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("destination", type=Path, metavar="OUT.onnx")
    add_source_flags(parser)
    parser.add_argument(
        "--backend", default="torch", metavar="NAME",
        help="whose exporter writes it (default: torch); the network is the same whichever it is",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", type=int, metavar="N",
        help="height and width in pixels (default: what SRC says it was trained at, or else the published size)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    export(arguments)
    return 0


def export(arguments: argparse.Namespace) -> None:
    """Writes the file, or nothing at all."""
    from repro.files import replacing
    from repro.interface.discovery import module_name
    from repro.weights.porting import read_checkpoint

    destination: Path = arguments.destination
    module_name(arguments.backend)  # a misspelt name shows before a large file is read
    if destination.suffix != ".onnx":
        raise ReproError(f"{destination} does not end in .onnx; give it that extension")
    with replacing(destination) as temporary:
        if destination.exists():
            raise ReproError(f"{destination} is there already; give another name")
        found = read_checkpoint(
            arguments.source, arguments.model, options_of(arguments), layout=arguments.layout, weights_only=True
        )
        size = _image_size(arguments.image_size, found)
        comparison = write(temporary, found, arguments.backend, size)
    print(
        f"wrote {destination}: {found.spec.name} for images (N, {found.spec.in_channels}, {size}, {size}); largest "
        f"difference of onnxruntime from {arguments.backend} {comparison.max_error:.2g}, where "
        f"{comparison.tolerance:.2g} is rounding"
    )


def write(path: Path, found: Checkpoint, name: str, size: int) -> ArrayComparison:
    """Writes the checkpoint as ONNX for images of `size` pixels by the exporter of the backend called `name`.

    Returns how its logits for made-up images in onnxruntime compare with the backend's own. Raises ReproError where
    these diverge, or the exporter or its packages fail.
    """
    import numpy as np

    from repro.interface.discovery import backend_names, load_backend
    from repro.parity.comparison import compare_arrays
    from repro.parity.tolerance import measure_tolerances, perturb_last_bits

    backend, spec = load_backend(name), found.spec
    model = backend.create_model(spec)
    backend.load_weights(model, found.weights)
    images = np.random.default_rng(0).standard_normal((3, spec.in_channels, size, size), np.float32)
    expected = backend.forward(model, images)["logits"]
    moved = [{"logits": backend.forward(model, perturb_last_bits(images, seed))["logits"]} for seed in range(3)]

    others = " or ".join(other for other in backend_names() if other != name)
    advice = f"the network is the same in every backend: try --backend {others}"
    try:
        import onnx  # not before the framework: MindSpore wants to be the first to load protobuf
        import onnxruntime

        with TemporaryDirectory(prefix="repro-export-") as folder:
            exported = Path(folder) / "model.onnx"
            backend.export_onnx(model, exported, size)
            proto = onnx.load(exported)
        _complete(proto, found.metadata | {"image_size": str(size)})
        onnx.save(proto, path)
        onnx.checker.check_model(path, full_check=True)
        quiet = onnxruntime.SessionOptions()
        quiet.log_severity_level = 4  # what goes wrong is raised, and the rest are hints for the exporters' authors
        session = onnxruntime.InferenceSession(path, quiet, providers=["CPUExecutionProvider"])
        parts = [session.run(["logits"], {"images": part})[0] for part in (images[:1], images[1:])]
    except ImportError as error:
        raise ReproError(
            f"--backend {name} cannot export ({error}); install what is missing with: "
            "pip install -e '.[export]' in repro's folder"
        ) from error
    except OSError:  # a full disk is nobody's exporter's fault
        raise
    except Exception as error:  # whatever an exporter, the checker or the runtime raises
        raise ReproError(f"--backend {name} cannot export {spec.name} ({first_line(error)}); {advice}") from error
    tolerance = measure_tolerances(moved, {"logits": expected})["logits"]
    comparison = compare_arrays("logits", np.concatenate(parts), expected, tolerance=tolerance)
    if comparison.verdict == "diverges":
        raise ReproError(f"what {name} exported computes other logits: {comparison.reason}; {advice}")
    return comparison


def _complete(proto: Any, metadata: dict[str, str]) -> None:
    """One input "images" and one output "logits" with a free batch axis, whatever the exporter called them; where the
    weights came from; and pooling without padding said so that onnxruntime leaves a Pad in front of it alone, whose
    zeros it would otherwise take for padding that no maximum looks at (onnxruntime#24737)."""
    import onnx

    names = {}
    for name, values in {"images": proto.graph.input, "logits": proto.graph.output}.items():
        (value,) = values
        names[value.name] = value.name = name
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in proto.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "MaxPool" and "pads" in attributes and not any(attributes["pads"].ints):
            for name in attributes.keys() & {"pads", "auto_pad"}:
                node.attribute.remove(attributes[name])
            node.attribute.append(onnx.helper.make_attribute("auto_pad", "VALID"))
    onnx.helper.set_model_props(proto, metadata)


def _image_size(given: int | None, found: Checkpoint) -> int:
    """The flag's, or the file's, or the published size."""
    from repro.untrusted import printable

    said = found.metadata.get("image_size", str(found.spec.input_size)) if given is None else str(given)
    size = int(said) if re.fullmatch("[0-9]{1,4}", said) else 0
    if not 1 <= size <= LARGEST_SIZE:
        raise ReproError(f"images of {printable(said)} pixels: give --image-size a number from 1 to {LARGEST_SIZE}")
    found.spec.trace(size)  # refuses one that is too small
    return size


if __name__ == "__main__":
    run_command(main)
