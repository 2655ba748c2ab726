"""Depthwise and grouped convolutions of small maps: as products of matrices they equal the frameworks' kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[[str, str], str]

DEPTHWISE = {
    "paddle": """
import paddle
from backends.paddle import layers
def both(x, weight, kernel, stride):
    results = []
    for largest in (10**9, 0):
        layers.LARGEST_MAP = largest
        layer = layers.conv(x.shape[1], x.shape[1], kernel, stride, x.shape[1])
        assert type(layer) is layers.DepthwiseConv2D
        layer.weight.set_value(weight)
        tensor = paddle.to_tensor(x, stop_gradient=False)
        y = layer(tensor)
        (y * y).sum().backward()
        results.append((y.numpy(), tensor.grad.numpy(), layer.weight.grad.numpy()))
    return results
""",
    "mindspore": """
import mindspore
from mindspore import Tensor, ops
from backends.mindspore import layers
def both(x, weight, kernel, stride):
    results = []
    for largest in (10**9, 0):
        layers.LARGEST_MAP = largest
        layer = layers.conv(x.shape[1], x.shape[1], kernel, stride, x.shape[1])
        assert type(layer) is layers.DepthwiseConv2d
        layer.weight.set_data(Tensor(weight))
        def energy(tensor):
            y = layer(tensor)
            return (y * y).sum(), y
        gradient = ops.value_and_grad(energy, 0, layer.trainable_params(), has_aux=True)
        (_, y), (dx, dw) = gradient(Tensor(x))
        results.append((y.asnumpy(), dx.asnumpy(), dw[0].asnumpy()))
    return results
""",
}


@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_by_matrices_equals_the_kernel(
    name: str, run_in: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend(name)
    run_in(name, DEPTHWISE[name] + """
import numpy as np
rng = np.random.default_rng(0)
cases = ((1, 1, 5, 1), (2, 2, 5, 2), (3, 5, 3, 1), (8, 8, 3, 2), (7, 4, 5, 2), (9, 9, 3, 1))
for height, width, kernel, stride in cases:
    x = rng.standard_normal((3, 6, height, width), np.float32)
    quick, kernels = both(x, rng.standard_normal((6, 1, kernel, kernel), np.float32), kernel, stride)
    for a, b in zip(quick, kernels):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max(), (height, width, kernel, stride)
""")  # fmt: skip


def test_grouped_by_matrices_equals_the_kernel(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """torch's, in float64: values, all gradients, and that the kernel is for large maps and what has none."""
    require_backend("torch")
    run_in("torch", """
import torch
from torch import nn
from torch.nn.modules import conv as kernels
from backends.torch import to_float64
from backends.torch.layers import SameConv2d, conv
calls, native = [], kernels.F.conv2d
kernels.F.conv2d = lambda *given: calls.append(1) or native(*given)
def run(layer, x):
    calls.clear()
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    (y * y).sum().backward()
    return len(calls), (y.detach(), x.grad, *(parameter.grad.clone() for parameter in layer.parameters()))
torch.manual_seed(0)
CASES = (  # a layer, the side of its images, whether the kernel is asked
    (conv(6, 6, 3, groups=6), (4, 4), 0), (conv(6, 6, 3, groups=6), (5, 4), 1), (conv(6, 6, 3, 2, 6), (8, 7), 0),
    (conv(6, 6, 7, 1, 6, bias=True), (1, 1), 0), (conv(12, 8, 5, 2, 4, True), (7, 2), 0),
    (conv(12, 24, 1, groups=3), (4, 2), 0), (conv(6, 6, 3, 2, 6, padding="same"), (5, 8), 0),
    (nn.Conv2d(4, 8, (3, 1), (1, 2), (2, 0), (2, 1), 2), (3, 5), 0),
    (nn.Conv2d(4, 4, 3, padding="same", groups=4), (4, 4), 1),
    (nn.Conv2d(4, 4, 3, 1, 1, 1, 4, True, "circular"), (4, 4), 1), (conv(6, 6, 3), (2, 2), 1),
)
for layer, sides, asked in CASES:
    x = torch.randn(3, layer.in_channels, *sides, dtype=torch.float64)
    _, wanted = run(layer.double(), x)
    found, quick = run(to_float64(lambda: nn.Sequential(layer)), x)
    assert found == asked, (layer, sides)
    for a, b in zip(quick, wanted, strict=True):
        assert a.dtype == torch.float64 and a.shape == b.shape, layer
        assert (a - b).abs().max() <= 1e-13 * b.abs().max(), layer
layer = to_float64(lambda: nn.Conv2d(4, 4, 3, groups=4))
assert layer(torch.ones(4, 3, 3).double()).shape == (4, 1, 1)
try:
    layer(torch.ones(1, 4, 2, 2).double())
except RuntimeError as error:
    assert "can't be greater than actual input size" in str(error)
else:
    raise AssertionError("2x2 is too small for 3x3")
""")  # fmt: skip
