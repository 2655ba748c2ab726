"""Batch normalisation over the images of all ranks; nn.SyncBatchNorm has no kernel for the CPU."""

from __future__ import annotations

from typing import Any

from paddle import Tensor, nn
from paddle.autograd import PyLayer

from backends.paddle.layers import BatchNorm2D
from backends.paddle.processes import all_reduce_sum_in_place


class AllReduceSum(PyLayer):
    """The sum over all ranks, whose gradient is the sum of all ranks' gradients. Collective in both directions."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_reduce_sum_in_place(tensor.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the sum of the gradients of all ranks."""
        return all_reduce_sum_in_place(gradient.clone())


class SyncBatchNorm2D(BatchNorm2D):
    """Batch normalisation that takes mean and variance over the images of all ranks in training.

    Every rank must have the same number of images (N, C, H, W), and call its normalisations in the same order.
    """

    world_size: int

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.shape[0] * x.shape[2] * x.shape[3] * self.world_size
        mean = AllReduceSum.apply(x.sum([0, 2, 3])) / count
        centred = x - mean.reshape([1, -1, 1, 1])
        # the mean of squares minus the square of the mean would lose digits
        variance = AllReduceSum.apply(centred.square().sum([0, 2, 3])) / count
        self.update_statistics(mean, variance, count)
        scale = self.weight / (variance + self._epsilon).sqrt()
        return centred * scale.reshape([1, -1, 1, 1]) + self.bias.reshape([1, -1, 1, 1])


def synchronise_norms(model: nn.Layer, world_size: int) -> None:
    """Let the batch normalisations of a model see the images of all ranks. Their weights and names stay."""
    for layer in model.sublayers():
        if isinstance(layer, BatchNorm2D):
            layer.__class__ = SyncBatchNorm2D
            layer.world_size = world_size
