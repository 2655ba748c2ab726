"""The building blocks of the networks, with every default in which the frameworks differ written out."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

from repro.interface.depthwise import LARGEST_MAP, placement
from repro.specs import Padding, Spec


class Gelu(nn.Cell):
    """The exact GELU; nn.GELU computes the tanh approximation by default."""

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
    """A depthwise convolution with padding `kernel // 2`; small maps take one matrix per channel."""

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
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, *,
    bias: bool = False, padding: Padding = None,
) -> nn.Conv2d:  # fmt: skip
    """Return a convolution. padding: pixels, None for kernel // 2, or "same" as in TensorFlow, MindSpore's default."""
    if padding == "same" and stride == 1 and kernel % 2:
        padding = None  # the same border, without a padding of its own
    depthwise = groups == channels_in == channels_out and kernel % 2 and padding is None and not bias
    layer = DepthwiseConv2d if depthwise and mindspore.get_context("device_target") == "CPU" else nn.Conv2d
    if padding == "same":
        return layer(channels_in, channels_out, kernel, stride, pad_mode="same", group=groups, has_bias=bias)
    border = kernel // 2 if padding is None else padding
    return layer(channels_in, channels_out, kernel, stride, pad_mode="pad", padding=border, group=groups, has_bias=bias)


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2d:
    """Return maximum pooling; the padding never is the maximum."""
    return nn.MaxPool2d(kernel, stride, pad_mode="pad", padding=padding)


def avg_pool(kernel: int, stride: int, padding: int = 0) -> nn.AvgPool2d:
    """Return mean pooling; the padding counts as zeros."""
    return nn.AvgPool2d(kernel, stride, pad_mode="pad", padding=padding, count_include_pad=True)


def norm(spec: Spec, channels: int) -> nn.BatchNorm2d:
    """Return batch normalisation with the spec's eps and momentum."""
    return nn.BatchNorm2d(channels, eps=spec.norm_eps, momentum=1 - spec.norm_momentum)  # weight of the old value


class ConvNorm(nn.Cell):
    """A convolution, batch normalisation, and an activation ("none" for a linear layer)."""

    def __init__(
        self, spec: Spec, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1,
        activation: str = "none", padding: Padding = None, *, bias: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(channels_in, channels_out, kernel, stride, groups, bias=bias, padding=padding)
        self.norm = norm(spec, channels_out)
        self.act = ACTIVATIONS[activation]()

    def construct(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each position of a map (N, C, H, W)."""

    def __init__(self, channels: int, eps: float):
        super().__init__((channels,), epsilon=eps)

    def construct(self, x: Tensor) -> Tensor:
        return super().construct(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class SqueezeExcite(nn.Cell):
    """Squeeze-and-excite: a gate for each channel, computed from the means of all (Hu et al., arXiv:1709.01507)."""

    def __init__(
        self, channels: int, squeeze: int, activation: str = "relu", gate: str = "hard_sigmoid", *, bias: bool = True
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
    """Dropout: sets random values to zero in training, and scales the others by 1 / (1 - rate).

    nn.Dropout draws its seed when it is built and ignores a later mindspore.set_seed, so that no run could be repeated.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate
        self.mask = None  # ones and zeros, which backends.mindspore.dropout draws for a compiled step

    def construct(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        if self.mask is not None:
            return x * self.mask / (1 - self.rate)
        keep = (ops.rand(*self.mask_shape(x.shape)) >= self.rate).astype(x.dtype)
        return x * keep / (1 - self.rate)

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the mask for an input of `shape`."""
        return shape


class DropPath(Dropout):
    """Stochastic depth: drops a residual branch for random images of a batch, and scales the others by 1 / (1 - rate)
    (Huang et al., arXiv:1603.09382)."""

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (N, 1, 1, 1) for an input (N, C, H, W)."""
        return (shape[0], 1, 1, 1)
