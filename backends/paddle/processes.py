"""Where a process computes, and several that train together, by paddle.distributed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import distributed


def use_device(device: str) -> str:
    paddle.device.set_device(device)  # a gpu is the one that paddle.distributed.launch has given to this process
    return paddle.device.get_device()


def init_distributed() -> None:
    wanted = paddle.device.get_device()
    distributed.init_parallel_env()  # which chooses a device by itself
    if (found := paddle.device.get_device()) != wanted:
        raise RuntimeError(f"paddle.distributed.launch takes {found}, not {wanted}: by its --backend, nccl or gloo")


def _summed(tensor: paddle.Tensor) -> paddle.Tensor:
    distributed.all_reduce(tensor)
    return tensor


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    return _summed(paddle.to_tensor(numbers)).numpy()


def all_reduce_mean(tensors: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
    """Over all processes, in one message."""
    flat = _summed(paddle.concat([tensor.detach().reshape([-1]) for tensor in tensors])) / distributed.get_world_size()
    pieces = flat.split([tensor.size for tensor in tensors])
    return [piece.reshape(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
