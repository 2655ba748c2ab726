"""User models: PyTorch models that are not from this repository, made to look like the ones that are."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import nn

from backends.torch.dropout import CHANNEL_DROPOUTS, draws_from_source
from backends.torch.introspection import forward, layer_type
from backends.torch.keras_models import KerasModel, KerasNorm, is_keras
from backends.torch.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.contract import Projection
from repro.interface.draws import DrawWatcher
from repro.interface.module_outputs import Images, input_arrays, output_tensors
from repro.interface.module_settings import (
    RUNNING_VARIANCE,
    ModuleDescription,
    Setting,
    module_text,
    read_geometry,
    read_settings,
)
from repro.specs import Spec
from repro.weights.describe import FrameworkArray, describe_user_model


def wrap_user_model(model: Any, title: str) -> Any:
    """Give a user model a `spec` of its weights.

    title: what messages call the model. Raises ReproError for an object that is not an nn.Module, and for a model with
    a `spec` of its own.
    """
    if is_keras(model):
        model = KerasModel(model)
    if not isinstance(model, nn.Module):
        raise ReproError(f"{title} is a {type(model).__name__}, not a torch.nn.Module")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} already has an attribute `spec`; give it another name")
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    momenta = (norm.momentum for norm in norms if norm.momentum is not None)
    model.spec = describe_user_model(title, NAMES, framework_arrays(model), next(momenta, 0.1))
    return model


def framework_arrays(model: nn.Module) -> Iterable[FrameworkArray]:
    """Every parameter and buffer of a model in the order of registration, a shared one once."""
    arrays: dict[int, FrameworkArray] = {}
    for path, module in model.named_modules():
        for registered in (module._parameters, module._buffers):
            for leaf, value in registered.items():
                if value is None:
                    continue
                name = f"{path}.{leaf}" if path else leaf
                if first := arrays.get(id(value)):
                    arrays[id(value)] = first._replace(aliases=(*first.aliases, name))
                    continue
                groups, is_parameter = getattr(module, "groups", 1), registered is module._parameters
                arrays[id(value)] = FrameworkArray(
                    path,
                    layer_type(module),
                    type(module).__name__,
                    leaf,
                    name,
                    value.shape,
                    groups,
                    is_parameter,
                    value.requires_grad,
                )
    return arrays.values()


def describe_modules(model: Any) -> dict[str, ModuleDescription]:
    """Return the modules of a user model by path, as they are now, the model itself under ""."""
    return {
        path: ModuleDescription(
            type(module).__name__, module.training, read_settings(module, _special_settings(module)),
            read_geometry(module), module_text(module, is_leaf=not any(True for _ in module.children())),
        )
        for path, module in model.named_modules()
    }  # fmt: skip


def _special_settings(module: nn.Module) -> dict[str, Setting]:
    """The settings that PyTorch names in its own way."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        momentum = "a cumulative average" if module.momentum is None else module.momentum
        statistics = "running" if module.track_running_stats else "of the batch"
        settings: dict[str, Setting] = {
            "momentum": momentum if module.track_running_stats else None, "statistics": statistics,
        }  # fmt: skip
        return settings | ({RUNNING_VARIANCE: "biased"} if isinstance(module, KerasNorm) else {})
    if isinstance(module, nn.modules.dropout._DropoutNd):
        part = "a channel" if isinstance(module, CHANNEL_DROPOUTS) else "an element"
        return {"rate": module.p, "mode": "upscale_in_train", "dropped part": part}
    if isinstance(module, nn.modules.pooling._AvgPoolNd):
        return {"count_include_pad": module.count_include_pad if np.any(module.padding) else None}
    if isinstance(module, nn.Hardtanh):
        return {"lower limit": module.min_val, "upper limit": module.max_val}
    return {}


def random_modules(model: Any, images: Images, *, train: bool) -> list[str]:
    """Return the paths of modules that draw random numbers in a forward pass without using the dropout source."""
    watcher = DrawWatcher(lambda: torch.get_rng_state().numpy().tobytes())
    names = {module: path for path, module in model.named_modules()}
    handles = [
        module.register_forward_pre_hook(lambda module, _inputs: watcher.begin(names[module])) for module in names
    ]
    handles += [module.register_forward_hook(lambda *_: watcher.end()) for module in names]
    try:
        forward(model, images, train=train)
    finally:
        for handle in handles:
            handle.remove()
    return [path for path in watcher.drawing if not draws_from_source(model.get_submodule(path))]


def gradients(model: Any, images: Images, projection: Projection) -> Arrays:
    """Return the gradients of all parameters in training mode; the loss is the sum of the projected outputs."""
    parameters = {name: value for name, value in model.named_parameters() if value.is_floating_point()}
    for parameter in parameters.values():
        parameter.requires_grad_()
    model.train()
    outputs = output_tensors(model(*map(torch.as_tensor, input_arrays(images))), torch.is_tensor)
    products = [
        (value * torch.as_tensor(numbers).to(value.dtype)).sum()
        for name, value in outputs.items()
        if (numbers := projection(name, tuple(value.shape))) is not None
    ]
    values = torch.autograd.grad(sum(products), list(parameters.values()), allow_unused=True, materialize_grads=True)
    arrays = {name: value.numpy(force=True) for name, value in zip(parameters, values, strict=True)}
    return NAMES.to_canonical(arrays, model.spec.weights)
