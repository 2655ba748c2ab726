"""Programs of parity_tests/backends/test_depthwise.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity_tests.programs.common import Shape, fill_parameter, layers_of, relative_error, to_numpy
from repro.arrays import Arrays

# height, width, kernel, stride
DEPTHWISE = ((1, 1, 5, 1), (2, 2, 5, 2), (3, 5, 3, 1), (8, 8, 3, 2), (7, 4, 5, 2), (9, 9, 3, 1))


def _depthwise(backend: str, images: np.ndarray, weight: np.ndarray, stride: int) -> Arrays:
    """The output of a depthwise convolution, and the gradients of the sum of its squares."""
    channels, kernel = images.shape[1], weight.shape[-1]
    layer = layers_of(backend).conv(channels, channels, kernel, stride, channels)
    assert type(layer).__name__.lower() == "depthwiseconv2d"
    fill_parameter(backend, layer.weight, weight)
    if backend == "paddle":
        output, *gradients = _paddle_gradients(layer, images)
    else:
        from mindspore import Tensor, ops

        def energy(tensor: Any) -> Any:
            output = layer(tensor)
            return (output * output).sum(), output

        gradient = ops.value_and_grad(energy, 0, layer.trainable_params(), has_aux=True)
        (_, output), (of_images, (of_weight,)) = gradient(Tensor(images))
        gradients = [of_images, of_weight]
    names = "output", "images", "weight"
    return {name: to_numpy(tensor) for name, tensor in zip(names, (output, *gradients), strict=True)}


def _paddle_gradients(layer: Any, images: np.ndarray) -> list[Any]:
    """The output of a layer, and the gradients of the sum of its squares for the images and its parameters."""
    import paddle

    tensor = paddle.to_tensor(images, stop_gradient=False)
    layer.clear_gradients()
    output = layer(tensor)
    (output * output).sum().backward()
    return [output, tensor.grad, *(parameter.grad for parameter in layer.parameters())]


def errors_of_pointwise() -> list[tuple[tuple[int, int, bool], list[float]]]:
    """The same errors for Paddle's 1x1 convolutions, by (height, width, whether there is a bias)."""
    from paddle import nn

    layers = layers_of("paddle")
    rng = np.random.default_rng(0)
    results = []
    kernel, kernel_calls = nn.Conv2D.forward, []

    def counted(*arguments: Any) -> Any:
        kernel_calls.append(1)
        return kernel(*arguments)

    nn.Conv2D.forward = counted
    for height, width, bias in ((1, 1, True), (2, 3, False), (4, 4, True)):
        layer = layers.conv(6, 9, 1, bias=bias)
        assert type(layer) is layers.PointwiseConv2D
        images = rng.standard_normal((3, 6, height, width), np.float32)
        by_matrix = [to_numpy(tensor) for tensor in _paddle_gradients(layer, images)]
        assert not kernel_calls
        layers.LARGEST_POINTWISE_MAP = 0
        by_kernel = [to_numpy(tensor) for tensor in _paddle_gradients(layer, images)]
        layers.LARGEST_POINTWISE_MAP = 16
        assert kernel_calls.pop() and not kernel_calls
        errors = [relative_error(a, b) for a, b in zip(by_matrix, by_kernel, strict=True)]
        results.append(((height, width, bias), errors))
    for layer in (layers.conv(6, 9, 1, 2), layers.conv(6, 9, 1, groups=3), layers.conv(6, 9, 1, padding=1)):
        assert type(layer) is nn.Conv2D
    nn.Conv2D.forward = kernel
    return results


def errors_of_depthwise(backend: str) -> list[tuple[Shape, list[float]]]:
    """The relative errors of output and gradients by matrices, by case, with the kernel as the reference."""
    layers = layers_of(backend)
    rng = np.random.default_rng(0)
    results: list[tuple[Shape, list[float]]] = []
    for case in DEPTHWISE:
        height, width, kernel, stride = case
        images = rng.standard_normal((3, 6, height, width), np.float32)
        weight = rng.standard_normal((6, 1, kernel, kernel), np.float32)
        layers.LARGEST_MAP = 10**9
        by_matrices = _depthwise(backend, images, weight, stride)
        layers.LARGEST_MAP = 0
        by_kernel = _depthwise(backend, images, weight, stride)
        results.append((case, [relative_error(by_matrices[name], by_kernel[name]) for name in by_kernel]))
    return results


def grouped_convolutions_of_torch() -> dict[str, Any]:
    """The calls of torch's kernel in layers of to_float64, and relative errors with the kernel as the reference."""
    import torch
    from torch import nn
    from torch.nn.modules import conv as torch_conv

    from backends.torch import to_float64
    from backends.torch.layers import conv

    kernel_calls: list[int] = []
    kernel = torch_conv.F.conv2d

    def counted(*arguments: Any) -> Any:
        kernel_calls.append(1)
        return kernel(*arguments)

    torch_conv.F.conv2d = counted

    def run(layer: Any, images: Any) -> tuple[int, list[Any]]:
        kernel_calls.clear()
        images = images.clone().requires_grad_()
        layer.zero_grad()
        output = layer(images)
        (output * output).sum().backward()
        gradients = [images.grad, *(parameter.grad.clone() for parameter in layer.parameters())]
        return len(kernel_calls), [output.detach(), *gradients]

    torch.manual_seed(0)
    cases = (  # a layer, the height and width of its images, whether the kernel computes it
        (conv(6, 6, 3, groups=6), (4, 4), False),
        (conv(6, 6, 3, groups=6), (5, 4), True),
        (conv(6, 6, 3, 2, 6), (8, 7), False),
        (conv(6, 6, 7, 1, 6, bias=True), (1, 1), False),
        (conv(12, 8, 5, 2, 4, bias=True), (7, 2), False),
        (conv(12, 24, 1, groups=3), (4, 2), False),
        (conv(6, 6, 3, 2, 6, padding="same"), (5, 8), False),
        (nn.Conv2d(4, 8, (3, 1), (1, 2), (2, 0), (2, 1), 2), (3, 5), False),
        (nn.Conv2d(4, 4, 3, padding="same", groups=4), (4, 4), True),
        (nn.Conv2d(4, 4, 3, 1, 1, 1, 4, True, "circular"), (4, 4), True),
        (conv(6, 6, 3), (2, 2), True),
    )
    results = []
    for layer, sides, uses_kernel in cases:
        images = torch.randn(3, layer.in_channels, *sides, dtype=torch.float64)
        _, expected = run(layer.double(), images)
        calls, computed = run(to_float64(lambda layer=layer: nn.Sequential(layer)), images)
        assert all(tensor.dtype == torch.float64 for tensor in computed), layer
        errors = [relative_error(a.numpy(), b.numpy()) for a, b in zip(computed, expected, strict=True)]
        results.append((f"{layer} on {sides}", uses_kernel, calls, errors))
    layer = to_float64(lambda: nn.Conv2d(4, 4, 3, groups=4))
    shape = tuple(layer(torch.ones(4, 3, 3).double()).shape)
    try:
        layer(torch.ones(1, 4, 2, 2).double())
    except RuntimeError as error:
        return {"cases": results, "shape_without_batch": shape, "too_small_error": str(error)}
    raise AssertionError("an image of 2x2 pixels was accepted by a 3x3 kernel")
