"""Program of parity_tests/architectures/test_asymmnet.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity_tests.programs.common import plain_weights
from repro.interface.discovery import load_backend
from repro.specs.asymmnet import Bottleneck, asymmnet


def bottleneck_outputs(name: str, asymmrate: int) -> tuple[float, float]:
    """The stem's and the bottleneck's output for one pixel of 1; see the test."""
    backend = load_backend(name)
    block = Bottleneck(
        1, 2 + asymmrate, 1, kernel=3, stride=1, squeeze=0, activation="relu", asymmrate=asymmrate
    )  # fmt: skip
    assert (block.pointwise, block.depthwise) == (2, 2 + 2 * asymmrate)
    spec = replace(asymmnet("small", in_channels=1, num_classes=1), stem=1, stages=((block,),))
    weights = plain_weights(spec)
    weights["stem.norm.bias"][:] = (33**0.5 - 3) / 2  # here hard-swish, x * (x + 3) / 6, is 1
    weights["stages.0.0.expand.conv.weight"][:, 0, 0, 0] = 2, 3
    weights["stages.0.0.depthwise.conv.weight"][:, :, 1, 1] = 1
    weights["stages.0.0.project.conv.weight"][0, :, 0, 0] = 10 ** np.arange(block.depthwise)
    model = backend.create_model(spec)
    backend.load_weights(model, weights)
    outputs = backend.forward(model, np.ones((1, 1, 1, 1), np.float32))
    return outputs["stem"].item(), outputs["stages.0.0"].item()
