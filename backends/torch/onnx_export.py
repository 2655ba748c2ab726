"""Export to ONNX by PyTorch's exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def export_onnx(model: Any, path: Path, size: int) -> None:
    """Write the model in evaluation mode as ONNX for images (N, C, size, size), by way of torch.export."""
    model.eval()
    images = torch.zeros(2, model.spec.in_channels, size, size)  # torch.export would make a batch of 1 a constant
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(model, (images,), path, dynamo=True, dynamic_shapes=(batch,), external_data=False, verbose=False)
