"""Operations of networks that move or reduce values, in NumPy: flattening, padding, shuffling, selecting, means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, permutations, product

import numpy as np

from repro.parity.causes.resizing import pools, resizes

Function = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int, ...]


def rearrangements(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """Yield formulas with functions that turn an array of one shape into one of another."""
    yield from parts(shape, target)
    if np.prod(shape) == np.prod(target):
        yield from _reorderings(shape, target)
    if len(shape) == 4 and len(target) == 2 and shape[0] == target[0]:
        sides = [(side, side) for side in range(1, 8) if shape[1] * side * side == target[1]]
        for side in sides:
            for text, pool in pools(shape[2:], side):
                yield f"flatten({text})", partial(_reshaped, function=pool, target=target)


def all_rearrangements(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """Yield `rearrangements`, and `map_operations` between maps (N, C, H, W) with equally many channels."""
    yield from rearrangements(shape, target)
    if len(shape) == len(target) == 4 and shape[:2] == target[:2]:
        yield from map_operations(shape[2:], target[2:])


def parts(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """Yield reductions along axes, and selections of an index or of a part along an axis."""
    yield from _reductions(shape, target)
    yield from _index_of_mean(shape, target)
    yield from _selections(shape, target)


def map_operations(sides: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """Yield formulas with functions that turn each map (N, C, H, W) into one of another size by itself."""
    yield from resizes(sides, target)
    yield from pools(sides, target)
    yield from _paddings((1, 1, *sides), (1, 1, *target))


def _reductions(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    reductions: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max, "sum": np.sum, "min": np.min}
    for count in range(1, len(shape)):
        for axes in combinations(range(1, len(shape)), count):
            rest = tuple(size for axis, size in enumerate(shape) if axis not in axes)
            kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
            if target in (rest, kept) or (len(target) > len(rest) and _without_ones(target) == _without_ones(rest)):
                for name, reduce in reductions.items():
                    axes_text = ", ".join(map(str, axes))
                    text = f"{name}({{}}; {'axis' if count == 1 else 'axes'} {axes_text})"
                    yield text, partial(_reshaped, function=partial(reduce, axis=axes), target=target)


def _without_ones(shape: Shape) -> Shape:
    return (shape[0], *(size for size in shape[1:] if size != 1))


def _index_of_mean(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """Yield the mean of maps along one of their axes, at the first index of the other."""
    if len(shape) == 4 and target == shape[:2]:
        for axis, other in ((2, 3), (3, 2)):
            yield f"mean({{}}; axis {axis}) at index 0 of axis {other}", partial(_first_mean, axis=axis)


def _reorderings(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """The same values in other places."""
    rank = len(shape)
    if shape != target:
        text = f"flatten({{}}; from axis {len(target) - 1})" if len(target) < rank else f"reshape({{}}, {list(target)})"
        yield text, partial(_reshaped, function=np.asarray, target=target)
    for order in permutations(range(1, rank)):
        axes = (0, *order)
        if axes != tuple(range(rank)) and rank <= 5:
            moved = f"transpose({{}}, {list(axes)})"
            fits = tuple(shape[axis] for axis in axes) == target
            text = moved if fits else f"reshape({moved}, {list(target)})"
            yield text, partial(_reshaped, function=partial(np.transpose, axes=axes), target=target)
    for axis in {1, rank - 1} - {0}:
        for groups in range(2, shape[axis]):
            if shape[axis] % groups == 0:

                def shuffle(x: np.ndarray, axis: int = axis, groups: int = groups) -> np.ndarray:
                    split = x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
                    return split.swapaxes(axis, axis + 1).reshape(target)

                yield f"shuffle({{}}; {groups} groups along axis {axis})", shuffle
    for axis in range(1, rank):
        yield f"flip({{}}; axis {axis})", partial(_reshaped, function=partial(np.flip, axis=axis), target=target)
        for step in (1, -1):
            roll = partial(np.roll, shift=step, axis=axis)
            yield f"roll({{}}; {step} along axis {axis})", partial(_reshaped, function=roll, target=target)
    if rank == 4 and len(target) == 4:
        yield from _pixel_shuffles(shape, target)


def _pixel_shuffles(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    n, c, h, w = shape
    factor = target[2] // h
    if factor > 1 and target == (n, c // factor**2, h * factor, w * factor) and c % factor**2 == 0:

        def shuffle(x: np.ndarray, *, blocks_first: bool, swapped: bool) -> np.ndarray:
            r = factor
            if blocks_first:
                x = x.reshape(n, r, r, c // r**2, h, w).transpose(0, 3, 1, 2, 4, 5)
            else:
                x = x.reshape(n, c // r**2, r, r, h, w)
            axes = (0, 1, 4, 3, 5, 2) if swapped else (0, 1, 4, 2, 5, 3)
            return x.transpose(axes).reshape(target)

        for text, blocks_first, swapped in (
            ("pixel_shuffle({})", False, False),
            ("pixel_shuffle({}, blocks before channels)", True, False),
            ("pixel_shuffle({}, rows and columns swapped)", False, True),
        ):
            yield text, partial(shuffle, blocks_first=blocks_first, swapped=swapped)


def _selections(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    """Yield one index, one half, or one end along an axis."""
    for axis in range(1, len(shape)):
        size, rest = shape[axis], shape[:axis] + shape[axis + 1 :]
        if target == rest:
            for index in sorted({0, 1, size // 2, size - 1} & set(range(size))):
                yield f"{{}}[index {index} of axis {axis}]", partial(np.take, indices=index, axis=axis)
            for name, reduce in (("mean", np.mean), ("max", np.max)):
                text = f"{name}({{}}[from index 1 of axis {axis}])"
                yield text, partial(_without_first, axis=axis, reduce=reduce)
        if size % 2 == 0 and target == (*shape[:axis], size // 2, *shape[axis + 1 :]):
            half = size // 2
            for text, indices in (
                ("first half of {}", range(half)),
                ("second half of {}", range(half, size)),
                ("every other of {}, from 0,", range(0, size, 2)),
                ("every other of {}, from 1,", range(1, size, 2)),
            ):
                yield f"{text} along axis {axis}", partial(np.take, indices=list(indices), axis=axis)
        elif (
            len(target) == len(shape)
            and (count := target[axis]) < size
            and target == (*shape[:axis], count, *shape[axis + 1 :])
        ):
            yield f"{{}} up to index {count - 1} of axis {axis}", partial(np.take, indices=range(count), axis=axis)
            yield (
                f"{{}} from index {size - count} of axis {axis}",
                partial(np.take, indices=range(size - count, size), axis=axis),
            )


def _paddings(shape: Shape, target: Shape) -> Iterator[tuple[str, Function]]:
    added = [target[axis] - shape[axis] for axis in (2, 3)]
    if not any(added):
        return
    if min(added) >= 0:
        modes = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
        befores = product(*[sorted({0, more // 2, more - more // 2, more}) for more in added])
        for before, (text, mode) in product(befores, modes.items()):
            widths = [(0, 0), (0, 0), *((left, more - left) for left, more in zip(before, added, strict=True))]
            if mode == "reflect" and any(max(width) >= shape[axis] for axis, width in enumerate(widths)):
                continue
            name = f"pad({{}}; rows {widths[2]}, columns {widths[3]}, {text})"
            yield name, partial(np.pad, pad_width=widths, mode=mode)
    if max(added) <= 0:
        for start in {(0, 0), (-added[0], -added[1]), (-added[0] // 2, -added[1] // 2)}:
            rows, columns = (slice(first, first + target[axis]) for first, axis in zip(start, (2, 3), strict=True))
            name = f"{{}} from row {start[0]} and column {start[1]}"
            yield name, partial(_crop, rows=rows, columns=columns)


def _reshaped(array: np.ndarray, *, function: Function, target: Shape) -> np.ndarray:
    return function(array).reshape(target)


def _without_first(array: np.ndarray, *, axis: int, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    return reduce(np.delete(array, 0, axis), axis)


def _first_mean(array: np.ndarray, *, axis: int) -> np.ndarray:
    return array.mean(axis)[:, :, 0]


def _crop(array: np.ndarray, *, rows: slice, columns: slice) -> np.ndarray:
    return array[:, :, rows, columns]
