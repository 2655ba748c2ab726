"""Formulas of attention."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations, product

import numpy as np

from repro.arrays import Arrays
from repro.parity.causes.elementwise import Function, softmax
from repro.parity.causes.target import Target

# What is made of the scaled products (N, heads, queries, keys)
MIXES: dict[str, Function] = {
    "": partial(softmax, axis=-1),
    ", softmax along axis -2": partial(softmax, axis=-2),
    ", softmax along axis 1": partial(softmax, axis=1),
    ", no softmax": np.asarray,
    ", later tokens masked": lambda x: softmax(np.where(np.tri(x.shape[-1], dtype=bool), x, -np.inf), axis=-1),
}
MAX_PACKED = 1 << 16  # elements of one image's tokens in which queries, keys and values are looked for


def packed_attention_matches(name: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas of attention with queries, keys and values in one source (N, T, 3C)."""
    n, t, c = target.shape if target.ndim == 3 else (0, 0, 0)
    if not 0 < t * c <= MAX_PACKED or array.shape != (n, t, 3 * c):
        return
    packed = {
        "": np.moveaxis(array.reshape(n, t, 3, c), 2, 0),
        ", packed as (channels, 3)": np.moveaxis(array.reshape(n, t, c, 3), 3, 0),
    }
    for heads in (heads for heads in range(2, c) if c % heads == 0):
        parts = np.moveaxis(array.reshape(n, t, heads, 3, c // heads), 3, 0)
        packed[f", packed as ({heads} heads, 3, channels)"] = parts.reshape(3, n, t, c)
    for packing, parts in packed.items():
        for formula in attention_matches(dict(zip(("q", "k", "v"), parts, strict=True)), target):
            yield formula.replace(";", f" of {name}{packing};", 1)


def attention_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas of attention with sources (N, T, C) as query, key and value in this order."""
    shapes = {array.shape for array in sources.values()}
    if len(shapes) != 1 or target.shape not in shapes or target.ndim != 3:
        return
    n, t, c = target.shape
    for heads in (heads for heads in range(1, c + 1) if c % heads == 0):
        width = c // heads
        splits = {
            "": lambda x, h=heads, d=width: x.reshape(n, t, h, d).transpose(0, 2, 1, 3),
            ", heads split as (channels, heads)": lambda x, h=heads, d=width: x.reshape(n, t, d, h).transpose(
                0, 3, 1, 2
            ),
            ", heads split without a transpose": lambda x, h=heads, d=width: x.reshape(n, h, t, d),
        }
        scales = {f"{width}^-0.5": width**-0.5, "1": 1.0, f"{c}^-0.5": c**-0.5, f"{width}^-1": 1 / width,
                  f"{heads}^-0.5": heads**-0.5, f"{width}^0.5": width**0.5}  # fmt: skip
        for (split, divide), order in product(splits.items(), permutations(sources)):
            q, k, v = (divide(sources[name]) for name in order)
            products = q @ k.swapaxes(-1, -2)
            for (scale, factor), (along, mix) in product(scales.items(), MIXES.items()):
                mixed = mix(factor * products) @ v
                merges = {
                    "": mixed.transpose(0, 2, 1, 3),
                    ", heads merged without a transpose": mixed,
                    ", heads merged as (channels, heads)": mixed.transpose(0, 2, 3, 1),
                }
                for merge, merged in merges.items():
                    if target.equals(merged.reshape(n, t, c)):
                        yield f"attention({', '.join(order)}; {heads} heads, scale {scale}{along}{split}{merge})"
