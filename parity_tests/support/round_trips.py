"""Convert every variant between all file formats in every precision; every bit must survive.

    python -m parity_tests.support.round_trips
    python -m parity_tests.support.round_trips --models vgg16 resnet50_v2_keras --dtypes float16 float64

canonical -> A -> canonical: arrays of arbitrary finite bits are written as a file of A, and the arrays that are read
from it must be bit-identical. A -> B -> A: the arrays read from A are written as a file of B, which must have the
SHA-256 of the file of B that was written from the canonical arrays; and the same from B to A.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ml_dtypes  # noqa: F401 - NumPy then knows the name bfloat16
import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import CATALOGUE, Spec, find_spec
from repro.untrusted import map_file
from repro.weights.formats import KERAS, SAFETENSORS, extensions
from repro.weights.layouts import layouts_for
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint

# masks of the exponent, whose bits are all set only in infinities and NaN
EXPONENTS = {"float32": 0x7F80_0000, "float16": 0x7C00, "bfloat16": 0x7F80, "float64": 0x7FF0_0000_0000_0000}
FRAMEWORKS = ("torch", "paddle", "mindspore")


@dataclass
class Outcome:
    """The number of round trips, and a line for each that changed a bit."""

    trips: int
    differences: list[str]


def round_trips(model: str, dtype: str, folder: Path) -> Outcome:
    """Make all round trips of a variant in one of the dtypes of EXPONENTS.

    Temporary files in `folder` need room for twice the weights.
    """
    spec = find_spec(model)
    arrays = draw(spec, dtype)
    forms = formats(spec, dtype)
    equal: dict[str, bool] = {}  # by round trip
    written: dict[str, str] = {}  # format -> digest of the file written from the canonical arrays
    converted: dict[tuple[str, str], str] = {}  # (A, B) -> digest of the file of B converted from the file of A
    try:
        for form in forms:
            path = folder / f"source{extensions(form)[0]}"
            with _file(path, Checkpoint(spec, arrays)) as written[form]:
                checkpoint = read_checkpoint(path, model, log=lambda _: None)
                is_equal = checkpoint.spec == read_spec(spec, form) and same_bits(checkpoint.weights, arrays)
                equal[f"canonical -> {form} -> canonical"] = is_equal
                for other in forms:
                    if other != form:
                        bare = replace(checkpoint, metadata={})  # the metadata name the source
                        with _file(folder / f"other{extensions(other)[0]}", bare) as converted[form, other]:
                            pass
    except ReproError as error:
        return Outcome(len(equal), [f"{model} {dtype}: {error}"])
    for (a, b), digest in converted.items():
        equal[f"{a} -> {b} -> {a}"] = digest == written[b] and converted[b, a] == written[a]
    return Outcome(len(equal), [f"{model} {dtype}: {trip}" for trip, is_equal in equal.items() if not is_equal])


@contextmanager
def _file(path: Path, checkpoint: Checkpoint) -> Iterator[str]:
    """Write a checkpoint, yield the digest of the file, and delete the file."""
    try:
        write_checkpoint(path, checkpoint)
        yield hashlib.sha256(map_file(path)).hexdigest()
    finally:
        path.unlink(missing_ok=True)


def formats(spec: Spec, dtype: str) -> list[str]:
    """Return the file formats that hold the variant in this dtype. HDF5 has no bfloat16."""
    keras = dtype != "bfloat16" and any(layout.format == KERAS for layout in layouts_for(spec))
    return [SAFETENSORS, *FRAMEWORKS, *([KERAS] if keras else [])]


def read_spec(spec: Spec, form: str) -> Spec:
    """Return the spec of the network that a file of this format is read as: Keras's networks can have options."""
    options = next((layout.options for layout in layouts_for(spec) if layout.format == form == KERAS), {})
    return find_spec(spec.name, **options)


def draw(spec: Spec, dtype: str) -> Arrays:
    """Return an array of finite numbers with arbitrary bits for each weight; the first values are the extremes."""
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    bits_of = np.dtype(f"u{kind.itemsize}")
    exponent = EXPONENTS[dtype]
    lowest, sign = exponent & -exponent, 1 << (8 * kind.itemsize - 1)
    # -0.0, the largest, the smallest and the largest subnormal number, and the negatives of these
    largest, tiny, subnormal = exponent - 1, 1, lowest - 1
    extremes = np.array([sign, *(s | x for x in (largest, tiny, subnormal) for s in (0, sign))], bits_of)
    arrays = {}
    for name, weight in spec.weights.items():
        words = rng.bit_generator.random_raw(-(-weight.size * kind.itemsize // 8))
        bits = words.view(bits_of)[: weight.size]
        bits[bits & bits_of.type(exponent) == exponent] ^= bits_of.type(lowest)
        bits[: len(extremes)] = extremes[: weight.size]
        arrays[name] = bits.view(kind).reshape(weight.shape)
    return arrays


def same_bits(left: Arrays, right: Arrays) -> bool:
    """Return whether names, their order, dtypes, shapes and all bits are equal."""

    def bits(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    return list(left) == list(right) and all(
        (left[name].dtype, left[name].shape) == (right[name].dtype, right[name].shape)
        and np.array_equal(bits(left[name]), bits(right[name]))
        for name in left
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m parity_tests.support.round_trips",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", choices=list(CATALOGUE), default=list(CATALOGUE), metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", choices=list(EXPONENTS), default=list(EXPONENTS))
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    specs = sorted(map(find_spec, arguments.models), key=lambda spec: spec.family)
    trips = 0
    differences: list[str] = []
    print(f"| family | variants | arrays | {' | '.join(arguments.dtypes)} |")
    print(f"|---|---:|---:|{'---|' * len(arguments.dtypes)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for family, group in itertools.groupby(specs, key=lambda spec: spec.family):
            members = list(group)
            cells = []
            for dtype in arguments.dtypes:
                outcomes = [round_trips(spec.name, dtype, Path(name)) for spec in members]
                wrong = [line for outcome in outcomes for line in outcome.differences]
                count = sum(outcome.trips for outcome in outcomes)
                cells.append(f"{len(wrong)} of {count} DIFFER" if wrong else f"{count} equal")
                trips, differences = trips + count, differences + wrong
            print(f"| {family} | {len(members)} | {sum(len(spec.weights) for spec in members)} | {' | '.join(cells)} |",
                  flush=True)  # fmt: skip
    print("\n".join(["", *differences]))
    print(f"{len(specs)} variants, {trips} round trips, {len(differences)} differ, {time.perf_counter() - start:.0f} s")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
