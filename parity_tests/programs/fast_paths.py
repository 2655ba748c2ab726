"""Convolutions as fast kernels of GPUs compute them, for planted faults."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Winograd's minimal filtering F(m x m, 3x3): input, kernel and output transform (Lavin and Gray, arXiv:1509.09308)
TRANSFORMS = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
         [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
        [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
         [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}  # fmt: skip


def winograd(x: Tensor, weight: Tensor, tile: int) -> Tensor:
    """Return the 3x3 convolution of stride 1 and padding 1 by F(tile x tile, 3x3), with tile 2 or 4."""
    before, kernel, after = (torch.tensor(rows, dtype=x.dtype) for rows in TRANSFORMS[tile])
    height, width = x.shape[2:]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = F.pad(x, (1, 1 + columns * tile - width, 1, 1 + rows * tile - height))
    tiles = padded.unfold(2, tile + 2, tile).unfold(3, tile + 2, tile)  # (N, C, rows, columns, tile + 2, tile + 2)
    products = torch.einsum("ncrsij,kcij->nkrsij", before @ tiles @ before.T, kernel @ weight @ kernel.T)
    y = after @ products @ after.T  # (N, K, rows, columns, tile, tile)
    return y.transpose(3, 4).reshape(x.shape[0], -1, rows * tile, columns * tile)[:, :, :height, :width]


def tf32(x: Tensor) -> Tensor:
    """Return float32 values rounded to the 10 bits of mantissa that TF32 keeps."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def disagreement(tile: int) -> float:
    """The largest difference between Winograd's and the direct convolution of one float64 input of odd sides."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 3, 7, 9), (4, 3, 3, 3)))
    return (winograd(x, weight, tile) - F.conv2d(x, weight, padding=1)).abs().max().item()
