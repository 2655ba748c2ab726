"""User models: PyTorch models that are not from this repository, made to look like the ones that are."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

import torch
from torch import nn

from backends.torch.introspection import layer_type
from backends.torch.native_weights import NAMES
from repro.errors import ReproError
from repro.interface.module_outputs import first_output
from repro.specs import Spec
from repro.weights.describe import FrameworkArray, describe_user_model


def wrap_user_model(model: Any, title: str) -> Any:
    """Give a user model a `spec` of its weights, and let it return a single tensor.

    title: what messages call the model. Raises ReproError for an object that is not an nn.Module, for a model with a
    `spec` of its own and, when the model runs, for an output that is not a tensor.
    """
    if not isinstance(model, nn.Module):
        raise ReproError(f"{title} is a {type(model).__name__}, not a torch.nn.Module")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} already has an attribute `spec`; give it another name")

    def single_tensor(_module: Any, _inputs: Any, output: Any) -> torch.Tensor:
        if not isinstance(first_output(output), torch.Tensor):
            raise ReproError(
                f"{title} returns a {type(output).__name__}; let it return the logits, or a tuple that starts with them"
            )
        return first_output(output)

    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    momenta = (norm.momentum for norm in norms if norm.momentum is not None)
    model.spec = describe_user_model(title, NAMES, framework_arrays(model), next(momenta, 0.1))
    model.register_forward_hook(single_tensor)
    return model


def framework_arrays(model: nn.Module) -> Iterator[FrameworkArray]:
    """Every parameter and buffer of a model in the order of registration, a shared one once."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for registered in (module._parameters, module._buffers):
            for leaf, value in registered.items():
                if value is None or id(value) in seen:
                    continue
                seen.add(id(value))
                name = f"{path}.{leaf}" if path else leaf
                groups, trained = getattr(module, "groups", 1), registered is module._parameters
                yield FrameworkArray(path, layer_type(module), leaf, name, value.shape, groups, trained)
