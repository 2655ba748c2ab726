"""The device of a process, and data-parallel training by torch.distributed."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import distributed

_last_reduced: list[torch.Tensor] = []  # at most one


def use_device(device: str) -> str:
    """Compute on the "cpu" or the "gpu" from now on, and return PyTorch's name of the device.

    A GPU is the one of torchrun's LOCAL_RANK. Raises RuntimeError where there is none.
    """
    if device == "gpu":  # not for the CPU: a default device slows every call a little
        gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(gpu)  # NCCL uses the current device; fails here where there is no GPU
        torch.set_default_device(gpu)
    return str(torch.get_default_device())


def init_distributed() -> None:
    """Join the processes that torchrun started, by NCCL on GPUs and by gloo otherwise."""
    distributed.init_process_group("nccl" if torch.get_default_device().type == "cuda" else "gloo")
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    """Destroy the process group once gloo has released the last tensor that it sent.

    If gloo's thread were the last to release a tensor while Python is shutting down, the process would abort.
    """
    deadline = time.monotonic() + 10
    while any(tensor._use_count() > 1 for tensor in _last_reduced) and time.monotonic() < deadline:
        time.sleep(0.001)
    distributed.destroy_process_group()


def _all_reduce(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over all ranks, in place."""
    distributed.all_reduce(tensor)
    _last_reduced[:] = [tensor]
    return tensor


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    """All-reduce sum of a float64 vector (K,). Collective: every process must call it."""
    return _all_reduce(torch.tensor(numbers)).numpy(force=True).copy()


def all_reduce_mean(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """All-reduce means of several tensors, by a single message. Collective: every process must call it."""
    sums = _all_reduce(torch.cat([tensor.detach().reshape(-1) for tensor in tensors]))
    means = (sums / distributed.get_world_size()).split([tensor.numel() for tensor in tensors])
    return [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]
