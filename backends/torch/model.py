"""A network as the core handles it: created from a spec, filled with canonical weights, read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from backends.torch.layers import grouped_conv_by_matmul
from backends.torch.models import FAMILIES
from backends.torch.native_weights import NAMES
from repro.arrays import Arrays
from repro.specs import Spec, find_spec
from repro.weights.strict import check_weights


def create_model(model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object) -> Any:
    """Return a plain nn.Module with the attribute `spec`, holding PyTorch's own random weights.

    model: the name of a variant, with the options of its family, or a spec, which has its options already. The initial
    weights of the paper are in repro.weights.init. Raises ReproError for an unknown name or an impossible setting.
    """
    spec = find_spec(model, num_classes=num_classes, in_channels=in_channels, **options)
    return FAMILIES[type(spec)](spec)


def native_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Return the model's own tensors by native name, without PyTorch's counters of batches."""
    return {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""
    check_weights(arrays, model.spec)
    tensors = native_tensors(model)
    with torch.no_grad():
        for name, array in NAMES.to_native(arrays, model.spec.weights).items():
            dtype = np.float64 if tensors[name].dtype == torch.float64 else np.float32
            tensors[name].copy_(torch.from_numpy(array.astype(dtype)))  # torch does not know NumPy's bfloat16


def export_weights(model: Any) -> Arrays:
    """Return copies of the model's weights under their canonical names."""
    arrays = {name: value.numpy(force=True).copy() for name, value in native_tensors(model).items()}
    return NAMES.to_canonical(arrays, model.spec.weights)


def to_float64(make: Callable[[], Any]) -> Any:
    """Return the model that `make` returns, in float64.

    A new model is made, since hooks of a deep copy would act on the original. Raises ReproError for a Keras model.
    """
    model = make().double()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module._conv_forward = grouped_conv_by_matmul(module)
    return model


def truncate(model: Any, spec: Spec) -> None:
    """Give the model's parameters the shapes of another spec with the same names, and that spec. It cannot run then."""
    for name, parameter in model.named_parameters():
        parameter.data = torch.empty(spec.weights[name].shape, dtype=parameter.dtype)
    model.spec = spec
