"""Explanations of wrong arrays: common mistakes leave typical traces.

An explanation must account for nearly all of the error; otherwise none is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from repro.weights.truncate import SAMPLE_SIZE, corner, sample

UNEXPLAINED_FRACTION = 1e-3  # largest fraction of the error that an explanation may leave
LEAST_ERROR_RATIO = 4  # in units of the tolerance; smaller errors are not explained
MANY_CHANNELS = 4  # from this number on, wrong channels are not listed one by one
CHANNEL_AXES = {4: 1, 2: 1, 1: 0}  # by number of axes: maps (N, C, H, W), features (N, C), weights per channel (C,)
ORDINALS = ("first", "second")
Same = Callable[[np.ndarray, np.ndarray], bool]


def explain_error(
    actual: np.ndarray,
    expected: np.ndarray,
    *,
    tolerance: float,
    initial: np.ndarray | None = None,
    momentum: float = 0.1,
    statistic: str = "",
) -> str:
    """Return one explanation of how `actual` differs from `expected`, or "" where none fits.

    tolerance: the error that counts as rounding; initial: the whole weight before training, if the array is one after
    it; momentum, statistic: the weight of the new value, and "running_mean" or "running_var", for a running statistic.
    """
    if actual.shape != expected.shape:
        is_transposed = actual.ndim > 1 and actual.shape == expected.shape[::-1] and np.allclose(actual.T, expected)
        return "it looks transposed" if is_transposed else ""
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return ""
    wrong, right = actual.astype(np.float64), expected.astype(np.float64)
    error = float(np.abs(wrong - right).max(initial=0.0))
    if error <= LEAST_ERROR_RATIO * tolerance:
        return ""
    slack = max(UNEXPLAINED_FRACTION * error, tolerance)

    def same(left: np.ndarray, right: np.ndarray) -> bool:
        return bool(np.abs(left - right).max(initial=0.0) <= slack)

    def explanations() -> Iterator[str]:
        if not wrong.any():
            yield "every element is 0"
        if initial is not None:
            before = _same_sample(initial, wrong).astype(np.float64)
            yield from _explain_training(wrong, right, before, same, momentum, statistic)
        yield from _explain_sign_scale_shift(wrong, right, same)
        yield from _explain_order(wrong, right, same)
        yield from _explain_clipping(wrong, right, same)
        yield from _explain_precision(actual, right)
        yield from _explain_channels(wrong, right, same)
        yield from _locate_errors(np.abs(wrong - right) > slack)

    return next(explanations(), "")


def _same_sample(initial: np.ndarray, result: np.ndarray) -> np.ndarray:
    """The elements of the initial weight that the worker returned: all, a sample, or a corner."""
    return corner(initial, result.shape) if initial.ndim == result.ndim else sample(initial, result.size)


def _explain_training(
    wrong: np.ndarray, right: np.ndarray, before: np.ndarray, same: Same, momentum: float, statistic: str
) -> Iterator[str]:
    """Explain the change from the values before training."""
    if same(wrong, before):
        yield "training did not change it"
    if wrong.size < 2:
        return
    factor = _best_factor(wrong - before, right - before)
    if same(wrong - before, factor * (right - before)):
        cause = "momentum" if statistic else "learning rate or momentum"
        yield f"it changed {factor:.4g} times as much as expected; different {cause}?"
    if statistic:
        old_share = (1 - momentum) * before
        factor = _best_factor(wrong - old_share, right - old_share)
        if same(wrong - old_share, factor * (right - old_share)):
            kind = "biased" if factor < 1 else "unbiased"
            guess = f"; {kind} variance?" if statistic == "running_var" and 0.5 <= factor <= 2 else ""
            yield f"the batch statistic is {_describe_factor(factor)}{guess}"
    elif same(wrong - right, _best_factor(wrong - right, before) * before):
        yield "the error is proportional to the weight; different weight decay?"


def _explain_sign_scale_shift(wrong: np.ndarray, right: np.ndarray, same: Same) -> Iterator[str]:
    if same(wrong, -right) and wrong.size > 1:
        yield "the sign is flipped"
    factor = _best_factor(wrong, right)
    # a single number is always a multiple of another: only a whole multiple means something
    multiple = max(factor, 1 / factor) if factor > 0 else 0.0
    meaningful = wrong.size > 1 or (multiple > 1.5 and abs(multiple - round(multiple)) < 1e-3)
    scale = min(abs(factor), 1.0)  # otherwise an array of small numbers would be the multiple of any other
    if meaningful and factor and same(wrong / scale, factor / scale * right):
        yield f"every element is {_describe_factor(factor)}"
    shift = float((wrong - right).mean())
    if wrong.size > 1 and same(wrong - right, np.full_like(wrong, shift)):
        yield f"every element is {abs(shift):.3g} too {'low' if shift < 0 else 'high'}"


def _explain_order(wrong: np.ndarray, right: np.ndarray, same: Same) -> Iterator[str]:
    """Explain the same values in other places."""
    if wrong.ndim > 1:
        if wrong.shape[-1] == wrong.shape[-2] and same(np.swapaxes(wrong, -1, -2), right):
            yield "the last two axes are swapped"
        if wrong.ndim == 4 and wrong.shape[0] == wrong.shape[1] and same(np.swapaxes(wrong, 0, 1), right):
            yield "the first two axes are swapped"
        if wrong.ndim == 4:
            yield from _explain_moved_maps(wrong, right, same)
        for axis, ordinal in enumerate(ORDINALS):
            if same(_sort_slices(wrong, axis), _sort_slices(right, axis)):
                yield f"permuted along the {ordinal} axis"
        if len(wrong) > 1 and np.array_equal(wrong, np.broadcast_to(wrong[:1], wrong.shape)):
            yield "all slices along the first axis are identical"
    if wrong.size > 1 and same(np.sort(wrong, axis=None), np.sort(right, axis=None)):
        yield "the same values in a different order"


def _explain_moved_maps(wrong: np.ndarray, right: np.ndarray, same: Same) -> Iterator[str]:
    for names, axes in (("rows", (2,)), ("columns", (3,)), ("rows and columns", (2, 3))):
        if same(np.flip(wrong, axes), right):
            yield f"the {names} are reversed"
    for axis, name in ((2, "row"), (3, "column")):
        for ahead, behind in ((wrong, right), (right, wrong)):
            if wrong.shape[axis] > 2 and same(np.delete(ahead, 0, axis), np.delete(behind, -1, axis)):
                yield f"shifted by one {name}"


def _explain_clipping(wrong: np.ndarray, right: np.ndarray, same: Same) -> Iterator[str]:
    if wrong.size < 2 or not (wrong.any() and right.any()):
        return
    if same(np.maximum(right, 0), wrong):
        yield "negative values are 0; an extra ReLU?"
    if same(np.maximum(wrong, 0), right):
        yield "negative values are not set to 0; a missing ReLU?"
    for unclipped, clipped, verb in ((right, wrong, "are clipped"), (wrong, right, "are not clipped")):
        limit = float(clipped.max())
        if same(np.minimum(unclipped, limit), clipped):
            yield f"values above {limit:.3g} {verb}"


def _explain_precision(actual: np.ndarray, right: np.ndarray) -> Iterator[str]:
    """Explain values that have fewer bits than the array's dtype."""
    as_float32 = np.ascontiguousarray(actual, np.float32)
    if actual.size < 2 or not actual.any() or not (right - np.round(right)).any() or np.abs(right).max() > 6e4:
        return
    if not (as_float32.view(np.uint32) & 0xFFFF).any():
        yield "the values have only bfloat16 precision"
    elif np.array_equal(as_float32, as_float32.astype(np.float16)):
        yield "the values have only float16 precision"


