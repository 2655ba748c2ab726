"""The device of a process, and data-parallel training by paddle.distributed."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import distributed

from repro.interface.parts import tree_sum


def use_device(device: str) -> str:
    """Compute on the "cpu" or the "gpu" from now on, and return Paddle's name of the device.

    A GPU is the one that paddle.distributed.launch assigned to the process. Raises what Paddle raises where there
    is none.
    """
    paddle.device.set_device(device)
    return paddle.device.get_device()


def upload(array: np.ndarray) -> Any:
    """Return the array: Paddle copies the batches of its trainer by itself."""
    return array


def init_distributed() -> None:
    """Join the processes that paddle.distributed.launch started.

    Raises RuntimeError where the launcher's communication backend implies another device than use_device has set.
    """
    requested = paddle.device.get_device()
    distributed.init_parallel_env()  # it sets a device of its own choice
    if (device := paddle.device.get_device()) != requested:
        raise RuntimeError(
            f"paddle.distributed.launch uses {device} instead of {requested}; its --backend must be nccl for GPUs and "
            "gloo for CPUs"
        )


def all_reduce_sum_in_place(tensor: paddle.Tensor) -> paddle.Tensor:
    """Replace a tensor by its sum over all ranks, and return it. Collective: every process must call it."""
    distributed.all_reduce(tensor)
    return tensor


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    """All-reduce sum of a float64 vector (K,). Collective: every process must call it."""
    return all_reduce_sum_in_place(paddle.to_tensor(numbers)).numpy()


def ordered_sum(vector: paddle.Tensor, world_size: int) -> paddle.Tensor:
    """Return the tree_sum of every rank's vector, in the order of ranks. Collective: every process must call it."""
    if world_size == 1:
        return vector
    vectors: list[paddle.Tensor] = []
    distributed.all_gather(vectors, vector)
    return tree_sum(vectors)
