"""Programs of parity_tests/architectures/test_rdnet.py."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import call, model_error, random_images
from repro.interface.discovery import load_backend
from repro.specs.rdnet import Block, Stage, rdnet
from repro.weights.init import random_weights


def block_outputs(name: str) -> dict[str, list[float]]:
    """The channels after a block on two channels, and after the norm of the head, for one pixel."""
    backend = load_backend(name)
    block = Block(channels_in=2, expanded=2, growth=2, gate=True, depth=0.0)
    spec = replace(rdnet("tiny", num_classes=1, in_channels=1), stem=2, stages=(Stage(None, (block,)),))
    weights = {
        key: np.full(weight.shape, 1 if weight.kind == "norm_scale" else 0, np.float32)
        for key, weight in spec.weights.items()
    }
    weights["stem.conv.weight"][:, 0, 0, 0] = 3, 1  # normalised: 1, -1
    weights["stages.0.blocks.0.depthwise.weight"][:, 0, 3, 3] = 1
    weights["stages.0.blocks.0.expand.weight"][:, :, 0, 0] = np.eye(2)  # GELU: 0.8413447, -0.1586553
    weights["stages.0.blocks.0.project.weight"][:, :, 0, 0] = 4 * np.eye(2)  # 3.3653790, -0.6346210
    weights["stages.0.blocks.0.se.conv.weight"][:, :, 0, 0] = np.eye(2)  # gates: 1, 2.3653790 / 6
    weights["stages.0.blocks.0.scale"][:] = 1, 10
    model = backend.create_model(spec)
    backend.load_weights(model, weights)
    outputs = backend.forward(model, np.ones((1, 1, 4, 4), np.float32))
    return {key: outputs[key].ravel().tolist() for key in ("stages.0", "norm")}


def drop_path(name: str) -> dict[str, list[Any]]:
    """Outputs (400, 2) of drop path with a rate of 0.25 for images of one pixel, all ones."""
    if name == "mindspore":
        import mindspore

        mindspore.set_context(mode=mindspore.GRAPH_MODE)
    layer = importlib.import_module(f"backends.{name}.models.rdnet").DropPath(0.25)
    ones = np.ones((400, 2, 1, 1), np.float32)
    training, evaluation = call(name, layer, ones, training=True), call(name, layer, ones)
    return {"training": training[:, :, 0, 0].tolist(), "evaluation": evaluation[:, :, 0, 0].tolist()}


TIMM_LAYERS = {
    "depthwise": "layers.layers.0", "norm": "layers.layers.1", "expand": "layers.layers.2",
    "project": "layers.layers.4", "se.conv": "layers.layers.5.fc", "scale": "gamma",
}  # fmt: skip
TIMM_OUTER_LAYERS = {"norm": "head.norm", "classifier": "head.fc", "stem.conv": "stem.0", "stem.norm": "stem.1"}


def _timm_name(name: str) -> str:
    if match := re.fullmatch(r"stages[.](.*)[.]transition[.](norm|conv)[.](.*)", name):
        return f"dense_stages.{match[1]}.{['norm', 'conv'].index(match[2])}.{match[3]}"
    if match := re.fullmatch(r"stages[.](.*)[.]blocks[.](.)[.](.*)", name):
        layers = "|".join(map(re.escape, TIMM_LAYERS))
        rest = re.sub(f"^({layers})", lambda layer: TIMM_LAYERS[layer[0]], match[3])
        return f"dense_stages.{match[1]}.{2 if int(match[1]) else 0}.dense_block{match[2]}.{rest}"
    for ours, reference in TIMM_OUTER_LAYERS.items():
        name = re.sub(f"^{re.escape(ours)}[.]", f"{reference}.", name)
    return name


def timm_errors(sizes: list[tuple[int, int]]) -> dict[str, list[float]]:
    """Relative errors of rdnet_tiny in float64 at each height and width: with timm's epsilon in the head, and ours."""
    import timm
    import torch

    from backends.torch import create_model

    with torch.device("meta"):  # both then take the same float64 tensors over
        ours = create_model("rdnet_tiny", num_classes=7)
        reference = timm.create_model("rdnet_tiny", pretrained=False, num_classes=7)
    weights = {name: torch.from_numpy(array).double() for name, array in random_weights(ours.spec, 3).items()}
    ours.load_state_dict(weights, assign=True)
    reference.load_state_dict({_timm_name(name): tensor for name, tensor in weights.items()}, assign=True)

    def errors() -> list[float]:
        return [model_error("torch", ours, reference, random_images((1, 3, *size), size[0])) for size in sizes]

    with_theirs = errors()
    reference.head.norm.eps = 1e-5
    return {"reference epsilon": with_theirs, "our epsilon": errors()}
