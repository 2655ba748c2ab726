"""The building blocks, with every setting in which the frameworks differ written out."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

from repro.specs import Spec
from repro.weights.depthwise import LARGEST_MAP, placement

ACTIVATIONS = {"relu": nn.ReLU, "hard_swish": nn.HSwish, "none": nn.Identity}


@mindspore.ops.constexpr
def _placement(height: int, width: int, kernel: int, stride: int) -> Tensor:
    return Tensor(placement(height, width, kernel, stride))


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with padding `kernel // 2`, by a matrix per channel where the map is small."""

    def construct(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if height * width > LARGEST_MAP:
            return super().construct(x)
        kernel, stride = self.kernel_size[0], self.stride[0]
        matrices = ops.matmul(
            self.weight.reshape(channels, kernel * kernel), _placement(height, width, kernel, stride)
        ).reshape(channels, height * width, -1)
        columns = x.reshape(batch, channels, height * width).transpose(1, 0, 2)  # (C, N, H * W)
        y = ops.bmm(columns, matrices).transpose(1, 0, 2)  # (N, C, H' * W')
        return y.reshape(batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False):
    """Convolution with padding `kernel // 2` on every side; the default pads like TensorFlow and has no bias."""
    depthwise = groups == channels_in == channels_out and kernel % 2 and not bias
    layer = DepthwiseConv2d if depthwise and mindspore.get_context("device_target") == "CPU" else nn.Conv2d
    return layer(
        channels_in, channels_out, kernel, stride, pad_mode="pad", padding=kernel // 2, group=groups, has_bias=bias
    )


def norm(spec: Spec, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=spec.norm_eps, momentum=1 - spec.norm_momentum)  # weight of the old value


class ConvNorm(nn.Cell):
    """Convolution without bias, batch normalisation, activation ("none" for a linear one)."""

    def __init__(
        self, spec: Spec, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1,
        activation: str = "none",
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(channels_in, channels_out, kernel, stride, groups)
        self.norm = norm(spec, channels_out)
        self.act = ACTIVATIONS[activation]()

    def construct(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class SqueezeExcite(nn.Cell):
    """Scales the channels by a gate worked out from their means (Hu et al., arXiv:1709.01507), with hard sigmoid."""

    def __init__(self, channels: int, squeeze: int):
        super().__init__()
        self.reduce = conv(channels, squeeze, 1, bias=True)
        self.restore = conv(squeeze, channels, 1, bias=True)

    def construct(self, x: Tensor) -> Tensor:
        gate = ops.mean(x, (2, 3), keep_dims=True)  # (N, C, 1, 1)
        return x * ops.hardsigmoid(self.restore(ops.relu(self.reduce(gate))))
