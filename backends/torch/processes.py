"""The device of a process, copies to it and from it, and data-parallel training by torch.distributed."""

from __future__ import annotations

import atexit
import os
import time
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import distributed

from repro.interface.parts import tree_sum

_last_reduced: list[torch.Tensor] = []  # the tensors of the last message


def use_device(device: str) -> str:
    """Compute on the "cpu" or the "gpu" from now on, and return PyTorch's name of the device.

    A GPU is the one of torchrun's LOCAL_RANK. Raises RuntimeError where there is none.
    """
    if device == "gpu":  # not for the CPU: a default device slows every call a little
        gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(gpu)  # NCCL uses the current device; fails here where there is no GPU
        torch.set_default_device(gpu)
    return str(torch.get_default_device())


def upload(array: np.ndarray) -> Any:
    """Return an array on the GPU if this process computes on one, and otherwise the array itself.

    The GPU copies it from pinned memory while it computes the step before. A tensor is returned as it is.
    """
    device = torch.get_default_device()
    if device.type == "cpu" or isinstance(array, torch.Tensor):
        return array
    if device.type != "cuda":
        return torch.as_tensor(array)
    computing, copying = torch.cuda.current_stream(), copy_stream()
    with torch.cuda.stream(copying):
        tensor = torch.as_tensor(array, device="cpu").pin_memory().to(device, non_blocking=True)
    computing.wait_stream(copying)
    tensor.record_stream(computing)
    return tensor


@cache
def copy_stream() -> torch.cuda.Stream:
    """Return the stream in which a GPU copies batches."""
    return torch.cuda.Stream()


class Download:
    """The loss and the logits of a step, which a GPU copies to pinned memory once it has computed them."""

    def __init__(self, loss: torch.Tensor, logits: torch.Tensor):
        self.loss, self.logits = loss, logits
        if logits.is_cuda:
            self.loss, self.logits = (
                torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
                for tensor in (loss, logits)
            )
            self.is_done = torch.cuda.Event()
            self.is_done.record()

    def __call__(self) -> tuple[float, np.ndarray]:
        """Return both once they have been copied."""
        if hasattr(self, "is_done"):
            self.is_done.synchronize()
        return self.loss.item(), self.logits.numpy(force=True)


def init_distributed() -> None:
    """Join the processes that torchrun started, by NCCL on GPUs and by gloo otherwise."""
    store, rank, world_size = next(distributed.rendezvous("env://"))
    # the store of torchrun still holds the addresses of ranks that it has restarted, which gloo would try in vain
    store = distributed.PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if torch.get_default_device().type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    """Destroy the process group once gloo has released the last tensor that it sent.

    If gloo's thread were the last to release a tensor while Python is shutting down, the process would abort.
    """
    deadline = time.monotonic() + 10
    while any(tensor._use_count() > 1 for tensor in _last_reduced) and time.monotonic() < deadline:
        time.sleep(0.001)
    distributed.destroy_process_group()


def all_reduce_sum_in_place(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor by its sum over all ranks, and return it. Collective: every process must call it."""
    distributed.all_reduce(tensor)
    _last_reduced[:] = [tensor]
    return tensor


def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
    """All-reduce sum of a float64 vector (K,). Collective: every process must call it."""
    return all_reduce_sum_in_place(torch.tensor(numbers)).numpy(force=True).copy()


def ordered_sum(vector: torch.Tensor, world_size: int) -> torch.Tensor:
    """Return the tree_sum of every rank's vector, in the order of ranks. Collective: every process must call it."""
    if world_size == 1:
        return vector
    vectors = [torch.empty_like(vector) for _ in range(world_size)]
    distributed.all_gather(vectors, vector)
    _last_reduced[:] = vectors
    return tree_sum(vectors)
