"""The program of parity_tests/weights/test_input_channels.py."""

from __future__ import annotations

from typing import Any


def adapted_kernel(kernel: list[Any], channels: int) -> list[Any]:
    """Return what timm makes of a kernel (O, 3, H, W) for another number of input channels."""
    import torch
    from timm.models import adapt_input_conv

    return adapt_input_conv(channels, torch.tensor(kernel)).tolist()
