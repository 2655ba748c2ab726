"""User models: MindSpore models that are not from this repository, made to look like the ones that are."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

from mindspore import Tensor, nn

from backends.mindspore.introspection import layer_type
from backends.mindspore.native_weights import NAMES
from repro.errors import ReproError
from repro.interface.module_outputs import first_output
from repro.specs import Spec
from repro.weights.describe import FrameworkArray, describe_user_model


def wrap_user_model(model: Any, title: str) -> Any:
    """Give a user model a `spec` of its weights, and let it return a single tensor.

    title: what messages call the model. Raises ReproError for an object that is not an nn.Cell, for a model with a
    `spec` of its own and, when the model runs, for an output that is not a tensor.
    """
    if not isinstance(model, nn.Cell):
        raise ReproError(f"{title} is a {type(model).__name__}, not a mindspore.nn.Cell")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} already has an attribute `spec`; give it another name")

    def single_tensor(_cell: Any, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(first_output(output), Tensor):
            raise ReproError(
                f"{title} returns a {type(output).__name__}; let it return the logits, or a tuple that starts with them"
            )
        return first_output(output)

    norms = (cell for _, cell in model.cells_and_names() if isinstance(cell, nn.layer.normalization._BatchNorm))
    momenta = (norm.momentum for norm in norms)  # the attribute, unlike the argument, is the new value's weight
    model.spec = describe_user_model(title, NAMES, framework_arrays(model), next(momenta, 0.1))
    model.register_forward_hook(single_tensor)
    return model


def framework_arrays(model: nn.Cell) -> Iterator[FrameworkArray]:
    """Every parameter of a model in the order of registration, a shared one once."""
    seen: set[int] = set()
    for path, cell in model.cells_and_names():
        for leaf, value in cell._params.items():
            if value is not None and id(value) not in seen:
                seen.add(id(value))
                groups = getattr(cell, "group", 1)
                yield FrameworkArray(path, layer_type(cell), leaf, value.name, value.shape, groups, True)
