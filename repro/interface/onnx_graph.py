"""Exported networks: graphs that all exporters write alike, and onnxruntime, which computes them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from repro.interface.contract import Backend


def normalise_graph(proto: Any) -> None:
    """Make graphs of all exporters alike: an input "images" and an output "logits", each with a free batch axis.

    Max pooling without padding gets auto_pad="VALID" instead of pads of zero. Otherwise, onnxruntime merges a Pad
    operator in front of it into the pooling, which then ignores the border instead of reading zeros
    (onnxruntime#24737).
    """
    import onnx

    new_names = {}
    for name, values in {"images": proto.graph.input, "logits": proto.graph.output}.items():
        (value,) = values
        new_names[value.name] = value.name = name
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [new_names.get(name, name) for name in names]
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "MaxPool" and "pads" in attributes and not any(attributes["pads"].ints):
            for name in attributes.keys() & {"pads", "auto_pad"}:
                node.attribute.remove(attributes[name])
            node.attribute.append(onnx.helper.make_attribute("auto_pad", "VALID"))


def onnxruntime_logits(network: Path | bytes, images: np.ndarray) -> np.ndarray:
    """Return the logits (N, classes) of images (N, C, H, W). network: a normalised ONNX file, or its bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # only fatal errors; other errors are raised anyway, and warnings are for exporters
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def exported_logits(backend: Backend, model: Any, images: np.ndarray) -> np.ndarray:
    """Return onnxruntime's logits of square images with a model that its backend exports. Raises what these raise."""
    import onnx

    with TemporaryDirectory(prefix="repro-export-") as folder:
        path = Path(folder) / "model.onnx"
        backend.export_onnx(model, path, images.shape[2])
        proto = onnx.load(path)
    normalise_graph(proto)
    return onnxruntime_logits(proto.SerializeToString(), images)
