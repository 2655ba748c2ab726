"""Batch normalisation over the images of all ranks; nn.SyncBatchNorm has no kernel for the CPU."""

from __future__ import annotations

from mindspore import Tensor, nn, ops


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that takes mean and variance over the images of all ranks in training.

    Every rank must have the same number of images (N, C, H, W), and call its normalisations in the same order.
    """

    world_size: int
    all_reduce: ops.AllReduce  # the sum over all ranks, whose gradient is the sum of all ranks' gradients

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().construct(x)
        count = x.shape[0] * x.shape[2] * x.shape[3] * self.world_size
        mean = self.all_reduce(x.sum((0, 2, 3))) / count
        centred = x - mean.reshape(1, -1, 1, 1)
        # the mean of squares minus the square of the mean would lose digits
        variance = self.all_reduce(ops.square(centred).sum((0, 2, 3))) / count
        old, new = 1 - self.momentum, self.momentum
        ops.assign(self.moving_mean, old * self.moving_mean + new * mean)
        ops.assign(self.moving_variance, old * self.moving_variance + new * count / (count - 1) * variance)
        scale = self.gamma / ops.sqrt(variance + self.eps)
        return centred * scale.reshape(1, -1, 1, 1) + self.beta.reshape(1, -1, 1, 1)


def synchronise_norms(model: nn.Cell, world_size: int) -> None:
    """Let the batch normalisations of a model see the images of all ranks. Their weights and names stay."""
    for _, cell in model.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.__class__ = SyncBatchNorm2d
            cell.world_size, cell.all_reduce = world_size, ops.AllReduce()
