"""Programs of parity_tests/backends/test_layers.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity_tests.programs.common import call, layers_of, to_numpy
from repro.specs import find_spec


def _with_gradient(backend: str, layer: Any, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output of an element-wise layer, and the gradient of its sum."""
    if backend == "mindspore":
        import mindspore

        tensor = mindspore.Tensor(array)
        return to_numpy(layer(tensor)), to_numpy(mindspore.grad(lambda x: layer(x).sum())(tensor))
    if backend == "torch":
        import torch

        tensor = torch.tensor(array, requires_grad=True)
    else:
        import paddle

        tensor = paddle.to_tensor(array, stop_gradient=False)
    output = layer(tensor)
    output.sum().backward()
    return to_numpy(output), to_numpy(tensor.grad)


def activations(backend: str, inputs: list[float]) -> dict[str, tuple[list[float], list[float]]]:
    """Outputs and gradients of every activation, by its name."""
    results = {}
    for name, layer in layers_of(backend).ACTIVATIONS.items():
        output, gradient = _with_gradient(backend, layer(), np.array(inputs, np.float32))
        results[name] = output.tolist(), gradient.tolist()
    return results


def running_variance(backend: str, images: list[Any]) -> list[float]:
    """The running variance of a batch normalisation after one batch in training mode."""
    layer = layers_of(backend).norm(find_spec("mobilenet_v3_small"), 3)
    call(backend, layer, np.array(images, np.float32), training=True)
    name = {"torch": "running_var", "paddle": "_variance", "mindspore": "moving_variance"}[backend]
    return to_numpy(getattr(layer, name)).tolist()
