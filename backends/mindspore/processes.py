"""The device of a process, and data-parallel training by mindspore.communication."""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, communication, nn, ops

from repro.interface.parts import tree_sum


def use_device(device: str) -> str:
    """Compute on the "cpu" or the "gpu" from now on, and return MindSpore's name of the device.

    A GPU is the one that msrun assigned to the process. Raises RuntimeError where there is none.
    """
    if device == "gpu" and not mindspore.device_context.gpu.is_available():  # set_device's error fills a screen
        raise RuntimeError("this MindSpore was not built for GPUs, or finds none")
    mindspore.set_device(device.upper())
    return mindspore.get_context("device_target")


def upload(array: np.ndarray) -> Any:
    """Return the array: MindSpore copies the batches of its trainer by itself."""
    return array


def init_distributed() -> None:
    """Join the processes that msrun started."""
    communication.init()


class AllReduceMean(nn.Cell):
    """The all-reduce mean of a vector, for use in a compiled step. Collective: every process must call it."""

    def __init__(self, world_size: int):
        super().__init__(auto_prefix=False)
        self.all_reduce, self.world_size = ops.AllReduce(), world_size

    def construct(self, vector: Tensor) -> Tensor:
        return self.all_reduce(vector) / self.world_size


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    """All-reduce sum of a float32 or float64 vector (K,). Collective: every process must call it."""
    if numbers.dtype == np.float64:  # which collectives round to float32, and int64 to int32
        bits = ops.AllGather()(Tensor(numbers.view(np.int32))).asnumpy()
        return bits.view(np.float64).reshape(-1, numbers.size).sum(0)
    return ops.AllReduce()(Tensor(numbers)).asnumpy()


def ordered_sum(numbers: np.ndarray, world_size: int) -> np.ndarray:
    """Return the tree_sum of every rank's vector, in the order of ranks. Collective: every process must call it."""
    if world_size == 1:
        return numbers
    return tree_sum(np.split(ops.AllGather()(Tensor(numbers)).asnumpy(), world_size))
