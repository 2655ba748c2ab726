"""Compare every layout with the package that it comes from.

A model of the package gets random weights, is saved with the package's own function, and is converted to the files of
all three frameworks. The logits of the package and of all backends must agree.

    python -m parity_tests.support.layouts                     # all layouts; prints the table in docs/porting.md
    python -m parity_tests.support.layouts --layouts timm --largest 30e6
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity_tests.support.packages import CHANGES, FILES, FRAMEWORK, Package, packages
from repro.interface.discovery import SHIPPED
from repro.parity.comparison import compare_arrays
from repro.parity.tolerance import single_run_tolerance
from repro.specs import find_spec
from repro.weights.layouts import PUBLISHED, Layout
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint
from repro.workers.client import Worker, request_all


@dataclass(frozen=True)
class Row:
    """The comparison of one layout and variant.

    recognised: the layouts that `--from auto` recognised. errors: those of the package and of each backend, as
    multiples of the tolerance.
    """

    publisher: str
    expression: str
    model: str
    recognised: str
    errors: dict[str, float]
    passed: bool
    remark: str


def compare_with_package(layout: Layout, model: str, package: Package, workers: dict[str, Worker]) -> Row:
    """Convert the package's file to every backend's and back, and compare its logits with those of the workers.

    workers: those of torch and of any other backends.
    """
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, answer = package.make(layout, model, folder)
        checkpoint = read_checkpoint(file, model, log=lines.append)
        ported = {backend: _through_file(checkpoint, folder / f"converted{FILES[backend]}") for backend in SHIPPED}
        republished = folder / f"republished{'.h5' if layout.format == 'keras' else FILES[layout.format]}"
        write_checkpoint(republished, checkpoint, layout.publisher)
        back = read_checkpoint(republished, model, layout=layout.publisher, log=lines.append)
        assert _same(back.weights, checkpoint.weights), (
            f"{layout.publisher} {model}: not bit-identical after a round trip"
        )
        reloaded = package.load(layout, model, republished)
    options = {**layout.options}
    for backend, arrays in ported.items():
        assert _same(arrays, checkpoint.weights), f"{backend}: not bit-identical after its file"
        if backend in workers:
            workers[backend].request("create_model", arrays, name=model, options=options)
    errors: dict[str, float] = {}
    passed = True
    for key in [key for key in answer if key.startswith("images")]:
        images, logits_key = {"images": answer[key]}, "logits" + key.removeprefix("images")
        exact = workers["torch"].request("forward", images, float64=True)[1]["logits"]
        outputs = {
            backend: arrays["logits"] for backend, (_, arrays) in request_all(workers, "forward", images).items()
        }
        tolerance = single_run_tolerance(outputs["torch"], exact)
        in_package = [("package", answer[logits_key]), ("package", reloaded[logits_key])]
        for column, logits in [*in_package, *outputs.items()]:
            verdict = compare_arrays(column, logits, exact, tolerance=tolerance)
            errors[column] = max(errors.get(column, 0.0), verdict.error_ratio)
            passed = passed and verdict.verdict != "diverges"
    changes = CHANGES.get((layout.publisher, find_spec(model).family), {})
    remarks = [layout.note] if layout.note else []
    remarks += [f"model.{name} = {value:g}" for name, value in changes.items()]
    remarks += [f"{name}={value}" for name, value in layout.options.items()]
    prefix = "recognised the layout: "
    recognised = next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), "")
    return Row(layout.publisher, layout.models[model], model, recognised, errors, passed, "; ".join(remarks))


def _through_file(checkpoint: Checkpoint, path: Path) -> dict[str, np.ndarray]:
    """Write the checkpoint, and return the weights that are read from the file."""
    write_checkpoint(path, checkpoint)
    arrays = read_checkpoint(path, checkpoint.spec.name, log=lambda _: None).weights
    return {name: np.array(array) for name, array in arrays.items()}


def _same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    def bits(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and np.array_equal(bits(left[name]), bits(right[name]))
        for name in left
    )


def cases(publishers: set[str] | None = None, largest: float = float("inf")) -> list[tuple[Layout, str]]:
    """Return layouts of supported packages with each variant that has at most `largest` parameters."""
    return [
        (layout, model)
        for layout in PUBLISHED
        if layout.publisher in FRAMEWORK and (publishers is None or layout.publisher in publishers)
        for model in layout.models
        if find_spec(model).params <= largest
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m parity_tests.support.layouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layouts", nargs="+", choices=list(FRAMEWORK), help="publishers (default: all)")
    parser.add_argument("--largest", type=float, default=float("inf"), metavar="PARAMETERS")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="variants (default: all)")
    arguments = parser.parse_args()
    selected = cases(set(arguments.layouts) if arguments.layouts else None, arguments.largest)
    selected = [(layout, model) for layout, model in selected if not arguments.models or model in arguments.models]
    failed = 0
    print("| layout | its model | variant | recognised as | package | " + " | ".join(SHIPPED) + " | verdict | remark |")
    print("|---|---|---|---|---:|" + "---:|" * len(SHIPPED) + "---|---|")
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name)) for name in SHIPPED}
        package = stack.enter_context(packages())
        for layout, model in selected:
            row = compare_with_package(layout, model, package(layout.publisher), workers)
            failed += not row.passed
            numbers = " | ".join(f"{row.errors[column]:.2f}" for column in ("package", *SHIPPED))
            print(
                f"| {row.publisher} | `{row.expression}` | {model} | {row.recognised} | {numbers} | "
                f"{'equal' if row.passed else 'DIVERGES'} | {row.remark} |",
                flush=True,
            )
    print(f"\n{len(selected)} converted, {failed} diverge", file=sys.stderr)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
