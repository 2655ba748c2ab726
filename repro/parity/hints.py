"""In words, what a wrong array has to do with the right one: the mistakes that people make leave traces.

An explanation must account for nearly all of the error, and none is given where another would do as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from repro.weights.truncate import SAMPLE_SIZE, corner, sample

LIKE = 1e-3  # of the error that is to be explained, what an explanation may leave over
CLEAR = 4  # an error below that many times what is rounding explains nothing
CHANNEL_AXES = {4: 1, 2: 1, 1: 0}  # of maps (N, C, H, W), of features (N, C) and of a weight for each channel
ORDINALS = ("first", "second")
Same = Callable[[np.ndarray, np.ndarray], bool]


def hint(
    actual: np.ndarray,
    expected: np.ndarray,
    rounding: float,
    before: np.ndarray | None = None,
    momentum: float = 0.1,
    statistic: str = "",
) -> str:
    """One explanation, or nothing. rounding: what may be off anyway; before: the array of weights before training;
    statistic: "running_mean" or "running_var", if it is one, and its momentum."""
    if actual.shape != expected.shape:
        turned = actual.ndim > 1 and actual.shape == expected.shape[::-1] and np.allclose(actual.T, expected)
        return "transposed?" if turned else ""
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return ""
    found, wanted = actual.astype(np.float64), expected.astype(np.float64)
    error = float(np.abs(found - wanted).max(initial=0.0))
    if error <= CLEAR * rounding:
        return ""
    slack = max(LIKE * error, rounding)

    def same(left: np.ndarray, right: np.ndarray) -> bool:
        return bool(np.abs(left - right).max(initial=0.0) <= slack)

    def explanations() -> Iterator[str]:
        if not found.any():
            yield "all of it is 0"
        if before is not None:
            yield from _trained(found, wanted, _as_kept(before, found).astype(np.float64), same, momentum, statistic)
        yield from _simple(found, wanted, same)
        yield from _moved(found, wanted, same)
        yield from _rectified(found, wanted, same)
        yield from _coarse(actual, wanted, slack)
        yield from _by_channel(found, wanted, same)
        yield from _places(np.abs(found - wanted) > slack)

    return next(explanations(), "")


def _as_kept(before: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The weights of which the array has all, some, or the corner."""
    return corner(before, found.shape) if before.ndim == found.ndim else sample(before, found.size)


def _trained(
    found: np.ndarray, wanted: np.ndarray, before: np.ndarray, same: Same, momentum: float, statistic: str
) -> Iterator[str]:
    """How training went from what was there before."""
    if same(found, before):
        yield "it did not change"
    if found.size < 2:
        return
    factor = _factor(found - before, wanted - before)
    if same(found - before, factor * (wanted - before)):
        yield f"it moved {factor:.4g} times as far; another {'momentum' if statistic else 'rate or momentum'}?"
    if statistic:
        kept = (1 - momentum) * before
        factor = _factor(found - kept, wanted - kept)
        if same(found - kept, factor * (wanted - kept)):
            kind = "biased" if factor < 1 else "unbiased"
            guess = f"; {kind} variance?" if statistic == "running_var" and 0.5 <= factor <= 2 else ""
            yield f"what was measured is {_times(factor)}{guess}"
    elif same(found - wanted, _factor(found - wanted, before) * before):
        yield "off in proportion to the weight itself; weight decay?"


def _simple(found: np.ndarray, wanted: np.ndarray, same: Same) -> Iterator[str]:
    if same(found, -wanted) and found.size > 1:
        yield "the sign is the other one"
    factor = _factor(found, wanted)
    whole = max(factor, 1 / factor) if factor > 0 else 0.0
    telling = found.size > 1 or (
        whole > 1.5 and abs(whole - round(whole)) < 1e-3
    )  # any number is a multiple of another
    scale = min(abs(factor), 1.0)  # what is small is not a multiple of anything for that
    if telling and factor and same(found / scale, factor / scale * wanted):
        yield f"{_times(factor)} throughout"
    if found.size > 1 and same(found - wanted, np.full_like(found, (found - wanted).mean())):
        yield f"{abs((found - wanted).mean()):.3g} too {'low' if found.mean() < wanted.mean() else 'high'} throughout"


def _moved(found: np.ndarray, wanted: np.ndarray, same: Same) -> Iterator[str]:
    """The same numbers in other places."""
    if found.ndim > 1:
        if found.shape[-1] == found.shape[-2] and same(np.swapaxes(found, -1, -2), wanted):
            yield "the last two axes are exchanged"
        if found.ndim == 4 and found.shape[0] == found.shape[1] and same(np.swapaxes(found, 0, 1), wanted):
            yield "the first two axes are exchanged"
        if found.ndim == 4:
            yield from _moved_on_maps(found, wanted, same)
        for axis, ordinal in enumerate(ORDINALS):
            if same(_ordered(found, axis), _ordered(wanted, axis)):
                yield f"in another order along its {ordinal} axis"
        if len(found) > 1 and np.array_equal(found, np.broadcast_to(found[:1], found.shape)):
            yield "all along its first axis are the same"
    if found.size > 1 and same(np.sort(found, axis=None), np.sort(wanted, axis=None)):
        yield "the same numbers in another order"


