"""Where a process computes, and several that train together, by mindspore.communication."""

from __future__ import annotations

import mindspore
import numpy as np
from mindspore import Tensor, communication, nn, ops


def use_device(device: str) -> str:
    if device == "gpu" and not mindspore.device_context.gpu.is_available():  # which set_device says in many lines
        raise RuntimeError("this MindSpore was not built for GPUs, or finds none")
    mindspore.set_device(device.upper())  # a gpu is the one that msrun has given to this process
    return mindspore.get_context("device_target")


def init_distributed() -> None:
    communication.init()


class Mean(nn.Cell):
    """Over all processes, of a vector."""

    def __init__(self, count: int):
        super().__init__(auto_prefix=False)
        self.summed, self.count = ops.AllReduce(), count

    def construct(self, vector: Tensor) -> Tensor:
        return self.summed(vector) / self.count


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    return ops.AllReduce()(Tensor(numbers)).asnumpy()
