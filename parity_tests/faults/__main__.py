"""Plant every fault and print which were caught and named: `python -m parity_tests.faults`."""

from __future__ import annotations

import argparse
import re
import sys
import time

from parity_tests.faults.collection import ALL_FAULTS, LADDER
from parity_tests.faults.garden import garden
from repro.parity.ladder import RUNGS
from repro.parity.record import Record


def _shortly(record: Record) -> str:
    """Where and why, without the numbers that the verdict rests on."""
    reason = re.sub(r", off by .* are off", "", record.reason)
    return f"{record.where}: {reason if len(reason) < 200 else reason[:200] + '...'}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m parity_tests.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="faults with this in their name or model")
    only = parser.parse_args(argv).only
    faults = [fault for fault in ALL_FAULTS if only in f"{fault.name} {fault.model}"]
    caught = named = 0
    start = time.monotonic()
    with garden() as planted:
        sound, faulty = planted.workers
        print(f"{sound} {planted.workers[sound].version}\n")
        print("| fault | caught at rung | what was said | |\n|---|---|---|---|")
        for fault in faults:
            records = planted.records(fault, LADDER)
            found = records[faulty]
            seen = found.verdict == "diverges" and records[sound].verdict != "diverges" and found.rung == fault.rung
            right = seen and fault.is_named_by(found)
            caught, named = caught + seen, named + right
            rung = f"{found.rung} {RUNGS[found.rung][0]}" if found.verdict == "diverges" else "not caught"
            if records[sound].verdict == "diverges":
                rung = f"{sound} was accused"
            verdict = "named" if right else f"NOT NAMED: it is at {fault.said or fault.at}, rung {fault.rung}"
            print(f"| {fault.name} ({fault.model}) | {rung} | {_shortly(found)} | {verdict} |", flush=True)
    share = 100 * named / len(faults) if faults else 0.0
    print(
        f"\n{len(faults)} planted, {caught} caught, {named} named to the operator ({share:.1f} %), "
        f"{time.monotonic() - start:.0f} s"
    )
    return 0 if faults and caught == len(faults) and share >= 95 else 1


if __name__ == "__main__":
    sys.exit(main())
