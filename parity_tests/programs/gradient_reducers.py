"""The all-reduce of gradients by MindSpore's own reducer, beside the one message of our backend, in turn:

msrun --worker_num 2 --local_worker_num 2 --join True python -m parity_tests.programs.gradient_reducers MODEL
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

import numpy as np

from repro.interface.discovery import load_backend
from repro.interface.processes import process_group
from repro.specs import find_spec

ROUNDS = 7


def main(model: str) -> None:
    """Print the median milliseconds of both in compiled cells, and of how many arrays."""
    backend = load_backend("mindspore")
    processes = process_group("mindspore").initialised(backend)
    import mindspore
    from mindspore import Tensor, mint, nn

    from backends.mindspore.optimizers import FlatWeights
    from backends.mindspore.processes import AllReduceMean

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    mindspore.set_auto_parallel_context(
        parallel_mode="data_parallel", gradients_mean=True, device_num=processes.world_size
    )
    parameters = backend.create_model(find_spec(model)).trainable_params()
    flat = FlatWeights(parameters, compiled=True)
    rng = np.random.default_rng(processes.rank)
    gradients = tuple(Tensor(rng.standard_normal(parameter.shape, np.float32)) for parameter in parameters)

    class Ours(nn.Cell):
        """One vector, one message."""

        def __init__(self) -> None:
            super().__init__()
            self.mean = AllReduceMean(processes.world_size)

        def construct(self, *gradients: Tensor) -> tuple[Tensor, ...]:
            return mint.split(self.mean(flat(gradients)), flat.sizes)

    class Theirs(nn.Cell):
        """A message for each gradient, as MindSpore plans them."""

        def __init__(self) -> None:
            super().__init__()
            self.reducer = nn.DistributedGradReducer(parameters, mean=True, degree=processes.world_size)

        def construct(self, *gradients: Tensor) -> tuple[Tensor, ...]:
            return self.reducer(gradients)

    cells: dict[str, Any] = {"one message": Ours(), "nn.DistributedGradReducer": Theirs()}
    seconds: dict[str, list[float]] = {name: [] for name in cells}
    sums: dict[str, float] = {}
    for _ in range(1 + ROUNDS):  # the first compiles
        for name, cell in cells.items():
            start = time.perf_counter()
            results = [result.asnumpy() for result in cell(*gradients)]
            seconds[name].append(time.perf_counter() - start)
            sums[name] = float(sum(result.sum(dtype=np.float64) for result in results))
    if processes.is_main:
        for name, times in seconds.items():
            print(f"{name}: {1000 * median(times[1:]):.0f} ms, sum {sums[name]:.6g}, {len(parameters)} gradients")


if __name__ == "__main__":
    main(sys.argv[1])
