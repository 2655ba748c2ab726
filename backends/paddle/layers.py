"""The building blocks of the networks, with every default in which the frameworks differ written out."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from repro.interface.depthwise import LARGEST_MAP, placement
from repro.specs import Padding, Spec


class HardSigmoid(nn.Layer):
    """relu6(x + 3) / 6; nn.Hardsigmoid keeps its slope in float32, whatever the type of x."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


# On the CPU, the gradient of nn.Silu is NaN below -88 (Paddle issue 79630); nn.Swish is the same function without it.
ACTIVATIONS = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.Hardswish, "silu": nn.Swish, "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid, "hard_sigmoid": HardSigmoid, "none": nn.Identity,
}  # fmt: skip


LARGEST_POINTWISE_MAP = 16  # pixels; above about 4x4, one product for each image is as fast


def is_eager_on_cpu(x: Tensor) -> bool:
    """Return whether Paddle's CPU kernels compute x at once: graphs have oneDNN's, and GPUs have cuDNN's."""
    return paddle.in_dynamic_mode() and x.place.is_cpu_place()


class PointwiseConv2D(nn.Conv2D):
    """A 1x1 convolution; on the CPU, small maps take one matrix product for all images.

    Paddle's kernel makes one for each image: for 672 to 112 channels of 2x2, batch 64, forward and backward pass take
    3.2 ms with it, and 1.3 ms as one product.
    """

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if height * width > LARGEST_POINTWISE_MAP or not is_eager_on_cpu(x):
            return super().forward(x)
        pixels = x.transpose([0, 2, 3, 1]).reshape([-1, channels])  # (N * H * W, C)
        y = paddle.matmul(pixels, self.weight.reshape([-1, channels]), transpose_y=True)
        if self.bias is not None:
            y = y + self.bias
        return y.reshape([batch, height, width, -1]).transpose([0, 3, 1, 2])


class DepthwiseConv2D(nn.Conv2D):
    """A depthwise convolution with padding `kernel // 2`; on the CPU, small maps take one matrix per channel."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if height * width > LARGEST_MAP or not is_eager_on_cpu(x):
            return super().forward(x)
        kernel, stride = self._kernel_size[0], self._stride[0]
        ones = paddle.to_tensor(placement(height, width, kernel, stride), dtype=x.dtype)
        matrices = self.weight.reshape([channels, kernel * kernel]) @ ones
        matrices = matrices.reshape([channels, height * width, -1])
        columns = x.reshape([batch, channels, height * width]).transpose([1, 0, 2])  # (C, N, H * W)
        y = paddle.bmm(columns, matrices).transpose([1, 0, 2])  # (N, C, H' * W')
        return y.reshape([batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1])


class BatchNorm2D(nn.BatchNorm2D):
    """Batch normalisation whose running variance is updated with the unbiased variance of the batch.

    PyTorch and MindSpore do so; Paddle uses the biased one, as this class does with `unbiased = False`. Raises
    ValueError in training for a single value per channel.
    """

    unbiased = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        if count == 1:  # Paddle would return x unchanged
            raise ValueError(f"batch normalisation in training needs more than one value per channel, got {x.shape}")
        # momentum 0 yields the batch's own statistics; Paddle would compute 1 - momentum in single precision
        mean, variance = paddle.zeros_like(self._mean), paddle.zeros_like(self._variance)
        y = F.batch_norm(x, mean, variance, self.weight, self.bias, True, momentum=0.0, epsilon=self._epsilon)
        if not x.place.is_cpu_place():  # at some sizes, cuDNN's is already unbiased
            variance = x.detach().var([0, 2, 3], unbiased=False)
        self.update_statistics(mean, variance, count)
        return y

    @paddle.no_grad()
    def update_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics with the mean (C,) and the biased variance (C,) of `count` values."""
        old, new = self._momentum, 1 - self._momentum
        self._mean.set_value(old * self._mean + new * mean)
        new *= count / (count - 1) if self.unbiased else 1
        self._variance.set_value(old * self._variance + new * variance)


