"""The building blocks, with every setting in which the frameworks differ written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.specs import Spec

ACTIVATIONS = {"relu": nn.ReLU, "hard_swish": nn.Hardswish, "none": nn.Identity}


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False):
    """Convolution with padding `kernel // 2` on every side."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=bias)


def norm(spec: Spec, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=spec.norm_eps, momentum=spec.norm_momentum)


class ConvNorm(nn.Module):
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


class SqueezeExcite(nn.Module):
    """Scales the channels by a gate worked out from their means (Hu et al., arXiv:1709.01507), with hard sigmoid."""

    def __init__(self, channels: int, squeeze: int):
        super().__init__()
        self.reduce = conv(channels, squeeze, 1, bias=True)
        self.restore = conv(squeeze, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.mean(x, (2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * F.hardsigmoid(self.restore(F.relu(self.reduce(gate))))
