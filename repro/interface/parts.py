"""The parts of a batch that are computed one after the other, and the sum of their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

Term = TypeVar("Term", bound=Any)


def split_batch(images: np.ndarray, targets: np.ndarray, parts: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a batch in equal parts, in order. The number of images is a multiple of `parts`."""
    size = len(targets) // parts
    return ((images[start : start + size], targets[start : start + size]) for start in range(0, len(targets), size))


def tree_sum(terms: Iterable[Term]) -> Term:
    """Return the sum of at least one vector, added up in pairs, pairs of pairs and so on.

    The sum of a power of two of terms from where they begin is a partial sum of this tree. Processes that share the
    terms evenly therefore compute, by `tree_sum` of their sums, the same bits as one process with all of them. As many
    partial sums as the logarithm of the number of terms are held at once.
    """
    partial: list[tuple[int, Term]] = []  # numbers of terms, decreasing, and their sums
    for term in terms:
        count, total = 1, term
        while partial and partial[-1][0] == count:
            total = partial.pop()[1] + total
            count *= 2
        partial.append((count, total))
    _, total = partial.pop()
    while partial:
        total = partial.pop()[1] + total
    return total
