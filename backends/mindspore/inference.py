"""Evaluation by a compiled graph, or in eager mode, with bit-identical results."""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor

from backends.mindspore.introspection import forward
from backends.mindspore.model import execution_mode
from repro.arrays import Arrays


class Evaluation:
    """Logits in evaluation mode. compiled: whether the network runs as a graph, compiled once for a shape of images."""

    def __init__(self, network: Any, *, compiled: bool):
        self.network, self.compiled = network, compiled

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        with execution_mode(mindspore.GRAPH_MODE if self.compiled else mindspore.PYNATIVE_MODE):
            self.network.set_train(False)
            return self.network(Tensor(images)).asnumpy()

    def modules(self, images: np.ndarray) -> Arrays:
        """Return what every cell takes and returns, as Backend.forward with every module; {} where a graph hides it."""
        return {} if self.compiled else forward(self.network, images, every_module=True)
