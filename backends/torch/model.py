"""A model as the core sees it: made from a spec, filled with canonical weights, looked into while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import nn

from backends.torch.layers import DropPath, by_matrices
from backends.torch.models import FAMILIES
from backends.torch.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.contract import DropoutSource
from repro.interface.module_outputs import first_output, unique_name
from repro.specs import Spec, find_spec
from repro.weights.describe import FrameworkArray, describe_user_model
from repro.weights.strict import check_weights

TYPES: dict[str, tuple[type, ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "norm": (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm),
    "linear": (nn.Linear,),
}


def create_model(model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object) -> Any:
    """Return a plain nn.Module with the attribute `spec`, holding PyTorch's own random weights.

    model: the name of a variant, with the options of its family, or a spec, which has its options already. The initial
    weights of the paper are in repro.weights.init. Raises ReproError for an unknown name or an impossible setting.
    """
    spec = find_spec(model, num_classes=num_classes, in_channels=in_channels, **options)
    return FAMILIES[type(spec)](spec)


def _type(module: Any) -> str:
    """conv, norm, linear, or nothing for another layer."""
    return next((name for name, types in TYPES.items() if isinstance(module, types)), "")


def _arrays_of(model: nn.Module) -> Iterator[FrameworkArray]:
    seen: set[int] = set()
    for path, module in model.named_modules():
        for held in (module._parameters, module._buffers):
            for leaf, value in held.items():
                if value is None or id(value) in seen:
                    continue
                seen.add(id(value))
                name = f"{path}.{leaf}" if path else leaf
                groups, trained = getattr(module, "groups", 1), held is module._parameters
                yield FrameworkArray(path, _type(module), leaf, name, value.shape, groups, trained)


def wrap_user_model(model: Any, title: str) -> Any:
    """A model that is not ours, with a `spec` of its weights and one tensor as its output."""
    if not isinstance(model, nn.Module):
        raise ReproError(f"{title} is a {type(model).__name__}, which is no torch.nn.Module")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} has an attribute `spec` of its own; give it another name")

    def output(_module: Any, _inputs: Any, found: Any) -> torch.Tensor:
        if not isinstance(first_output(found), torch.Tensor):
            raise ReproError(
                f"{title} puts out a {type(found).__name__}; let it be the logits, or a tuple of them first"
            )
        return first_output(found)

    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    momenta = (norm.momentum for norm in norms if norm.momentum is not None)
    model.spec = describe_user_model(title, NAMES, _arrays_of(model), next(momenta, 0.1))
    model.register_forward_hook(output)
    return model


def _native(model: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""
    check_weights(arrays, model.spec)
    own = _native(model)
    with torch.no_grad():
        for name, array in NAMES.to_native(arrays, model.spec.weights).items():
            own[name].copy_(torch.from_numpy(np.array(array)))


def export_weights(model: Any) -> Arrays:
    """Copies of the model's weights under their canonical names."""
    arrays = {name: value.numpy(force=True).copy() for name, value in _native(model).items()}
    return NAMES.to_canonical(arrays, model.spec.weights)


def to_float64(make: Callable[[], Any]) -> Any:
    """What `make` makes, in double precision; a deep copy of a model would share what hangs on it."""
    model = make().double()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module._conv_forward = by_matrices(module)
    return model


def truncate(model: Any, spec: Spec) -> None:
    """Cuts parameters to the shapes of the spec, which becomes the model's; it cannot run any more."""
    for name, parameter in model.named_parameters():
        parameter.data = torch.empty(spec.weights[name].shape, dtype=parameter.dtype)
    model.spec = spec


def forward(model: Any, images: np.ndarray, train: bool = False, every_module: bool = False) -> Arrays:
    """Every stage's output, and the logits, of images (N, C, H, W), in evaluation or training mode. every_module: what
    enters and leaves every module."""
    outputs: Arrays = {}
    stages = (
        [name for name, _ in model.named_modules() if name]
        if every_module
        else model.spec.trace(images.shape[2]).stages
    )
    names = {model.get_submodule(name): name for name in stages}

    def keep(name: str, array: Any) -> None:
        if isinstance(first_output(array), torch.Tensor):
            outputs[unique_name(name, outputs)] = first_output(array).numpy(force=True).copy()

    hooks = [
        module.register_forward_hook(lambda module, _inputs, output: keep(names[module], output)) for module in names
    ]
    if every_module:
        hooks += [
            module.register_forward_pre_hook(lambda module, inputs: keep(f"input of {names[module]}", inputs))
            for module in names
        ]
    try:
        model.train(train)
        with torch.no_grad():
            outputs["logits"] = model(torch.as_tensor(images)).numpy(force=True)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def set_dropout_source(model: Any, draw: DropoutSource) -> None:
    """Dropout and drop-path layers leave out what draw(name, shape) puts below their rate."""
    names = {module: name for name, module in model.named_modules()}

    def drop(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        path = isinstance(layer, DropPath)
        rate = layer.rate if path else layer.p
        if not layer.training or not rate:
            return output
        drawn = draw(names[layer], (x.shape[0], 1, 1, 1) if path else tuple(x.shape))
        return x * torch.as_tensor(drawn >= rate) / (1 - rate)

    for module in names:
        if isinstance(module, nn.Dropout):
            module.inplace = False  # what comes in is needed afterwards
        if isinstance(module, (nn.Dropout, DropPath)):
            module.register_forward_hook(drop)


def operators(model: Any, size: int) -> list[dict[str, Any]]:
    """The convolutions, normalisations and linear layers that run for one image of `size` pixels, with what they own
    and cost, counted from torch's own tensors."""
    rows: list[dict[str, Any]] = []
    names = {module: name for name, module in model.named_modules() if _type(module)}

    def count(module: Any, _inputs: Any, output: torch.Tensor) -> None:
        kind = _type(module)
        positions = output[0, 0].numel() if kind == "conv" else 1
        rows.append({
            "name": names[module],
            "kind": kind,
            "output": list(output.shape[1:]),
            "params": sum(parameter.numel() for parameter in module.parameters()),
            "macs": 0 if kind == "norm" else module.weight.numel() * positions,
        })  # fmt: skip

    hooks = [module.register_forward_hook(count) for module in names]
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, model.spec.in_channels, size, size, dtype=next(model.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return rows
