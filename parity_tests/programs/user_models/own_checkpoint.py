"""The checkpoint of torch_own.py and paddle_own.py, with PyTorch's names and axes."""

import numpy as np

SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "norm.weight": (4,), "norm.bias": (4,),
          "norm.running_mean": (4,), "hidden.weight": (4, 4), "hidden.bias": (4,), "fc.weight": (5, 4),
          "fc.bias": (5,)}  # fmt: skip


def checkpoint():
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}
    return arrays | {"norm.running_var": rng.uniform(0.5, 1.5, 4).astype(np.float32)}
