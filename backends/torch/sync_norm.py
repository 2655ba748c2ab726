"""Batch normalisation over the images of all ranks; nn.SyncBatchNorm refuses to do so on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from backends.torch.processes import all_reduce_sum_in_place


class AllReduceSum(torch.autograd.Function):
    """The sum over all ranks, whose gradient is the sum of all ranks' gradients. Collective in both directions."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_reduce_sum_in_place(tensor.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the sum of the gradients of all ranks."""
        return all_reduce_sum_in_place(gradients[0].clone(memory_format=torch.contiguous_format))


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that takes mean and variance over the images of all ranks in training.

    Every rank must have the same number of images (N, C, H, W), and call its normalisations in the same order.
    """

    world_size: int

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        values = x.to(self.running_mean.dtype)  # float32, also where convolutions compute in float16
        count = x.numel() // x.shape[1] * self.world_size
        mean = AllReduceSum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean.view(-1, 1, 1)
        # the mean of squares minus the square of the mean would lose digits
        variance = AllReduceSum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight / (variance + self.eps).sqrt()
        return (centred * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).to(x.dtype)


def synchronise_norms(model: nn.Module, world_size: int) -> None:
    """Let the batch normalisations of a model see the images of all ranks. Their weights and names stay."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncBatchNorm2d
            module.world_size = world_size