def _explain_channels(wrong: np.ndarray, right: np.ndarray, same: Same) -> Iterator[str]:
    """Explain maps (N, C, H, W) in which each channel is scaled and shifted on its own."""
    if wrong.ndim != 4 or wrong[:, 0].size < 8 or wrong.shape[1] < 2:
        return
    axes = (0, 2, 3)
    wrong_centred, right_centred = (array - array.mean(axes, keepdims=True) for array in (wrong, right))
    norms = (right_centred * right_centred).sum(axes, keepdims=True)
    factors = (wrong_centred * right_centred).sum(axes, keepdims=True) / np.where(norms, norms, 1)
    shifts = (wrong - factors * right).mean(axes, keepdims=True)
    scaled = norms.all() and np.abs(factors).max() > UNEXPLAINED_FRACTION * 10
    if not (scaled and same(wrong, factors * right + shifts)):
        return
    if same(wrong, right + shifts):
        yield "each channel is shifted by its own constant"
    elif same(wrong, factors * right):
        yield f"each channel is scaled by its own factor, {factors.min():.4g} to {factors.max():.4g}"
    else:
        yield "each channel is scaled and shifted on its own; different epsilon, gamma, beta, mean or variance?"


def _locate_errors(errors: np.ndarray) -> Iterator[str]:
    """Describe where the errors, a mask, are unless they are everywhere."""
    if errors.ndim == 4 and errors.shape[2] > 2 and errors.shape[3] > 2 and not errors[:, :, 1:-1, 1:-1].any():
        yield "only at the border; different padding?"
    is_sample = errors.ndim == 1 and errors.size >= SAMPLE_SIZE  # a sample of a weight has no channels
    if errors.ndim not in CHANNEL_AXES or is_sample:
        return
    axis = CHANNEL_AXES[errors.ndim]
    channels = np.flatnonzero(errors.any(axis=tuple(other for other in range(errors.ndim) if other != axis)))
    first, count = int(channels[0]), len(channels)
    if count > errors.shape[axis] // 2 and count > 1:
        return
    if count <= MANY_CHANNELS:
        yield f"only in {'channel' if count == 1 else 'channels'} {', '.join(map(str, channels))}"
    elif channels[-1] == first + count - 1:
        yield f"only in channels {first} to {channels[-1]}"


def _describe_factor(factor: float) -> str:
    """A factor in words: as a percentage where it is near 1."""
    if 0.8 < factor < 1.25:
        return f"{100 * abs(factor - 1):.2g} % too {'low' if factor < 1 else 'high'}"
    return f"{factor:.4g} times the expected value"


def _best_factor(wrong: np.ndarray, right: np.ndarray) -> float:
    """The factor by which `right` comes nearest to `wrong` (least squares)."""
    norm = float((right * right).sum())
    return float((wrong * right).sum()) / norm if norm else 0.0


def _sort_slices(array: np.ndarray, axis: int) -> np.ndarray:
    """The slices along the axis sorted by their sums, so that permuted arrays become equal."""
    slices = np.moveaxis(array, axis, 0)
    return slices[np.argsort(slices.reshape(len(slices), -1).sum(1), kind="stable")]
