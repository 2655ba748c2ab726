"""Evaluation by a compiled graph, or in eager mode, with bit-identical results.

By default, a second network computes it, whose convolutions contain the batch normalisation of their results.
"""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.nn.utils import no_init_parameters

from backends.mindspore.introspection import forward
from backends.mindspore.layers import ConvNorm
from backends.mindspore.model import execution_mode
from backends.mindspore.models import FAMILIES, densenet, resnet_cifar, vgg
from repro.arrays import Arrays

# the cells in which batch normalisation follows a convolution, with the names of both
PAIRS: dict[type[nn.Cell], tuple[str, str]] = {
    ConvNorm: ("conv", "norm"), vgg.Conv: ("conv", "norm"), resnet_cifar.ConvNormReLU: ("conv", "norm"),
    densenet.Block: ("conv1", "norm2"),
}  # fmt: skip


class Shift(nn.Cell):
    """The addition of a number to each channel: what a normalisation still does if the convolution scales."""

    def __init__(self, bias: Parameter):
        super().__init__()
        self.bias = bias
        self.bias_add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        return self.bias_add(x, self.bias)


class FoldedPair:
    """A convolution and the batch normalisation of its results, and the weights that compute both.

    cell, own: the cell that holds the pair in the model and in the fused network, which gets weights of its own.
    """

    def __init__(self, cell: nn.Cell, own: nn.Cell):
        conv, norm = PAIRS[type(cell)]
        self.conv, self.norm = getattr(cell, conv), getattr(cell, norm)
        self.weight, self.bias = (
            Parameter(parameter.copy(), name=parameter.name, requires_grad=False)
            for parameter in (self.conv.weight, self.norm.beta)
        )
        getattr(own, conv).weight = self.weight
        getattr(own, conv).has_bias = False  # the shift contains it
        setattr(own, norm, Shift(self.bias))

    def fold(self) -> None:
        """Compute and assign the folded weights again. A graph that reads them is not compiled again."""
        conv, norm = self.conv, self.norm
        scale = _float64(norm.gamma) / np.sqrt(_float64(norm.moving_variance) + norm.eps)
        bias = _float64(conv.bias) if conv.has_bias else 0.0
        for parameter, array in (
            (self.weight, _float64(conv.weight) * scale.reshape(-1, 1, 1, 1)),
            (self.bias, _float64(norm.beta) + (bias - _float64(norm.moving_mean)) * scale),
        ):
            parameter.set_data(Tensor(array.astype(np.float32)))


def _float64(parameter: Parameter) -> np.ndarray:
    return parameter.asnumpy().astype(np.float64)


class Fused:
    """The network of a model's spec with folded pairs, in evaluation mode; it shares all other weights with the model.

    pairs: name of the cell that contains the pairs -> the pairs.
    """

    def __init__(self, model: Any):
        with no_init_parameters():  # the model has the values
            self.network = type(model)(model.spec).set_train(False)
        cells = dict(self.network.cells_and_names())
        self.pairs: dict[str, FoldedPair] = {}
        for path, cell in model.cells_and_names():
            for name, parameter in cell._params.items():
                setattr(cells[path], name, parameter)
        for path, cell in model.cells_and_names():
            if type(cell) in PAIRS and isinstance(getattr(cell, PAIRS[type(cell)][1]), nn.BatchNorm2d):
                self.pairs[path] = FoldedPair(cell, cells[path])

    def fold(self) -> None:
        """Follow the model's weights."""
        for pair in self.pairs.values():
            pair.fold()

    def hidden(self) -> set[str]:
        """Return the names of the results between the convolution and the normalisation of a pair."""
        names = ((path, *PAIRS[type(cell)]) for path, cell in self.network.cells_and_names() if path in self.pairs)
        return {name for path, conv, norm in names for name in (f"{path}.{conv}", f"input of {path}.{norm}")}


class Evaluation:
    """Logits in evaluation mode.

    compiled: whether the network runs as a graph, compiled once for a shape of images; is_fused: whether convolutions
    contain normalisations, which is done for our networks and not for a user's.
    """

    def __init__(self, model: Any, *, compiled: bool, is_fused: bool):
        self.model, self.compiled = model, compiled
        self.is_fused = is_fused and type(model) in FAMILIES.values()
        self.fused: Fused | None = None
        self.is_folded = False

    def forget_weights(self) -> None:
        """Fold the weights again before the next prediction."""
        self.is_folded = False

    def network(self) -> Any:
        """Return the network in evaluation mode, with the model's present weights."""
        if not self.is_fused:
            return self.model.set_train(False)
        if self.fused is None:
            self.fused = Fused(self.model)
        if not self.is_folded:
            self.fused.fold()
            self.is_folded = True
        return self.fused.network

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        with execution_mode(mindspore.GRAPH_MODE if self.compiled else mindspore.PYNATIVE_MODE):
            return self.network()(Tensor(images)).asnumpy()

    def modules(self, images: np.ndarray) -> Arrays:
        """Return what every cell takes and returns, as Backend.forward with every module; {} where a graph hides it."""
        if self.compiled:
            return {}
        results = forward(self.network(), images, every_module=True)
        hidden = self.fused.hidden() if self.fused else set()
        return {name: array for name, array in results.items() if name not in hidden}
