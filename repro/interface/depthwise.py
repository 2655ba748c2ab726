"""A depthwise convolution of a small map, said as one matrix per channel.

Paddle's and MindSpore's CPU kernels loop over images and channels: for 1120 channels of 1x1, batch 64, kernel 5,
forward and backward were seen to take 176 ms and 33 ms with them, and 1 ms and 2 ms with the matrices.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LARGEST_MAP = 64  # pixels; above about 8x8 the matrices, mostly zeros, cost more than the kernels


@lru_cache(maxsize=256)
def placement(height: int, width: int, kernel: int, stride: int) -> np.ndarray:
    """Which weight joins which two pixels, with padding kernel // 2: zeros and ones of shape
    (kernel * kernel, height * width * out_height * out_width), float32.

    A channel's weights (kernel * kernel,) times this is its matrix from input pixels to output pixels.
    """
    padding = kernel // 2
    out_height, out_width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    ones = np.zeros((kernel, kernel, height, width, out_height, out_width), np.float32)
    for i, j, y, x in np.ndindex(kernel, kernel, out_height, out_width):
        row, column = y * stride + i - padding, x * stride + j - padding
        if 0 <= row < height and 0 <= column < width:
            ones[i, j, row, column, y, x] = 1
    return ones.reshape(kernel * kernel, -1)
