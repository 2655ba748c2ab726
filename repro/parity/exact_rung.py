"""Rung 8: every module computes on whole numbers, on which float32 does not round, and no tolerance is needed.

A sum of multiples of a power of two is exact in float32, in whatever order it is added up, where the sum of the
absolute values is below 2 ** 24 of them. The reference computes both in float64: the result of every module, which must
be such multiples, and the sum of absolute values. Where they prove that nothing is rounded, every backend must return
the same bits. Other results, such as those of a sigmoid, are not compared on this rung.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.module_outputs import INPUT_PREFIX
from repro.parity.attempt import Workers
from repro.parity.causes.hints import explain_error
from repro.parity.comparison import ArrayComparison, compare_arrays
from repro.parity.forward_rungs import train_side
from repro.parity.judge import describe_place
from repro.parity.record import Record
from repro.specs import Spec
from repro.workers.client import LARGE_MODEL_PARAMS, Worker, request_all
from repro.workers.whole_number_feed import ModuleResult

EXACT_RUNG = 8
BATCH = 2
EXACT_BELOW = 2.0**24  # float32 has every whole number up to this one
LISTED = 3  # wrong results that are named after the first one


@dataclass(frozen=True)
class Proof:
    """The proof of a reference: which results are exact in float32.

    digests: the digest of each result that float32 computes without rounding, in the order of computation; computed:
    the names of those that are more than an array passed on; unproved: all other results, with their modules' types.
    """

    reference: str
    digests: Mapping[str, str]
    computed: list[str]
    unproved: tuple[str, ...]


def compare_exactly(spec: Spec, workers: Workers, weights: Arrays, seed: int) -> Iterator[Record]:
    """Rung 8: whatever enters and leaves each module in evaluation mode, with weights of whole numbers.

    Raises ReproError where no backend computes in float64.
    """
    side = train_side(spec)
    images = {"images": np.zeros((BATCH, spec.in_channels, side, side), np.float32)}
    proof = _prove(workers, images, seed)
    reference = workers[proof.reference]
    is_large = spec.params > LARGE_MODEL_PARAMS
    for group in [{name: worker} for name, worker in workers.items()] if is_large else [workers]:
        for backend, (answer, _) in request_all(group, "feed_modules", images, seed=seed).items():
            digests = {result["name"]: result["digest"] for result in answer["results"]}
            wrong = [name for name, digest in proof.digests.items() if digests.get(name) != digest]
            if wrong:
                comparison = _compare_first(wrong[0], proof, workers[backend], reference, images, seed)
                comparison = replace(comparison, reason=comparison.reason + _list_others(wrong[1:]))
            else:
                total = len(proof.computed) + len(proof.unproved)
                reason = f"bit-identical; {len(proof.computed):,} of {total:,} results are proved"
                comparison = ArrayComparison("equal", "", 0.0, 0.0, reason)
            profile = [(name, None if name in wrong else 0.0, 0.0) for name in proof.computed]
            record = Record.from_comparison(
                spec.name, EXACT_RUNG, backend, f"{proof.reference} float64", comparison, profile
            )
            yield replace(record, unproved=proof.unproved)


def _prove(workers: Workers, images: Arrays, seed: int) -> Proof:
    """The proof by the first backend that computes in float64."""
    for backend, worker in workers.items():
        answer, _ = worker.request("feed_modules", images, seed=seed, float64=True)
        if answer is None:
            continue
        sums, _ = worker.request("feed_modules", images, seed=seed, float64=True, sums=True)
        largest_sums = {row["name"]: row["largest"] for row in sums["results"]}
        results = [ModuleResult(**row) for row in answer["results"]]
        exact = {result.name: result for result in results if _is_exact(result, largest_sums[result.name])}
        return Proof(
            backend,
            {name: result.digest for name, result in exact.items()},
            [name for name, result in exact.items() if result.is_computed],
            tuple(_with_type(result.name, answer["types"]) for result in results if result.name not in exact),
        )
    raise ReproError("no float64 reference available: add torch or paddle")


def _is_exact(result: ModuleResult, largest_sum: float) -> bool:
    """Return whether float32 computes a result without rounding. largest_sum: the largest sum of absolute values."""
    return result.fraction is not None and max(largest_sum, result.largest) * 2.0**result.fraction < EXACT_BELOW


def _with_type(name: str, types: Mapping[str, str]) -> str:
    """The name of a result with the type of its module."""
    module = name.removeprefix(INPUT_PREFIX).partition(" (")[0]
    return f"{name} ({'before ' if name.startswith(INPUT_PREFIX) else ''}{types.get(module, 'the network')})"


def _compare_first(
    name: str, proof: Proof, worker: Worker, reference: Worker, images: Arrays, seed: int
) -> ArrayComparison:
    """The comparison of a wrong result, with its place and an explanation."""
    request = partial(Worker.request, request="feed_modules", arrays=images, seed=seed, selected=[name])
    expected, actual = request(reference, float64=True)[1][name], request(worker)[1].get(name)
    where = describe_place(list(proof.digests), list(proof.digests).index(name))
    if actual is None:
        return ArrayComparison("diverges", where, None, 0.0, "it is missing")
    comparison = compare_arrays(where, actual, expected, tolerance=0.0)
    explanation = explain_error(actual, expected, tolerance=0.0)
    return replace(comparison, reason=f"{comparison.reason} ({explanation})") if explanation else comparison


def _list_others(names: list[str]) -> str:
    """The end of the sentence on the first wrong result. Every module has right inputs, so that each errs by itself."""
    if not names:
        return ""
    return f"; {len(names)} more with errors of their own: {', '.join(names[:LISTED])}{', ...' * (len(names) > LISTED)}"
