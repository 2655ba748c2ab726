"""The model as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def export_onnx(model: Any, path: Path, size: int) -> None:
    """Writes the model in evaluation mode for images (N, C, size, size), by the exporter on top of torch.export."""
    model.eval()
    images = torch.zeros(2, model.spec.in_channels, size, size)  # of one image, torch.export would make a constant
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(model, (images,), path, dynamo=True, dynamic_shapes=(batch,), external_data=False, verbose=False)
