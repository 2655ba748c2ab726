"""The building blocks, with every setting in which the frameworks differ written out."""

from __future__ import annotations

import warnings

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from repro.specs import Spec
from repro.weights.depthwise import LARGEST_MAP, placement

# said of every training step, and meant to be so
warnings.filterwarnings("ignore", "When training, we now always track global mean and variance", UserWarning)

ACTIVATIONS = {"relu": nn.ReLU, "hard_swish": nn.Hardswish, "none": nn.Identity}


class DepthwiseConv2D(nn.Conv2D):
    """Depthwise convolution with padding `kernel // 2`, on the CPU by a matrix per channel where the map is small."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if height * width > LARGEST_MAP or not x.place.is_cpu_place():
            return super().forward(x)
        kernel, stride = self._kernel_size[0], self._stride[0]
        ones = paddle.to_tensor(placement(height, width, kernel, stride), dtype=x.dtype)
        matrices = self.weight.reshape([channels, kernel * kernel]) @ ones
        matrices = matrices.reshape([channels, height * width, -1])
        columns = x.reshape([batch, channels, height * width]).transpose([1, 0, 2])  # (C, N, H * W)
        y = paddle.bmm(columns, matrices).transpose([1, 0, 2])  # (N, C, H' * W')
        return y.reshape([batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1])


class BatchNorm2D(nn.BatchNorm2D):
    """Batch normalisation whose running variance takes in the unbiased variance of the batch, as torch's and
    MindSpore's do; Paddle takes the biased one, and does so here where `unbiased` is False."""

    unbiased = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        if count == 1:  # Paddle would return x as it is
            raise ValueError(f"batch normalisation in training needs more than one value per channel, got {x.shape}")
        kept = self._variance.clone() * self._momentum
        y = super().forward(x)
        if self.unbiased:
            with paddle.no_grad():
                self._variance.set_value(kept + (self._variance - kept) * (count / (count - 1)))
        return y


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False):
    """Convolution with padding `kernel // 2` on every side."""
    layer = DepthwiseConv2D if groups == channels_in == channels_out and kernel % 2 and not bias else nn.Conv2D
    return layer(
        channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias_attr=None if bias else False
    )


def norm(spec: Spec, channels: int) -> BatchNorm2D:
    return BatchNorm2D(channels, momentum=1 - spec.norm_momentum, epsilon=spec.norm_eps)  # weight of the old value


def hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6  # F.hardsigmoid keeps its slope in float32, whatever x is


class ConvNorm(nn.Layer):
    """Convolution without bias, batch normalisation, activation ("none" for a linear one)."""

    def __init__(
        self, spec: Spec, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1,
        activation: str = "none",
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(channels_in, channels_out, kernel, stride, groups)
        self.norm = norm(spec, channels_out)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class SqueezeExcite(nn.Layer):
    """Scales the channels by a gate worked out from their means (Hu et al., arXiv:1709.01507), with hard sigmoid."""

    def __init__(self, channels: int, squeeze: int):
        super().__init__()
        self.reduce = conv(channels, squeeze, 1, bias=True)
        self.restore = conv(squeeze, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        gate = paddle.mean(x, [2, 3], keepdim=True)  # (N, C, 1, 1)
        return x * hard_sigmoid(self.restore(F.relu(self.reduce(gate))))
