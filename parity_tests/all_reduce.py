"""Print the table of docs/scale.md about all-reduce: where sending gradients takes longer than computing them.

python -m parity_tests.all_reduce
"""

from __future__ import annotations

import argparse
import sys

from repro.specs import find_spec

NETWORKS = (
    "asymmnet_large", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v1_g3_x1_0", "shufflenet_v2_x1_0",
    "efficientnet_v2_s", "densenet121", "resnet50", "resnet50_v2", "rdnet_tiny", "vgg16",
)  # fmt: skip
# processes, and the bytes/s that each of them sends: NVLink in a server of eight, and 400 and 200 Gbit/s for each GPU
GROUPS = ((8, 300e9), (64, 50e9), (512, 25e9))
LATENCY = 10e-6  # seconds for each of the messages of a ring, one after the other
BYTES = 4  # of a gradient in float32


def ring_seconds(bytes_sent: float, processes: int, bandwidth: float, latency: float = LATENCY) -> float:
    """Return the seconds of a ring all-reduce.

    Each process sends 2 (n - 1) messages of 1/n of the bytes (Patarasuk and Yuan, Bandwidth optimal all-reduce
    algorithms for clusters of workstations, 2009).
    """
    messages = 2 * (processes - 1)
    return messages * (bytes_sent / processes / bandwidth + latency)


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.all_reduce", description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images of each process (default: 64)")
    arguments = parser.parse_args(argv)
    headings = [f"{processes} processes" for processes, _ in GROUPS]
    print(f"| network | MB of gradients | TFLOP of a step | {' | '.join(headings)} |\n|{'---|' * (3 + len(GROUPS))}")
    for name in NETWORKS:
        spec = find_spec(name)
        size = BYTES * spec.params
        # forward pass, and the gradients of inputs and of weights; two operations for each MAC
        work = 3 * 2 * spec.macs * arguments.batch_size
        cells = []
        for processes, bandwidth in GROUPS:
            seconds = ring_seconds(size, processes, bandwidth)
            cells.append(f"{1000 * seconds:.2f} ms, {work / seconds / 1e12:,.0f} TFLOP/s")
        print(f"| {name} | {size / 1e6:.1f} | {work / 1e12:.2f} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
