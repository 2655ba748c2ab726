"""ONNX files that are written only if onnxruntime computes the same logits from them as the backend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.errors import ReproError, first_line
from repro.files import replacing
from repro.interface.discovery import backend_names, load_backend
from repro.interface.onnx_graph import normalise_graph, onnxruntime_logits
from repro.parity.comparison import ArrayComparison, compare_arrays
from repro.parity.tolerance import measure_tolerances, perturb_last_bits
from repro.untrusted import printable

if TYPE_CHECKING:
    from repro.interface import Backend
    from repro.weights.porting import Checkpoint

LARGEST_IMAGE = 4096  # height and width in pixels
PERTURBATIONS = 3  # forward passes of slightly changed images, from which the tolerance is measured


@contextmanager
def new_onnx_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which takes the name `path` where the block ends without an exception.

    Raises ReproError, before the block begins, for a name that does not end in .onnx and for a file that exists.
    """
    if path.suffix != ".onnx":
        raise ReproError(f"{path} does not end in .onnx; give a file name that does")
    with replacing(path) as temporary:
        if path.exists():
            raise ReproError(f"{path} already exists; give another name")
        yield temporary


def export_checked(path: Path, checkpoint: Checkpoint, backend_name: str, image_size: int) -> ArrayComparison:
    """Write the checkpoint as ONNX for images of `image_size` pixels, with the exporter of a backend.

    Returns the comparison of onnxruntime's logits of random images with those of the backend.
    Raises ReproError if they diverge, if the exporter fails, or if a package for the export is not installed.
    """
    backend, spec = load_backend(backend_name), checkpoint.spec
    model = backend.create_model(spec)
    backend.load_weights(model, checkpoint.weights)
    images = np.random.default_rng(0).standard_normal((3, spec.in_channels, image_size, image_size), np.float32)
    expected = backend.forward(model, images)["logits"]
    perturbed_runs = [
        {"logits": backend.forward(model, perturb_last_bits(images, seed))["logits"]} for seed in range(PERTURBATIONS)
    ]
    tolerance = measure_tolerances(perturbed_runs, {"logits": expected})["logits"]

    other_backends = " or ".join(other for other in backend_names() if other != backend_name)
    advice = f"the network is the same in every backend: try --backend {other_backends}"
    try:
        _write_onnx(path, backend, model, image_size, checkpoint.metadata | {"image_size": str(image_size)})
        logits = np.concatenate([onnxruntime_logits(path, batch) for batch in (images[:1], images[1:])])
    except ImportError as error:
        raise ReproError(
            f"--backend {backend_name} cannot export ({error}); install what is missing with: "
            "pip install -e '.[export]' in repro's folder"
        ) from error
    except OSError:  # such as a full disk, which is not a failure of the exporter
        raise
    except Exception as error:  # exporters, the checker and onnxruntime raise errors of many types
        reason = first_line(error)
        raise ReproError(f"--backend {backend_name} cannot export {spec.name} ({reason}); {advice}") from error
    comparison = compare_arrays("logits", logits, expected, tolerance=tolerance)
    if comparison.verdict == "diverges":
        raise ReproError(f"the network exported by {backend_name} computes other logits: {comparison.reason}; {advice}")
    return comparison


def _write_onnx(path: Path, backend: Backend, model: Any, image_size: int, metadata: Mapping[str, str]) -> None:
    """Export the model, normalise the graph and write it. Raises whatever the exporter or onnx.checker raises."""
    import onnx  # after the framework: MindSpore has to be the first to load protobuf

    with TemporaryDirectory(prefix="repro-export-") as folder:
        exported = Path(folder) / "model.onnx"
        backend.export_onnx(model, exported, image_size)
        proto = onnx.load(exported)
    normalise_graph(proto)
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.save(proto, path)
    onnx.checker.check_model(path, full_check=True)


def choose_image_size(requested: int | None, checkpoint: Checkpoint) -> int:
    """Return the requested height and width in pixels, or else that of the checkpoint, or else the published one.

    Raises ReproError for a size that is not between 1 and 4096, and for one that is too small for the network.
    """
    if requested is not None:
        text = str(requested)
    else:
        text = checkpoint.metadata.get("image_size", str(checkpoint.spec.input_size))
    size = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    if not 1 <= size <= LARGEST_IMAGE:
        raise ReproError(
            f"cannot use images of {printable(text)} pixels: give --image-size a number from 1 to {LARGEST_IMAGE}"
        )
    checkpoint.spec.trace(size)  # raises ReproError if it is too small
    return size
