"""Keras models on PyTorch, as modules that PyTorch's tools can handle."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from repro.errors import ReproError


class Binding(NamedTuple):
    """A Keras variable, and the tensor of a module that it shows. turn: from PyTorch's axes to Keras's, as a view."""

    variable: Any
    module: nn.Module
    leaf: str
    turn: Callable[[Tensor], Tensor]


def is_keras(model: Any) -> bool:
    """Return whether the model is a keras.Model. Keras need not be installed."""
    return "keras" in sys.modules and isinstance(model, sys.modules["keras"].Model)


class KerasNorm(nn.BatchNorm2d):
    """Keras's batch normalisation, which averages the biased variances of batches."""


class KerasModel(nn.Module):
    """A Keras model that computes with PyTorch: one module for each layer, under the layer's name.

    The modules are of PyTorch's types where it has the layer, hold the weights in PyTorch's axes, and are called
    whenever Keras calls the layer, with hooks. What is computed is computed by Keras, except for dropout. Images
    (N, C, H, W) are turned to (N, H, W, C) where Keras is set to that format.
    """

    def __init__(self, model: Any):
        """Wrap the model. Raises ReproError if it has no weights yet."""
        super().__init__()
        if not model.built:
            raise ReproError(f"the Keras model {model.name} has no weights yet; call it once, or begin with an Input")
        self.keras = [model]  # in a list, since it is a module as well
        self.bindings: list[Binding] = []
        self.is_channels_last = sys.modules["keras"].config.image_data_format() == "channels_last"
        for layer in model._flatten_layers(include_self=False):
            if isinstance(layer, sys.modules["keras"].Model) or type(layer).__name__ == "InputLayer":
                continue
            name, module = self._free_name(layer), twin(layer)
            self.add_module(name, module)
            self.bindings += bind(layer, module)
            if not isinstance(module, nn.Dropout):
                module.forward = partial(own_call, layer.call, self.is_channels_last)
            activation: Callable[..., Any] = unchanged
            if isinstance(module, (nn.Conv2d, nn.Linear)):  # PyTorch's have no activation in them
                activation = self._hooked_activation(name, layer.activation)
                object.__setattr__(layer, "activation", unchanged)
            # Keras would take a module that is set in the usual way for a new part of the layer
            object.__setattr__(layer, "call", partial(hooked_call, module, activation, self.is_channels_last))

    def _hooked_activation(self, name: str, activation: Callable[..., Any]) -> Callable[..., Any]:
        """Return the activation of a layer of this name as a module of its own, unless it is none, or a layer."""
        if isinstance(activation, nn.Module):  # a layer of Keras, which has a module already
            return activation
        title = getattr(activation, "__name__", type(activation).__name__)
        if title == "linear":
            return unchanged
        module = type(title, (nn.Module,), {})()
        module.forward = partial(own_call, activation, self.is_channels_last)
        self.add_module(f"{name}_activation", module)
        return partial(hooked_call, module, unchanged, self.is_channels_last)

    def _free_name(self, layer: Any) -> str:
        """Return the name of a layer. The numbers that Keras gives are counted within the model, not the process."""
        stem = re.sub(r"_\d+$", "", layer.name)
        is_numbered = stem.replace("_", "") == type(layer).__name__.lower()
        name = stem if is_numbered else layer.name.replace(".", "_")
        names = (f"{name}_{number}" if number else name for number in itertools.count())
        return next(name for name in names if name not in self._modules)

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the Keras model returns in the module's mode."""
        for variable, module, leaf, turn in self.bindings:
            variable._value = turn(getattr(module, leaf))
        turned = [to_channels_last(x) if self.is_channels_last else x for x in inputs]
        return self.keras[0](turned[0] if len(turned) == 1 else turned, training=self.training)

    def double(self) -> Any:
        """Raise ReproError: Keras normalises batches in float32, whatever the type of its variables."""
        raise ReproError("keras has no float64 batch normalisation")


def to_channels_last(value: Any) -> Any:
    """Return maps (N, C, H, W) as (N, H, W, C), also in a list, and anything else as it is."""
    return _turned(value, (0, 2, 3, 1))


def to_channels_first(value: Any) -> Any:
    """Return maps (N, H, W, C) as (N, C, H, W), also in a list, and anything else as it is."""
    return _turned(value, (0, 3, 1, 2))


def _turned(value: Any, axes: tuple[int, ...]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_turned(item, axes) for item in value)
    return value.permute(axes) if isinstance(value, Tensor) and value.ndim == 4 else value


