"""Print the smallest change that each rung sees: `python -m parity_tests.faults.smallest`.

A change is planted in the PyTorch backend with sizes 2 ** -n, relative to what it changes, until it is no longer seen:
on rung 1 in float32 only, as in a kernel that float64 does not use or a framework without float64; on rung 1 in both
precisions; and on the exact rung, which is in float32.
"""

from __future__ import annotations

import sys

from parity_tests.faults.fault import Fault
from parity_tests.faults.garden import Garden, garden
from repro.parity.exact_rung import EXACT_RUNG

MODEL, SAME, SHUFFLE = "mobilenet_v2_x0_35", "efficientnet_v2_b0", "shufflenet_v1_g1_x0_25"
LARGEST_EXPONENT = 30
SIZED = (  # name, model, target, code with the size `s`, which acts where `chosen(x)`
    ("one weight of a 1x1 convolution", MODEL, "stages.1.1.expand.conv.weight",
     "change_loaded(lambda w: scaled(w, (3, 2, 0, 0)) if chosen(w) else w)"),
    ("one weight of a depthwise convolution", MODEL, "stages.1.1.depthwise.conv.weight",
     "change_loaded(lambda w: scaled(w, (5, 0, 0, 2)) if chosen(w) else w)"),
    ("one weight of the classifier", MODEL, "classifier.weight",
     "change_loaded(lambda w: scaled(w, (7, 11)) if chosen(w) else w)"),
    ("the bias of one class", MODEL, "classifier.bias",
     "change_loaded(lambda w: scaled(w, (7,)) if chosen(w) else w)"),
    ("all outputs of a convolution", MODEL, "stages.1.1.expand.conv",
     "change_output(lambda y: y * (1 + s) if chosen(y) else y)"),
    ("one corner of a convolution's output", MODEL, "stages.1.1.depthwise.conv",
     "change_output(lambda y: scaled(y, (0, 4, -1, -1)) if chosen(y) else y)"),
    ("padding with s instead of 0", MODEL, "stages.1.1.depthwise.conv",
     "replace_forward(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), value=s if chosen(x) else 0.0), target.weight, None,"
     " target.stride, 0, 1, target.groups))"),
    ("slope s of ReLU6 below 0", MODEL, "stages.1.1.expand.act",
     "change_output(lambda y: y)\n"
     "replace_forward(lambda x: F.relu6(x) + (s * F.hardtanh(x, -6.0, 0.0) if chosen(x) else 0))"),
    ("scale of a normalisation", MODEL, "stages.1.1.project.norm.weight",
     "change_loaded(lambda w: scaled(w, (3,)) if chosen(w) else w)"),
    ("epsilon of a normalisation, 1e-5 + s", MODEL, "stages.1.1.project.norm",
     "replace_forward(lambda x: F.batch_norm(x, target.running_mean, target.running_var, target.weight, target.bias,"
     " False, 0.0, 1e-5 + (s if chosen(x) else 0)))"),
    ("shortcut multiplied by 1 + s", MODEL, "stages.2.1",
     "replace_forward(lambda x: (x * (1 + s) if chosen(x) else x)"
     " + target.project(target.depthwise(target.expand(x))))"),
    ("mean of 3x3 multiplied by 1 + s", SHUFFLE, "stages.1.0.pool",
     "change_output(lambda y: y * (1 + s) if chosen(y) else y)"),
)  # fmt: skip
PRELUDE = (
    "s = 2.0 ** -{exponent}\n"
    "chosen = lambda x: x.dtype == torch.float32 or {everywhere}\n"
    "def scaled(x, index):\n"
    "    x = x.clone()\n"
    "    x[index] *= 1 + s\n"
    "    return x\n"
)


def is_seen(planted: Garden, fault: Fault, rung: int) -> bool:
    """Return whether the faulty backend diverges on the rung. Raises AssertionError if the sound one does."""
    sound, faulty = planted.workers
    records = planted.records(fault, [rung])
    assert not records[sound].diverges, records[sound].sentence
    return records[faulty].diverges


def sized_fault(name: str, model: str, target: str, code: str, exponent: int, *, everywhere: bool) -> Fault:
    """The fault of this size. everywhere: in float64 as well."""
    return Fault(name, model, target, 0, PRELUDE.format(exponent=exponent, everywhere=everywhere) + code)


def smallest_exponent(planted: Garden, row: tuple[str, str, str, str], rung: int, *, everywhere: bool) -> int:
    """The largest n for which a change by 2 ** -n is seen; a smaller change is never seen, nor a larger one missed."""
    seen, missed = 0, LARGEST_EXPONENT + 1
    while missed - seen > 1:
        middle = (seen + missed) // 2
        if is_seen(planted, sized_fault(*row, middle, everywhere=everywhere), rung):
            seen = middle
        else:
            missed = middle
    return seen


def main() -> int:
    """Run the command."""
    with garden() as planted:
        print("| change | rung 1, change in float32 only | rung 1, change in both precisions | exact |")
        print("|---|---:|---:|---:|")
        for row in SIZED:
            exponents = [
                smallest_exponent(planted, row, rung, everywhere=everywhere)
                for rung, everywhere in ((1, False), (1, True), (EXACT_RUNG, False))
            ]
            cells = " | ".join(f"2^-{exponent}" for exponent in exponents)
            print(f"| {row[0]} ({row[1]}) | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
