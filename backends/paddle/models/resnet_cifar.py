"""The residual networks for CIFAR; repro/specs/resnet_cifar.py has their tables and sources."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from backends.paddle.layers import ConvNorm, conv, global_avg_pool, max_pool, norm
from repro.specs.resnet_cifar import ResNetCifarSpec, Steps
from repro.specs.resnet_cifar import Unit as Block


class NormReLU(nn.Layer):
    """The normalisation and the ReLU that `steps` names."""

    def __init__(self, spec: ResNetCifarSpec, channels: int, steps: Steps):
        super().__init__()
        self.norm = norm(spec, channels) if "norm" in steps else nn.Identity()
        self.act = nn.ReLU() if "relu" in steps else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(x))


class ConvNormReLU(NormReLU):
    """A convolution, and `steps`."""

    def __init__(
        self, spec: ResNetCifarSpec, channels_in: int, channels_out: int, kernel: int, stride: int, steps: Steps
    ):
        super().__init__(spec, channels_out, steps)
        self.conv = conv(channels_in, channels_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x))


class PadChannels(nn.Layer):
    """Subsampling by the stride, and channels of zeros after those of the input (option A)."""

    def __init__(self, extra: int, stride: int):
        super().__init__()
        self.extra = extra
        self.sample = max_pool(1, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.sample(x)
        # F.pad of channels writes beyond its memory in oneDNN's graph. There are no more new channels than old ones
        return paddle.concat([x, paddle.zeros_like(x[:, : self.extra])], axis=1)


class Addition(nn.Layer):
    """The addition of a branch to its shortcut, as one of SHORTCUTS."""

    def __init__(self, spec: ResNetCifarSpec, way: str, channels: int):
        super().__init__()
        self.way = way
        if "gating" in way:
            self.gate = conv(channels, channels, 1, bias=True)
        elif way == "conv1x1":
            self.conv1x1 = ConvNorm(spec, channels, channels, 1)
        elif way == "dropout":
            self.dropout = nn.Dropout(spec.shortcut_dropout)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        if self.way == "scaled":
            x, branch = 0.5 * x, 0.5 * branch
        elif self.way == "scaled_shortcut":
            x = 0.5 * x
        elif self.way == "exclusive_gating":
            gate = F.sigmoid(self.gate(x))
            x, branch = (1 - gate) * x, gate * branch
        elif self.way == "shortcut_gating":
            x = (1 - F.sigmoid(self.gate(x))) * x
        elif self.way == "conv1x1":
            x = self.conv1x1(x)
        elif self.way == "dropout":
            x = self.dropout(x)
        return x + branch


class Unit(nn.Layer):
    """A residual unit: after(addition(shortcut(x), branch(before(x))))."""

    def __init__(self, spec: ResNetCifarSpec, unit: Block):
        super().__init__()
        self.shared = unit.shared
        self.before = NormReLU(spec, unit.channels_in, spec.before)
        if unit.match == "project":
            self.match = ConvNormReLU(spec, unit.channels_in, unit.channels_out, 1, unit.stride, spec.match_steps)
        elif unit.match == "pad":
            self.match = PadChannels(unit.channels_out - unit.channels_in, unit.stride)
        else:
            self.match = nn.Identity()
        layers: list[ConvNormReLU] = []
        channels = unit.channels_in
        for kernel, out, stride in unit.convs:
            steps: Steps = spec.end if len(layers) == len(unit.convs) - 1 else "norm_relu"
            layers.append(ConvNormReLU(spec, channels, out, kernel, stride, steps))
            channels = out
        self.branch = nn.Sequential(*layers)
        self.addition = Addition(spec, unit.addition, unit.channels_out)
        self.after = NormReLU(spec, unit.channels_out, spec.after)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        shortcut = self.match(y if self.shared else x)
        return self.after(self.addition(shortcut, self.branch(y)))


class ResNetCifar(nn.Layer):
    """A residual network for CIFAR: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: ResNetCifarSpec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNormReLU(spec, spec.in_channels, 16, 3, 1, spec.stem_steps)
        self.stages = nn.Sequential(*(nn.Sequential(*(Unit(spec, unit) for unit in units)) for units in spec.stages))
        channels = spec.stages[-1][-1].channels_out
        self.last = NormReLU(spec, channels, spec.before)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(channels, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 16, H, W)
        x = self.last(self.stages(x))  # (N, C, H/4, W/4)
        return self.classifier(self.dropout(global_avg_pool(x)))