def _moved_on_maps(found: np.ndarray, wanted: np.ndarray, same: Same) -> Iterator[str]:
    for names, axes in (("rows", (2,)), ("columns", (3,)), ("rows and columns", (2, 3))):
        if same(np.flip(found, axes), wanted):
            yield f"its {names} are in reverse order"
    for axis, name in ((2, "row"), (3, "column")):
        for ahead, behind in ((found, wanted), (wanted, found)):
            if found.shape[axis] > 2 and same(np.delete(ahead, 0, axis), np.delete(behind, -1, axis)):
                yield f"moved by a {name}"


def _rectified(found: np.ndarray, wanted: np.ndarray, same: Same) -> Iterator[str]:
    if found.size < 2 or not (found.any() and wanted.any()):
        return
    if same(np.maximum(wanted, 0), found):
        yield "0 where it should be negative"
    if same(np.maximum(found, 0), wanted):
        yield "negative where it should be 0"
    for more, less, word in ((wanted, found, ""), (found, wanted, "not ")):
        top = float(less.max())
        if same(np.minimum(more, top), less):
            yield f"{word}cut off at {top:.3g}"


def _coarse(actual: np.ndarray, wanted: np.ndarray, slack: float) -> Iterator[str]:
    """Numbers of fewer bits than the array has."""
    single = np.ascontiguousarray(actual, np.float32)
    if actual.size < 2 or not (wanted - np.round(wanted)).any() or np.abs(wanted).max() > 6e4:
        return
    if not (single.view(np.uint32) & 0xFFFF).any():
        yield "its numbers are those of bfloat16"
    elif np.array_equal(single, single.astype(np.float16)):
        yield "its numbers are those of float16"


def _by_channel(found: np.ndarray, wanted: np.ndarray, same: Same) -> Iterator[str]:
    """Maps of which each is a multiple of the right one, with something added."""
    if found.ndim != 4 or found[:, 0].size < 8 or found.shape[1] < 2:
        return
    axes = (0, 2, 3)
    left, right = (array - array.mean(axes, keepdims=True) for array in (found, wanted))
    square = (right * right).sum(axes, keepdims=True)
    factors = (left * right).sum(axes, keepdims=True) / np.where(square, square, 1)
    shifts = (found - factors * wanted).mean(axes, keepdims=True)
    if not (square.all() and np.abs(factors).max() > LIKE * 10 and same(found, factors * wanted + shifts)):
        return
    if same(found, wanted + shifts):
        yield "each channel is shifted by a number of its own"
    elif same(found, factors * wanted):
        yield f"each channel has a factor of its own, {factors.min():.4g} to {factors.max():.4g}"
    else:
        yield "each channel has a factor and a shift of its own; another epsilon, gamma, beta, mean or variance?"


def _places(wrong: np.ndarray) -> Iterator[str]:
    """Where errors are, if they are not everywhere."""
    if wrong.ndim == 4 and wrong.shape[2] > 2 and wrong.shape[3] > 2 and not wrong[:, :, 1:-1, 1:-1].any():
        yield "at the border alone; another padding?"
    if wrong.ndim in CHANNEL_AXES and not (wrong.ndim == 1 and wrong.size >= SAMPLE_SIZE):  # which is part of a weight
        axis = CHANNEL_AXES[wrong.ndim]
        channels = np.flatnonzero(wrong.any(axis=tuple(other for other in range(wrong.ndim) if other != axis)))
        first, count = int(channels[0]), len(channels)
        if count > wrong.shape[axis] // 2 and count > 1:
            return
        if count <= 4:
            yield f"in {'channel' if count == 1 else 'channels'} {', '.join(map(str, channels))} alone"
        elif channels[-1] == first + count - 1:
            yield f"in channels {first} to {channels[-1]} alone"


def _times(factor: float) -> str:
    """A factor in words: a percentage where it is near 1."""
    if 0.8 < factor < 1.25:
        return f"{100 * abs(factor - 1):.2g} % too {'low' if factor < 1 else 'high'}"
    return f"{factor:.4g} times what it should be"


def _factor(found: np.ndarray, wanted: np.ndarray) -> float:
    """The number that comes nearest to turning one array into the other."""
    norm = float((wanted * wanted).sum())
    return float((found * wanted).sum()) / norm if norm else 0.0


def _ordered(array: np.ndarray, axis: int) -> np.ndarray:
    """Its slices along the axis by the size of their sums, so that those in another order become equal."""
    slices = np.moveaxis(array, axis, 0)
    return slices[np.argsort(slices.reshape(len(slices), -1).sum(1), kind="stable")]