def hooked_call(
    module: nn.Module, activation: Callable[..., Any], is_channels_last: bool, *inputs: Any, **settings: Any
) -> Any:  # fmt: skip
    """Call the module of a layer in its place, so that hooks see maps as (N, C, H, W), and then the activation."""
    if isinstance(module, nn.Dropout):
        settings = {}  # the module knows its mode
    if not is_channels_last:
        return activation(module(*inputs, **settings))
    return activation(to_channels_last(module(*to_channels_first(inputs), **settings)))


def own_call(call: Callable[..., Any], is_channels_last: bool, *inputs: Any, **settings: Any) -> Any:
    """Call the layer itself, whose maps are (N, H, W, C), for maps (N, C, H, W)."""
    if not is_channels_last:
        return call(*inputs, **settings)
    return to_channels_first(call(*to_channels_last(inputs), **settings))


def twin(layer: Any) -> nn.Module:
    """Return a module with the settings of a Keras layer. Its weights have values of its own."""
    kind = type(layer).__name__
    if kind in ("Conv2D", "DepthwiseConv2D"):
        height, width, channels, filters = layer.kernel.shape
        is_depthwise = kind == "DepthwiseConv2D"
        groups = channels if is_depthwise else layer.groups
        outputs = channels * filters if is_depthwise else filters
        inputs = channels if is_depthwise else channels * groups
        module = nn.Conv2d(
            inputs, outputs, (height, width), layer.strides, dilation=layer.dilation_rate, groups=groups,
            bias=layer.use_bias,
        )  # fmt: skip
        if layer.padding == "same":  # with a stride, more is added at the end than at the beginning
            borders = tuple(
                (side - 1) * step // 2 for side, step in zip((height, width), layer.dilation_rate, strict=True)
            )
            module.padding = borders if set(layer.strides) == {1} else "same"
        return module
    if kind == "Dense":
        return nn.Linear(*layer.kernel.shape, bias=layer.use_bias)
    if kind == "BatchNormalization":
        norm = KerasNorm(layer.moving_mean.shape[0], layer.epsilon, round(1 - layer.momentum, 12))
        return without(norm, weight=layer.scale, bias=layer.center)
    if kind == "LayerNormalization" and layer.axis in (-1, [-1]) and layer.built:
        sizes = [variable.shape[0] for variable in layer.weights[:1]]
        return without(nn.LayerNorm(sizes, layer.epsilon), weight=layer.scale, bias=layer.center)
    if kind == "Dropout" and layer.noise_shape is None:
        return nn.Dropout(layer.rate)
    module = type(kind, (nn.Module,), {})()
    if hasattr(layer, "epsilon"):
        module.epsilon = layer.epsilon
    for variable in own_variables(layer):
        values = variable.value.detach().clone()
        if variable.trainable:
            module.register_parameter(variable.name, nn.Parameter(values))
        else:
            module.register_buffer(variable.name, values)
    return module


def without(module: nn.Module, **has: bool) -> nn.Module:
    """Return a normalisation without the parameters that the layer lacks."""
    for name, is_there in has.items():
        if not is_there:
            module.register_parameter(name, None)
    return module


LEAVES = {
    "kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


def own_variables(layer: Any) -> list[Any]:
    """Return the variables of a layer without those of the layers in it, and without seeds of random numbers."""
    variables = [*layer._trainable_variables, *layer._non_trainable_variables]
    return [variable for variable in variables if variable.value.is_floating_point()]


def bind(layer: Any, module: nn.Module) -> Iterator[Binding]:
    """Yield the bindings of a layer's variables, after their values have been copied into the module."""
    is_known = isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm))
    for variable in own_variables(layer):
        leaf = LEAVES[variable.name] if is_known else variable.name
        turn: Callable[[Tensor], Tensor] = unchanged
        if isinstance(module, nn.Linear) and leaf == "weight":
            turn = torch.t
        elif isinstance(module, nn.Conv2d) and leaf == "weight":
            is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
            turn = partial(to_depthwise_kernel, layer.kernel.shape[2]) if is_depthwise else to_kernel
        tensor = getattr(module, leaf)
        with torch.no_grad():
            turn(tensor).copy_(variable.value)
        tensor.requires_grad_(variable.trainable and layer.trainable and isinstance(tensor, nn.Parameter))
        yield Binding(variable, module, leaf, turn)


def unchanged(tensor: Tensor) -> Tensor:
    """Return a tensor as it is."""
    return tensor


def to_kernel(weight: Tensor) -> Tensor:
    """Return (O, I, H, W) as (H, W, I, O)."""
    return weight.permute(2, 3, 1, 0)


def to_depthwise_kernel(channels: int, weight: Tensor) -> Tensor:
    """Return (C * M, 1, H, W) as (H, W, C, M)."""
    return weight.reshape(channels, -1, *weight.shape[2:]).permute(2, 3, 0, 1)
