"""The building blocks of the networks, with every default in which the frameworks differ written out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.specs import Padding, Spec

ACTIVATIONS = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.Hardswish, "silu": nn.SiLU, "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid, "hard_sigmoid": nn.Hardsigmoid, "none": nn.Identity,
}  # fmt: skip

LARGEST_OUTPUT = 16  # pixels; above 4x4, PyTorch's kernels are as fast as the matrix product


class SameConv2d(nn.Conv2d):
    """A convolution padded as in TensorFlow: ceil(size / stride) outputs, an odd pixel of padding at the end."""

    def pad(self, x: Tensor) -> Tensor:
        """Return the input with its border of zeros."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
        return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pad(x))


def grouped_conv_by_matmul(conv: nn.Conv2d) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Return a `_conv_forward` that computes small outputs as one matrix product.

    In float64, PyTorch loops over the groups, which takes three to ten times as long.
    """
    kernel, groups, native = conv.kernel_size, conv.groups, conv._conv_forward

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.dim() != 4 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            return native(x, weight, bias)
        height, width = (
            (side + 2 * conv.padding[i] - conv.dilation[i] * (kernel[i] - 1) - 1) // conv.stride[i] + 1
            for i, side in enumerate(x.shape[2:])
        )
        if min(height, width) < 1 or height * width > LARGEST_OUTPUT:
            return native(x, weight, bias)
        patches = F.unfold(x, kernel, conv.dilation, conv.padding, conv.stride).unflatten(1, (groups, -1))
        y = weight.flatten(1).unflatten(0, (groups, -1)) @ patches  # (N, groups, C' / groups, H' * W')
        y = y.reshape(-1, conv.out_channels, height, width)
        return y if bias is None else y + bias.view(-1, 1, 1)

    return forward


def conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, *,
    bias: bool = False, padding: Padding = None,
) -> nn.Conv2d:  # fmt: skip
    """Return a convolution. padding: pixels, None for kernel // 2, or "same" as in TensorFlow."""
    if padding == "same" and stride == 1 and kernel % 2:
        padding = None  # the same border, without a padding of its own
    if padding == "same":
        return SameConv2d(channels_in, channels_out, kernel, stride, 0, groups=groups, bias=bias)
    border = kernel // 2 if padding is None else padding
    return nn.Conv2d(channels_in, channels_out, kernel, stride, border, groups=groups, bias=bias)


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2d:
    """Return maximum pooling; the padding never is the maximum."""
    return nn.MaxPool2d(kernel, stride, padding)


def avg_pool(kernel: int, stride: int, padding: int = 0) -> nn.AvgPool2d:
    """Return mean pooling; the padding counts as zeros."""
    return nn.AvgPool2d(kernel, stride, padding, count_include_pad=True)


def norm(spec: Spec, channels: int) -> nn.BatchNorm2d:
    """Return batch normalisation with the spec's eps and momentum."""
    return nn.BatchNorm2d(channels, eps=spec.norm_eps, momentum=spec.norm_momentum)


class ConvNorm(nn.Module):
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


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each position of a map (N, C, H, W)."""

    def __init__(self, channels: int, eps: float):
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SqueezeExcite(nn.Module):
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
        means = torch.mean(x, (2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * self.gate(self.restore(self.act(self.reduce(means))))


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for random images of a batch, and scales the others by 1 / (1 - rate)
    (Huang et al., arXiv:1603.09382)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        keep = torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device) >= self.rate
        return x * keep / (1 - self.rate)
