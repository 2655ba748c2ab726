"""Evaluation on a CPU: the same network, with normalisations and activations inside the convolutions before them."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor, nn

from backends.torch.layers import ConvNorm, SameConv2d
from backends.torch.models import densenet, resnet_cifar, vgg

# the activations that oneDNN computes while a convolution writes its results: its names of them, and their numbers
POST_OPERATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []), nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []), nn.SiLU: ("swish", []),
}  # fmt: skip


class FusedConv(nn.Module):
    """A convolution, the batch normalisation of its results in evaluation mode, and an activation, as one operator."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, act: nn.Module):
        super().__init__()
        weight = conv.weight.detach().double()
        bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().double()
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = weight * scale.view(-1, 1, 1, 1)
            bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * scale
        self.weight = weight.float().contiguous(memory_format=torch.channels_last)
        self.bias = bias.float()
        self.conv, self.operation = conv, POST_OPERATIONS[type(act)]

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if isinstance(conv, SameConv2d):
            x = conv.pad(x)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, conv.padding, conv.stride, conv.dilation, conv.groups, *self.operation, ""
        )


def fused(module: nn.Module) -> nn.Module:
    """Return the network in which convolutions are FusedConv; it shares all other modules' weights with `module`."""
    if isinstance(module, ConvNorm):
        return FusedConv(module.conv, module.norm, module.act)
    successor = copy(module)
    successor._modules = {name: fused(child) for name, child in module._modules.items()}
    if isinstance(module, (vgg.Conv, resnet_cifar.ConvNormReLU)):
        act = module.act if isinstance(module, resnet_cifar.ConvNormReLU) else nn.Identity()
        successor.conv, successor.norm = FusedConv(module.conv, module.norm, act), nn.Identity()
    elif isinstance(module, densenet.Block):
        successor.conv1, successor.norm2 = FusedConv(module.conv1, module.norm2, nn.Identity()), nn.Identity()
    return successor


def fused_convolutions(network: nn.Module, model: nn.Module) -> set[str]:
    """Return the names of the model's convolutions that compute a normalisation as well in the fused network."""
    names = {name for name, module in network.named_modules() if isinstance(module, FusedConv)}
    return {name for name in names if isinstance(model.get_submodule(name), nn.Conv2d)}


class Evaluation:
    """The network that computes a model's logits in evaluation mode.

    is_fused: whether it is fused; True and None fuse where that can be done: on a CPU, in float32.
    """

    def __init__(self, model: nn.Module, *, is_fused: bool | None):
        self.model = model
        self.is_fused = on_cpu(model) and hasattr(torch.ops.mkldnn, "_convolution_pointwise") and is_fused is not False
        self.versions: list[int] = []

    def network(self) -> nn.Module:
        """Return the network in evaluation mode, fused anew if weights have changed."""
        self.model.eval()
        if not self.is_fused:
            return self.model
        versions = [tensor._version for tensor in self.model.state_dict(keep_vars=True).values()]
        if versions != self.versions:
            self.fused, self.versions = fused(self.model), versions
        return self.fused


def on_cpu(model: nn.Module) -> bool:
    """Return whether the model computes in float32 on a CPU."""
    weight = next(model.parameters())
    return (weight.device.type, weight.dtype) == ("cpu", torch.float32)
