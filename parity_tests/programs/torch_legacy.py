"""Programs of parity_tests/weights/test_torch_legacy.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save_checkpoint(path: str) -> None:
    """Save a checkpoint with every kind of tensor in the format from before PyTorch 1.6."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    shared = torch.arange(24.0)
    checkpoint = {
        "epoch": 3,
        "model": model.state_dict(),
        "turned": shared.reshape(4, 6).T,
        "row": shared[6:12],
        "parameter": nn.Parameter(torch.tensor([[1.5, -2.0]])),
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(7, dtype=torch.int64),
    }
    for dtype in ("float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32", "bool"):
        checkpoint[dtype] = torch.tensor([0, 1, 1, 0, 1]).to(getattr(torch, dtype))
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)


def load(path: str, destination: str) -> None:
    """Write what torch.load returns as a canonical file, with names as the reader gives them."""
    import torch
    from ml_dtypes import bfloat16

    from repro.weights import safetensors_file

    def arrays(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
        tensors: dict[str, np.ndarray] = {}
        for key, value in tree.items():
            if isinstance(value, dict):
                tensors |= arrays(value, f"{prefix}{key}/")
            elif isinstance(value, torch.Tensor):
                tensor = value.detach()
                bits = tensor.view(torch.int16).numpy().view(bfloat16) if tensor.dtype == torch.bfloat16 else None
                tensors[f"{prefix}{key}"] = tensor.numpy() if bits is None else bits
        return tensors

    safetensors_file.save(Path(destination), arrays(torch.load(path, weights_only=True)))


def torchvision_logits(weights: str, images: str, answer: str) -> None:
    """Write the logits (N, 1000) of torchvision's own MobileNetV2 with a published file, for prepared images."""
    import numpy as np
    import torch
    import torchvision

    model = torchvision.models.mobilenet_v2().eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        np.save(answer, model(torch.from_numpy(np.load(images))).numpy())
