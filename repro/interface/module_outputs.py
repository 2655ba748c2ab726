"""Helpers for the inputs of models and the outputs of modules, the same in every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from repro.errors import ReproError

LOGITS = "logits"
INPUT_PREFIX, GRADIENT_PREFIX = "input of ", "gradient of "  # before the name of a module, and of a result
RUNNING_STATISTICS = ("running_mean", "running_var")
Images = np.ndarray | Sequence[np.ndarray]  # the only input of a model, or all of its inputs
MAX_OUTPUT_DEPTH = 16


def unique_name(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or "name (2)", "name (3)" and so on where it is taken: a module may run more than once."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


def first_output(value: Any) -> Any:
    """The value of a module's input or output; the first one where a module takes or returns several."""
    return value[0] if isinstance(value, (tuple, list)) and value else value


def input_arrays(images: Images) -> list[np.ndarray]:
    """Return the inputs of a model as a list."""
    return [images] if isinstance(images, np.ndarray) else list(images)


def image_size(images: Images) -> int | None:
    """Return the height of images (N, C, H, W), or None for other inputs."""
    return images.shape[2] if isinstance(images, np.ndarray) and images.ndim == 4 else None


def is_output(name: str) -> bool:
    """Return whether a result of a forward pass is an output of the model, as output_tensors names them."""
    return name == LOGITS or name.startswith("output[")


def output_tensors(value: Any, is_tensor: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the tensors in what a model returns, by name.

    A tensor, and the first one of a tuple or list, is "logits". Others have their path as a name: `output[1]` in a
    tuple, `output['boxes']` in a dictionary or dataclass, `output['boxes'][0]` inside. Raises ReproError for an output
    without tensors.
    """
    tensors = dict(_tensors(value, is_tensor, "output", MAX_OUTPUT_DEPTH))
    if not tensors:
        raise ReproError(
            f"the model returns a {type(value).__name__} without tensors; let it return the tensors to compare"
        )
    return {LOGITS if name in ("output", "output[0]") else name: tensor for name, tensor in tensors.items()}


def _tensors(value: Any, is_tensor: Callable[[Any], bool], path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if is_tensor(value):
        yield path, value
    elif depth:
        for key, item in _items(value):
            yield from _tensors(item, is_tensor, f"{path}[{key!r}]", depth - 1)


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Return the keys and items of a container."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return []
