"""The building blocks, with every setting in which the frameworks differ written out."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

from repro.interface.depthwise import LARGEST_MAP, placement
from repro.specs import Padding, Spec


class Gelu(nn.Cell):
    """The exact form; nn.GELU's default is the one by tanh."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.gelu(x, approximate="none")


ACTIVATIONS = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.HSwish, "silu": nn.SiLU, "gelu": Gelu,
    "sigmoid": nn.Sigmoid, "hard_sigmoid": nn.HSigmoid, "none": nn.Identity,
}  # fmt: skip


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
        ones = _placement(height, width, kernel, stride).astype(x.dtype)
        weight = self.weight.astype(x.dtype).reshape(channels, kernel * kernel)
        matrices = ops.matmul(weight, ones).reshape(channels, height * width, -1)
        columns = x.reshape(batch, channels, height * width).transpose(1, 0, 2)  # (C, N, H * W)
        y = ops.bmm(columns, matrices).transpose(1, 0, 2)  # (N, C, H' * W')
        return y.reshape(batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)


def conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False,
    padding: Padding = None,
) -> nn.Conv2d:  # fmt: skip
    """Convolution; MindSpore's defaults are padding="same" and no bias."""
    depthwise = groups == channels_in == channels_out and kernel % 2 and padding is None and not bias
    layer = DepthwiseConv2d if depthwise and mindspore.get_context("device_target") == "CPU" else nn.Conv2d
    if padding == "same":
        return layer(channels_in, channels_out, kernel, stride, pad_mode="same", group=groups, has_bias=bias)
    border = kernel // 2 if padding is None else padding
    return layer(channels_in, channels_out, kernel, stride, pad_mode="pad", padding=border, group=groups, has_bias=bias)


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2d:
    """Maximum of a window; what lies outside of the map does not count."""
    return nn.MaxPool2d(kernel, stride, pad_mode="pad", padding=padding)


def avg_pool(kernel: int, stride: int, padding: int = 0) -> nn.AvgPool2d:
    """Mean of a window; what lies outside of the map counts as zeros."""
    return nn.AvgPool2d(kernel, stride, pad_mode="pad", padding=padding, count_include_pad=True)


def norm(spec: Spec, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=spec.norm_eps, momentum=1 - spec.norm_momentum)  # weight of the old value


class ConvNorm(nn.Cell):
    """Convolution without bias, batch normalisation, activation ("none" for a linear one)."""

    def __init__(
        self, spec: Spec, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1,
        activation: str = "none", padding: Padding = None,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(channels_in, channels_out, kernel, stride, groups, padding=padding)
        self.norm = norm(spec, channels_out)
        self.act = ACTIVATIONS[activation]()

    def construct(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class LayerNorm2d(nn.LayerNorm):
    """Normalises the channels of each position of a map (N, C, H, W)."""

    def __init__(self, channels: int, eps: float):
        super().__init__((channels,), epsilon=eps)

    def construct(self, x: Tensor) -> Tensor:
        return super().construct(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class SqueezeExcite(nn.Cell):
    """Scales the channels by a gate worked out from their means (Hu et al., arXiv:1709.01507)."""

    def __init__(
        self, channels: int, squeeze: int, activation: str = "relu", gate: str = "hard_sigmoid", bias: bool = True
    ):
        super().__init__()
        self.reduce = conv(channels, squeeze, 1, bias=bias)
        self.act = ACTIVATIONS[activation]()
        self.restore = conv(squeeze, channels, 1, bias=bias)
        self.gate = ACTIVATIONS[gate]()

    def construct(self, x: Tensor) -> Tensor:
        means = ops.mean(x, (2, 3), keep_dims=True)  # (N, C, 1, 1)
        return x * self.gate(self.restore(self.act(self.reduce(means))))


class Dropout(nn.Cell):
    """Sets values to zero at random in training, and scales the others up to make good for it. nn.Dropout takes its
    seed when it is built, and none from mindspore.set_seed later on: no run could be repeated."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate
        self.kept = None  # what a compiled step keeps, ones and zeros, where model.draw_drops has drawn it

    def construct(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        if self.kept is not None:
            return x * self.kept / (1 - self.rate)
        keep = (ops.rand(*self.drawn(x.shape)) >= self.rate).astype(x.dtype)
        return x * keep / (1 - self.rate)

    def drawn(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what is drawn for an input of `shape`."""
        return shape


class DropPath(Dropout):
    """Leaves a residual branch out for an image at random, and scales the others up to make good for it
    (Huang et al., arXiv:1603.09382)."""

    def drawn(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], 1, 1, 1)
