"""A network as the core handles it: created from a spec, filled with canonical weights, read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from backends.paddle.models import FAMILIES
from backends.paddle.native_weights import NAMES
from repro.arrays import Arrays
from repro.specs import Spec, find_spec
from repro.weights.strict import check_weights


def create_model(model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object) -> Any:
    """Return a plain nn.Layer with the attribute `spec`, holding Paddle's own random weights.

    model: the name of a variant, with the options of its family, or a spec, which has its options already. The initial
    weights of the paper are in repro.weights.init. Raises ReproError for an unknown name or an impossible setting.
    """
    spec = find_spec(model, num_classes=num_classes, in_channels=in_channels, **options)
    return FAMILIES[type(spec)](spec)


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""
    check_weights(arrays, model.spec)
    tensors = model.state_dict()
    for name, array in NAMES.to_native(arrays, model.spec.weights).items():
        tensors[name].set_value(array.astype(str(tensors[name].dtype).removeprefix("paddle.")))


def export_weights(model: Any) -> Arrays:
    """Return copies of the model's weights under their canonical names."""
    arrays = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    return NAMES.to_canonical(arrays, model.spec.weights)


def to_float64(make: Callable[[], Any]) -> Any:
    """Return the model that `make` returns, in float64.

    A new model is made, since astype() leaves batch normalisation in float32.
    """
    previous = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    try:
        return make()
    finally:
        paddle.set_default_dtype(previous)


def truncate(model: Any, spec: Spec) -> None:
    """Give the model's parameters the shapes of another spec with the same names, and that spec. It cannot run then."""
    shapes = NAMES.native_shapes(spec.weights)
    for name, parameter in model.named_parameters():
        # set_value() refuses another shape
        parameter.get_tensor().set(np.empty(shapes[name], parameter.numpy().dtype), paddle.CPUPlace())
    model.spec = spec
