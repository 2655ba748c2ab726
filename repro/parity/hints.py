"""In words, what a wrong array has to do with the right one: the mistakes that people make leave traces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LIKE = 1e-3  # of the error that is to be explained, what an explanation may leave over
CHANNEL_AXES = {4: 1, 2: 1, 1: 0}  # of maps (N, C, H, W), of features (N, C) and of a weight for each channel


def hint(
    actual: np.ndarray, expected: np.ndarray, rounding: float, before: np.ndarray | None = None, momentum: float = 0.1
) -> str:
    """One explanation, or nothing. rounding: what may be off anyway; before: the array of weights before training;
    momentum: of running statistics."""
    if actual.shape != expected.shape:
        turned = actual.shape == expected.shape[::-1] and actual.ndim > 1
        return "transposed?" if turned and not np.abs(actual.T - expected).max() > 0 else ""
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return ""
    found, wanted = actual.astype(np.float64), expected.astype(np.float64)
    return next(
        _explanations(found, wanted, rounding, None if before is None else before.astype(np.float64), momentum), ""
    )


def _explanations(
    found: np.ndarray, wanted: np.ndarray, rounding: float, before: np.ndarray | None, momentum: float
) -> Iterator[str]:
    error = float(np.abs(found - wanted).max(initial=0.0))
    slack = min(max(LIKE * error, rounding), error / 4)

    def same(left: np.ndarray, right: np.ndarray) -> bool:
        return bool(np.abs(left - right).max(initial=0.0) <= slack)

    if not found.any():
        yield "all of it is 0"
    if before is not None and before.shape == found.shape:
        if same(found, before):
            yield "it did not change"
        factor = _factor(found - before, wanted - before)
        if found.size > 1 and same(found - before, factor * (wanted - before)):
            yield f"it moved {factor:.4g} times as far; another rate or momentum?"
        kept = (1 - momentum) * before
        factor = _factor(found - kept, wanted - kept)
        if found.size > 1 and same(found - kept, factor * (wanted - kept)):
            kind = "biased" if factor < 1 else "unbiased"
            yield f"what was measured is {factor:.4g} times as large; {kind} variance?"
    if same(found, -wanted):
        yield "the sign is the other one"
    factor = _factor(found, wanted)
    if found.size > 1 and factor and same(found, factor * wanted):
        yield (
            f"{abs(factor - 1):.2%} too {'low' if factor < 1 else 'high'} throughout"
            if 0.5 < factor < 2
            else (f"{factor:.4g} times what it should be throughout")
        )
    if found.size > 1 and same(found - wanted, np.full_like(found, (found - wanted).mean())):
        yield f"{abs((found - wanted).mean()):.3g} too {'low' if found.mean() < wanted.mean() else 'high'} throughout"
    if found.ndim > 1 and found.shape[-1] == found.shape[-2] and same(np.swapaxes(found, -1, -2), wanted):
        yield "the last two axes are exchanged"
    if found.ndim == 4 and found.shape[0] == found.shape[1] and same(np.swapaxes(found, 0, 1), wanted):
        yield "the first two axes are exchanged"
    if found.size > 1 and same(np.sort(found, axis=None), np.sort(wanted, axis=None)):
        yield "the same numbers in another order"
    yield from _places(np.abs(found - wanted) > slack)


def _places(wrong: np.ndarray) -> Iterator[str]:
    """Where errors are, if they are not everywhere."""
    if wrong.ndim == 4 and wrong.shape[2] > 2 and wrong.shape[3] > 2 and not wrong[:, :, 1:-1, 1:-1].any():
        yield "at the border alone; another padding?"
    if wrong.ndim in CHANNEL_AXES:
        axis = CHANNEL_AXES[wrong.ndim]
        channels = np.flatnonzero(wrong.any(axis=tuple(other for other in range(wrong.ndim) if other != axis)))
        if len(channels) <= max(1, wrong.shape[axis] // 2):
            names = ", ".join(map(str, channels[:4])) + (f" and {len(channels) - 4} more" if len(channels) > 4 else "")
            yield f"in {'channel' if len(channels) == 1 else 'channels'} {names} alone"


def _factor(found: np.ndarray, wanted: np.ndarray) -> float:
    """The number that comes nearest to turning one array into the other."""
    norm = float((wanted * wanted).sum())
    return float((found * wanted).sum()) / norm if norm else 0.0
