"""User models: Paddle models that are not from this repository, made to look like the ones that are."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

import paddle
from paddle import nn

from backends.paddle.introspection import layer_type
from backends.paddle.native_weights import NAMES
from repro.errors import ReproError
from repro.interface.module_outputs import first_output
from repro.specs import Spec
from repro.weights.describe import FrameworkArray, describe_user_model


def wrap_user_model(model: Any, title: str) -> Any:
    """Give a user model a `spec` of its weights, and let it return a single tensor.

    title: what messages call the model. Raises ReproError for an object that is not an nn.Layer, for a model with a
    `spec` of its own and, when the model runs, for an output that is not a tensor.
    """
    if not isinstance(model, nn.Layer):
        raise ReproError(f"{title} is a {type(model).__name__}, not a paddle.nn.Layer")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} already has an attribute `spec`; give it another name")

    def single_tensor(_layer: Any, _inputs: Any, output: Any) -> paddle.Tensor:
        if not isinstance(first_output(output), paddle.Tensor):
            raise ReproError(
                f"{title} returns a {type(output).__name__}; let it return the logits, or a tuple that starts with them"
            )
        return first_output(output)

    norms = (layer for layer in model.sublayers() if isinstance(layer, (nn.layer.norm._BatchNormBase, nn.BatchNorm)))
    momenta = (1 - norm._momentum for norm in norms)
    model.spec = describe_user_model(title, NAMES, framework_arrays(model), next(momenta, 0.1))
    model.register_forward_post_hook(single_tensor)
    return model


def framework_arrays(model: nn.Layer) -> Iterator[FrameworkArray]:
    """Every parameter and buffer of a model in the order of registration, a shared one once."""
    seen: set[int] = set()
    for path, layer in model.named_sublayers(include_self=True):
        for registered in (layer._parameters, layer._buffers):
            for leaf, value in registered.items():
                if value is None or id(value) in seen:
                    continue
                seen.add(id(value))
                name = f"{path}.{leaf}" if path else leaf
                groups, trained = getattr(layer, "_groups", 1), registered is layer._parameters
                yield FrameworkArray(path, layer_type(layer), leaf, name, value.shape, groups, trained)
