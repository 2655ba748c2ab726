"""Formulas of attention."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

from repro.arrays import Arrays
from repro.parity.causes.elementwise import softmax
from repro.parity.causes.target import Target


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
            for (scale, factor), axis in product(scales.items(), (-1, -2, 1, None)):
                mixed = (factor * products if axis is None else softmax(factor * products, axis=axis)) @ v
                merges = {
                    "": mixed.transpose(0, 2, 1, 3),
                    ", heads merged without a transpose": mixed,
                    ", heads merged as (channels, heads)": mixed.transpose(0, 2, 3, 1),
                }
                for merge, merged in merges.items():
                    if target.equals(merged.reshape(n, t, c)):
                        place = {-1: "", None: ", no softmax"}.get(axis, f", softmax along axis {axis}")
                        yield f"attention({', '.join(order)}; {heads} heads, scale {scale}{place}{split}{merge})"