class SameConv2D(nn.Conv2D):
    """A convolution padded as in TensorFlow: ceil(size / stride) outputs, an odd pixel of padding at the end."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self._kernel_size[0], self._stride[0]
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
        return super().forward(F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]))


def conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, *,
    bias: bool = False, padding: Padding = None,
) -> nn.Conv2D:  # fmt: skip
    """Return a convolution. padding: pixels, None for kernel // 2, or "same" as in TensorFlow."""
    if padding == "same" and stride == 1 and kernel % 2:
        padding = None  # the same border, without a padding of its own
    bias_attr = None if bias else False
    if padding == "same":
        return SameConv2D(channels_in, channels_out, kernel, stride, 0, groups=groups, bias_attr=bias_attr)
    border = kernel // 2 if padding is None else padding
    if groups == channels_in == channels_out and kernel % 2 and padding is None and not bias:
        layer = DepthwiseConv2D
    else:
        layer = PointwiseConv2D if kernel == stride == groups == 1 and border == 0 else nn.Conv2D
    return layer(channels_in, channels_out, kernel, stride, border, groups=groups, bias_attr=bias_attr)


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2D:
    """Return maximum pooling; the padding never is the maximum."""
    return nn.MaxPool2D(kernel, stride, padding)


def avg_pool(kernel: int, stride: int, padding: int = 0) -> nn.AvgPool2D:
    """Return mean pooling; the padding counts as zeros, unlike with Paddle's default."""
    return nn.AvgPool2D(kernel, stride, padding, exclusive=False)


def global_avg_pool(x: Tensor, *, keepdim: bool = False) -> Tensor:
    """Return the means (N, C) of the maps of x (N, C, H, W), or (N, C, 1, 1) with keepdim.

    On a CPU, the gradient of Paddle's mean over two axes takes ten times as long, and a graph of oneDNN with it twice.
    """
    means = F.adaptive_avg_pool2d(x, 1)
    return means if keepdim else means.flatten(1)


def norm(spec: Spec, channels: int) -> BatchNorm2D:
    """Return batch normalisation with the spec's eps and momentum."""
    return BatchNorm2D(channels, momentum=1 - spec.norm_momentum, epsilon=spec.norm_eps)  # weight of the old value


class ConvNorm(nn.Layer):
    """A convolution, batch normalisation, and an activation ("none" for a linear layer)."""

    def __init__(
        self, spec: Spec, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1,
        activation: str = "none", padding: Padding = None, *, bias: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(channels_in, channels_out, kernel, stride, groups, bias=bias, padding=padding)
        self.norm = norm(spec, channels_out)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class LayerNorm2D(nn.LayerNorm):
    """Layer normalisation over the channels of each position of a map (N, C, H, W)."""

    def __init__(self, channels: int, eps: float):
        super().__init__(channels, epsilon=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2])


class SqueezeExcite(nn.Layer):
    """Squeeze-and-excite: a gate for each channel, computed from the means of all (Hu et al., arXiv:1709.01507)."""

    def __init__(
        self, channels: int, squeeze: int, activation: str = "relu", gate: str = "hard_sigmoid", *, bias: bool = True
    ):
        super().__init__()
        self.reduce = conv(channels, squeeze, 1, bias=bias)
        self.act = ACTIVATIONS[activation]()
        self.restore = conv(squeeze, channels, 1, bias=bias)
        self.gate = ACTIVATIONS[gate]()

    def forward(self, x: Tensor) -> Tensor:
        means = global_avg_pool(x, keepdim=True)  # (N, C, 1, 1)
        return x * self.gate(self.restore(self.act(self.reduce(means))))


class DropPath(nn.Layer):
    """Stochastic depth: drops a residual branch for random images of a batch, and scales the others by 1 / (1 - rate)
    (Huang et al., arXiv:1603.09382)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        keep = (paddle.rand([x.shape[0], 1, 1, 1]) >= self.rate).astype(x.dtype)
        return x * keep / (1 - self.rate)
