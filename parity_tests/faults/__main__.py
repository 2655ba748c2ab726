"""Plant every fault, and print which were caught and named: `python -m parity_tests.faults`."""

from __future__ import annotations

import argparse
import re
import sys
import time

from parity_tests.faults.collection import ALL_FAULTS, LADDER
from parity_tests.faults.garden import garden
from repro.parity.ladder import RUNGS
from repro.parity.record import Record


def _brief(record: Record) -> str:
    """The place and the reason of a divergence, without tolerances and counts."""
    reason = re.sub(r", an error of .* exceed it", "", record.reason)
    return f"{record.where}: {reason if len(reason) < 200 else reason[:200] + '...'}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 if all faults were caught and 95 % were named."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="plant only faults with TEXT in their name or model")
    text = parser.parse_args(argv).only
    faults = [fault for fault in ALL_FAULTS if text in f"{fault.name} {fault.model}"]
    caught = named = 0
    start = time.monotonic()
    with garden() as planted:
        sound, faulty = planted.workers
        print(f"{sound} {planted.workers[sound].version}\n")
        print("| fault | caught on rung | report | |\n|---|---|---|---|")
        for fault in faults:
            records = planted.records(fault, LADDER)
            record = records[faulty]
            is_caught = record.diverges and not records[sound].diverges and record.rung == fault.rung
            is_named = is_caught and fault.is_named_by(record)
            caught, named = caught + is_caught, named + is_named
            rung = f"{record.rung} {RUNGS[record.rung][0]}" if record.diverges else "not caught"
            if records[sound].diverges:
                rung = f"{sound} was accused"
            verdict = (
                "named" if is_named else f"NOT NAMED: expected {fault.reported or fault.target}, rung {fault.rung}"
            )
            print(f"| {fault.name} ({fault.model}) | {rung} | {_brief(record)} | {verdict} |", flush=True)
    share = 100 * named / len(faults) if faults else 0.0
    print(
        f"\n{len(faults)} planted, {caught} caught, {named} named to the operator ({share:.1f} %), "
        f"{time.monotonic() - start:.0f} s"
    )
    return 0 if faults and caught == len(faults) and share >= 95 else 1


if __name__ == "__main__":
    sys.exit(main())
