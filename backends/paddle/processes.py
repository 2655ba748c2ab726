"""The device of a process, and data-parallel training by paddle.distributed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import distributed


def use_device(device: str) -> str:
    """Compute on the "cpu" or the "gpu" from now on, and return Paddle's name of the device.

    A GPU is the one that paddle.distributed.launch assigned to the process. Raises what Paddle raises where there
    is none.
    """
    paddle.device.set_device(device)
    return paddle.device.get_device()


def init_distributed() -> None:
    """Join the processes that paddle.distributed.launch started.

    Raises RuntimeError where the launcher's communication backend implies another device than use_device has set.
    """
    requested = paddle.device.get_device()
    distributed.init_parallel_env()  # which sets a device of its own choice
    if (device := paddle.device.get_device()) != requested:
        raise RuntimeError(
            f"paddle.distributed.launch uses {device} instead of {requested}; its --backend must be nccl for GPUs and "
            "gloo for CPUs"
        )


def _all_reduce(tensor: paddle.Tensor) -> paddle.Tensor:
    """Sum a tensor over all ranks, in place."""
    distributed.all_reduce(tensor)
    return tensor


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    """All-reduce sum of a float64 vector (K,). Collective: every process must call it."""
    return _all_reduce(paddle.to_tensor(numbers)).numpy()


def all_reduce_mean(tensors: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
    """All-reduce means of several tensors, by a single message. Collective: every process must call it."""
    sums = _all_reduce(paddle.concat([tensor.detach().reshape([-1]) for tensor in tensors]))
    means = (sums / distributed.get_world_size()).split([tensor.size for tensor in tensors])
    return [mean.reshape(tensor.shape) for mean, tensor in zip(means, tensors, strict=True)]
